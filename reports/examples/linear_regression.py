"""Bayesian linear regression (Bishop, *Pattern Recognition and Machine Learning*, section 10.3 and exercise 10.26).

    alpha ~ Gam(a0, b0)    w | alpha ~ N(0, alpha^-1 I)    beta ~ Gam(c0, d0)    t_n ~ N(w^T phi_n, beta^-1)    10.87-10.89

q(w, alpha, beta) = q(w) q(alpha) q(beta); section 10.3 takes the precision beta of the noise as known, the exercise does not.
The data are the test scores t of 434 children and their mothers' IQ (Gelman & Hill 2007), both as (score - 100) / 15;
phi_n holds a 1 and the mother's.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pymc as pm
from scipy import stats
from scipy.special import digamma, gammaln

from reports.examples.factorised import Factorised, moving
from reports.examples.sources import posteriordb

TERMS = ("intercept", "mother")
A0, B0 = 1.0, 1.0
C0, D0 = 1.0, 1.0

Data = Mapping[str, np.ndarray]


def load() -> dict[str, np.ndarray]:
    """``Phi`` (434, 2) and ``t`` (434,)."""
    kids = posteriordb("kidiq")
    mothers, t = ((kids[name] - 100) / 15 for name in ("mom_iq", "kid_score"))
    return {"Phi": np.column_stack([np.ones(len(t)), mothers]), "t": t}


def build(data: Data | None = None) -> pm.Model:
    """The model: ``w`` (2,), ``alpha`` and ``beta``."""
    given = load() | dict(data or {})
    with pm.Model(coords={"term": TERMS}) as model:
        alpha, beta = pm.Gamma("alpha", A0, B0), pm.Gamma("beta", C0, D0)
        w = pm.Normal("w", 0, tau=alpha, dims="term")
        pm.Normal("t", given["Phi"] @ w, tau=beta, observed=given["t"])
    return model


def fit(data: Data, rng: np.random.Generator) -> Factorised:
    """Coordinate ascent on q(w) q(alpha) q(beta); it starts at the prior means and needs no random numbers."""
    given = load() | dict(data)
    Phi, t = given["Phi"], given["t"]
    (N, M), alpha, beta = Phi.shape, A0 / B0, C0 / D0
    elbo: list[float] = []
    a_N, c_N = A0 + M / 2, C0 + N / 2  # 10.94, and for beta as in exercise 10.26
    while moving(elbo):
        S_N = np.linalg.inv(alpha * np.eye(M) + beta * Phi.T @ Phi)  # 10.101
        m_N = beta * S_N @ Phi.T @ t  # 10.100
        b_N = B0 + (m_N @ m_N + np.trace(S_N)) / 2  # 10.95 with 10.103
        d_N = D0 + (((t - Phi @ m_N) ** 2).sum() + np.trace(Phi.T @ Phi @ S_N)) / 2  # exercise 10.26
        alpha, beta = a_N / b_N, c_N / d_N  # 10.102
        factors = {
            "w": stats.multivariate_normal(m_N, S_N),
            "alpha": stats.gamma(a_N, scale=1 / b_N),
            "beta": stats.gamma(c_N, scale=1 / d_N),
        }
        elbo.append(bound(N, M, (a_N, b_N), (c_N, d_N), sum(q.entropy() for q in factors.values())))
    return Factorised(factors, np.array(elbo))


def bound(N: int, M: int, q_alpha: tuple[float, float], q_beta: tuple[float, float], entropy: float) -> float:
    """The ELBO (10.107) in nats, right after the updates of q(alpha) and q(beta).

    The quadratic terms of ln p(t | w, beta) and ln p(w | alpha) are then in b_N and d_N.
    """
    parts = ((A0, B0, *q_alpha, M), (C0, D0, *q_beta, N))
    joint = sum(
        (shape - 1) * (digamma(shape_N) - np.log(rate_N))
        + size / 2 * (digamma(shape_N) - np.log(rate_N) - np.log(2 * np.pi))
        + shape * np.log(rate) - gammaln(shape) - shape_N
        for shape, rate, shape_N, rate_N, size in parts
    )  # fmt: skip
    return float(joint + entropy)
