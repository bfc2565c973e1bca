"""When compiled loops are loaded: once NumPy has worked as long without them as loading, or compiling, them takes.

To link those whose object code is kept takes 35 ms, to load others through numba 0.4 s, and to compile them, once for a
machine, many seconds; a fit of 50 rows takes a few milliseconds without.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

from mixtures.caches import of_loops

# Milliseconds that loops would have saved before they are linked, loaded, or compiled, which is once for a machine.
LINKED_AFTER, LOADED_AFTER, COMPILED_AFTER = 40, 300, 6_000

HERE = Path(__file__).parent

_saved, _look_again = 0.0, dict[str, float]()


def repaid(engine: str, saved: float = 1.0) -> bool:
    """Whether a module of compiled loops is loaded, or as much work has been done as it takes to load or to compile it.

    Each time it is not, the milliseconds that the loops would have ``saved`` are counted.
    """
    if engine in sys.modules:
        return True
    count(saved)
    if _saved > COMPILED_AFTER:
        return True
    after = LINKED_AFTER if _source(engine).parent != HERE else LOADED_AFTER
    if _saved <= max(after, _look_again.get(engine, 0.0)):
        return False
    found = compiled(engine)
    if not found:
        _look_again[engine] = _saved + after / 10
    return found


def count(saved: float) -> None:
    """Count milliseconds that loops would have saved."""
    global _saved
    _saved += saved


def compiled(engine: str) -> bool:
    """Whether the engine is kept compiled as it is now, as far as the names and times of its files tell."""
    source = _source(engine)
    end = "nbc" if source.parent == HERE else "o"
    files = (file for folder in of_loops() if folder.is_dir() for file in folder.rglob(f"{source.stem}.*.{end}"))
    found = [file for file in files if file.stat().st_mtime > source.stat().st_mtime]
    if end == "nbc" or not found:
        return bool(found)
    from mixtures.engines.objects import ending

    return any(file.name.endswith(ending()) for file in found)


@cache
def _source(engine: str) -> Path:
    """The file whose functions are compiled."""
    name = f"{engine.rpartition('.')[2]}.py"
    return HERE / "loops" / name if (HERE / "loops" / name).is_file() else HERE / name


@cache
def kept(engine: str) -> bool:
    """What `compiled` says when it is first asked."""
    return compiled(engine)
