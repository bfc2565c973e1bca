"""How far a posterior is from the reference in quantities that no relabelling can change: density and co-clustering."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mixtures import Draws, Fit
from mixtures.engines.responsibilities import log_sum, normalise_draws
from reports.metrics import Row
from reports.metrics.agreement import halves


class Density(NamedTuple):
    """Log predictive densities (n,) of the same points: under all draws, and under each half where there are two."""

    log_p: np.ndarray
    by_half: tuple[np.ndarray, np.ndarray] | None


def density(fit: Fit, x: np.ndarray) -> Density:
    """The log predictive density of every point; a closed form and a point estimate have no halves."""
    if fit.kind == "point" or not isinstance(fit.posterior, Draws):
        return Density(fit.log_predictive(x), None)
    return of_draws(fit.log_likelihood(x))


def of_draws(values: np.ndarray) -> Density:
    """The density of points from its logarithms under single draws (chain, draw, n); one draw has no halves."""
    if values.shape[0] * values.shape[1] == 1:
        return Density(values[0, 0], None)
    first, second = (log_mean(half) for half in halves(values))
    return Density(log_mean(values), (first, second))


def log_mean(log_p: np.ndarray) -> np.ndarray:
    """Log of the mean over chains and draws of exp(log_p), (chain, draw, n) to (n,)."""
    flat = log_p.reshape(-1, log_p.shape[-1])
    return log_sum(flat.T) - np.log(len(flat))


def predictive_tv(method: str, own: tuple[Density, Density], reference: tuple[Density, Density]) -> list[Row]:
    """Total variation of the predictive densities, half the integral of |p - q|, from 0 to 1.

    ``predictive_tv`` is the mean of |p - q| / (p + q) over equal numbers of points drawn from p and from q, whose density is
    (p + q) / 2: bounded, and with exact densities without bias. Where p and q are means over draws, their noise adds to it
    what ``predictive_tv_floor``, that of the two halves of the reference's draws, shows. The standard error holds the sampling
    error of the points, in pairs since both sets may come from the same random numbers, and, of either side, half of what its
    own halves differ by.

    Parameters
    ----------
    own, reference : pair of Density
        At the points drawn from the method's predictive density, and at as many drawn from the reference's.
    """
    gaps = np.mean([_relative_gap(p.log_p, q.log_p) for p, q in zip(own, reference, strict=True)], axis=0)
    noise = [_noise(own), _noise(reference)]
    points = gaps.std(ddof=1) / np.sqrt(len(gaps))
    se = float(np.linalg.norm([points, noise[0] / 2, noise[1] / 2]))
    rows = [Row(method, "predictive_tv", "data", float(gaps.mean()), se)]
    if noise[1] > 0:
        rows.append(Row(method, "predictive_tv_floor", "data", noise[1]))
    return rows


def _relative_gap(log_p: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """|p - q| / (p + q), by the logarithms of p and q."""
    return np.tanh(np.abs(log_p - log_q) / 2)


def _noise(densities: tuple[Density, Density]) -> float:
    """Total variation between the halves of one side's draws; 0 where the density is exact."""
    return float(np.mean([0.0 if d.by_half is None else _relative_gap(*d.by_half).mean() for d in densities]))


def per_draw(fit: Fit, x: np.ndarray, every: int = 1) -> np.ndarray:
    """Responsibilities of each ``every``-th point under every held draw, shape (S, N, K)."""
    blocks = [r for _, _, r in fit.each_responsibilities(x, every)]
    return np.concatenate(blocks, axis=1 if fit.allocation.independent else 0)


class Together(NamedTuple):
    """Posterior probabilities that two points share a cluster, (N, N), and how far those of two halves of the draws differ."""

    matrix: np.ndarray
    noise: float


def together(fit: Fit, x: np.ndarray) -> Together:
    """The co-clustering matrix of the held draws, without noise for a single one."""
    return of_responsibilities(per_draw(fit, x), *fit.held.weights.shape[:2])


def of_responsibilities(r: np.ndarray, chains: int, draws: int) -> Together:
    """The same from responsibilities, or indicators of labels, under every draw (S, N, K)."""
    if chains * draws == 1 == len(r):
        return Together(coclustering(r), 0.0)
    by_half = [half.reshape(-1, *r.shape[1:]) for half in halves(r.reshape(chains, draws, *r.shape[1:]))]
    first, second = (coclustering(half) for half in by_half)
    matrix = (len(by_half[0]) * first + len(by_half[1]) * second) / len(r)
    return Together(matrix, mean_difference(first, second))


def coclustering(r: np.ndarray) -> np.ndarray:
    """Posterior probability that two points share a cluster, shape (N, N), from responsibilities (S, N, K)."""
    S, N, K = r.shape
    flat = r.transpose(1, 0, 2).reshape(N, S * K)
    together = flat @ flat.T / S
    np.fill_diagonal(together, 1.0)
    return together


def mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two co-clustering matrices over pairs of distinct points."""
    return float(np.abs(a - b)[np.triu_indices(len(a), 1)].mean())


def coclustering_error(method: str, own: Together, reference: Together) -> list[Row]:
    """``coclustering_error``: mean absolute difference of two co-clustering matrices over pairs of distinct points.

    Its standard error is what the Monte Carlo error of both sides alone would make of it, half of what their halves differ by.
    ``coclustering_floor`` is the same difference between two halves of the reference.
    """
    error = mean_difference(own.matrix, reference.matrix)
    return [
        Row(method, "coclustering_error", "data", error, float(np.hypot(own.noise, reference.noise)) / 2),
        Row(method, "coclustering_floor", "data", reference.noise),
    ]


def occupied(method: str, fit: Fit, x: np.ndarray) -> Row:
    """Expected number of clusters that hold at least one of the points, over the held draws."""
    return _occupied(method, "occupied", (normalise_draws(block)[1] for _, block in fit.log_rho(x)))


def occupied_by_labels(method: str, r: np.ndarray) -> Row:
    """``occupied_qz``: the same over q(z) of a closed form, whose responsibilities (N, K) these are."""
    return _occupied(method, "occupied_qz", [r[None]])


def _occupied(method: str, metric: str, blocks: Iterable[np.ndarray]) -> Row:
    with np.errstate(divide="ignore"):
        log_empty = sum(np.log1p(-np.minimum(r, 1.0)).sum(1) for r in blocks)
    return Row(method, metric, "data", float((1 - np.exp(log_empty)).sum(1).mean()))
