"""Data sets whose posterior is a finite sum, drawn anew for every seed: two usual ones and three that are hard to compare.

All have clusters with full covariances and, where nothing else is said, the default prior.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixtures import Dirichlet, Gaussian
from mixtures.datasets import load
from mixtures.model import Family

Posed = tuple[np.ndarray, Family, Dirichlet]


@dataclass(frozen=True)
class Problem:
    """A kind of data set with its model.

    Parameters
    ----------
    title, words : str
        Its name, and what it is, for readers.
    n, dimension, n_components : int
        N, D and K.
    pose : callable
        From random numbers to the data (N, D) and the model.
    """

    title: str
    words: str
    n: int
    dimension: int
    n_components: int
    pose: Callable[[np.random.Generator], Posed]


def _faithful(rng: np.random.Generator) -> Posed:
    x = np.asarray(load("faithful").x)
    x = x[rng.choice(len(x), 12, replace=False)]
    return x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2)


def _separated(rng: np.random.Generator) -> Posed:
    centres = np.repeat([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]], 4, axis=0)
    x = centres + rng.standard_normal(centres.shape)
    return x, Gaussian.from_data(x, 3), Dirichlet.symmetric(3)


def _almost_empty(rng: np.random.Generator) -> Posed:
    x = rng.standard_normal((12, 2))
    return x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2, 0.1)


def _near_collapse(rng: np.random.Generator) -> Posed:
    x = np.concatenate([rng.standard_normal((8, 2)), 1 + 1e-3 * rng.standard_normal((4, 2))])
    W0 = 1e4 * np.linalg.inv(np.cov(x.T))
    return x, Gaussian.from_data(x, 2, W0=W0), Dirichlet.symmetric(2)


def _eight_dimensions(rng: np.random.Generator) -> Posed:
    x = rng.standard_normal((12, 8))
    x[:6] += 2
    return x, Gaussian.from_data(x, 2), Dirichlet.symmetric(2)


PROBLEMS = {
    "faithful": Problem(
        "12 rows of faithful", "12 rows of Old Faithful’s eruptions, taken at random", 12, 2, 2, _faithful
    ),
    "separated": Problem(
        "three clusters apart", "12 points in three clusters, 8 standard deviations apart", 12, 2, 3, _separated
    ),
    "almost-empty": Problem(
        "an almost empty cluster",
        "12 points of one normal density under weights with α0 = 0.1: the second cluster has no point in most draws, and its "
        "covariance no variance",
        12,
        2,
        2,
        _almost_empty,
    ),
    "near-collapse": Problem(
        "near collapse",
        "12 points, 4 of them within 0.001 of each other, under a prior whose scale of the covariances is 10⁻⁴ of the data’s",
        12,
        2,
        2,
        _near_collapse,
    ),
    "eight-dimensions": Problem(
        "8 dimensions",
        "12 points in two overlapping clusters in 8 dimensions: 89 parameters",
        12,
        8,
        2,
        _eight_dimensions,
    ),
}
