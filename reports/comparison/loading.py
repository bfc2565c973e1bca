"""What a process of our own need not do: search for garbage as modules load, often or at its end, write docstrings anew, load
Dask, Setuptools and NumPyro, that some module asks for and nothing uses."""

from __future__ import annotations

import atexit
import gc
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import ModuleType
from typing import Any

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


class Docstring(defaultdict[str, list[Any]]):
    """The docstring of a function as it was written, where SciPy would take it apart and put it together with a note."""

    def __init__(self, function: Any) -> None:
        super().__init__(list)
        self.text = function.__doc__ or ""

    def __str__(self) -> str:
        return f"\n{self.text}"


def without_docstrings() -> None:
    """Let SciPy and Matplotlib load without writing new docstrings for hundreds of functions, for a process of its own."""
    with suppress(ImportError):
        from scipy._lib import _docscrape

        _docscrape.FunctionDoc = Docstring


def without_dask() -> None:
    """Let xarray take every array for one that Dask does not hold, for a process of its own that has loaded no Dask.

    It would load `dask.array` for its first array, only to ask whether it is of that kind.
    """
    if "dask" in sys.modules:
        return
    import xarray as xr
    from xarray.namedarray.utils import module_available

    with lacking("dask"):
        module_available.cache_clear()
        xr.Variable("x", [0.0])
        module_available("dask")


def without_setuptools() -> None:
    """Let PyTensor load without Setuptools, of which it takes but the class of an error that no compiler raises any more."""
    if "setuptools" in sys.modules:
        return
    name = "setuptools.errors"
    stand_in = ModuleType(name)
    stand_in.CompileError = type("CompileError", (Exception,), {})  # type: ignore[attr-defined]
    sys.modules[name] = stand_in
    try:
        import_module("pytensor.link.c.exceptions")
    finally:
        del sys.modules[name]


def without_numpyro() -> None:
    """Load PyTensor's translation to JAX, and leave NumPyro until it draws."""
    if "numpyro" in sys.modules:
        return
    with lacking("numpyro"):
        from pytensor.link.jax.dispatch import random
    random.numpyro_available = True


@contextmanager
def lacking(module: str) -> Iterator[None]:
    """Let a module that has not been loaded not be found within."""
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
