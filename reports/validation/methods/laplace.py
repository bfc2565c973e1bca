"""Laplace's approximation (Bishop, PRML, section 4.4): a Gaussian at the mode, with the curvature there.

    q(u) = N(u | u*, A^-1)      u* = argmax log p(y, u)      A = -d^2 log p(y, u) / du du'  at u*           (4.131, 4.134)

over the unconstrained values u, whose density holds the Jacobian.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.linalg import solve_triangular

from models.flat import interruptible
from reports.validation.methods.starts import jittered
from reports.validation.results import Joined, from_unconstrained
from reports.validation.target import Target

RESTARTS = 4

# Gain in nats that one more step of Newton's would have at a mode, at most; and steps of the search.
SETTLED, STEPS = 1e-3, 10_000

# Of central differences: the cube root of rounding, at which their error is least.
STEP = float(np.cbrt(np.finfo(float).eps))


def fit(target: Target, *, rng: np.random.Generator, draws: int = 1000, chains: int = 4) -> Joined:
    """Find the mode by BFGS from several starts, and draw from the Gaussian with its curvature.

    Raises
    ------
    ValueError
        If the curvature at the best point is not positive definite: the density has no mode there.
    """
    import jax
    from scipy.optimize import minimize

    clock = [time.perf_counter()]
    u = target.start
    loss = jax.jit(jax.value_and_grad(lambda v: -target.flat.log_joint(v))).lower(u).compile()
    hessian = _hessian(target, loss, u)
    clock.append(time.perf_counter())

    def loss_and_grad(v: np.ndarray) -> tuple[float, np.ndarray]:
        value, grad = loss(v)
        return (float(value), np.asarray(grad)) if np.isfinite(value) else (np.inf, np.zeros_like(v))

    ends = [
        minimize(
            loss_and_grad, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "ftol": 1e-14, "gtol": 1e-8}
        )
        for start in (u, *jittered(target, RESTARTS - 1, rng))
    ]
    best = min(ends, key=lambda end: end.fun)
    A = np.asarray(interruptible(hessian)(best.x))
    mode, A = _polished(best.x, A, loss_and_grad, hessian)
    try:
        L = np.linalg.cholesky((A + A.T) / 2)
    except np.linalg.LinAlgError:
        raise ValueError(
            "the curvature is not positive definite at the highest point found: the density has no mode there, or rises "
            "without end on unconstrained scales, as that of hierarchical models does where a group's variance goes to zero"
        ) from None
    value, grad = loss_and_grad(mode)
    gain = float(np.sum(solve_triangular(L, grad, lower=True) ** 2) / 2)
    noise = rng.standard_normal((chains * draws, target.size))
    drawn = mode + solve_triangular(L, noise.T, lower=True, trans="T").T
    log_q = -(noise**2).sum(1) / 2 - target.size / 2 * np.log(2 * np.pi) + np.log(np.diagonal(L)).sum()
    evidence = -value + target.size / 2 * np.log(2 * np.pi) - np.log(np.diagonal(L)).sum()
    joined = from_unconstrained(
        target,
        drawn.reshape(chains, draws, -1),
        "variational",
        log_q=log_q.reshape(chains, draws),
        converged=gain < SETTLED,
        info={
            "restarts": RESTARTS,
            "reached": int(sum(end.fun < value + 0.1 for end in ends)),
            "gain": gain,
            "log_evidence_laplace": float(evidence),
        },
    )
    clock.append(time.perf_counter())
    compiled, ran = np.diff(clock)
    return replace(joined, seconds={"compile": float(compiled), "run": float(ran)})


def _hessian(target: Target, loss: Callable, u: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From u (P,) to the second derivatives (P, P) of -log p(y, u): by central differences of its gradient where JAX has none.

    JAX 0.12 fails on the second derivative of ``erfcx``, which is in the tails of truncated and censored normals.
    """
    import jax

    try:
        return jax.jit(jax.hessian(lambda v: -target.flat.log_joint(v))).lower(u).compile()
    except TypeError:
        return lambda v: np.array(
            [(loss(v + step)[1] - loss(v - step)[1]) / (2 * STEP) for step in STEP * np.eye(len(v))]
        )


def _polished(mode, A, loss_and_grad, hessian):
    """A few of Newton's steps, as long as they lower the loss."""
    value, grad = loss_and_grad(mode)
    for _ in range(5):
        try:
            step = np.linalg.solve(A, grad)
        except np.linalg.LinAlgError:
            break
        lower, new = loss_and_grad(mode - step)
        if not lower < value:
            break
        mode, value, grad = mode - step, lower, new
        A = np.asarray(hessian(mode))
    return mode, A
