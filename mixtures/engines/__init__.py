"""Engines: who computes the one pass over the data.

Those with compiled loops are loaded, and on a machine that has not met them compiled, when something first needs them. Those
whose sources are in `loops` are linked as object code, without numba; see `objects`.
"""

from __future__ import annotations

import importlib
import time
from types import ModuleType

LOOPS = {
    "answers", "attributes", "chains", "coded", "diffuse", "fused", "laid", "lanes", "recursions", "sampling", "seeding",
    "short", "softmax", "split", "whole", "wide",
}  # fmt: skip
"""Modules whose import compiles."""

_loading, _loaded = False, 0.0


def __getattr__(name: str) -> ModuleType:
    """A module with compiled loops, the seconds of its import counted by every `Clock`."""
    global _loading, _loaded
    if name not in LOOPS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _loading:  # by another, whose seconds hold these
        return importlib.import_module(f"{__name__}.{name}")
    _loading, began = True, time.perf_counter()
    try:
        return importlib.import_module(f"{__name__}.{name}")
    finally:
        _loading, _loaded = False, _loaded + time.perf_counter() - began


class Clock:
    """Wall-clock seconds since it was made, those apart in which loops were loaded or compiled."""

    def __init__(self) -> None:
        self._began, self._loaded = time.perf_counter(), _loaded

    def seconds(self) -> dict[str, float]:
        """Under "run" and, where something was loaded, "compile"."""
        loaded = _loaded - self._loaded
        run = time.perf_counter() - self._began - loaded
        return {"compile": loaded, "run": run} if loaded else {"run": run}
