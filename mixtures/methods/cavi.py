"""Coordinate-ascent variational inference for the conjugate mixture (PRML section 10.2)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mixtures.ascent import Pass, Step, ascend
from mixtures.fit import Conjugate, Fit
from mixtures.model import Allocation, Family
from mixtures.responsibilities import fold


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
