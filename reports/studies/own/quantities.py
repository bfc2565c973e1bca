"""Scalars that are ranked: every entry of every variable, the two densities of the model, and functions of the user's own.

Functions of the parameters and the data see errors that single parameters hide: a joint posterior may be wrong although each of
its marginals is right, and a posterior that ignores the data has uniform ranks in every parameter (Modrák et al. 2023,
arXiv:2211.02383). So the log likelihood and the log joint density are always among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mixtures.errors import reason_of
from reports.studies.own.generative import LOG_JOINT, LOG_LIKELIHOOD, Draw, Generative, Values

Quantity = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], float]
"""From the variables by name at one draw, shaped as in the model, and the data, to a number."""

ENTRIES = 12
"""A variable with more of them is ranked by `SUMMARIES` of them and by a few."""

SOME = 4

SUMMARIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean of": lambda flat: flat.mean(1),
    "sd of": lambda flat: flat.std(1),
}


def names(generative: Generative, truth: Draw, own: Mapping[str, Quantity]) -> list[str]:
    """Names of all quantities that a method with every variable has, in their order."""
    values = {name: np.asarray(value)[None] for name, value in truth.values.items()}
    scalars = [name for variable in generative.ranked for name, _ in entries(generative, variable, values[variable])]
    return [LOG_LIKELIHOOD, LOG_JOINT, *own, *scalars]


def check_quantities(own: Mapping[str, Quantity], taken: Sequence[str], truth: Draw) -> None:
    """Refuse quantities that cannot be told from others, that cannot be called, or that are no number for a draw of the prior.

    Raises
    ------
    ValueError
    """
    for name, function in own.items():
        if not callable(function):
            raise ValueError(
                f"quantity {name!r} is {type(function).__name__}; expected a function of the variables and data"
            )
        if name in taken:
            raise ValueError(f"quantity {name!r} is there already; give it another name")
        try:
            value = function(truth.values, truth.data)
        except Exception as error:  # the user's, whatever it raises
            raise ValueError(f"quantity {name!r} fails on the first draw of the prior: {reason_of(error)}") from error
        if np.shape(value) != ():
            raise ValueError(f"quantity {name!r} is an array of shape {np.shape(value)}; expected a number")


def quantities(
    generative: Generative, values: Values, data: Mapping[str, np.ndarray], own: Mapping[str, Quantity]
) -> dict[str, np.ndarray]:
    """Every quantity that follows from the variables given, at S draws, each of shape (S,).

    Parameters
    ----------
    generative : Generative
    values : dict of ndarray, shape (S, *shape)
        Some or all of the free and deterministic variables. Deterministic ones are worked out where all free ones are there.
    data : dict of ndarray
    own : mapping of str to callable
        Called once a draw.

    Raises
    ------
    ArithmeticError
        If one of them is not a number.
    KeyError
        If a function of the user's asks for a variable that is not there.
    """
    found: dict[str, np.ndarray] = {}
    if all(name in values for name in generative.free):
        worked_out = generative.evaluate(values, data)
        found = {name: worked_out.pop(name) for name in (LOG_LIKELIHOOD, LOG_JOINT)}
        values = values | worked_out
    draws = len(next(iter(values.values())))
    for name, function in own.items():
        found[name] = np.array(
            [float(function({v: each[i] for v, each in values.items()}, data)) for i in range(draws)]
        )
    for variable in generative.ranked:
        if variable in values:
            found |= dict(entries(generative, variable, values[variable]))
    for name, each in found.items():
        if np.isnan(each).any():
            raise ArithmeticError(f"the {name} is not a number in {np.isnan(each).sum()} of {draws} draws")
    return found


def entries(generative: Generative, variable: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What is ranked of one variable (S, *shape), by name, each (S,)."""
    flat = values.reshape(len(values), -1)
    size = flat.shape[1]
    if size > ENTRIES:
        yield from ((f"{name} {variable}", summary(flat)) for name, summary in SUMMARIES.items())
    for place in range(size) if size <= ENTRIES else np.linspace(0, size - 1, SOME).round().astype(int):
        yield f"{variable}{label(generative.model, variable, values.shape[1:], place)}", flat[:, place]


def label(model: Any, variable: str, shape: tuple[int, ...], place: int) -> str:
    """Where an entry stands, by the coordinates of the variable's dims where it has some: "[age]", "[2]"; of a scalar "".

    Numbers count from 0.
    """
    if not shape:
        return ""
    dims = model.named_vars_to_dims.get(variable) or [None] * len(shape)
    at = np.unravel_index(place, shape)
    coords = [model.coords.get(dim) for dim in dims]
    return f"[{', '.join(str(own[i]) if own is not None else str(i) for own, i in zip(coords, at, strict=True))}]"
