"""Where an array has what compiled loops take of it; see `mixtures.engines.entries`."""

from __future__ import annotations

from ctypes import c_char, c_int, c_int64, c_void_p
from typing import Any

import numpy as np

# "d", "q" and "?": a float64, an int64, a boolean; with a number, an array of so many axes; with "=", one that is changed.
TYPES = {"d": np.dtype(np.float64), "q": np.dtype(np.int64), "?": np.dtype(bool)}
Kinds = tuple[Any, ...]  # strings, and tuples of them for arguments that come as a tuple

# Where an object has its type and what follows it: in an array its data, axes, shape, strides, base, dtype and flags
# (`PyArrayObject_fields` in NumPy's C API), and in a dtype the class of its numbers, its kind, character and byte order.
FIELDS = object.__basicsize__
TYPE = FIELDS - 8
DATA, AXES, SHAPE, DTYPE, FLAGS = (FIELDS + 8 * field for field in (0, 1, 2, 5, 6))
CHARACTER, ORDER = FIELDS + 9, FIELDS + 10

# What the flags of an array hold that a loop reads, and of one that it changes: in C's order, aligned, and writable.
READ, CHANGED = 0x101, 0x501


def laid_out_as_expected() -> bool:
    """Whether a loop finds in an array what NumPy says of it."""
    probe = np.empty((2, 3))

    def field(value: object, offset: int, type_: Any) -> Any:
        return type_.from_address(id(value) + offset).value

    lengths, number = field(probe, SHAPE, c_void_p), probe.dtype
    return (
        lengths is not None
        and tuple((c_int64 * 2).from_address(lengths)) == probe.shape
        and (field(probe, TYPE, c_void_p), field(probe, DATA, c_void_p)) == (id(np.ndarray), probe.ctypes.data)
        and (field(probe, AXES, c_int), field(probe, FLAGS, c_int) & CHANGED) == (probe.ndim, CHANGED)
        and field(probe, DTYPE, c_void_p) == id(number)
        and (field(number, CHARACTER, c_char), field(number, ORDER, c_char)) == (b"d", b"=")
    )
