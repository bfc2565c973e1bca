"""Modules that take time to load, loaded without Python's search for garbage, which finds none in them, or not at all."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loading() -> Iterator[None]:
    """Search for no garbage within."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


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
