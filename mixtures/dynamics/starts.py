"""Where an ascent begins: parameters for a linear dynamical system that the data make plausible."""

from __future__ import annotations

import numpy as np

from mixtures.dynamics import stationary
from mixtures.dynamics.model import LinearDynamics
from mixtures.dynamics.passes import At
from mixtures.dynamics.regression import Expected, Regression
from mixtures.engines.kalman import Data

# Lags stacked beside each other, of which the states of a start are combinations.
LAGS = 8


def starts(model: LinearDynamics, data: Data, n: int, rng: np.random.Generator) -> list[At]:
    """Starts for ``n`` runs: the first the same for any seed, the others at random.

    Where the emission is free, states are combinations of the last few rows: of the first run those that tell most of the
    rows to come (canonical variates; Larimore 1990), of the others random ones. Where it is known, the variance is split
    between states and noise, evenly or at random.
    """
    return [_start(model, data, None if run == 0 else rng) for run in range(n)]


def _start(model: LinearDynamics, data: Data, rng: np.random.Generator | None) -> At:
    level, moved = _variances(data)
    latent = bool(np.isnan(model.emission).any())
    share = 0.5 if rng is None else float(rng.uniform(0.05, 0.95))
    if latent and len(data.x) > 2 * (model.H + model.D) + LAGS:
        A, C, Q, R = _from_states(data, _states(data, model.H, rng))
    else:
        H, D = model.H, model.D
        C = (
            (np.random.default_rng(0) if rng is None else rng).standard_normal((D, H))
            * np.sqrt(level)[:, None]
            / np.sqrt(H)
        )
        A = 0.7 * np.eye(H)
        size = np.ones(H) if latent else np.full(H, moved.mean() * share)
        if not latent:
            weight = (model.emission**2).reshape(-1, D, H).mean((0, 1))
            size = (
                size
                / np.where(weight > 0, weight, max(weight.max(), 1e-300))
                * (1 if rng is None else rng.uniform(0.01, 1, H))
            )
        Q, R = np.diag(size), np.diag(np.maximum(moved * (1 - share), 1e-6 * level))
    if model.stationary:
        moves = _known_first(model.moves, A, Q)
        moves = moves._replace(B=stationary.within(model.moves, moves.B))
        begins = model.started(moves)
    else:
        moves, P0 = _known_first(model.moves, A, Q), np.eye(model.H) * (1.0 if latent else level.mean())
        begins = _known_first(model.begins, np.zeros((model.H, 1)), P0)
    C = C if model.loadings is None else np.zeros((model.D, 0))
    return moves, _known_first(model.observes, C, R), begins


def _known_first(part: Regression, B: np.ndarray, Sigma: np.ndarray) -> Expected:
    """B and Sigma with the known entries in place; off the diagonal nothing that could make a covariance indefinite."""
    noise = np.isnan(part.Sigma)
    own = np.where(noise, Sigma, part.Sigma)
    if not noise[np.ix_(part.noisy, part.noisy)].all():
        own = np.where(noise & ~np.eye(len(own), dtype=bool), 0.0, own)
    if getattr(part, "common", False):
        own = np.diag(np.where(np.diag(noise), np.diag(Sigma)[np.diag(noise)].mean(), np.diag(own)))
    return Expected(np.where(np.isnan(part.B), B, part.B), own)


def _variances(data: Data) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each feature, and of its first differences, (D,) each; positive."""
    level = np.nanvar(data.x.x, axis=0)
    gaps = np.concatenate([np.diff(part, axis=0) for part in data.x])
    with np.errstate(invalid="ignore"):
        moved = np.array([np.var(own[~np.isnan(own)]) if (~np.isnan(own)).any() else 0.0 for own in gaps.T])
    level = np.where(
        level > 0, level, np.where(np.nanmean(data.x.x, axis=0) ** 2 > 0, np.nanmean(data.x.x, axis=0) ** 2, 1)
    )
    return level, np.where(moved > 0, moved, level)


def _states(data: Data, H: int, rng: np.random.Generator | None) -> np.ndarray:
    """States (N, H) of variance one, in which x is not centred: combinations of each row and those before it."""
    x = np.where(np.isnan(data.x.x), np.nanmean(data.x.x, axis=0), data.x.x)
    scale = np.sqrt(np.mean(x**2, axis=0))
    x = x / np.where(scale > 0, scale, 1)
    lags = min(LAGS, max(1, len(x) // (4 * x.shape[1])))
    past, ahead = np.zeros((len(x), lags * x.shape[1])), np.zeros((len(x), lags * x.shape[1]))
    for rows in data.x.slices():
        own, D = x[rows], x.shape[1]
        for lag in range(lags):
            if lag < len(own):
                past[rows.start + lag : rows.stop, lag * D : (lag + 1) * D] = own[: len(own) - lag]
            if lag + 1 < len(own):
                ahead[rows.start : rows.stop - lag - 1, lag * D : (lag + 1) * D] = own[lag + 1 :]
    if rng is not None:
        weights = rng.standard_normal((past.shape[1], H))
    else:
        ridge = 1e-3 * len(x) * np.eye(past.shape[1])
        slope = np.linalg.solve(past.T @ past + ridge, past.T @ ahead)
        root = np.linalg.cholesky(past.T @ past + ridge)
        left = np.linalg.svd(root.T @ slope, full_matrices=False)[0]
        weights = np.linalg.solve(root.T, left[:, :H])
    z = past @ weights
    if z.shape[1] < H:
        z = np.column_stack([z, np.random.default_rng(0).standard_normal((len(z), H - z.shape[1]))])
    spread = np.sqrt(np.mean(z**2, axis=0))
    return z / np.where(spread > 0, spread, 1)


def _from_states(data: Data, z: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A, C, Q and R by least squares, as if the states z (N, H) were known."""
    before, after = z[:-1][~data.last[:-1]], z[1:][~data.last[:-1]]
    ridge = 1e-3 * len(z) * np.eye(z.shape[1])
    A = np.linalg.solve(before.T @ before + ridge, before.T @ after).T
    radius = np.abs(np.linalg.eigvals(A)).max()
    A = A * min(1, 0.999 / radius) if radius > 0 else A
    x = np.where(np.isnan(data.x.x), np.nanmean(data.x.x, axis=0), data.x.x)
    C = np.linalg.solve(z.T @ z + ridge, z.T @ x).T
    gap, rest = after - before @ A.T, x - z @ C.T
    Q = gap.T @ gap / len(gap) + 1e-2 * np.eye(z.shape[1])
    R = rest.T @ rest / len(x)
    return A, C, Q, R + 0.1 * np.diag(np.diag(R)) + 1e-2 * np.diag(_variances(data)[0])
