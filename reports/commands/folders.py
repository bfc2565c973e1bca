"""Folders of the user that libraries write into, where there is no home or nothing can be written in it: as in containers."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

SETTING = "MPLCONFIGDIR"


def spare_matplotlib() -> None:
    """Give Matplotlib a temporary folder if it cannot write its own: each process would make one and say so."""
    if SETTING in os.environ or writable(settings()):
        return
    os.environ[SETTING] = mkdtemp(prefix="mixtures-matplotlib-")
    atexit.register(shutil.rmtree, os.environ[SETTING], ignore_errors=True)


def settings() -> Path | None:
    """Matplotlib's own folder; None where the user has no home."""
    try:
        if sys.platform.startswith(("linux", "freebsd")):
            return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "matplotlib"
        return Path.home() / ".matplotlib"
    except RuntimeError:
        return None


def writable(folder: Path | None) -> bool:
    """Whether the folder is there, made if need be, and can be written."""
    if folder is None:
        return False
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
