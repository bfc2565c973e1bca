"""Expectation-maximisation (PRML section 9.2): maximum likelihood, or the posterior mode under the conjugate prior."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mixtures.ascent import Pass, Step, ascend
from mixtures.fit import Draws, Fit
from mixtures.model import Allocation, Family
from mixtures.responsibilities import fold


def step(family: Family, allocation: Allocation, pass_: Pass) -> Callable[[np.ndarray], Step]:
    """One EM iteration for maximum likelihood; its bound is log p(x | pi, theta)."""

    def em(s: np.ndarray) -> Step:
        pi = allocation.maximum_likelihood(s[:, 0])  # 9.22
        theta = family.maximum_likelihood(s)  # 9.17, 9.19
        eta = fold(allocation.natural(pi), family.natural(theta))
        log_z, s_next = pass_(eta)  # 9.14, 9.13
        return Step(log_z, s_next, eta)

    return em


def map_step(family: Family, allocation: Allocation, pass_: Pass) -> Callable[[np.ndarray], Step]:
    """One EM iteration for the posterior mode (PRML section 9.4); its bound is log p(x, pi, theta) in the units of x."""

    def em(s: np.ndarray) -> Step:
        pi, theta = allocation.mode(s[:, 0]), family.mode(s)
        eta = fold(allocation.natural(pi), family.natural(theta))
        log_z, s_next = pass_(eta)
        log_prior = allocation.log_prior(pi) + family.log_prior(theta) + family.log_jacobian(len(pi))
        return Step(float(log_z + log_prior), s_next, eta)

    return em


def fit(
    x: np.ndarray,
    family: Family,
    allocation: Allocation,
    *,
    rng: np.random.Generator,
    prior: bool = False,
    **climb: Any,
) -> Fit:
    """Fit a mixture by EM.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
        The model; their priors are used where ``prior`` is true.
    rng : numpy.random.Generator
        Source of the starts.
    prior : bool
        False for maximum likelihood, True for the mode of the posterior density of (pi, theta). A mode depends on the
        parametrisation it is taken in; for Gaussian clusters that is (pi, mu, Lambda).
    **climb
        ``init``, ``restarts``, ``tol``, ``max_iter``: see `mixtures.ascent.ascend`.

    Returns
    -------
    Fit
        Of kind "point". For maximum likelihood ``info`` holds the AIC, BIC and ICL; see `criteria`.

    Raises
    ------
    CollapseError
        If every start ended with a cluster on too few points, where the likelihood has no maximum.
    """
    began = time.perf_counter()
    s, bound, converged, info = ascend(map_step if prior else step, x, family, allocation, rng=rng, **climb)
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
        bound=bound,
        converged=converged,
        seconds={"run": time.perf_counter() - began},
        info=info,
    )
    if not prior:
        result.info.update(criteria(result, x))
    return result


def criteria(fit: Fit, x: np.ndarray) -> dict[str, float]:
    """AIC, BIC and ICL of a maximum-likelihood fit, on the scale of -2 log likelihood, smaller being better.

    AIC = -2 L + 2 p (Akaike 1974); BIC = -2 L + p log N (Schwarz 1978); ICL = BIC + 2 times the entropy of the
    responsibilities (Biernacki, Celeux & Govaert 2000).
    """
    L, p = fit.bound[-1], fit.family.n_free(fit.n_components) + fit.allocation.n_free()
    r = fit.responsibilities(x)
    entropy = -np.sum(r * np.log(np.where(r > 0, r, 1.0)))
    bic = -2 * L + p * np.log(len(x))
    return {"aic": float(-2 * L + 2 * p), "bic": float(bic), "icl": float(bic + 2 * entropy)}
