"""Where an ascent begins: expected sufficient statistics from a first guess at the labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import add

import numpy as np

from mixtures.ascent.kmeans import LLOYD, SETTLED, lloyd, nearest, seed, too_few
from mixtures.ascent.neighbours import NEIGHBOURS, by_neighbours
from mixtures.ascent.states import BLOCK_ELEMENTS, filled, hard, statistics
from mixtures.checks import brief
from mixtures.engines.passes import Pass
from mixtures.families.diagonal import DiagonalGaussian
from mixtures.families.normal import Correlated
from mixtures.families.symmetric import substitute
from mixtures.fit import Fit
from mixtures.model import Allocation, Family
from mixtures.rows.reading import Rows, folded, sample

METHODS = ("k-means++", "k-means", "rows", "random")

# A start needs no more rows than this.
ENOUGH = 20_000

# Numbers t_np up to which compiled loops sum them over the points of every cluster.
FEATURES = 1_000_000

# Numbers to a free parameter below which distances in white coordinates tell too little of clusters.
FEW = 7

# Share of the third moments that rounding may leave where they are none.
TURNED = 1e-9

# Rows, of those in order, that tell where the bulk of them is; up to twice as many are looked at.
BULK = 100


def starts(
    x: Rows,
    weights: np.ndarray | None,
    rows: int,
    family: Family,
    allocation: Allocation,
    init: object,
    restarts: int,
    rng: np.random.Generator,
    metric: Family | None = None,
    candidates: int = 1,
    compiled: bool = False,
    pass_: Pass | None = None,
    sort: bool = True,
) -> np.ndarray:
    """States to climb from, shape (R C, K, P): each point in the cluster of its guessed label alone; see `soften`.

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    weights : ndarray, shape (N,), or None
    rows : int
        N.
    family, allocation : Family, Allocation
    init : str, ndarray or Fit
        "k-means++" (nearest of K seeds; Arthur & Vassilvitskii 2007; of several candidates, the last quarter go on by Lloyd's
        algorithm, which many features need), "k-means" (Lloyd's algorithm from the best such; of several candidates, half, or
        one more, stay at the seeds), "rows" (nearest of K distinct rows), "random" (uniform on the simplex for every point), or
        one given start: responsibilities (N, K), labels (N,) of integers, means (K, D), or a `Fit`. The named ones look at no
        more than 20,000 rows, chosen at random; all but "random" depend neither on the order of the rows, nor on whether a row
        is repeated or has a weight.
    restarts : int
        How many starts to make, R; a given start is used once, R C being 1.
    rng : numpy.random.Generator
    metric : Family, optional
        In whose coordinates points are near to each other; by default as the family's ``near`` has it, and in every other
        start, or candidate, `by_neighbours` or, of `few` rows, as the scaled columns have it.
    candidates : int
        C, states for each start, one after another; see `mixtures.ascent.candidates.climb_from_best`.
    compiled : bool
        Whether seeds are found in compiled loops, which must be loaded.
    pass_ : callable, optional
        The one pass over the data as they are, if it is at hand.
    sort : bool
        Whether rows are sorted, so that their order does not matter.

    Raises
    ------
    ValueError
        If ``init`` is none of these, there are more clusters than distinct rows, or ``restarts`` is below 1.
    """
    K = allocation.n_components
    check_restarts(restarts)
    if isinstance(init, Fit) and not init.allocation.independent and not allocation.independent:
        return init.state(x, weights, pass_ if init.family is family else None)[None]  # type: ignore[attr-defined]
    if not isinstance(init, str):
        assign = given(x, rows, metric or family, K, init)
        s = folded(x, weights, lambda block, w, start: statistics(block, family, assign(block, start), w), add, "start")
        assert s is not None
        return allocation.begin(s[None], x, weights)
    if init not in METHODS:
        raise ValueError(f"init is {brief(init)}; expected one of {', '.join(METHODS)}, an array, or a Fit")
    some, w, share = sample(x, weights, rows, ENOUGH, rng)
    if init == "random":
        every = _parts(range(restarts * candidates), _together(len(some) * K))
        parts = (uniform(rng, len(part), len(some), K) for part in every)
        return allocation.begin(np.concatenate([statistics(some, family, r, w) for r in parts]) / share, x, weights)
    z = near_points(some, w, family, rows) if metric is None else filled(metric.coordinates(some), w)
    if sort:
        order = _order(some, w, z if isinstance(family, Correlated) and metric is None else None)
        some, w, z = some.take(order, axis=0), w[order], z.take(order, axis=0)
    z = z[None]
    other = None
    if metric is None:
        other = columns(family)[None] if few(family, w.sum() / share, K) else _by_neighbours(family, z, w, K)
    if compiled:
        points = _compiled(z, w, some, family, K, init, restarts, rng, candidates, other)
        return allocation.begin(points / share, x, weights)
    together = _together(z[0].size, some[:, 0].size * K)
    every = _parts(range(restarts * candidates), together)
    parts = (guesses(z, w, K, init, part, [rng], candidates, other)[0] for part in every)
    return allocation.begin(np.concatenate([statistics(some, family, r, w) for r in parts]) / share, x, weights)


def check_restarts(restarts: int) -> None:
    """Refuse a number of starts below 1."""
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; expected at least 1")


def near_points(x: np.ndarray, weights: np.ndarray, family: Family, rows: int) -> np.ndarray:
    """Points x, of so many ``rows``, where distances tell which are near to each other, what is missing at its mean, (N, D).

    Where columns are nearly dependent the family's coordinates are white but for rounding of its unit, and all rows tell how
    they become so.
    """
    z = filled(family.near(x), weights)
    if not (isinstance(family, Correlated) and family.nearly_dependent and len(x) == rows):
        return z
    z = z - np.average(z, axis=0, weights=weights)
    return substitute(np.linalg.cholesky((z.T * weights) @ z / weights.sum()), z.T).T


def _compiled(
    z: np.ndarray,
    weights: np.ndarray,
    x: np.ndarray,
    family: Family,
    K: int,
    init: str,
    restarts: int,
    rng: np.random.Generator,
    candidates: int,
    other: np.ndarray | None,
) -> np.ndarray:
    """`statistics` of the `guesses` for rows x (N, D) at the points z (1, N, D) in compiled loops, (R C, K, P)."""
    runs, points, t = np.arange(restarts * candidates), _about_bulk(z)[0], features(x, family)
    tries, moved = _tries(init, K), _moved(init, runs, candidates)
    u = rng.random((len(runs), 1 + (K - 1) * tries))
    s = np.empty((len(runs), K, 1 + family.monomials[-1, 0]))
    scaled = _scaled(runs, candidates) & (other is not None)
    for turn, some in ((None, ~scaled), (other, scaled)):
        if some.any():
            at = points if turn is None else points @ turn[0]
            s[some] = by_seeds(at, weights, x, t, family, K, u[some], tries, moved[some], init != "rows")
    return s


def features(x: np.ndarray, family: Family) -> np.ndarray:
    """The features t(x), (P, N), that `by_seeds` sums in its loops; none where there are many."""
    P = 1 + int(family.monomials[-1, 0])
    return np.ascontiguousarray(family.rough(x).T) if len(x) * P <= FEATURES else np.empty((0, len(x)))


def by_seeds(
    z: np.ndarray,
    weights: np.ndarray,
    x: np.ndarray,
    t: np.ndarray,
    family: Family,
    K: int,
    u: np.ndarray,
    tries: int,
    moved: np.ndarray,
    apart: bool = True,
    rules: tuple[int, float, float] = (LLOYD, SETTLED, 0.0),
) -> np.ndarray:
    """`statistics` (R, K, P) of rows x, of which t are the `features`, by the nearest of seeds among points z (N, D).

    For numbers u, whether runs are ``moved`` (R,) by Lloyd's algorithm, and by which ``rules`` that ends, see
    `mixtures.engines.loops.seeding.states`.
    """
    from mixtures.engines.seeding import states

    s, labels = np.empty((len(u), K, len(t))), np.empty((len(u), len(x)), np.int64)
    found = states(np.ascontiguousarray(z.T), weights, t, u, tries, apart, moved, *rules, labels, s)
    if found < K:
        raise too_few(K, found)
    if len(t):
        return s
    parts = (labels[part.start : part.stop] for part in _parts(range(len(u)), _together(len(x) * K)))
    return np.concatenate([statistics(x, family, hard(part, K), weights) for part in parts])


def greedy(K: int) -> int:
    """How many points each of K seeds is the best of, where there are several (Arthur & Vassilvitskii's own code)."""
    return 2 + int(np.log(K))


def _tries(init: str, K: int) -> int:
    """How many points each seed is the best of."""
    return greedy(K) if init == "k-means" else 1


def _moved(init: str, runs: np.ndarray, candidates: int) -> np.ndarray:
    """Which runs go on from the seeds by Lloyd's algorithm."""
    place = runs % candidates
    if init == "k-means++":
        return place >= candidates - candidates // 4
    return (init == "k-means") & (place < max(1, candidates // 2))


def _scaled(runs: np.ndarray, candidates: int) -> np.ndarray:
    """Which runs look at other coordinates, if there are such: of hard, softened and moved ones half."""
    return (runs % candidates if candidates >= 4 else runs) % 4 % 3 == 0


def few(family: Family, n: float, K: int) -> bool:
    """Whether n rows are so few for correlated features that in white coordinates all are about as far from each other.

    With one feature less than rows they are exactly so, and what lies near to what is seen in the scaled columns alone.
    """
    return isinstance(family, Correlated) and n * len(family.unit) < FEW * family.n_free(K)


def columns(family: Family) -> np.ndarray:
    """The map (D, D) from coordinates z of correlated features to the columns in units of their standard deviations, z T."""
    return family.unit.T / np.linalg.norm(family.unit, axis=1)


def _by_neighbours(family: Family, z: np.ndarray, weights: np.ndarray, K: int) -> np.ndarray | None:
    """The map `by_neighbours` (G, D, D) of points z (G, N, D) of several features, all seen, which the family scales."""
    if K == 1 or z.shape[-1] == 1 or family.missing or not isinstance(family, Correlated | DiagonalGaussian):
        return None
    return by_neighbours(z, weights, diagonal=not isinstance(family, Correlated))


def _about_bulk(z: np.ndarray) -> np.ndarray:
    """Points z (..., N, D) about the bulk of the rows, where distances keep their digits wherever others are."""
    some = z[..., :: max(1, z.shape[-2] // BULK), :]
    return z - np.median(some, axis=-2, keepdims=True)


def starts_of_many(
    z: np.ndarray,
    family: Family,
    allocation: Allocation,
    init: str | Sequence[np.ndarray],
    restarts: int,
    rngs: Sequence[np.random.Generator],
    near: np.ndarray | None = None,
    candidates: int = 1,
    by_columns: np.ndarray | None = None,
) -> np.ndarray:
    """`starts` of G data sets of one size side by side, each with a generator of its own, shape (G, R C, K, P).

    Parameters
    ----------
    z : ndarray, shape (G, N, D)
        All of whose rows are looked at.
    family : Family
        With the coordinates of z.
    allocation, restarts, rngs
        See `starts`.
    init : str or sequence of ndarray
        By name, or given for each data set.
    near : ndarray, shape (G, N, D), optional
        The points in coordinates in which their distances are taken; by default z.
    candidates : int
        See `starts`.
    by_columns : ndarray, shape (G, D, D), optional
        The maps to `columns` where rows are `few`, in the place of those `by_neighbours`.
    """
    _, N, D = z.shape
    K = allocation.n_components
    if not isinstance(init, str) or init not in METHODS or restarts < 1:
        inits = [init] * len(z) if isinstance(init, str) else init
        each = zip(z, inits, rngs, strict=True)
        return np.stack([starts(own, None, N, family, allocation, one, restarts, rng) for own, one, rng in each])
    near = z if near is None else near
    w = np.ones(N)
    if init != "random":
        near = np.stack([filled(own, w) for own in near])
        orders = [
            _order(own, w, at if isinstance(family, Correlated) else None) for own, at in zip(z, near, strict=True)
        ]
        z, near = (_in_order(a, orders) for a in (z, near))
    runs = range(restarts * candidates)
    together = _together(len(runs) * N * max(D, K), N * (1 + family.monomials[-1, 0]), N * NEIGHBOURS * D)
    found = []
    for part in _parts(range(len(z)), together):
        some = slice(part.start, part.stop)
        own = z[some]
        other = _by_neighbours(family, near[some], w, K) if by_columns is None else by_columns[some]
        r = guesses(near[some], w, K, init, runs, rngs[some], candidates, other)
        found.append(r.swapaxes(-2, -1) @ family.rough(own)[:, None])
    return np.concatenate(found)


def _in_order(a: np.ndarray, orders: Sequence[np.ndarray]) -> np.ndarray:
    """The rows of each of a (G, N, D) in an order of its own."""
    return np.stack([own[order] for own, order in zip(a, orders, strict=True)])


def _order(x: np.ndarray, weights: np.ndarray, z: np.ndarray | None) -> np.ndarray:
    """An order of the rows x (N, D) that is the same in whichever order they come, and in all coordinates z (N, D).

    Points are sorted along their mean weighted by their squared length, which turns with the coordinates; where there is none,
    or no z, by their features.
    """
    keys = list(x.T[::-1])
    if z is not None:
        length = (z**2).sum(axis=1)
        along = (weights * length) @ z
        if np.abs(along).max() > TURNED * (weights @ length**1.5):
            keys.append((z * along).sum(axis=1))
    order = np.argsort(keys[-1])
    ordered = keys[-1][order]
    return order if (ordered[1:] > ordered[:-1]).all() else np.lexsort(keys)  # where ties are, by all keys


def _together(*numbers: int) -> int:
    """How many pieces of so many numbers each are held at once."""
    return max(1, BLOCK_ELEMENTS // max(numbers))


def _parts(whole: range, size: int) -> list[range]:
    return [whole[first : first + size] for first in whole[::size]]


def guesses(
    z: np.ndarray,
    weights: np.ndarray,
    K: int,
    init: str,
    runs: range,
    rngs: Sequence[np.random.Generator],
    candidates: int = 1,
    other: np.ndarray | None = None,
) -> np.ndarray:
    """Responsibilities (G, R, N, K) for the points z (G, N, D) of weights (N,) and the R runs of each, by one of `METHODS`.

    Every other run looks at z T with a map ``other`` (G, D, D), where there are such.
    """
    G, N, _ = z.shape
    if init == "random":
        return np.stack([uniform(rng, len(runs), N, K) for rng in rngs])
    tries = _tries(init, K)
    u = np.concatenate([rng.random((len(runs), 1 + (K - 1) * tries)) for rng in rngs])
    z = _about_bulk(z)
    z = np.repeat(z, len(runs), axis=0) if len(runs) > 1 else z
    if other is not None:
        scaled = _scaled(np.array(runs), candidates)
        if scaled.all():
            z = z @ np.repeat(other, len(runs), axis=0)
        else:
            turned = np.tile(scaled, G)
            z[turned] = z[turned] @ np.repeat(other, scaled.sum(), axis=0)
    centres = seed(z, weights, K, u, apart=init != "rows")
    labels = nearest(z, centres)
    moved = np.tile(_moved(init, np.array(runs), candidates), G)
    if moved.all():
        labels = lloyd(z, weights, centres)
    elif moved.any():
        labels[moved] = lloyd(z[moved], weights, centres[moved])
    return hard(labels, K).reshape(G, len(runs), N, K)


def uniform(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Responsibilities of this shape (..., K), uniform on the simplex for every point."""
    r = rng.standard_exponential(shape)
    r /= r.sum(-1, keepdims=True)
    return r


def given(x: Rows, rows: int, family: Family, K: int, init: object) -> Callable[[np.ndarray, int], np.ndarray]:
    """From a block and the number of its first row to responsibilities, by a Fit, responsibilities, labels, or means."""
    if isinstance(init, Fit):
        if init.n_components != K:
            raise ValueError(f"the Fit given as init has {init.n_components} clusters; expected {K}")
        return lambda block, start: init.responsibilities(block)
    guess, D = np.asarray(init), len(family.unit)
    if np.ma.is_masked(init) or guess.dtype.kind not in "biuf":
        what = "masked entries" if np.ma.is_masked(init) else f"{guess.dtype}"
        raise ValueError(f"a start of shape {guess.shape} holds {what}; expected numbers, or a name or a Fit")
    if guess.shape == (rows, K) and np.all(guess >= 0) and np.allclose(guess.sum(1), 1):
        return lambda block, start: guess[start : start + len(block)]
    if guess.shape == (rows,) and np.issubdtype(guess.dtype, np.integer) and np.isin(guess, range(K)).all():
        return lambda block, start: hard(guess[start : start + len(block)], K)
    if guess.shape == (K, D) and np.all(np.isfinite(guess)):
        return lambda block, start: hard(
            nearest(filled(family.near(block), np.ones(len(block))), family.near(guess)), K
        )
    raise ValueError(
        f"a start of shape {guess.shape} is neither responsibilities ({rows}, {K}) whose rows sum to one, "
        f"integer labels ({rows},) in 0..{K - 1}, nor means ({K}, {D})"
    )
