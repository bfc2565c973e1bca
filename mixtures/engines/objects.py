"""Compiled loops as object code, a file for each, which LLVM links: numba, which makes them, is not loaded for that.

To load numba and what it has cached takes 0.4 s, to link object code a tenth of that. A loop takes all its arguments through
one block of memory: numbers, and the addresses of other blocks and of arrays, whose data and shape it finds where NumPy has
them (`PyArrayObject_fields` in NumPy's C API).
"""

from __future__ import annotations

import importlib
import json
import os
import struct
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from ctypes import CFUNCTYPE, addressof, byref, c_char_p, c_int, c_int64, c_void_p, create_string_buffer
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

HERE = Path(__file__).parent

# "d", "q" and "?": a float64, an int64, a boolean; with a number, an array of so many axes; with "=", one that is changed.
TYPES = {"d": np.dtype(np.float64), "q": np.dtype(np.int64), "?": np.dtype(bool)}
Kinds = tuple[Any, ...]  # strings, and tuples of them for arguments that come as a `Block`

# Where an array's fields begin: the address of its data, the number of its axes, and the address of its shape.
FIELDS = object.__basicsize__

# Of numba, those that change object code; the number of threads, which joblib sets in its workers, does not.
SETTINGS = [
    f"NUMBA_{name}" for name in ["BOUNDSCHECK", "CPU_FEATURES", "CPU_NAME", "DISABLE_INTEL_SVML", "ENABLE_AVX", "OPT"]
]
SETTINGS += [f"NUMBA_{name}_VECTORIZE" for name in ("LOOP", "SLP")]

RUN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_char_p)


class Layout:
    """How arguments of some kinds lie in memory."""

    def __init__(self, kinds: Kinds) -> None:
        self._words = struct.Struct("".join("d" if kind == "d" else "q" for kind in kinds))
        self._kinds = [
            (kind, 0 if isinstance(kind, tuple) else int((*kind, -1)[1]), TYPES.get(kind[0]), kind[-1] == "=")
            for kind in kinds
        ]

    def pack(self, values: tuple[Any, ...]) -> bytes:
        """Numbers, and the addresses of arrays and blocks; TypeError where one is not of its kind."""
        words: list[Any] = []
        for (kind, axes, dtype, changed), value in zip(self._kinds, values, strict=True):
            if axes < 0:
                words.append(value)
            elif axes == 0:
                if value.kinds != kind:
                    raise TypeError(f"a block of {value.kinds} came to a compiled loop; expected {kind!r}")
                words.append(value.address)
            else:
                flags = value.flags
                fits = flags.carray or (not changed and flags.c_contiguous and flags.aligned)
                if not fits or value.ndim != axes or value.dtype != dtype:
                    raise TypeError(
                        f"a {value.dtype} array of shape {value.shape} came to a compiled loop; expected {kind!r}"
                    )
                words.append(id(value))
        return self._words.pack(*words)


_layout = cache(Layout)


class Block:
    """Arguments that several calls have in common.

    Parameters
    ----------
    kinds : tuple of str
        See `TYPES`.
    values : tuple
        Arrays and numbers.
    """

    def __init__(self, kinds: Kinds, values: tuple[Any, ...]) -> None:
        self.kinds, self.values = kinds, values
        self._words = create_string_buffer(_layout(kinds).pack(values))
        self.address = addressof(self._words)


class Loop:
    """The function of a module in `mixtures.engines.loops` that returns an int64, linked, and where it has to be, compiled.

    Parameters
    ----------
    module, name : str
    kinds : tuple
        Of its arguments; see `TYPES`.
    """

    def __init__(self, module: str, name: str, kinds: Kinds) -> None:
        self._layout, self._plain = Layout(kinds), None
        try:
            self._engine, self._run = _linked(module, name, kinds)  # the code is in memory of the engine's
        except (AttributeError, ImportError, RuntimeError, TypeError, ValueError):  # of another numba, LLVM or NumPy
            self._plain = _function(module, name)

    def __call__(self, *values: Any) -> int:
        """Raises TypeError where an argument is not of its kind; by numba's own call where nothing could be linked."""
        if self._plain is not None:
            return int(self._plain(*map(_unblocked, values)))
        found = c_int64()
        status = self._run(byref(found), byref(c_void_p()), self._layout.pack(values))
        if status:
            raise RuntimeError(f"a compiled loop ended with the status {status}")
        return found.value


def _function(module: str, name: str) -> Callable[..., Any]:
    """The function as its source has it, for numba to compile."""
    return getattr(importlib.import_module(f"mixtures.engines.loops.{module}"), name)  # type: ignore[no-any-return]


def _unblocked(value: Any) -> Any:
    """The tuple in the place of a block."""
    return tuple(map(_unblocked, value.values)) if isinstance(value, Block) else value


def _linked(module: str, name: str, kinds: Kinds) -> tuple[llvm.ExecutionEngine, Callable[..., int]]:
    """The engine and the function of a loop, its object code being made first if none is kept."""
    file = _file(module, name)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _target().create_target_machine())
    for folder in of_loops():
        head, code = _read(folder / file) or ({}, b"")
        if code and head["sources"] == _digests(head["sources"]) and all(map(llvm.address_of_symbol, head["needs"])):
            break
    else:
        from mixtures.engines.entries import compiled

        symbol, needs, code = compiled(_function(module, name), kinds)
        used = [name.replace(".", "/") for name in sys.modules if name.startswith("mixtures.engines.")]
        head = {"symbol": symbol, "needs": needs, "sources": _digests(used)}
        any(_keep(folder / file, head, code) for folder in of_loops())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine, RUN(engine.get_function_address(head["symbol"]))


def _file(module: str, name: str) -> str:
    """What the file of a loop is called."""
    return f"{module}.{name}{ending()}"


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
    """The processor; what numba's arrays take their memory by is made known to the linker."""
    probe = np.empty((2, 3))
    data, _, shape, *_ = (c_void_p * 3).from_address(id(probe) + FIELDS)
    if data != probe.ctypes.data or tuple((c_int64 * 2).from_address(shape or 0)) != probe.shape:
        raise ImportError(f"the arrays of NumPy {np.__version__} are not laid out as expected")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    for name, address in _runtime().c_helpers.items():
        llvm.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
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
