"""Where an ascent begins: expected sufficient statistics from a first guess at the labels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mixtures.fit import Fit
from mixtures.model import Allocation, Family

METHODS = ("k-means++", "k-means", "random")

# A hard assignment can leave a cluster with too few points for a covariance; this share of every point is spread evenly.
SOFTENING = 0.05


def starts(
    x: np.ndarray, family: Family, allocation: Allocation, init: object, restarts: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """States to climb from, each of shape (K, P).

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
    init : str, ndarray or Fit
        "k-means++" (nearest of K seeds; Arthur & Vassilvitskii 2007), "k-means" (Lloyd's algorithm from such seeds),
        "random" (uniform on the simplex for every point), or one given start: responsibilities (N, K), labels (N,) of
        integers, means (K, D), or a `Fit`.
    restarts : int
        How many starts to make; a given start is used once.
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If ``init`` is none of these, there are more clusters than distinct rows, or ``restarts`` is below 1.
    """
    K = allocation.n_components
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; expected at least 1")
    if not isinstance(init, str):
        yield statistics(x, family, given(x, family, K, init))
        return
    if init not in METHODS:
        raise ValueError(f"init is {init!r}; expected one of {', '.join(METHODS)}, an array, or a Fit")
    z = family.coordinates(x)
    for _ in range(restarts):
        if init == "random":
            r = rng.dirichlet(np.ones(K), len(x))
        else:
            centres = seed(z, K, rng)
            r = hard(lloyd(z, centres) if init == "k-means" else nearest(z, centres), K)
        yield statistics(x, family, r)


def given(x: np.ndarray, family: Family, K: int, init: object) -> np.ndarray:
    """Responsibilities (N, K) from a Fit, responsibilities, labels, or means in the units of x."""
    if isinstance(init, Fit):
        return init.responsibilities(x)
    start = np.asarray(init)
    if start.shape == (len(x), K) and np.all(start >= 0) and np.allclose(start.sum(1), 1):
        return start
    if start.shape == (len(x),) and np.issubdtype(start.dtype, np.integer) and np.isin(start, range(K)).all():
        return hard(start, K)
    if start.shape == (K, x.shape[1]):
        return hard(nearest(family.coordinates(x), family.coordinates(start)), K)
    raise ValueError(
        f"a start of shape {start.shape} is neither responsibilities ({len(x)}, {K}) whose rows sum to one, "
        f"integer labels ({len(x)},) in 0..{K - 1}, nor means ({K}, {x.shape[1]})"
    )


def statistics(x: np.ndarray, family: Family, r: np.ndarray, block: int = 4096) -> np.ndarray:
    """s = r^T t(x) in blocks of rows, shape (K, P)."""
    blocks = (slice(i, i + block) for i in range(0, len(x), block))
    return sum(r[rows].T @ family.features(x[rows]) for rows in blocks)


def hard(labels: np.ndarray, K: int) -> np.ndarray:
    """Responsibilities (N, K) that follow the labels but for a small even share."""
    return (1 - SOFTENING) * np.eye(K)[labels] + SOFTENING / K


def seed(z: np.ndarray, K: int, rng: np.random.Generator) -> np.ndarray:
    """K points of z, each drawn with probability proportional to its squared distance from those before, shape (K, D)."""
    centres = z[[rng.integers(len(z))]]
    distance = np.full(len(z), np.inf)
    for k in range(1, K):
        distance = np.minimum(distance, ((z - centres[-1]) ** 2).sum(1))
        if not distance.any():
            raise ValueError(f"{K} components need {K} distinct rows; the data have {k}")
        centres = np.append(centres, z[[rng.choice(len(z), p=distance / distance.sum())]], axis=0)
    return centres


def nearest(z: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the closest centre for every point, shape (N,)."""
    return np.argmin((centres**2).sum(1) - 2 * z @ centres.T, axis=1)


def lloyd(z: np.ndarray, centres: np.ndarray, max_iter: int = 100) -> np.ndarray:
    """Labels (N,) from k-means by Lloyd's algorithm; a centre that loses all its points stays where it is."""
    labels = nearest(z, centres)
    for _ in range(max_iter):
        counts = np.bincount(labels, minlength=len(centres))[:, None]
        sums = np.eye(len(centres))[labels].T @ z
        centres = np.where(counts > 0, sums / np.maximum(counts, 1), centres)
        previous, labels = labels, nearest(z, centres)
        if np.array_equal(labels, previous):
            break
    return labels
