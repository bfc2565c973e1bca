"""Numbers that a user gives, checked."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from mixtures.memory import check_memory

# Numbers up to which nobody asks whether memory holds them.
LARGE = 1e7

# Seconds of computing that nobody waits for, and what a step of a sampler takes at least.
LONGEST, STEP = 7 * 86_400, 1e-5


def brief(value: Any) -> str:
    """A value that was given, in one line of a message, cut short.

    >>> brief(np.eye(2))
    'array([[1., 0.], [0., 1.]])'
    """
    return f"{' '.join(repr(value).split()):.60}"


def check_components(n_components: Any) -> int:
    """K, a whole number of at least 1, of which memory holds a number each; else a ValueError."""
    if isinstance(n_components, bool) or not isinstance(n_components, Integral) or n_components < 1:
        raise ValueError(f"n_components is {brief(n_components)}; a mixture needs a whole number of at least 1")
    check_count("n_components", n_components, 1)
    return int(n_components)


def check_model(family: Any, allocation: Any) -> None:
    """Refuse what is no family of clusters, or no allocation of rows to them, with a TypeError."""
    for name, value, method, such in (
        ("family", family, "features", "mixtures.Gaussian.from_data(x, n_components)"),
        ("allocation", allocation, "ahead", "mixtures.Dirichlet.symmetric(n_components)"),
    ):
        if isinstance(value, type) or not hasattr(value, method):
            raise TypeError(f"{name} is {brief(value)}; expected an object such as {such}")


def check_models(families: Any, allocation: Any) -> None:
    """Refuse what is no sequence of families, or no allocation, with a TypeError."""
    if not isinstance(families, Sequence):
        raise TypeError(f"families is {brief(families)}; expected a list with a family for each data set")
    for family in families:
        check_model(family, allocation)


def check_whole(name: str, value: Any, least: int | None = None) -> None:
    """Refuse what is no whole number, or is below the ``least``, with a ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Integral):
        raise ValueError(f"{name} is {brief(value)}; expected a whole number")
    if least is not None and value < least:
        raise ValueError(f"{name} is {value}; expected at least {least}")


def check_count(name: str, n: Any, numbers: float, each: str = "draw") -> None:
    """Refuse what is no count of at least one, or what memory cannot hold at so many ``numbers`` each, with a ValueError."""
    check_whole(name, n)
    if n < 1:
        raise ValueError(f"{name} is {n}; expected at least one {each}")
    if n * numbers > LARGE:
        check_memory(8 * n * numbers, f"{name} = {n:,}", "ask for fewer")


def check_chains(numbers: float, *, draws: Any, chains: Any, **steps: Any) -> None:
    """Refuse numbers of chains, of draws of so many ``numbers`` kept from each, and of other steps, with a ValueError.

    That is what is no whole number of at least one, what memory cannot hold, and what nobody waits for.
    """
    counts = {"draws": draws, "chains": chains} | steps
    for name, n in counts.items():
        check_whole(name, n, 1)
    if chains * draws * numbers > LARGE:
        check_memory(8 * chains * draws * numbers, f"{chains:,} chains of {draws:,} draws", "ask for fewer")
    for name, n in steps.items():
        check_steps(name, n)


def check_steps(name: str, n: int) -> None:
    """Refuse more steps of a sampler or an optimiser than anybody waits for, with a ValueError."""
    if n > LONGEST / STEP:
        days = min(n, sys.float_info.max) * STEP / 86_400
        raise ValueError(f"{name} = {n:,} would take at least {days:,.3g} days: ask for fewer")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse what is none of the names with a ValueError."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {brief(value)}; expected {', '.join(choices[:-1])} or {choices[-1]}")


def check_flag(name: str, value: Any) -> None:
    """Refuse what is no truth value with a ValueError."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {brief(value)}; expected True or False")


def check_real(name: str, value: Any, least: float | None = None) -> None:
    """Refuse what is no number, or is not at ``least`` so large, with a ValueError."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise ValueError(f"{name} is {brief(value)}; expected a number")
    if least is not None and not float(value) >= least:
        raise ValueError(f"{name} is {value}; expected at least {least}")


def as_numbers(name: str, value: Any) -> np.ndarray:
    """A hyperparameter as an array of floats; else a ValueError."""
    try:
        return np.asarray("None" if value is None else value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {brief(value)}; expected real numbers") from error


def as_number(name: str, value: Any) -> float:
    """A hyperparameter that is one number; else a ValueError."""
    found = as_numbers(name, value)
    if found.ndim:
        raise ValueError(f"{name} is {brief(value)}; expected one number")
    return float(found)
