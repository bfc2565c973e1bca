"""Pathfinder (Zhang, Carpenter, Gelman & Vehtari 2022, *JMLR* 23:306): Gaussians on the way of a quasi-Newton optimiser.

L-BFGS climbs log p(y, u) and leaves points u_l with gradients g_l. At each of them its estimate of the inverse Hessian gives

    q_l(u) = N(u | u_l + S_l g_l, S_l)      S_l = D + B G B'       B = [D Z, S]                        (algorithms 3 and 4)

with D a diagonal and S, Z the last steps and changes of the gradient. The q_l of the highest ELBO is kept, not the one at the
mode: that of a funnel is where there is no mass. Of several paths q is the best; the resampling of draws of all of them
(algorithm 2) is left out, since its result has no density, and so no k-hat.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from reports.validation.methods.starts import jittered
from reports.validation.results import Joined, from_unconstrained
from reports.validation.target import Target

PATHS = 4

# Steps of a path, steps that an estimate of the curvature remembers, and draws by which the Gaussians on a path are compared.
STEPS, MEMORY, COMPARED = 1000, 6, 10

# Points of a path that are tried, evenly spaced where there are more.
MOST_TRIED = 50

# A step is remembered if the gradient changed along it by this much of the squared change (Zhang et al., section 2).
CURVED = 1e-12


class Gaussian(NamedTuple):
    """A point of a path: its mean (P,), the Cholesky factor of its covariance (P, P), its ELBO in nats."""

    mean: np.ndarray
    L: np.ndarray
    elbo: float


def fit(target: Target, *, rng: np.random.Generator, draws: int = 1000, chains: int = 4) -> Joined:
    """Follow four paths, keep the Gaussian of the highest ELBO, and draw from it.

    The paths begin about PyMC's start. ``converged`` says that at least one other path found an ELBO within a nat of the best.

    Raises
    ------
    ValueError
        If no path has a point whose Gaussian has a finite ELBO.
    """
    import jax

    clock = [time.perf_counter()]
    value_and_grad = jax.jit(jax.value_and_grad(target.flat.log_joint)).lower(target.start).compile()
    clock.append(time.perf_counter())
    found = [best for start in jittered(target, PATHS, rng) if (best := _path(target, value_and_grad, start, rng))]
    if not found:
        raise ValueError("no point on the way of the optimiser has a Gaussian of finite ELBO; rescale the model")
    best = max(found, key=lambda q: q.elbo)
    noise = rng.standard_normal((chains * draws, target.size))
    u = best.mean + noise @ best.L.T
    log_q = _log_q(noise, best.L)
    reached = sum(q.elbo > best.elbo - 1 for q in found)
    joined = from_unconstrained(
        target,
        u.reshape(chains, draws, -1),
        "variational",
        log_q=log_q.reshape(chains, draws),
        converged=reached > 1,
        info={"restarts": PATHS, "failed": PATHS - len(found), "reached": reached, "elbo_of_path": best.elbo},
    )
    clock.append(time.perf_counter())
    compiled, ran = np.diff(clock)
    return replace(joined, seconds={"compile": float(compiled), "run": float(ran)})


def _path(target: Target, value_and_grad, start: np.ndarray, rng: np.random.Generator) -> Gaussian | None:
    """The Gaussian of the highest ELBO on the way from a start."""
    points, gradients = _climb(value_and_grad, start)
    noise = rng.standard_normal((COMPARED, target.size))
    gaussians = [
        (points[i] + S @ gradients[i], L) for i, S in _curvatures(points, gradients) if (L := _cholesky(S)) is not None
    ]
    if not gaussians:
        return None
    drawn = np.concatenate([mean + noise @ L.T for mean, L in gaussians])
    log_p = target.log_density(drawn).reshape(-1, COMPARED)
    means = [(own - _log_q(noise, L)).mean() for own, (_, L) in zip(log_p, gaussians, strict=True)]
    elbos = np.where(np.isfinite(means), means, -np.inf)
    best = int(np.argmax(elbos))
    return Gaussian(*gaussians[best], float(elbos[best])) if np.isfinite(elbos[best]) else None


def _climb(value_and_grad, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points of an ascent by L-BFGS and the gradients there, (n, P) each."""
    from scipy.optimize import minimize

    known: dict[bytes, np.ndarray] = {}

    def loss(u: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = value_and_grad(u)
        if not np.isfinite(value):
            return np.inf, np.zeros_like(u)
        known[u.tobytes()] = np.asarray(grad)
        return -float(value), -np.asarray(grad)

    points = [start.copy()]
    loss(start)
    options = {"maxiter": STEPS, "maxcor": MEMORY, "ftol": 1e-8}
    minimize(loss, start, jac=True, method="L-BFGS-B", options=options, callback=lambda u: points.append(u.copy()))
    kept = [u for u in points if u.tobytes() in known]
    return np.array(kept), np.array([known[u.tobytes()] for u in kept])


def _curvatures(points: np.ndarray, gradients: np.ndarray):
    """Estimates of the inverse Hessian, number of the point and (P, P), at as many points as are tried."""
    tried = (
        set(np.linspace(1, len(points) - 1, min(len(points) - 1, MOST_TRIED)).astype(int)) if len(points) > 1 else ()
    )
    D = np.ones(points.shape[1])
    memory: list[tuple[np.ndarray, np.ndarray]] = []
    for i in range(1, len(points)):
        s, z = points[i] - points[i - 1], gradients[i - 1] - gradients[i]
        if s @ z > CURVED * (z @ z):
            memory = [*memory[1 - MEMORY :], (s, z)]
            a, b, c = z @ (D * z), z @ s, s @ (s / D)
            D = 1 / (a / (b * D) + z**2 / b - a * s**2 / (b * c * D**2))
        if i in tried and memory:
            yield i, _inverse_hessian(D, *map(np.array, zip(*memory, strict=True)))


def _inverse_hessian(D: np.ndarray, S: np.ndarray, Z: np.ndarray) -> np.ndarray:
    """L-BFGS's estimate from a diagonal (P,), steps S and changes Z (m, P) (Zhang et al., algorithm 3)."""
    S, Z = S.T, Z.T
    R = np.triu(S.T @ Z)
    R_inv = np.linalg.inv(R)
    E = np.diag(np.diag(R))
    B = np.concatenate([D[:, None] * Z, S], axis=1)
    corner = R_inv.T @ (E + Z.T @ (D[:, None] * Z)) @ R_inv
    G = np.block([[np.zeros_like(R), -R_inv], [-R_inv.T, corner]])
    return np.diag(D) + B @ G @ B.T


def _cholesky(S: np.ndarray) -> np.ndarray | None:
    try:
        return np.linalg.cholesky((S + S.T) / 2)
    except np.linalg.LinAlgError:
        return None


def _log_q(noise: np.ndarray, L: np.ndarray) -> np.ndarray:
    """Log density of mean + L noise under the Gaussian, (n,)."""
    return -(noise**2).sum(1) / 2 - noise.shape[1] / 2 * np.log(2 * np.pi) - np.log(np.diagonal(L)).sum()
