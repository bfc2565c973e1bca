"""Bayesian logistic regression with the bound of Jaakkola & Jordan (Bishop, *Pattern Recognition and Machine Learning*, 10.6).

    w ~ N(m0, S0)      t_n ~ Bernoulli(sigma(w^T phi_n))

The sigmoid is bounded from below by an exponential of a square, which touches it at w^T phi_n = +-xi_n (10.144, 10.151):

    sigma(z) >= sigma(xi) exp{(z - xi) / 2 - lambda(xi) (z^2 - xi^2)},    lambda(xi) = (sigma(xi) - 1/2) / (2 xi)

so that q(w) is normal, and xi is chosen to make the bound on ln p(t) as large as it can be (10.164). As the bound falls off
faster than the sigmoid, q(w) is narrower than the posterior. The data are 270 patients, t says who has a heart disease
(Statlog, UCI repository); phi_n holds a 1 and age, blood pressure, cholesterol and maximal heart rate, standardised.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pymc as pm
from scipy import stats
from scipy.special import expit, log_expit

from mixtures import datasets
from reports.examples.factorised import Factorised, moving

COLUMNS = ("age", "rest_blood_pressure", "cholesterol", "max_heart_rate")
SD0 = 2.0
"""The prior is m0 = 0 and S0 = SD0^2 I."""

Data = Mapping[str, np.ndarray]


def load() -> dict[str, np.ndarray]:
    """``Phi`` (270, 5) and ``t`` (270,) of 0 and 1."""
    heart = datasets.load("heart", columns=COLUMNS)
    x = (heart.x - heart.x.mean(0)) / heart.x.std(0)
    return {"Phi": np.column_stack([np.ones(len(x)), x]), "t": np.where(heart.labels == "2", 1, 0)}


def build(data: Data | None = None) -> pm.Model:
    """The model: ``w`` (5,), in log odds."""
    given = load() | dict(data or {})
    with pm.Model(coords={"term": ("intercept", *COLUMNS)}) as model:
        w = pm.Normal("w", 0, SD0, dims="term")
        pm.Bernoulli("t", logit_p=given["Phi"] @ w, observed=given["t"])
    return model


def fit(data: Data, rng: np.random.Generator) -> Factorised:
    """EM for xi, the E step of which is q(w); it starts at xi = 1 and needs no random numbers."""
    given = load() | dict(data)
    Phi, t = given["Phi"], given["t"]
    N, M = Phi.shape
    xi = np.ones(N)
    elbo: list[float] = []
    while moving(elbo):
        slope = (expit(xi) - 0.5) / (2 * xi)  # lambda(xi), 10.150
        precision = np.eye(M) / SD0**2 + 2 * (slope * Phi.T) @ Phi  # 10.158
        S_N = np.linalg.inv(precision)
        m_N = S_N @ Phi.T @ (t - 0.5)  # 10.157 with m0 = 0
        elbo.append(
            np.linalg.slogdet(S_N)[1] / 2 - M * np.log(SD0)
            + m_N @ precision @ m_N / 2
            + (log_expit(xi) - xi / 2 + slope * xi**2).sum()
        )  # 10.164  # fmt: skip
        xi = np.sqrt(np.einsum("ni,ij,nj->n", Phi, S_N + np.outer(m_N, m_N), Phi))  # 10.163
    return Factorised({"w": stats.multivariate_normal(m_N, S_N)}, np.array(elbo))
