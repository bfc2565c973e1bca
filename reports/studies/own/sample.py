"""Of what a method returned, draws that are as near to independent as can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mixtures.methods.gibbs import ROUNDING
from reports.studies.own.generative import Generative, Values
from reports.studies.own.quantities import Quantity, quantities

ENOUGH = 0.25
"""Least effective sample size of draws that are kept, as a share of their number.

It is estimated: of 199 independent draws of ten scalars, the smallest estimate is lower in 2 of 100 cases.
"""


class Outcome(NamedTuple):
    """Draws by name, (chain, draw, *shape) each, whether they are independent, and whether the method says it converged."""

    values: Values
    independent: bool
    converged: bool = True


class Sample(NamedTuple):
    """L draws and how they came about.

    Attributes
    ----------
    quantities : dict of ndarray, shape (L,)
    converged : bool
        Whether the method says so, and its draws are worth enough independent ones; see `ENOUGH`.
    ess : float
        Smallest bulk effective sample size over the quantities, before thinning; missing where draws are independent.
    """

    quantities: dict[str, np.ndarray]
    converged: bool
    ess: float


def thinned(
    outcome: Outcome, generative: Generative, data: Mapping[str, np.ndarray], own: Mapping[str, Quantity], L: int
) -> Sample:
    """L draws, evenly spaced, of those of a method.

    Raises
    ------
    ValueError
        If there are fewer.
    """
    chains, length = next(iter(outcome.values.values())).shape[:2]
    if chains * length < L:
        raise ValueError(f"{chains * length} draws; at least {L} are needed to rank a truth among {L}")
    kept = np.linspace(0, chains * length, L, endpoint=False).astype(int)
    rows = {name: v.reshape(chains * length, *v.shape[2:])[kept] for name, v in outcome.values.items()}
    ess = np.nan if outcome.independent else smallest_ess(outcome.values)
    converged = outcome.converged and not ess < ENOUGH * L
    return Sample(quantities(generative, rows, data, own), converged, ess)


def smallest_ess(values: Values) -> float:
    """Smallest bulk effective sample size of those entries of variables (chain, draw, *shape) that vary; else infinite."""
    from arviz_stats.base import array_stats

    scalars = np.concatenate([v.reshape(*v.shape[:2], -1) for v in values.values()], axis=2)
    scalars = np.moveaxis(scalars, 2, 0)  # (P, chain, draw)
    moving = scalars[np.ptp(scalars, axis=(1, 2)) > ROUNDING * np.abs(scalars).max((1, 2))]
    return float(array_stats.ess(moving, method="bulk").min()) if len(moving) else np.inf
