"""When compiled loops are loaded: once NumPy has worked as long without them as loading, or compiling, them takes.

Loading takes half a second, and compiling them, once for a machine, many; a fit of 50 rows takes a few milliseconds without.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

# Ascents of the plain loop over 50 rows that take as long as to load compiled loops, or to compile them.
LOADED_AFTER, COMPILED_AFTER = 200, 4_000

_plain_ascents, _look_again = 0.0, 0.0


def repaid(engine: str, share: float = 1.0) -> bool:
    """Whether a module of compiled loops is loaded, or as much work has been done as it takes to load or to compile it.

    Each time it is not, ``share`` of an ascent of the plain loop is counted, which is what the loops would have saved.
    """
    global _plain_ascents, _look_again
    if engine in sys.modules:
        return True
    _plain_ascents += share
    if _plain_ascents > COMPILED_AFTER:
        return True
    if _plain_ascents <= max(LOADED_AFTER, _look_again):
        return False
    found = compiled(engine)
    _look_again = 0.0 if found else _plain_ascents + LOADED_AFTER / 10
    return found


def compiled(engine: str) -> bool:
    """Whether numba's cache has the engine as it is now, as far as the names and times of its files tell."""
    name = engine.rpartition(".")[2]
    source = Path(__file__).with_name(f"{name}.py")
    home = os.environ.get("NUMBA_CACHE_DIR")
    pattern = f"{name}.*.nbc"
    found = Path(home).rglob(pattern) if home else (source.parent / "__pycache__").glob(pattern)
    return any(file.stat().st_mtime > source.stat().st_mtime for file in found)


@cache
def kept(engine: str) -> bool:
    """What `compiled` says when it is first asked."""
    return compiled(engine)
