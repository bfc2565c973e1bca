"""States, the expected sufficient statistics that an ascent climbs from, of given responsibilities or of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixtures.ascent.bulk import FAR
from mixtures.engines import matrices, missing
from mixtures.families.normal import Correlated
from mixtures.fit import Fit
from mixtures.model import Family

# Share of every point that a softened start spreads evenly over the clusters.
SOFTENING = 0.05

# How often missing values are replaced by their means where responsibilities are given, which settle geometrically.
COMPLETED = 5

# Features above which their sums come from a matrix product for each cluster, and they are not formed.
PRODUCTS = 512

# Numbers held at once.
BLOCK_ELEMENTS = 500_000


def statistics(
    x: np.ndarray, family: Family, r: np.ndarray, weights: np.ndarray | None = None, block: int | None = None
) -> np.ndarray:
    """s = sum_n w_n r_n t(x_n)^T in blocks of rows, shape (..., K, P), of responsibilities r (..., N, K)."""
    if weights is not None:
        r = r * weights[:, None]
    P = 1 + family.monomials[-1, 0]
    if isinstance(family, Correlated) and not family.missing and P > PRODUCTS:
        every = r.reshape(-1, *r.shape[-2:])
        return np.stack([matrices.sums(family.coordinates(x), own) for own in every]).reshape(*r.shape[:-2], -1, P)
    block = block or max(1, BLOCK_ELEMENTS // P)
    by_cluster = r.swapaxes(-1, -2).reshape(-1, len(x))
    s = np.zeros((len(by_cluster), P))
    for start in range(0, len(x), block):
        rows = slice(start, start + block)
        s += by_cluster[:, rows] @ family.rough(x[rows])
    return s.reshape(*r.shape[:-2], r.shape[-1], P)


def completed(x: np.ndarray, family: Family, r: np.ndarray) -> np.ndarray:
    """`statistics` of responsibilities (N, K), what is missing at its mean under the posterior that they lead to, (K, P)."""
    s = statistics(x, family, r)
    if family.linked and np.isnan(x).any():
        for _ in range(COMPLETED):
            s = missing.statistics(family, x, r, family.expected_natural(family.posterior(s)))
    return s


def state(x: Any, fit: Fit) -> np.ndarray:
    """The statistics (K, P) of the labels under a fit, from which another can go on; `completed` where values are missing."""
    if not fit.allocation.independent:
        return fit.state(x)  # type: ignore[attr-defined]
    return completed(x, fit.family, fit.responsibilities(x))


def filled(z: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Points z (N, D) with the mean of a coordinate where it is missing, `FAR` values left out; of one never seen, zero."""
    seen = ~np.isnan(z)
    if seen.all():
        return z
    near = np.abs(z) <= FAR
    known = np.where(near, z, 0.0)
    means = weights @ known / np.maximum(weights @ near, np.finfo(float).tiny)
    return np.where(seen, z, means)


def hard(labels: np.ndarray, K: int) -> np.ndarray:
    """Responsibilities (..., K) that follow the labels (...)."""
    return np.eye(K)[labels]


def soften(s: np.ndarray) -> np.ndarray:
    """The states (..., K, P) with a small share of every point spread evenly over the clusters.

    A cluster with too few points for a covariance has one then. Among rows far from the rest, however, every cluster becomes as
    wide as the data, and two that are close to each other are blurred into one.
    """
    return (1 - SOFTENING) * s + SOFTENING * s.mean(-2, keepdims=True)


def absorbing(family: Family, init: object) -> bool:
    """Whether hard starts must be softened: a value that no point of a cluster has gets probability zero, and keeps it."""
    return not family.gaussian and isinstance(init, str)
