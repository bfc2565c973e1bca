"""What a process of our own need not do: search modules that load for garbage, search often or at its end, ask for Dask."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# New objects from which Python searches them for garbage, and searches of these before one of those that were there before.
OBJECTS, SEARCHES = 20_000, 20


@contextmanager
def loading() -> Iterator[None]:
    """Search for no garbage within; in a process of our own, what it leaves behind is never searched."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_threshold() == (OBJECTS, SEARCHES, SEARCHES):
            gc.freeze()
        if searching:
            gc.enable()


def seldom() -> None:
    """Search for garbage less often, and not at the process's end, which gives back all memory anyway."""
    gc.set_threshold(OBJECTS, SEARCHES, SEARCHES)
    atexit.register(gc.freeze)


def without_dask() -> None:
    """Let xarray take every array for one that Dask does not hold, for a process of its own that has loaded no Dask.

    It would load `dask.array` for its first array, only to ask whether it is of that kind.
    """
    if "dask" in sys.modules:
        return
    import xarray as xr

    sys.modules["dask"] = None  # type: ignore[assignment]
    try:
        xr.Variable("x", [0.0])
    finally:
        del sys.modules["dask"]
