"""An argument that is none of the types of its annotation is refused by one line, which names it and says what is expected."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from numbers import Integral, Real
from os import PathLike
from typing import Any

import numpy as np

from reports.comparison.progress import Watch


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_series(value: Any) -> bool:
    """Whether there are elements one after another, which text is not, nor a matrix."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and getattr(value, "ndim", 1) == 1


def _is_told(value: Any) -> bool:
    """Whether it can be told of progress, or says that nobody is."""
    return value is None or isinstance(value, bool) or callable(value)


KNOWN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: isinstance(value, bool | np.bool_), "True or False"),
    "int": (_is_whole, "a whole number"),
    "float": (_is_real, "a number"),
    "str": (lambda value: isinstance(value, str), "a string"),
    "Path": (lambda value: isinstance(value, PathLike), "a path"),
    "Sequence": (_is_series, "a sequence"),
    "Iterable": (_is_series, "a sequence"),
    "np.ndarray": (lambda value: isinstance(value, np.ndarray), "an array"),
    "Mapping": (lambda value: isinstance(value, Mapping), "a mapping"),
    "Build": (callable, "a function"),
    "Executor": (lambda value: hasattr(value, "submit"), "an executor of concurrent.futures"),
    "Theta": (lambda value: isinstance(value, Mapping), "a mapping"),
    "Progress": (_is_told, "True, a function or None"),
    "Asked": (lambda value: _is_told(value) or isinstance(value, Watch), "True, a function, a Watch or None"),
    "None": (lambda value: value is None, "None"),
}
"""By the name of a type in an annotation, what is one, and what it is called."""

ELEMENTS = {"str": " of strings", "int": " of whole numbers", "float": " of numbers"}


def check_type(name: str, value: Any, annotation: Any) -> None:
    """Refuse a value with a ValueError if it is none of the types in a union, and all of them are in `KNOWN`.

    Examples
    --------
    >>> check_type("kinds", 3, "Sequence[str] | Mapping[str, str] | None")
    Traceback (most recent call last):
    ValueError: kinds is 3; expected a sequence of strings, a mapping or None
    """
    expected = types_of(annotation)
    if expected and not any(is_one(value) for is_one, _ in expected):
        *most, last = (words for _, words in expected)
        raise ValueError(f"{name} is {value!r:.60}; expected {f'{", ".join(most)} or ' if most else ''}{last}")


@lru_cache
def types_of(annotation: Any) -> tuple[tuple[Callable[[Any], bool], str], ...]:
    """What is of each type of a union, and what it is called; nothing where one is not known."""
    if not isinstance(annotation, str):
        return ()
    found = []
    for part in _parts(ast.parse(annotation, mode="eval").body):
        outer, inner = (part.value, part.slice) if isinstance(part, ast.Subscript) else (part, None)
        if (name := ast.unparse(outer)) not in KNOWN:
            return ()
        is_one, words = KNOWN[name]
        found.append((is_one, words + (ELEMENTS.get(ast.unparse(inner), "") if inner else "")))
    return tuple(found)


def _parts(union: ast.expr) -> list[ast.expr]:
    if isinstance(union, ast.BinOp):
        return [*_parts(union.left), *_parts(union.right)]
    return [union]
