"""Expectation-maximisation (PRML section 9.2): maximum likelihood, or the posterior mode under the conjugate prior."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.ascent import Step, ascend
from mixtures.engines.plain import pass_
from mixtures.families.gaussian import Gaussian
from mixtures.fit import Draws, Fit, log_rho, rounding
from mixtures.initial import starts


def step(x: np.ndarray, family: Gaussian, allocation: Dirichlet) -> Callable[[np.ndarray], Step]:
    """One EM iteration for maximum likelihood; its bound is log p(x | pi, theta)."""

    def em(s: np.ndarray) -> Step:
        pi = allocation.maximum_likelihood(s[:, 0])  # 9.22
        theta = family.maximum_likelihood(s)  # 9.17, 9.19
        eta = log_rho(allocation.natural(pi), family.natural(theta))
        log_z, s_next = pass_(family.features, x, eta)  # 9.14, 9.13
        return Step(log_z, s_next, rounding(eta, len(x)))

    return em


def map_step(x: np.ndarray, family: Gaussian, allocation: Dirichlet) -> Callable[[np.ndarray], Step]:
    """One EM iteration for the posterior mode (PRML section 9.4); its bound is log p(x, pi, mu, Lambda) in units of x."""
    K, D = len(allocation.alpha0), len(family.unit)

    def em(s: np.ndarray) -> Step:
        pi, theta = allocation.mode(s[:, 0]), family.mode(s)
        eta = log_rho(allocation.natural(pi), family.natural(theta))
        log_z, s_next = pass_(family.features, x, eta)
        log_prior = allocation.log_prior(pi) + family.log_prior(theta) + K * D * family.log_volume
        return Step(float(log_z + log_prior), s_next, rounding(eta, len(x)))

    return em


def fit(
    x: np.ndarray,
    family: Gaussian,
    allocation: Dirichlet,
    *,
    rng: np.random.Generator,
    prior: bool = False,
    init: object = "k-means++",
    restarts: int = 10,
    tol: float = 1e-9,
    max_iter: int = 10_000,
) -> Fit:
    """Fit a mixture by EM.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Gaussian, Dirichlet
        The model; their priors are used where ``prior`` is true.
    rng : numpy.random.Generator
        Source of the starts.
    prior : bool
        False for maximum likelihood, True for the mode of the posterior density of (pi, mu, Lambda). A mode depends on
        the parametrisation it is taken in.
    init, restarts
        See `mixtures.initial.starts`.
    tol, max_iter
        See `mixtures.ascent.ascend`.

    Returns
    -------
    Fit
        Of kind "point". For maximum likelihood ``info`` holds the AIC, BIC and ICL, all on the scale of -2 log likelihood,
        smaller being better.

    Raises
    ------
    CollapseError
        If every start ended with a cluster on too few points, where the likelihood has no maximum.
    """
    began = time.perf_counter()
    steps = map_step if prior else step
    best = ascend(
        steps(x, family, allocation),
        starts(x, family, allocation, init, restarts, rng),
        n=len(x),
        tol=tol,
        max_iter=max_iter,
    )
    s = best.s
    if prior:
        pi, theta = allocation.mode(s[:, 0]), family.mode(s)
    else:
        pi, theta = allocation.maximum_likelihood(s[:, 0]), family.maximum_likelihood(s)
    result = Fit(
        method="map" if prior else "em",
        kind="point",
        family=family,
        allocation=allocation,
        posterior=Draws(pi[None, None], {name: value[None, None] for name, value in theta.items()}),
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
    if not prior:
        result.info.update(criteria(result, x))
    return result


def criteria(fit: Fit, x: np.ndarray) -> dict[str, float]:
    """AIC, BIC and ICL of a maximum-likelihood fit, smaller being better.

    AIC = -2 L + 2 p (Akaike 1974); BIC = -2 L + p log N (Schwarz 1978); ICL = BIC + 2 times the entropy of the
    responsibilities (Biernacki, Celeux & Govaert 2000).
    """
    L, p = fit.bound[-1], fit.family.n_free(len(fit.allocation.alpha0)) + fit.allocation.n_free()
    r = fit.responsibilities(x)
    entropy = -np.sum(r * np.log(np.where(r > 0, r, 1.0)))
    bic = -2 * L + p * np.log(len(x))
    return {"aic": float(-2 * L + 2 * p), "bic": float(bic), "icl": float(bic + 2 * entropy)}
