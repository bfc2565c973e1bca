"""Starts where scikit-learn's mixtures begin with the same random numbers, of the rows in the order in which they come."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mixtures.ascent.kmeans import lloyd, nearest, seed
from mixtures.ascent.starts import ENOUGH, by_seeds, features, greedy
from mixtures.ascent.states import filled, hard, statistics
from mixtures.model import Family
from mixtures.rows.reading import Rows, sample

# Steps of its Lloyd's algorithm at most; the squared distance that centres move where it ends, in the features' mean variance.
STEPS, STILL = 300, 1e-4

# Rows up to which all are looked at, as scikit-learn does.
ALL = 100_000

# Share of distinct rows below which they stand for weights.
DISTINCT = 2 / 3


def numbers(random_state: np.random.RandomState, init: str, restarts: int, rows: int, K: int) -> np.ndarray:
    """What so many starts draw, one after another.

    Parameters
    ----------
    random_state : numpy.random.RandomState
    init : str
        "k-means", "k-means++": uniform numbers for the seeds, shape (R, 1 + (K - 1) tries). "rows": the numbers of rows,
        shape (R, K). "random": uniform numbers, shape (R, N, K). Of many rows, as of those looked at.
    restarts, rows, K : int
    """
    N = _looked_at(rows)
    if init == "rows":
        return np.stack([random_state.choice(N, K, replace=False) for _ in range(restarts)])
    if init == "random":
        return random_state.uniform(size=(restarts, N, K))
    return random_state.uniform(size=(restarts, 1 + (K - 1) * greedy(K)))


def likewise(
    x: Rows,
    rows: int,
    family: Family,
    metric: Family,
    K: int,
    init: str,
    drawn: Iterable[np.ndarray],
    rng: np.random.Generator,
    compiled: bool,
) -> np.ndarray | None:
    """The states (R, K, P) from which scikit-learn climbs, of `numbers` drawn; of more than 100,000 rows, those of a sample.

    There are none where fewer than two in three rows are distinct: they stand for weights, and their order is then no matter.

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    rows : int
        N.
    family : Family
    metric : Family
        In whose coordinates points are near to each other: a common factor away from x.
    K : int
    init, drawn
        See `numbers`.
    rng : numpy.random.Generator
        Source of a sample.
    compiled : bool
        Whether seeds are found in compiled loops, which must be loaded.

    Raises
    ------
    DistinctRowsError
        If there are more clusters than distinct rows.
    """
    some, w, share = sample(x, None, rows, _looked_at(rows), rng)
    if _repeated(some):
        return None
    if init == "random":
        return np.stack([statistics(some, family, r / r.sum(-1, keepdims=True), w) for r in drawn]) / share
    z, moved = filled(metric.coordinates(some), w), init == "k-means"
    z = z - z.mean(axis=0)
    rules = STEPS, 0.0, STILL * float(np.vdot(z, z)) / z.size
    if compiled and init != "rows":
        u = np.asarray(drawn)
        t, every = features(some, family), np.full(len(u), moved)
        return by_seeds(z, w, some, t, family, K, u, greedy(K), every, rules=rules) / share
    found = []
    for own in drawn:
        centres = z[None, own] if init == "rows" else seed(z[None], w, K, own[None])
        labels = lloyd(z[None], w, centres, *rules) if moved else nearest(z[None], centres)
        found.append(statistics(some, family, hard(labels[0], K), w))
    return np.stack(found) / share


def _looked_at(rows: int) -> int:
    """How many of so many rows starts look at."""
    return rows if rows <= ALL else ENOUGH


def _repeated(x: np.ndarray) -> bool:
    """Whether too few of the rows of x (N, D) are distinct, as sums of features tell that have irrational weights."""
    key = np.sort((x * np.sqrt(np.arange(2.0, 2 + x.shape[1]))).sum(axis=1))
    return bool(1 + np.count_nonzero(key[1:] != key[:-1]) < DISTINCT * len(x))
