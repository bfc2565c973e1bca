"""Object code of compiled functions, each behind an entry that Python calls as one of C; see `mixtures.engines.objects`."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import boolean, float64, int64, njit
from numba.core import cgutils, types
from numba.core.compiler import Flags, compile_extra
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from mixtures.engines.arrays import AXES, CHANGED, CHARACTER, DATA, DTYPE, FLAGS, ORDER, READ, SHAPE, TYPE, TYPES

NUMBERS = {"d": float64, "q": int64, "?": boolean}
BYTE, WORD = ir.IntType(8), ir.IntType(64)
OBJECT = BYTE.as_pointer()


def compiled(functions: dict[str, tuple[Any, tuple[Any, ...]]]) -> tuple[dict[str, str], list[str], bytes]:
    """The symbols of the entries of functions whose arguments are of some kinds, those that these need, and the object code.

    What functions have in common is compiled once if its arguments are of the same types.
    """
    symbols: dict[str, str] = {}

    @intrinsic
    def make(typing):
        def generate(context, builder, signature, arguments):
            symbols.update({name: _Entry(context, builder, *own).name for name, own in functions.items()})
            return context.get_dummy_value()

        return types.void(), generate

    alone: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

    @njit(types.void(), **alone)
    def every():
        make()

    (made,) = every.overloads.values()
    module = made.library._final_module
    needed = (
        value.name for values in (module.functions, module.global_variables) for value in values if value.is_declaration
    )
    others = [name for name in needed if not name.startswith("llvm.")]
    return symbols, others, made.library._get_compiled_object()


class _Entry:
    """A function that CPython calls as one of ``METH_FASTCALL``: (self, arguments, how many there are).

    It returns the integer that the loop does, during which other threads may run. Arguments that are not of their kinds it
    hands over to ``self``, and those of a loop that ended with an error.
    """

    def __init__(self, context: Any, beside: Any, function: Any, kinds: tuple[Any, ...]) -> None:
        module = beside.module
        self._context, self.name = context, f"{beside.function.name}.{function.__name__}"
        entry = ir.Function(module, ir.FunctionType(OBJECT, [OBJECT, OBJECT.as_pointer(), WORD]), self.name)
        self._at = ir.IRBuilder(entry.append_basic_block())
        self._refused, self._failed = entry.append_basic_block("refused"), entry.append_basic_block("failed")
        self._python = context.get_python_api(self._at)
        own, arguments, number = entry.args
        self._only_if(self._at.icmp_signed("==", number, WORD(len(kinds))), self._refused)
        values = [self._value(kind, self._at.load(self._at.gep(arguments, [WORD(i)]))) for i, kind in enumerate(kinds)]
        found = self._called(function, tuple(map(_type, kinds)), values)
        self._at.ret(self._python.long_from_longlong(found))
        at = ir.IRBuilder(self._failed)
        at.ret(OBJECT(None))
        at = ir.IRBuilder(self._refused)
        call = self._declared("PyObject_Vectorcall", OBJECT, [OBJECT, OBJECT.as_pointer(), WORD, OBJECT])
        at.ret(at.call(call, [own, arguments, number, OBJECT(None)]))

    def _called(self, function: Any, kinds: tuple[Any, ...], values: list[Any]) -> Any:
        """What the loop returns, which is compiled into the same library."""
        flags: Any = Flags()
        context, at = self._context, self._at
        function.targetdescr.options.parse_as_flags(flags, function.targetoptions)
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        typing, library = context.typing_context, context.active_code_library
        made = compile_extra(typing, context, function.py_func, kinds, int64, flags, {}, library)
        inner = context.declare_function(at.module, made.fndesc)
        thread = self._python.save_thread()
        status, found = context.call_conv.call_function(at, inner, int64, kinds, values)
        self._python.restore_thread(thread)
        self._only_if(status.is_ok, self._refused)
        return found

    def _value(self, kind: Any, value: Any) -> Any:
        """What the loop takes in the place of a Python object."""
        at, python = self._at, self._python
        if isinstance(kind, tuple):
            self._only_instance(value, self._global("PyTuple_Type"))
            self._only_if(at.icmp_signed("==", python.tuple_size(value), WORD(len(kind))), self._refused)
            parts = [self._value(part, python.tuple_getitem(value, i)) for i, part in enumerate(kind)]
            return self._context.make_tuple(at, _type(kind), parts)
        if len(kind) > 1:
            return self._array(kind, value)
        if kind == "?":
            found = python.object_istrue(value)
            self._only_if(at.icmp_signed(">=", found, found.type(0)), self._failed)
            return at.trunc(found, ir.IntType(1))
        found = python.float_as_double(value) if kind == "d" else python.long_as_longlong(value)
        self._only_if(cgutils.is_null(at, python.err_occurred()), self._failed)
        return found

    def _array(self, kind: str, value: Any) -> Any:
        at, array = self._at, _type(kind)
        number = TYPES[kind[0]]
        self._only_instance(value, self._global("mixtures_ndarray"))
        needed = ir.IntType(32)(CHANGED if kind[-1] == "=" else READ)
        dtype, flags = self._field(value, DTYPE, OBJECT), self._field(value, FLAGS, needed.type)
        for found, expected in [
            (self._field(value, AXES, needed.type), array.ndim),
            (at.and_(flags, needed), needed.constant),
            (self._field(dtype, CHARACTER, BYTE), ord(number.char)),
            (self._field(dtype, ORDER, BYTE), ord(number.byteorder)),
        ]:
            self._only_if(at.icmp_signed("==", found, found.type(expected)), self._refused)
        data = self._context.get_data_type(array.dtype)
        lengths, strides = self._field(value, SHAPE, WORD.as_pointer()), [WORD(number.itemsize)]
        shape = [at.load(at.gep(lengths, [WORD(axis)])) for axis in range(array.ndim)]
        for length in reversed(shape[1:]):
            strides.insert(0, at.mul(strides[0], length))
        made = make_array(array)(self._context, at)
        populate_array(made, self._field(value, DATA, data.as_pointer()), shape, strides, strides[-1], None)
        return made._getvalue()

    def _field(self, value: Any, offset: int, type_: Any) -> Any:
        """What lies so many bytes after the beginning of an object."""
        return self._at.load(self._at.bitcast(self._at.gep(value, [WORD(offset)]), type_.as_pointer()))

    def _only_instance(self, value: Any, type_: Any) -> None:
        within = self._declared("PyType_IsSubtype", ir.IntType(32), [OBJECT, OBJECT])
        found = self._at.call(within, [self._field(value, TYPE, OBJECT), type_])
        self._only_if(cgutils.is_not_null(self._at, found), self._refused)

    def _only_if(self, condition: Any, other: Any) -> None:
        """Go on where a condition holds, and to another block elsewhere."""
        following = self._at.append_basic_block()
        self._at.cbranch(condition, following, other)
        self._at.position_at_end(following)

    def _declared(self, name: str, returned: Any, taken: list[Any]) -> Any:
        return cgutils.get_or_insert_function(self._at.module, ir.FunctionType(returned, taken), name)

    def _global(self, name: str) -> Any:
        """An object that has a name in C."""
        return self._at.module.globals.get(name) or cgutils.add_global_variable(self._at.module, BYTE, name)


def _type(kind: Any) -> Any:
    """numba's type of an argument."""
    if isinstance(kind, tuple):
        return types.Tuple(tuple(map(_type, kind)))
    number = NUMBERS[kind[0]]
    return number if len(kind) == 1 else types.Array(number, int(kind[1]), "C", readonly=kind[-1] != "=")
