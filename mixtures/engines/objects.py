"""Compiled loops as object code, a file for each module, which LLVM links: numba, which makes them, is not loaded for that.

To load numba and what it has cached takes 0.4 s, to link object code a tenth of that. Python calls a linked loop as a function
of C, which finds the data and shape of arrays where NumPy has them, and refuses what is not of the kind that the loop takes
(`mixtures.engines.entries`).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from ctypes import Structure, addressof, c_char_p, c_int, c_void_p, py_object, pythonapi
from functools import cache
from hashlib import blake2b
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

import llvmlite
import numpy as np
from llvmlite import binding as llvm

from mixtures.caches import of_loops
from mixtures.engines.arrays import TYPES, Kinds, laid_out_as_expected

HERE = Path(__file__).parent

# Of numba, those that change object code; the number of threads, which joblib sets in its workers, does not.
SETTINGS = [
    f"NUMBA_{name}" for name in ["BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DISABLE_INTEL_SVML", "ENABLE_AVX", "OPT"]
]
SETTINGS += [f"NUMBA_{name}_VECTORIZE" for name in ("LOOP", "SLP")]

FASTCALL = 0x80  # how CPython calls an entry (`METH_FASTCALL`)


class Method(Structure):
    """`PyMethodDef` of CPython's C API."""

    _fields_ = [("name", c_char_p), ("address", c_void_p), ("flags", c_int), ("doc", c_char_p)]


def loops(module: str, **kinds: Kinds) -> list[Callable[..., int]]:
    """Functions of a module in `mixtures.engines.loops` that return an int64, linked, and where they have to be, compiled.

    They raise TypeError where an argument is not of its kind. Where nothing could be linked, they are numba's own.

    Parameters
    ----------
    module : str
    **kinds : tuple
        For the name of each function those of its arguments; see `TYPES`.
    """
    try:
        engine, symbols = _linked(module, kinds)
        pythonapi.PyCFunction_NewEx.argtypes = [c_void_p, py_object, c_void_p]
        pythonapi.PyCFunction_NewEx.restype = py_object
    except (AttributeError, ImportError, RuntimeError, TypeError, ValueError):  # of another numba, LLVM or NumPy
        return [*_functions(module, kinds).values()]
    methods = [Method(name.encode(), engine.get_function_address(symbols[name]), FASTCALL, None) for name in kinds]
    refusals = [Refusal(own, engine, method) for own, method in zip(kinds.values(), methods, strict=True)]
    pairs = zip(methods, refusals, strict=True)
    return [pythonapi.PyCFunction_NewEx(addressof(method), refusal, None) for method, refusal in pairs]


class Refusal:
    """Called with the arguments that a loop did not take; the loop's code is in memory as long as this is."""

    def __init__(self, kinds: Kinds, engine: llvm.ExecutionEngine, method: Method) -> None:
        self._kinds, self._kept = kinds, (engine, method)

    def __call__(self, *values: Any) -> int:
        """TypeError or, where the arguments are what they should be, RuntimeError."""
        _check(self._kinds, values)
        raise RuntimeError("a compiled loop ended with an error, as where there is no more memory")


def _check(kinds: Kinds, values: Any) -> None:
    """TypeError where there are not as many values, or where a tuple or an array is not of its kind."""
    if not (isinstance(values, tuple) and len(values) == len(kinds)):
        raise TypeError(f"{values!r} came to a compiled loop; expected {kinds!r}")
    for kind, value in zip(kinds, values, strict=True):
        if isinstance(kind, tuple):
            _check(kind, value)
        elif len(kind) > 1 and not (isinstance(value, np.ndarray) and _fits(kind, value)):
            came = f"a {value.dtype} array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
            raise TypeError(f"{came} came to a compiled loop; expected {kind!r}")


def _fits(kind: str, array: np.ndarray) -> bool:
    own, expected, flags = array.dtype, TYPES[kind[0]], array.flags
    if (own.char, own.byteorder, array.ndim) != (expected.char, expected.byteorder, int(kind[1])):
        return False
    return flags.carray or (kind[-1] != "=" and flags.c_contiguous and flags.aligned)


