"""Coordinate-ascent variational inference for the conjugate mixture (PRML section 10.2)."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.ascent import Step, ascend
from mixtures.engines.plain import pass_
from mixtures.families.gaussian import Gaussian
from mixtures.fit import Conjugate, Fit, log_rho, rounding
from mixtures.initial import starts


def step(x: np.ndarray, family: Gaussian, allocation: Dirichlet) -> Callable[[np.ndarray], Step]:
    """One sweep over q(pi), q(theta) and q(z); its bound is the ELBO with every constant kept.

    With q(z) at its optimum the ELBO (PRML 10.70) is sum_n log_z_n - KL(q(pi) || p(pi)) - sum_k KL(q(theta_k) || p(theta_k)),
    and each divergence is sum(s * eta) minus a log marginal likelihood.
    """

    def cavi(s: np.ndarray) -> Step:
        q_pi, q_theta = allocation.posterior(s[:, 0]), family.posterior(s)  # 10.57-10.63
        eta = log_rho(allocation.expected_natural(q_pi), family.expected_natural(q_theta))  # 10.64-10.66
        log_z, s_next = pass_(family.features, x, eta)  # 10.46, 10.49, 10.51-10.53
        kl = (s * eta).sum() - allocation.log_marginal(s[:, 0]) - family.log_marginal(s)
        return Step(float(log_z - kl), s_next, rounding(eta, len(x)))

    return cavi


def fit(
    x: np.ndarray,
    family: Gaussian,
    allocation: Dirichlet,
    *,
    rng: np.random.Generator,
    init: object = "k-means++",
    restarts: int = 10,
    tol: float = 1e-9,
    max_iter: int = 10_000,
) -> Fit:
    """Fit a Bayesian mixture by CAVI.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Gaussian, Dirichlet
        The model with its priors.
    rng : numpy.random.Generator
        Source of the starts.
    init, restarts
        See `mixtures.initial.starts`.
    tol, max_iter
        See `mixtures.ascent.ascend`.

    Returns
    -------
    Fit
        Of kind "variational"; its bound is a lower bound on log p(x) around one labelling, in nats.
    """
    began = time.perf_counter()
    best = ascend(
        step(x, family, allocation),
        starts(x, family, allocation, init, restarts, rng),
        n=len(x),
        tol=tol,
        max_iter=max_iter,
    )
    return Fit(
        method="cavi",
        kind="variational",
        family=family,
        allocation=allocation,
        posterior=Conjugate(allocation.posterior(best.s[:, 0]), family.posterior(best.s)),
        bound=best.bound,
        converged=best.converged,
        seconds={"run": time.perf_counter() - began},
        info={
            "passes": len(best.bound),
            "restarts": best.restarts,
            "reached": best.reached,
            "collapsed": best.collapsed,
        },
    )
