"""Coordinate-ascent variational inference for the conjugate mixture (PRML section 10.2)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from mixtures.ascent import Pass, Step, ascend
from mixtures.errors import ConvergenceWarning
from mixtures.fit import Conjugate, Fit
from mixtures.model import Allocation, Family
from mixtures.responsibilities import fold, normalise

LEAVE_ONE_OUT_BLOCK = 3_000_000


def step(family: Family, allocation: Allocation, pass_: Pass) -> Callable[[np.ndarray], Step]:
    """One sweep over q(pi), q(theta) and q(z); its bound is the ELBO with every constant kept.

    With q(z) at its optimum the ELBO (PRML 10.70) is sum_n log_z_n - KL(q(pi) || p(pi)) - sum_k KL(q(theta_k) || p(theta_k)),
    and each divergence is sum(s * eta) minus a log marginal likelihood.
    """

    def cavi(s: np.ndarray) -> Step:
        q_pi, q_theta = allocation.posterior(s[:, 0]), family.posterior(s)  # 10.57-10.63
        eta = fold(allocation.expected_natural(q_pi), family.expected_natural(q_theta))  # 10.64-10.66
        log_z, s_next = pass_(eta)  # 10.46, 10.49, 10.51-10.53
        kl = (s * eta).sum() - allocation.log_marginal(s[:, 0]) - family.log_marginal(s)
        return Step(float(log_z - kl), s_next, eta)

    return cavi


def fit(x: np.ndarray, family: Family, allocation: Allocation, *, rng: np.random.Generator, **climb: Any) -> Fit:
    """Fit a Bayesian mixture by CAVI.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
        The model with its priors.
    rng : numpy.random.Generator
        Source of the starts.
    **climb
        ``init``, ``restarts``, ``tol``, ``max_iter``: see `mixtures.ascent.ascend`.

    Returns
    -------
    Fit
        Of kind "variational"; its bound is a lower bound on log p(x) around one labelling, in nats.
    """
    began = time.perf_counter()
    s, bound, converged, info = ascend(step, x, family, allocation, rng=rng, **climb)
    return Fit(
        method="cavi",
        kind="variational",
        family=family,
        allocation=allocation,
        posterior=Conjugate(allocation.posterior(s[:, 0]), family.posterior(s)),
        bound=bound,
        converged=converged,
        seconds={"run": time.perf_counter() - began},
        info=info,
    )


def leave_one_out(fit: Fit, x: np.ndarray, *, tol: float = 1e-6, max_iter: int = 1000) -> np.ndarray:
    """log p(x_n | all points but x_n) of a CAVI fit in nats, shape (N,), by refitting without each point in turn.

    The N refits start from the fit itself, so that they stay in its mode, and climb side by side until no log density
    moves by more than ``tol``. Their cost is that of N fits, about N^2 K P operations a sweep.

    Parameters
    ----------
    fit : Fit
        With its closed-form posterior on ``x``.
    x : ndarray, shape (N, D)

    Warns
    -----
    ConvergenceWarning
        If a refit was still moving after ``max_iter`` sweeps.
    """
    family, allocation, t = fit.family, fit.allocation, fit.family.features(x)
    r = fit.responsibilities(x)
    s = r.T @ t
    blocks = np.array_split(np.arange(len(x)), -(-len(x) * r.size // LEAVE_ONE_OUT_BLOCK))
    return np.concatenate(
        [_without(rows, s - r[rows, :, None] * t[rows, None], t, family, allocation, tol, max_iter) for rows in blocks]
    )


def _without(
    rows: np.ndarray, s: np.ndarray, t: np.ndarray, family: Family, allocation: Allocation, tol: float, max_iter: int
) -> np.ndarray:
    """Log predictive density of each of ``rows`` from states s (rows, K, P) that leave it out, climbed until they settle."""
    own = t[rows]
    previous = np.full(len(rows), np.inf)
    for _ in range(max_iter):
        log_p = _predictive(own, s, family, allocation)
        if np.abs(log_p - previous).max() <= tol:
            return log_p
        previous = log_p
        eta = fold(
            allocation.expected_natural(allocation.posterior(s[..., 0])), family.expected_natural(family.posterior(s))
        )
        r = normalise(np.moveaxis(eta @ t.T, 1, -1))[1]  # (rows, N, K)
        r[range(len(rows)), rows] = 0
        s = r.swapaxes(1, 2) @ t
    warnings.warn(f"a refit was still moving after {max_iter} sweeps", ConvergenceWarning, stacklevel=3)
    return log_p


def _predictive(own: np.ndarray, s: np.ndarray, family: Family, allocation: Allocation) -> np.ndarray:
    """log p(x_n | s_n) for features (B, P) and states (B, K, P): each cluster's density is a ratio of evidences."""
    K = s.shape[1]
    joined = s[:, None] + np.eye(K)[None, :, :, None] * own[:, None, None, :]
    log_density = family.log_marginal(joined) - family.log_marginal(s)[:, None]
    weights = allocation.mean(allocation.posterior(s[..., 0]))
    return normalise(allocation.natural(weights) + log_density)[0]
