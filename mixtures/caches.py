"""Where a user keeps what can be made again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def of_loops() -> list[Path]:
    """Where compiled loops may be: as numba is told, or beside their sources, or where the user may write."""
    home = os.environ.get("NUMBA_CACHE_DIR")
    return [Path(home)] if home else [Path(__file__).parent / "engines" / "__pycache__", of_user("loops")]


def of_user(name: str) -> Path:
    """This package's folder of a name among those, which may not be there yet; without a home none can be made."""
    try:
        if sys.platform == "win32":
            base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user whom the machine does not know, as in a container
        base = os.devnull
    return Path(base) / "mixtures" / name
