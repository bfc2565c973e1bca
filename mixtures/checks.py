"""Numbers that a user gives, checked."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np


def check_components(n_components: Any) -> int:
    """K, a whole number of at least 1; else a ValueError."""
    if isinstance(n_components, bool) or not isinstance(n_components, Integral) or n_components < 1:
        raise ValueError(f"n_components is {n_components!r}; a mixture needs a whole number of at least 1")
    return int(n_components)


def check_whole(name: str, value: Any) -> None:
    """Refuse what is no whole number with a ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise ValueError(f"{name} is {value!r}; expected a whole number")


def check_real(name: str, value: Any) -> None:
    """Refuse what is no number with a ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise ValueError(f"{name} is {value!r}; expected a number")


def as_numbers(name: str, value: Any) -> np.ndarray:
    """A hyperparameter as an array of floats; else a ValueError."""
    try:
        return np.asarray("None" if value is None else value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {value!r}; expected real numbers") from error


def as_number(name: str, value: Any) -> float:
    """A hyperparameter that is one number; else a ValueError."""
    found = as_numbers(name, value)
    if found.ndim:
        raise ValueError(f"{name} is {value!r}; expected one number")
    return float(found)
