"""Where an ascent begins: expected sufficient statistics from a first guess at the labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixtures.errors import DistinctRowsError
from mixtures.fit import Fit
from mixtures.model import Allocation, Family
from mixtures.rows import Rows, blocks, sample

METHODS = ("k-means++", "k-means", "rows", "random")

# A hard assignment can leave a cluster with too few points for a covariance; this share of every point is spread evenly.
SOFTENING = 0.05

# A start needs no more rows than this.
ENOUGH = 20_000

# Features held at once.
BLOCK_ELEMENTS = 500_000


def starts(
    x: Rows,
    weights: np.ndarray | None,
    rows: int,
    family: Family,
    allocation: Allocation,
    init: object,
    restarts: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """States to climb from, shape (R, K, P).

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    weights : ndarray, shape (N,), or None
    rows : int
        N.
    family, allocation : Family, Allocation
    init : str, ndarray or Fit
        "k-means++" (nearest of K seeds; Arthur & Vassilvitskii 2007), "k-means" (Lloyd's algorithm from the best such),
        "rows" (nearest of K distinct rows), "random" (uniform on the simplex for every point), or one given start:
        responsibilities (N, K), labels (N,) of integers, means (K, D), or a `Fit`. The named ones look at no more than
        20,000 rows, chosen at random; all but "random" depend neither on the order of the rows, nor on whether a row is
        repeated or has a weight.
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
        assign = given(x, rows, family, K, init)
        s, start = np.zeros((K, 1 + family.monomials[-1, 0])), 0
        for block, w in blocks(x, weights):
            s += statistics(block, family, assign(block, start), w)
            start += len(block)
        return s[None]
    if init not in METHODS:
        raise ValueError(f"init is {init!r}; expected one of {', '.join(METHODS)}, an array, or a Fit")
    some, w, share = sample(x, weights, rows, ENOUGH, rng)
    order = np.lexsort(some.T[::-1])
    some, w = some[order], w[order]
    z = family.coordinates(some)
    guesses = [guess(z, w, K, init, rng) for _ in range(restarts)]
    return np.stack([statistics(some, family, r, w) for r in guesses]) / share


def guess(z: np.ndarray, weights: np.ndarray, K: int, init: str, rng: np.random.Generator) -> np.ndarray:
    """Responsibilities (N, K) by one of `METHODS`."""
    if init == "random":
        return rng.dirichlet(np.ones(K), len(z))
    tries = 2 + int(np.log(K)) if init == "k-means" else 1
    centres = seed(z, weights, K, rng, apart=init != "rows", tries=tries)
    return hard(lloyd(z, weights, centres) if init == "k-means" else nearest(z, centres), K)


def given(x: Rows, rows: int, family: Family, K: int, init: object) -> Callable[[np.ndarray, int], np.ndarray]:
    """From a block and the number of its first row to responsibilities, by a Fit, responsibilities, labels, or means."""
    if isinstance(init, Fit):
        return lambda block, start: init.responsibilities(block)
    guess = np.asarray(init)
    D = len(family.unit)
    if guess.shape == (rows, K) and np.all(guess >= 0) and np.allclose(guess.sum(1), 1):
        return lambda block, start: guess[start : start + len(block)]
    if guess.shape == (rows,) and np.issubdtype(guess.dtype, np.integer) and np.isin(guess, range(K)).all():
        return lambda block, start: hard(guess[start : start + len(block)], K)
    if guess.shape == (K, D) and np.all(np.isfinite(guess)):
        return lambda block, start: hard(nearest(family.coordinates(block), family.coordinates(guess)), K)
    raise ValueError(
        f"a start of shape {guess.shape} is neither responsibilities ({rows}, {K}) whose rows sum to one, "
        f"integer labels ({rows},) in 0..{K - 1}, nor means ({K}, {D})"
    )


def statistics(
    x: np.ndarray, family: Family, r: np.ndarray, weights: np.ndarray | None = None, block: int | None = None
) -> np.ndarray:
    """s = sum_n w_n r_n t(x_n)^T in blocks of rows, shape (K, P)."""
    if weights is not None:
        r = r * weights[:, None]
    block = block or max(1, BLOCK_ELEMENTS // (1 + family.monomials[-1, 0]))
    rows = (slice(i, i + block) for i in range(0, len(x), block))
    return np.sum([r[some].T @ family.features(x[some]) for some in rows], axis=0)


def hard(labels: np.ndarray, K: int) -> np.ndarray:
    """Responsibilities (N, K) that follow the labels but for a small even share."""
    return (1 - SOFTENING) * np.eye(K)[labels] + SOFTENING / K


def seed(
    z: np.ndarray, weights: np.ndarray, K: int, rng: np.random.Generator, apart: bool = True, tries: int = 1
) -> np.ndarray:
    """K distinct points of z, drawn by weight and, if ``apart``, by squared distance from those before, shape (K, D).

    Each is the best of ``tries`` draws in the squared distance that it leaves: k-means++ made greedy, as its authors suggest.
    """
    centres = z[[_draw(weights, rng)]]
    distance = ((z - centres[0]) ** 2).sum(1)
    for k in range(1, K):
        mass = weights * (distance if apart else distance > 0)
        if not mass.any():
            raise DistinctRowsError(f"{K} components need {K} distinct rows; the data have {k}", k)
        tried = z[[_draw(mass, rng) for _ in range(tries)]]
        left = [np.minimum(distance, ((z - centre) ** 2).sum(1)) for centre in tried]
        best = int(np.argmin([weights @ d for d in left])) if tries > 1 else 0
        centres, distance = np.append(centres, tried[[best]], axis=0), left[best]
    return centres


def _draw(mass: np.ndarray, rng: np.random.Generator) -> int:
    """An index with probability proportional to mass: one uniform number, whatever the number of rows."""
    cumulative = np.cumsum(mass)
    return min(int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right")), len(mass) - 1)


def nearest(z: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the closest centre for every point, shape (N,)."""
    return np.argmin((centres**2).sum(1) - 2 * z @ centres.T, axis=1)


def lloyd(z: np.ndarray, weights: np.ndarray, centres: np.ndarray, max_iter: int = 100) -> np.ndarray:
    """Labels (N,) from k-means by Lloyd's algorithm; a centre that loses all its points stays where it is."""
    labels = nearest(z, centres)
    for _ in range(max_iter):
        own = np.eye(len(centres))[labels].T * weights
        counts = own.sum(1)[:, None]
        centres = np.where(counts > 0, own @ z / np.maximum(counts, np.finfo(float).tiny), centres)
        previous, labels = labels, nearest(z, centres)
        if np.array_equal(labels, previous):
            break
    return labels
