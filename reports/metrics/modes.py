"""Whether a posterior has more than one mode beyond the names of clusters, and how often each sampler is in which.

Every draw of (pi, theta), of all samplers together, climbs CAVI's bound from its own responsibilities; draws that end at one
optimum, whatever names its clusters have, make a basin. A bound has more optima than the posterior has modes, so basins are
joined unless a valley lies between them, as Hennig (2010, *Advances in Data Analysis and Classification* 4:3-34) joins
components of a mixture: the draws of two basins are projected on the line between the means of half of them, and the lowest
density of the other half between its means is divided by the lower of the two peaks.

All this happens in the coordinates log p(x_n | pi, theta), which know no names of clusters, and in which squared distance is
that of the Fisher information: a regular posterior is nearly a standard normal there. The height of a peak is therefore
measured by the draws of its basin, and that of a saddle by the valley times the smaller basin. Saddles are taken from the
highest down, and one joins what it lies between if it reaches half of the lower peak, so that no small basin is a bridge
between two large ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from mixtures import Draws, Fit
from mixtures.ascent.climb import climb
from mixtures.engines import sequences
from mixtures.engines.passes import one_pass
from mixtures.engines.responsibilities import fold, normalise_draws
from mixtures.methods import cavi
from reports.metrics import Row

# Draws that climb, of one sampler and of all, at most; responsibilities they have together, at most; and the fewest of a
# sampler that say anything.
CLIMBED, CLIMBED_IN_ALL = 2000, 4000
LARGEST = 30_000_000
FEWEST_CLIMBED = 100

# Stretches of a sampler's chains whose shares tell the error of its share, at least.
STRETCHES = 8

# Draws below which a basin is left out: too few to know a valley by.
FEWEST = 30

# Part of the lower peak that the density between two basins of one mode reaches.
VALLEY = 0.5

# Points whose log densities are the coordinates, at most.
COORDINATES = 300

# Two ends are one optimum if their bounds differ by less, in nats an observation, and their second moments, in squared sds.
SAME_BOUND, SAME_MOMENT = 1e-5, 0.02

Found = dict[str, Any]


def find(fits: Mapping[str, Fit], x: np.ndarray, others: Mapping[str, np.ndarray]) -> dict[str, Found]:
    """The modes among the draws of several samplers, numbered alike for all of them, from the largest.

    Parameters
    ----------
    fits : mapping of Fit
        With draws from the posterior, chains apart, by name.
    x : ndarray, shape (N, D)
    others : mapping of ndarray, shape (N, K)
        Responsibilities of other fits, by name.

    Returns
    -------
    dict
        By sampler, nothing where there is one cluster or there are too few draws: ``modes``, of each mode that any sampler has
        met the ``share`` of this sampler's draws, its standard error ``se``, its values ``by_chain``, and the ``sizes`` of the
        clusters at the main optimum, expected under q(z). ``rest`` is the share of draws in no mode. ``halves``: how many modes
        the first and the second halves of all samplers' chains show. ``basins``: how many optima were reached by enough draws.
        ``sits``: the number of the mode to which each of ``others`` climbs, or None where this sampler has no draw.
    """
    fits = {m: fit for m, fit in fits.items() if fit.n_components > 1 and _size(fit) >= FEWEST_CLIMBED}
    if not fits:
        return {}
    K = next(iter(fits.values())).n_components
    each = min(CLIMBED, min(CLIMBED_IN_ALL, LARGEST // (len(x) * K)) // len(fits))
    if each < FEWEST_CLIMBED:
        return {}
    fits = {name: thinned(fit, each) for name, fit in fits.items()}
    ends, optimum = _climb(list(fits.values()), x, list(others.values()))
    own, theirs = np.split(optimum, [len(optimum) - len(others)])
    sizes = np.bincount(own)
    kept = [int(b) for b in np.argsort(-sizes, kind="stable") if sizes[b] >= FEWEST]
    if not kept:
        return {}
    members = [np.flatnonzero(own == b) for b in kept]
    at = np.concatenate([coordinates(fit, x) for fit in fits.values()])
    mode = join([at[rows] for rows in members])
    order = np.argsort(-np.bincount(mode, weights=[len(rows) for rows in members]), kind="stable")
    number = {b: int(np.flatnonzero(order == m)[0]) for b, m in zip(kept, mode, strict=True)}
    tops = [ends[members[int(np.argmax(mode == m))][0], :, 0] for m in order]
    shapes = [fit.held.weights.shape[:2] for fit in fits.values()]
    late = np.concatenate([np.tile(np.arange(draws) >= draws // 2, chains) for chains, draws in shapes])
    common = {"basins": len(kept), "halves": [_count(at[half], own[half], kept) for half in (~late, late)]}
    sits = {name: number.get(int(b)) for name, b in zip(others, theirs, strict=True)}

    found, start = {}, 0
    for name, (chains, draws) in zip(fits, shapes, strict=True):
        where = np.array([number.get(int(b), -1) for b in own[start : start + chains * draws]]).reshape(chains, draws)
        start += chains * draws
        found[name] = common | {
            "modes": [visits(where == m) | {"sizes": sorted(top.tolist(), reverse=True)} for m, top in enumerate(tops)],
            "rest": float(np.mean(where < 0)),
            "sits": {other: m if m is not None and np.any(where == m) else None for other, m in sits.items()},
        }
    return found


def rows(method: str, found: Found) -> list[Row]:
    """The number of modes in which the sampler has draws, and its share of draws in each mode."""
    modes = found["modes"]
    met = sum(mode["share"] > 0 for mode in modes)
    return [Row(method, "modes", "all", met)] + [
        Row(method, "mode_share", f"mode {m + 1}", mode["share"], np.nan if mode["se"] is None else mode["se"])
        for m, mode in enumerate(modes)
    ]


def _size(fit: Fit) -> int:
    return fit.held.size


def thinned(fit: Fit, size: int) -> Fit:
    """The fit with at most so many draws, as many of each chain and evenly spaced."""
    chains, draws = fit.held.weights.shape[:2]
    kept = np.linspace(0, draws, min(draws, size // chains), endpoint=False).astype(int)
    return replace(
        fit, posterior=Draws(fit.held.weights[:, kept], {name: v[:, kept] for name, v in fit.held.theta.items()})
    )


def visits(inside: np.ndarray) -> Found:
    """Share of the draws (chain, draw) that are inside a mode, its standard error, and the share by chain.

    The error is that of a mean over stretches of the chains, two a chain or more: chains that stay where they are make it
    large. There is none where no draw or every draw is inside.
    """
    parts = np.array_split(inside, -(-STRETCHES // len(inside)), axis=1)
    means = np.concatenate([part.mean(1) for part in parts])
    share = float(inside.mean())
    se = float(means.std(ddof=1) / np.sqrt(len(means))) if 0 < share < 1 else None
    return {"share": share, "se": se, "by_chain": inside.mean(1).tolist()}


def _count(at: np.ndarray, optimum: np.ndarray, kept: list[int]) -> int:
    """Number of modes that one half of the draws shows, by their coordinates and optima; of an optimum half as many suffice."""
    members = [np.flatnonzero(optimum == b) for b in kept]
    members = sorted((rows for rows in members if len(rows) >= FEWEST / 2), key=len, reverse=True)
    return int(join([at[rows] for rows in members]).max()) + 1 if members else 0


def coordinates(fit: Fit, x: np.ndarray) -> np.ndarray:
    """log p(x_n | pi, theta) of every held draw at evenly spaced points, scaled as if they were all N, shape (S, n)."""
    every = -(-len(x) // COORDINATES)
    if not fit.allocation.independent:  # of a row given those before it
        log_p = fit.log_steps(x)[..., ::every]  # type: ignore[attr-defined]
        return log_p.reshape(-1, log_p.shape[-1]) * np.sqrt(len(x) / log_p.shape[-1])
    points = x[::every]
    log_p = fit.log_likelihood(points)
    return log_p.reshape(-1, len(points)) * np.sqrt(len(x) / len(points))


def join(basins: list[np.ndarray]) -> np.ndarray:
    """The mode, from 0, of every basin, each given as the coordinates (n, d) of its draws, the largest first."""
    peak = np.array([len(basin) for basin in basins], dtype=float)
    pairs = list(combinations(range(len(basins)), 2))
    saddles = [valley(basins[a], basins[b]) * min(peak[a], peak[b]) for a, b in pairs]
    mode = np.arange(len(basins))
    for i in np.argsort(-np.array(saddles), kind="stable"):
        one, other = sorted(mode[list(pairs[i])])  # the mode with the higher peak has the lower number
        if saddles[i] >= VALLEY * peak[other]:
            mode[mode == other] = one
    return np.unique(mode, return_inverse=True)[1]


def valley(a: np.ndarray, b: np.ndarray) -> float:
    """Lowest density between two groups of draws (n, d) over the lower of their peaks, on the line between their means.

    The line is that of the even draws, the density that of the odd ones, by a Gaussian kernel.
    """
    line = b[::2].mean(0) - a[::2].mean(0)
    a, b = a[1::2] @ line, b[1::2] @ line
    both = np.concatenate([a, b])
    within = np.sqrt((len(a) * a.var() + len(b) * b.var()) / len(both))
    width = within * min(len(a), len(b)) ** -0.2
    grid = np.linspace(both.min(), both.max(), 200)
    density = np.exp(-(((grid[:, None] - both) / width) ** 2) / 2).sum(1)
    between = np.flatnonzero((grid >= min(a.mean(), b.mean())) & (grid <= max(a.mean(), b.mean())))
    if not len(between):
        return 1.0
    lowest = between[np.argmin(density[between])]
    return float(density[lowest] / min(density[: lowest + 1].max(), density[lowest:].max()))


def _climb(fits: list[Fit], x: np.ndarray, others: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where CAVI ends from every held draw and from the others' responsibilities: states (R, K, P), and which optimum (R,)."""
    from scipy.cluster.hierarchy import fclusterdata

    family, allocation = fits[0].family, fits[0].allocation
    s, pass_ = _starts(fits, x, others) if allocation.independent else _starts_of_chains(fits, x, others)
    step = partial(cavi.step, family, allocation.conjugate)
    ends = climb(lambda _: (step, pass_), s, len(x), tol=1e-9, max_iter=10_000, accelerate=True)
    points = allocation.split(ends.s)[1]
    moments = (points**2 / np.maximum(points[..., :1], 1)).sum(1)
    key = np.column_stack([ends.end / SAME_BOUND, moments / SAME_MOMENT]) / len(x)
    return ends.s, fclusterdata(key, 1, criterion="distance", metric="chebyshev", method="single") - 1


