"""Random numbers from Student's t densities, most of which are Gaussian.

The density f of a spherical Student's t vector of D features and nu degrees of freedom is nowhere less than w times that of a
standard Gaussian one, phi: with y = |x|^2 and q = (y - D) / (nu + D),

    f(x) / phi(x) = w exp(L),    L = (nu + D) / 2 (q - log(1 + q)) >= 0,    which is 0 where y = D

So f = w phi + (1 - exp(-L)) f, where the second term is at most (y - D)^2 / (4 nu) f <= (y^2 + D^2) / (4 nu) f, of which the
integral is about D (1 + D) / (2 nu). A vector is Gaussian unless one drawn from the last density, as often as this says, is
accepted for it. That is exact, and takes no number beside the Gaussian ones for most vectors.
"""

from __future__ import annotations

import numpy as np

# Share of the vectors that are tried, above which a chi-square number for every one takes no longer (PRML 2.158), and vectors
# below which.
TRIED, FEW = 0.25, 2500


def student(counts: np.ndarray, D: int, nu: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Vectors about 0 of unit scale, so many of every number of degrees of freedom (K,), in this order, (sum of counts, D)."""
    ends = counts.cumsum()
    x = np.empty((ends[-1], D))
    seldom = np.zeros(len(nu), bool)
    if len(x) > FEW:
        far = np.where(nu > 4, nu, np.inf)  # elsewhere y^2 has no mean
        masses = np.array([D * D / (4 * nu), D * (D + 2) / (4 * (far - 4)) * nu / (far - 2)])
        seldom = (far < np.inf) & (masses[0] + masses[1] <= TRIED)
    for k in counts.nonzero()[0]:
        own = x[ends[k] - counts[k] : ends[k]]
        if D == 1 and not seldom[k]:
            own[:, 0] = rng.standard_t(nu[k], len(own))
            continue
        rng.standard_normal(out=own)
        if not seldom[k]:
            own *= np.sqrt(nu[k] / rng.chisquare(nu[k], (len(own), 1)))
    if seldom.any():
        _replace(x, counts, nu, masses * seldom, rng)
    return x


def _replace(x: np.ndarray, counts: np.ndarray, nu: np.ndarray, masses: np.ndarray, rng: np.random.Generator) -> None:
    """Lengthen or shorten the few Gaussian vectors (N, D) that are to be others; ``masses`` of D^2 and y^2, (2, K).

    Which are tried a Poisson process says: of one with rate -log(1 - p), a vector has a point with probability p.
    """
    D, ends, tried = x.shape[1], counts.cumsum(), masses[0] + masses[1]
    edges = (-counts * np.log1p(-tried)).cumsum()
    rows = np.unique(np.interp(rng.random(rng.poisson(edges[-1])) * edges[-1], [0, *edges], [0, *ends]).astype(int))
    k = ends.searchsorted(rows, side="right")
    u, v = rng.random((2, len(rows)))
    squared = 2.0 * (u * tried[k] < masses[1, k])
    nu = nu[k]
    y = nu * rng.standard_gamma(D / 2 + squared) / rng.standard_gamma(nu / 2 - squared)
    excess = (nu + D) / 2 * np.log1p((y - D) / (nu + D)) - (y - D) / 2
    accepted = v * (y * y + D * D) < -4 * nu * np.expm1(excess)
    rows, y = rows[accepted], y[accepted]
    x[rows] *= np.sqrt(y / (x[rows] ** 2).sum(1))[:, None]
