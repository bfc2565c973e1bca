"""What this machine can hold: what is too large for its memory is refused before it is read or computed."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mixtures.errors import DataError


def memory() -> float:
    """Bytes of memory that this process may use: the machine's, or less where a limit is set; infinite where nobody tells."""
    return min(_limits())


def _limits() -> Iterator[float]:
    yield math.inf
    if hasattr(os, "sysconf"):
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in (*_own_group(), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        try:
            yield int(path.read_text())
        except (OSError, ValueError):  # no such group, or the word "max"
            continue
    try:
        import resource
    except ImportError:  # not on Windows
        return
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            yield soft


def _own_group() -> Iterator[Path]:
    """Where Linux states the limits of this process's control group and of those above it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    root = Path("/sys/fs/cgroup")
    for group in (root / line.removeprefix("0::/") for line in lines if line.startswith("0::/")):
        yield from (folder / "memory.max" for folder in (group, *group.parents) if folder.is_relative_to(root))


def check_memory(needed: float, what: str, remedy: str) -> None:
    """Refuse what takes more memory than there is.

    Parameters
    ----------
    needed : float
        Bytes, at least.
    what, remedy : str
        What was asked for, and what to do instead.

    Raises
    ------
    DataError

    Examples
    --------
    >>> check_memory(1e30, "10^9 draws", "ask for fewer")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    mixtures.errors.DataError: 10^9 draws would take about 1e+15 PB of memory, and ...: ask for fewer
    """
    there = memory()
    if needed > there:
        raise DataError(
            f"{what} would take about {size(needed)} of memory, and this process may use {size(there)}: {remedy}"
        )


def size(number: float) -> str:
    """Write a number of bytes.

    >>> size(80), size(2.3e10), size(1.6e13)
    ('80 bytes', '23 GB', '16 TB')
    """
    number = min(number, sys.float_info.max)
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:.0f} bytes"
