"""Object code of a compiled function whose arguments lie in one block of memory; see `mixtures.engines.objects`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import boolean, float64, int64, njit
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

NUMBERS = {"d": float64, "q": int64, "?": boolean}
WORD = ir.IntType(64)

# See `mixtures.engines.objects.FIELDS`.
FIELDS = object.__basicsize__

# Nothing that Python or C calls is made around the entry.
ALONE: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def compiled(function: Callable[..., Any], kinds: tuple[Any, ...]) -> tuple[str, list[str], bytes]:
    """The symbol, those that it needs, and the object code of int32 (int64* found, void**, int64* arguments).

    What it returns is 0 where all went well.
    """
    unpack = _unpacked(kinds)

    @njit(int64(types.CPointer(int64)), nogil=True, **ALONE)
    def entry(words):
        return function(*unpack(words))

    (made,) = entry.overloads.values()
    module = made.library._final_module
    needed = (
        value.name for values in (module.functions, module.global_variables) for value in values if value.is_declaration
    )
    others = [name for name in needed if not name.startswith("llvm.")]
    return made.fndesc.llvm_func_name, others, made.library._get_compiled_object()


def _type(kind: Any) -> Any:
    """numba's type of an argument."""
    if isinstance(kind, tuple):
        return types.Tuple(tuple(map(_type, kind)))
    number = NUMBERS[kind[0]]
    return number if len(kind) == 1 else types.Array(number, int(kind[1]), "C", readonly=kind[-1] != "=")


def _unpacked(kinds: tuple[Any, ...]) -> Callable[..., Any]:
    """An intrinsic function that reads arguments from the memory at an address."""

    @intrinsic
    def unpack(typing, words):
        def generate(context, builder, signature, arguments):
            return _values(context, builder, signature.return_type, arguments[0])

        return _type(kinds)(words), generate

    return unpack


def _values(context, builder, kinds, words):
    """A tuple of what lies in memory at an address."""
    whole, number = WORD.as_pointer(), iter(range(len(kinds)))

    def word(address, at):
        return builder.load(builder.gep(address, [WORD(at)]))

    def value(kind):
        one = word(words, next(number))
        if isinstance(kind, types.BaseTuple):
            return _values(context, builder, kind, builder.inttoptr(one, whole))
        if not isinstance(kind, types.Array):
            if kind == float64:
                return builder.bitcast(one, ir.DoubleType())
            return builder.trunc(one, ir.IntType(1)) if kind == boolean else one
        data = context.get_data_type(kind.dtype)
        size = context.get_abi_sizeof(data)
        fields = builder.inttoptr(builder.add(one, WORD(FIELDS)), whole)
        address, lengths = word(fields, 0), builder.inttoptr(word(fields, 2), whole)
        shape, strides = [word(lengths, axis) for axis in range(kind.ndim)], [WORD(size)]
        for length in reversed(shape[1:]):
            strides.insert(0, builder.mul(strides[0], length))
        array = make_array(kind)(context, builder)
        populate_array(array, builder.inttoptr(address, data.as_pointer()), shape, strides, WORD(size), None)
        return array._getvalue()

    return context.make_tuple(builder, kinds, [value(kind) for kind in kinds])