def _starts(fits: list[Fit], x: np.ndarray, others: list[np.ndarray]) -> tuple[np.ndarray, Any]:
    """Where every held draw and the others' responsibilities begin to climb, (R, K, P), and the pass over the points."""
    family = fits[0].family
    starts = [
        sum(normalise_draws(block)[1].swapaxes(1, 2) @ family.rough(x[rows]) for rows, block in fit.log_rho(x))
        for fit in fits
    ]
    s = np.concatenate([*starts, *([r.T @ family.rough(x)] for r in others)])
    return s, one_pass(x, None, family, s.shape[0] * s.shape[1] * len(x))


def _starts_of_chains(fits: list[Fit], x: Any, others: list[np.ndarray]) -> tuple[np.ndarray, Any]:
    """The same of sequences, with starts and transitions (R, K, P + 1 + K); of responsibilities those as if independent."""
    family, allocation = fits[0].family, fits[0].allocation
    pass_ = sequences.one_pass(family, x, None, "auto")
    starts = []
    for fit in fits:
        weights, theta = fit.held.flat()
        starts.append(pass_(fold(allocation.natural(weights), family.natural(theta)))[1])
    rough = family.rough(x.x)
    after = np.delete(np.arange(len(x)), x.edges[:-1])
    for r in others:
        labels = np.column_stack([r[x.edges[:-1]].sum(0), r[after - 1].T @ r[after]])
        starts.append(fold(labels, r.T @ rough)[None])
    return np.concatenate(starts), pass_
