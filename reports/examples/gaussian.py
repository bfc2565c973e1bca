"""A Gaussian whose mean and precision are unknown (Bishop, *Pattern Recognition and Machine Learning*, section 10.1.3).

    tau ~ Gam(a0, b0)      mu | tau ~ N(mu0, (lambda0 tau)^-1)      x_n | mu, tau ~ N(mu, tau^-1)        10.21-10.23

q(mu, tau) = q(mu) q(tau) (10.24), though the exact posterior, a Normal-Gamma distribution, has mu depend on tau.
The data are the flipper lengths of 68 chinstrap penguins, in mm (Horst, Hill & Gorman 2020).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pymc as pm
from scipy import stats
from scipy.special import digamma, gammaln

from mixtures import datasets
from reports.examples.factorised import Factorised, moving

MU0, LAMBDA0 = 200.0, 0.01
A0, B0 = 1.0, 50.0

Data = Mapping[str, np.ndarray]


def load() -> dict[str, np.ndarray]:
    """``x`` (68,), in mm."""
    penguins = datasets.load("penguins", columns=["flipper_length_mm"])
    return {"x": penguins.x[penguins.labels == "Chinstrap", 0]}


def build(data: Data | None = None) -> pm.Model:
    """The model: ``tau`` in 1/mm^2, ``mu`` in mm."""
    x = (load() | dict(data or {}))["x"]
    with pm.Model() as model:
        tau = pm.Gamma("tau", A0, B0)
        mu = pm.Normal("mu", MU0, tau=LAMBDA0 * tau)
        pm.Normal("x", mu, tau=tau, observed=x)
    return model


def fit(data: Data, rng: np.random.Generator) -> Factorised:
    """Coordinate ascent on q(mu) q(tau); it starts at E[tau] = a0 / b0 and needs no random numbers."""
    x = (load() | dict(data))["x"]
    N, tau = len(x), A0 / B0
    elbo: list[float] = []
    while moving(elbo):
        mu_N = (LAMBDA0 * MU0 + x.sum()) / (LAMBDA0 + N)  # 10.26
        lambda_N = (LAMBDA0 + N) * tau  # 10.27
        a_N = A0 + (N + 1) / 2  # 10.29
        b_N = B0 + expected_squares(x, mu_N, lambda_N) / 2  # 10.30
        tau = a_N / b_N
        elbo.append(bound(x, mu_N, lambda_N, a_N, b_N))
    return Factorised({"mu": stats.norm(mu_N, lambda_N**-0.5), "tau": stats.gamma(a_N, scale=1 / b_N)}, np.array(elbo))


def expected_squares(x: np.ndarray, mu_N: float, lambda_N: float) -> float:
    """E_mu[sum_n (x_n - mu)^2 + lambda0 (mu - mu0)^2], as in 10.30."""
    squares = ((x - mu_N) ** 2).sum() + LAMBDA0 * (mu_N - MU0) ** 2
    return float(squares + (len(x) + LAMBDA0) / lambda_N)


def bound(x: np.ndarray, mu_N: float, lambda_N: float, a_N: float, b_N: float) -> float:
    """The ELBO (10.3) in nats: E[ln p(x, mu, tau)] and the entropies of the two factors."""
    N, tau, log_tau = len(x), a_N / b_N, digamma(a_N) - np.log(b_N)
    joint = (
        (N + 1) / 2 * (log_tau - np.log(2 * np.pi))
        + np.log(LAMBDA0) / 2
        - tau / 2 * expected_squares(x, mu_N, lambda_N)
        + A0 * np.log(B0) - gammaln(A0) + (A0 - 1) * log_tau - B0 * tau
    )  # fmt: skip
    return float(joint + stats.norm(scale=lambda_N**-0.5).entropy() + stats.gamma(a_N, scale=1 / b_N).entropy())
