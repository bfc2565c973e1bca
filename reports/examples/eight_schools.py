"""A hierarchical normal model, the eight schools of Rubin (1981): where a factorised q fails, and k-hat says so.

    mu ~ N(0, 5^2)      tau ~ half-Cauchy(5)      theta_j ~ N(mu, tau^2)      y_j ~ N(theta_j, sigma_j^2)

with the effects y_j and their standard errors sigma_j given. The variational Bayes is that of Gelman et al., *Bayesian Data
Analysis* (3rd edition, section 13.7), for this prior of tau; a half-Cauchy is a scale mixture of inverse Gammas (Wand et al.
2011, *Bayesian Analysis* 6:847-900, result 5), which makes every update conjugate:

    tau^2 | a ~ IG(1/2, 1/a)      a ~ IG(1/2, 1/5^2)

q(theta, mu, tau^2, a) = prod_j q(theta_j) q(mu) q(tau^2) q(a), and a has no place in the PyMC model: it is integrated out.
The posterior has a funnel where tau is small and all theta_j are near mu. No product of independent factors has one.

NUTS wants the funnel taken out of the model: its free variables are z_j = (theta_j - mu) / tau. So q is asked for the density
of z, which is that of theta times the Jacobian tau^J.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np
import pymc as pm
from scipy import stats
from scipy.special import digamma, gammaln

from reports.examples.factorised import Factorised, moving
from reports.examples.sources import posteriordb

SD0, SCALE0 = 5.0, 5.0

Data = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Schools:
    """q of theta, mu and tau^2, by the names of the model: ``mu``, ``tau``, ``z`` (J,) and ``theta`` (J,)."""

    q: Factorised

    @property
    def elbo(self) -> np.ndarray:
        """The bound after every sweep, in nats."""
        return self.q.elbo

    def sample(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Independent draws (n, *shape)."""
        draws = self.q.sample(n, rng)
        mu, tau, theta = draws["mu"], np.sqrt(draws["tau^2"]), draws["theta"]
        return {"mu": mu, "tau": tau, "z": (theta - mu[:, None]) / tau[:, None], "theta": theta}

    def log_prob(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """log q(mu, tau, z) of draws (n, *shape), shape (n,), in nats."""
        mu, tau, z = values["mu"], values["tau"], values["z"]
        theta = mu[:, None] + tau[:, None] * z
        jacobian = np.log(2 * tau) + z.shape[1] * np.log(tau)
        return self.q.log_prob({"mu": mu, "tau^2": tau**2, "theta": theta}) + jacobian


def load() -> dict[str, np.ndarray]:
    """``y`` and ``sigma`` (8,), in points of the test."""
    schools = posteriordb("eight_schools")
    return {"y": schools["y"].astype(float), "sigma": schools["sigma"].astype(float)}


def build(data: Data | None = None) -> pm.Model:
    """The model, non-centred: ``mu``, ``tau``, ``z`` (J,), and ``theta`` (J,) that follows from them."""
    given = load() | dict(data or {})
    with pm.Model(coords={"school": list(ascii_uppercase[: len(given["y"])])}) as model:
        mu, tau = pm.Normal("mu", 0, SD0), pm.HalfCauchy("tau", SCALE0)
        z = pm.Normal("z", dims="school")
        theta = pm.Deterministic("theta", mu + tau * z, dims="school")
        pm.Normal("y", theta, given["sigma"], observed=given["y"])
    return model


def fit(data: Data, rng: np.random.Generator) -> Schools:
    """Coordinate ascent on q(theta) q(mu) q(tau^2) q(a); it starts at the scatter of y and needs no random numbers."""
    given = load() | dict(data)
    y, sigma = given["y"], given["sigma"]
    J = len(y)
    elbo: list[float] = []
    M, V, precision = y.mean(), 0.0, 1 / y.var()  # E[mu], var(mu), E[1/tau^2]
    while moving(elbo):
        v = 1 / (1 / sigma**2 + precision)
        m = v * (y / sigma**2 + precision * M)
        V = 1 / (1 / SD0**2 + J * precision)
        M = V * precision * m.sum()
        rate = precision + 1 / SCALE0**2  # q(a) = IG(1, rate)
        squares = ((m - M) ** 2 + v + V).sum()
        shape, scale = (J + 1) / 2, 1 / rate + squares / 2  # q(tau^2), with E[1/a] = 1 / rate
        precision = shape / scale
        entropy = np.log(2 * np.pi * np.e * np.append(v, V)).sum() / 2
        entropy += inverse_gamma_entropy(shape, scale) + inverse_gamma_entropy(1, rate)
        log_a, log_tau2 = np.log(rate) - digamma(1), np.log(scale) - digamma(shape)
        joint = (
            -((y - m) ** 2 + v) @ (1 / sigma**2) / 2 - np.log(sigma).sum()
            - J / 2 * log_tau2 - precision * squares / 2
            - np.log(SD0) - (M**2 + V) / (2 * SD0**2)
            - log_a / 2 - 3 / 2 * log_tau2 - precision / rate
            - np.log(SCALE0) - 3 / 2 * log_a - 1 / (rate * SCALE0**2)
            - (J + 1 / 2) * np.log(2 * np.pi) - np.log(np.pi)
        )  # fmt: skip
        elbo.append(float(joint + entropy))
    factors = {
        "mu": stats.norm(M, np.sqrt(V)),
        "tau^2": stats.invgamma(shape, scale=scale),
        "theta": stats.multivariate_normal(m, np.diag(v)),
    }
    return Schools(Factorised(factors, np.array(elbo)))


def inverse_gamma_entropy(shape: float, scale: float) -> float:
    """The entropy of IG(shape, scale) in nats."""
    return float(shape + np.log(scale) + gammaln(shape) - (1 + shape) * digamma(shape))
