"""Leave-future-out: how well a posterior predicts each step of sequences from all steps before it.

    elpd = sum_t log int p(x_t | x_1 .. x_(t-1), theta) p(theta | x_1 .. x_(t-1)) dtheta

Draws from the posterior of the first steps serve for later ones too, with Pareto-smoothed weights p(x_u .. x_(t-1) | x_1 ..
x_(u-1), theta) for what has come since they were drawn at u; where k-hat says that these cannot be relied on, the posterior is
sampled again (Bürkner, Gabry & Vehtari 2020, *Journal of Statistical Computation and Simulation* 90:2499-2523).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from mixtures.rows.sequences import Sequences
from reports.metrics.prediction import weighted
from reports.metrics.quality import limit

# Part of the longest sequence that comes before the first prediction, and steps that it must have at least.
BEFORE, FEWEST = 0.25, 8

# How often the posterior is sampled, at most.
MOST_FITS = 50


class Future(NamedTuple):
    """What leave-future-out found.

    Attributes
    ----------
    elpd : ndarray, shape (n,)
        Log predictive density in nats of every row from the first step predicted on, in the order of the rows.
    khat : ndarray
        Pareto k-hat of the weights of every step that was predicted by draws from an earlier posterior.
    fits : int
        How often the posterior was sampled.
    """

    elpd: np.ndarray
    khat: np.ndarray
    fits: int


def first_step(lengths: np.ndarray) -> int:
    """The number of steps before the first that is predicted.

    Raises
    ------
    ValueError
        If the longest sequence is too short.
    """
    longest = int(lengths.max())
    if longest < FEWEST:
        raise ValueError(f"the longest sequence has {longest} steps; leave-future-out needs at least {FEWEST}")
    return int(np.ceil(BEFORE * longest))


class Predicts(Protocol):
    """Draws from a posterior, as far as prediction needs them."""

    def log_steps(self, x: Sequences) -> np.ndarray:
        """log p(x_t | x_1 .. x_(t-1), theta) of each row under each draw, (..., N), in nats."""
        ...


def leave_future_out(fit: Callable[[Sequences], Predicts], x: Sequences, first: int) -> Future:
    """Predict every step of all sequences from those before it, from step ``first`` on, counted from 0.

    Parameters
    ----------
    fit : callable
        Samples the posterior given the beginnings of the sequences; the model, its prior too, must be the same each time.
    x : Sequences
    first : int

    Raises
    ------
    ValueError
        If the posterior had to be sampled too often.
    """
    place = np.concatenate([np.arange(n) for n in x.lengths])
    elpd, khat, start, last = np.full(len(x), np.nan), [], first, int(x.lengths.max())
    fits = 0
    while start < last:
        if fits == MOST_FITS:
            raise ValueError(
                f"after {MOST_FITS} fits {last - start} of {last - first} steps are left to predict: single steps move the "
                "posterior too far for weights of earlier draws"
            )
        fits += 1
        steps = fit(beginning(x, start)).log_steps(x).reshape(-1, len(x))
        by_step = np.stack([steps[:, place == t].sum(1) for t in range(start, last)])
        log_weights, k = _smoothed(np.cumsum(by_step, axis=0) - by_step)
        late = np.flatnonzero(k > limit(len(steps)))
        ahead = int(late[0]) if len(late) else last - start
        for t in range(ahead):
            own = place == start + t
            elpd[own] = weighted(log_weights[t][:, None], steps[:, own])
        khat += k[1:ahead].tolist()
        start += ahead
    return Future(elpd[place >= first], np.array(khat), fits)


def beginning(x: Sequences, steps: int) -> Sequences:
    """At most so many first rows of every sequence."""
    place = np.concatenate([np.arange(n) for n in x.lengths])
    return Sequences(x.x[place < steps], np.minimum(x.lengths, steps))


def _smoothed(log_ratios: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normalised log weights and k-hat of ratios (steps, S), the first of which are equal and have none to doubt."""
    from arviz_stats.base import array_stats

    equal = np.full((1, log_ratios.shape[1]), -np.log(log_ratios.shape[1]))
    if len(log_ratios) == 1:
        return equal, np.array([-np.inf])
    log_weights, khat = array_stats.psislw(-log_ratios[1:])  # ArviZ takes minus the log ratios
    return np.concatenate([equal, log_weights]), np.append(-np.inf, khat)
