"""Whether a posterior has more than one mode beyond the names of clusters.

Every draw of (pi, theta) climbs CAVI's bound from its own responsibilities; draws that end at one optimum, whatever names its
clusters have, make a basin. A bound has more optima than the posterior has modes, so basins are joined unless a valley lies
between them, as Hennig (2010, *Advances in Data Analysis and Classification* 4:3-34) joins components of a mixture: the draws
of two basins are projected on the line between the means of half of them, and the lowest density of the other half between its
means is divided by the lower of the two peaks.

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
from mixtures.engines.passes import one_pass
from mixtures.engines.responsibilities import normalise_draws
from mixtures.methods import cavi
from reports.metrics import Row

# Draws that climb, at most; responsibilities they have together, at most; and the fewest that say anything.
CLIMBED = 2000
LARGEST = 30_000_000
FEWEST_CLIMBED = 100

# Draws below which a basin is left out: too few to know a valley by.
FEWEST = 30

# Part of the lower peak that the density between two basins of one mode reaches.
VALLEY = 0.5

# Points whose log densities are the coordinates, at most.
COORDINATES = 300

# Two ends are one optimum if their bounds differ by less, in nats an observation, and their second moments, in squared sds.
SAME_BOUND, SAME_MOMENT = 1e-5, 0.02

Found = dict[str, Any]


def find(fit: Fit, x: np.ndarray, others: Mapping[str, np.ndarray]) -> Found | None:
    """The modes among the draws of a posterior, the largest first; None where there are too few draws or one cluster.

    Parameters
    ----------
    fit : Fit
        With draws from the posterior, chains apart.
    x : ndarray, shape (N, D)
    others : mapping of ndarray, shape (N, K)
        Responsibilities of other fits, by name.

    Returns
    -------
    dict
        ``modes``: of each mode its ``share`` of the draws, its share ``by_chain``, and the ``sizes`` of the clusters at its
        main optimum, expected under q(z). ``basins``: how many optima were reached by enough draws, the others' share being
        ``rest``. ``sits``: the number of the mode to which each of ``others`` climbs, or None where no draw was.
    """
    chains, draws, K = fit.held.weights.shape
    climbing = min(chains * draws, CLIMBED, LARGEST // (len(x) * K))
    if K == 1 or climbing < FEWEST_CLIMBED:
        return None
    chosen = np.linspace(0, chains * draws, climbing, endpoint=False).astype(int)
    weights, theta = fit.held.flat()
    some = replace(fit, posterior=Draws(weights[None, chosen], {name: v[None, chosen] for name, v in theta.items()}))
    ends, optimum = _climb(some, x, list(others.values()))
    sizes = np.bincount(optimum[:climbing])
    kept = [b for b in np.argsort(-sizes, kind="stable") if sizes[b] >= FEWEST]
    if not kept:
        return None
    members = [np.flatnonzero(optimum[:climbing] == b) for b in kept]
    at = coordinates(some, x)
    mode = join([at[rows] for rows in members])
    found: list[Found] = []
    for m in range(mode.max() + 1):
        rows = np.concatenate([members[b] for b in np.flatnonzero(mode == m)])
        top = ends[members[int(np.argmax(mode == m))][0], :, 0]
        by_chain = np.bincount(chosen[rows] // draws, minlength=chains) / np.bincount(chosen // draws, minlength=chains)
        found.append(
            {"share": len(rows) / climbing, "sizes": sorted(top.tolist(), reverse=True), "by_chain": by_chain.tolist()}
        )
    order = sorted(range(len(found)), key=lambda m: -found[m]["share"])
    number = {b: order.index(int(m)) for b, m in zip(kept, mode, strict=True)}
    return {
        "modes": [found[m] for m in order],
        "basins": len(kept),
        "rest": 1 - sum(m["share"] for m in found),
        "sits": {name: number.get(b) for name, b in zip(others, optimum[climbing:], strict=True)},
    }


def row(method: str, found: Found) -> Row:
    """The number of modes."""
    return Row(method, "modes", "all", len(found["modes"]))


def coordinates(fit: Fit, x: np.ndarray) -> np.ndarray:
    """log p(x_n | pi, theta) of every held draw at evenly spaced points, scaled as if they were all N, shape (S, n)."""
    points = x[:: -(-len(x) // COORDINATES)]
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


def _climb(fit: Fit, x: np.ndarray, others: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Where CAVI ends from every held draw and from the others' responsibilities: states (R, K, P), and which optimum (R,)."""
    from scipy.cluster.hierarchy import fclusterdata

    family, allocation = fit.family, fit.allocation
    starts = sum(normalise_draws(block)[1].swapaxes(1, 2) @ family.features(x[rows]) for rows, block in fit.log_rho(x))
    s = np.concatenate([starts, *([r.T @ family.features(x)] for r in others)])
    pass_ = one_pass(x, None, family, s.shape[0] * s.shape[1] * len(x))
    step = partial(cavi.step, family, allocation)
    ends = climb(lambda _: (step, pass_), s, len(x), tol=1e-9, max_iter=10_000, accelerate=True)
    moments = (ends.s**2 / np.maximum(ends.s[..., :1], 1)).sum(1)
    key = np.column_stack([ends.end / SAME_BOUND, moments / SAME_MOMENT]) / len(x)
    return ends.s, fclusterdata(key, 1, criterion="distance", metric="chebyshev", method="single") - 1
