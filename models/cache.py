"""What JAX compiles, kept on disk: a second run of the same model translates its graph and compiles nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mixtures.caches import of_user

# Bytes that are kept; the oldest files go first.
LARGEST = 500e6

# Seconds of compiling from which the result is kept.
FASTEST = 0.05


def folder() -> Path:
    """The user's folder for it; see `mixtures.caches.of_user`."""
    return of_user("jax")


@contextmanager
def kept(wanted: bool = True) -> Iterator[None]:
    """Keep what is compiled within, unless it is not wanted, the user has a folder of their own, or none can be written."""
    import jax

    own = folder()
    if not wanted or jax.config.jax_compilation_cache_dir or not ready(own):
        yield
        return
    from jax.experimental.compilation_cache import compilation_cache

    settings = {
        "jax_compilation_cache_dir": str(own),
        "jax_persistent_cache_min_compile_time_secs": FASTEST,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    compilation_cache.reset_cache()
    for name, value in settings.items():
        jax.config.update(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def ready(own: Path) -> bool:
    """Whether there is a folder and it can be written; the oldest files are deleted until the others are small enough."""
    with suppress(OSError):
        own.mkdir(parents=True, exist_ok=True)
    with suppress(OSError):
        files = sorted((path for path in own.iterdir() if path.is_file()), key=lambda path: -path.stat().st_mtime)
        size = 0.0
        for path in files:
            size += path.stat().st_size
            if size > LARGEST:
                path.unlink()
    return os.access(own, os.W_OK)