def _functions(module: str, names: Iterable[str]) -> dict[str, Callable[..., Any]]:
    """The functions as their source has them, for numba to compile."""
    source = importlib.import_module(f"mixtures.engines.loops.{module}")
    return {name: getattr(source, name) for name in names}


def _linked(module: str, kinds: dict[str, Kinds]) -> tuple[llvm.ExecutionEngine, dict[str, str]]:
    """The engine of a module's loops and their symbols in it; their object code is made first if none is kept."""
    file = f"{module}{ending()}"
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target().create_target_machine())
    for folder in of_loops():
        head, code = _read(folder / file) or ({}, b"")
        if code and head["sources"] == _digests(head["sources"]) and all(map(llvm.address_of_symbol, head["needs"])):
            break
    else:
        from mixtures.engines.entries import compiled

        sources = _functions(module, kinds)
        symbols, needs, code = compiled({name: (sources[name], own) for name, own in kinds.items()})
        used = [name.replace(".", "/") for name in sys.modules if name.startswith("mixtures.engines.")]
        head = {"symbols": symbols, "needs": needs, "sources": _digests(used)}
        any(_keep(folder / file, head, code) for folder in of_loops())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine, head["symbols"]


def ending() -> str:
    """How the names of files end that hold object code of these sources for this processor."""
    return f".{_short(str(HERE).encode())}.{_machine()}.o"


def _digests(names: Iterable[str]) -> dict[str, str]:
    """Of the sources of modules, as far as there are such."""
    return {name: digest for name in sorted(names) if (digest := _digest_of(name))}


@cache
def _digest_of(name: str) -> str:
    file = HERE.parents[1] / f"{name}.py"
    return _short(file.read_bytes()) if file.is_file() else ""


def _short(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()


@cache
def _machine() -> str:
    """A name for the processor, and for the versions and settings of what makes object code for it."""
    features = ""
    with suppress(RuntimeError):  # where LLVM can't tell them
        features = llvm.get_host_cpu_features().flatten()
    settings = [f"{name}={os.environ.get(name)}" for name in SETTINGS]
    made_by = version("numba"), llvmlite.__version__, llvm.get_host_cpu_name(), features
    return _short("\n".join([*made_by, *settings]).encode())


@cache
def _target() -> llvm.Target:
    """The processor; what loops take memory by, and NumPy's arrays, are made known to the linker."""
    if not laid_out_as_expected():
        raise ImportError(f"the arrays of NumPy {np.__version__} are not laid out as expected")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name, address in _runtime().c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
    llvm.add_symbol("mixtures_ndarray", id(np.ndarray))
    return llvm.Target.from_default_triple()


def _runtime() -> Any:
    """The module of numba that takes and frees memory for arrays, without the rest of numba."""
    name = "numba.core.runtime._nrt_python"
    if name in sys.modules:
        return sys.modules[name]
    package = find_spec("numba")
    if package is None or package.origin is None:
        raise ImportError("numba is not installed")
    home = Path(package.origin).parent / "core" / "runtime"
    (file,) = (path for end in EXTENSION_SUFFIXES if (path := home / f"_nrt_python{end}").is_file())
    loader = ExtensionFileLoader(name, str(file))
    found = module_from_spec(ModuleSpec(name, loader, origin=str(file)))
    loader.exec_module(found)
    found.memsys_use_cpython_allocator()
    return found


def _read(path: Path) -> tuple[dict[str, Any], bytes] | None:
    """What was kept in a file, if that is whole."""
    try:
        digest, head, code = path.read_bytes().split(b"\n", 2)
        return (json.loads(head), code) if digest.decode() == _digest(head, code) else None
    except (OSError, ValueError):
        return None


def _keep(path: Path, head: dict[str, Any], code: bytes) -> bool:
    """Write a file that is there as a whole or not at all, and whether it is: there may be no room or right to."""
    line = json.dumps(head).encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        own = path.with_suffix(f".{os.getpid()}")
        own.write_bytes(b"\n".join([_digest(line, code).encode(), line, code]))
        own.replace(path)
    except OSError:
        return False
    return True


def _digest(head: bytes, code: bytes) -> str:
    return blake2b(head + b"\n" + code).hexdigest()
