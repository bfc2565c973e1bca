"""Numbers that a user gives, checked."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from mixtures.memory import check_memory

# Numbers up to which nobody asks whether memory holds them.
LARGE = 1e7


def check_components(n_components: Any) -> int:
    """K, a whole number of at least 1; else a ValueError."""
    if isinstance(n_components, bool) or not isinstance(n_components, Integral) or n_components < 1:
        raise ValueError(f"n_components is {n_components!r}; a mixture needs a whole number of at least 1")
    return int(n_components)


def check_model(family: Any, allocation: Any) -> None:
    """Refuse what is no family of clusters, or no allocation of rows to them, with a TypeError."""
    for name, value, method, such in (
        ("family", family, "features", "mixtures.Gaussian.from_data(x, n_components)"),
        ("allocation", allocation, "ahead", "mixtures.Dirichlet.symmetric(n_components)"),
    ):
        if isinstance(value, type) or not hasattr(value, method):
            raise TypeError(f"{name} is {value!r:.60}; expected an object such as {such}")


def check_models(families: Any, allocation: Any) -> None:
    """Refuse what is no sequence of families, or no allocation, with a TypeError."""
    if not isinstance(families, Sequence):
        raise TypeError(f"families is {families!r:.60}; expected a list with a family for each data set")
    for family in families:
        check_model(family, allocation)


def check_whole(name: str, value: Any) -> None:
    """Refuse what is no whole number with a ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise ValueError(f"{name} is {value!r}; expected a whole number")


def check_count(name: str, n: Any, numbers: float, each: str = "draw") -> None:
    """Refuse what is no count of at least one, or what memory cannot hold at so many ``numbers`` each, with a ValueError."""
    check_whole(name, n)
    if n < 1:
        raise ValueError(f"{name} is {n}; expected at least one {each}")
    if n * numbers > LARGE:
        check_memory(8 * n * numbers, f"{name} = {n:,}", "ask for fewer")


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
