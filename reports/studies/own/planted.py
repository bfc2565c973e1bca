"""A model whose posterior is known exactly, and faults planted in draws from it, of which each has to be found.

    tau ~ Gam(a0, b0)    beta | tau ~ N(0, (tau lambda0)^-1 I)    y_n ~ N(x_n^T beta, tau^-1)

Bayesian linear regression, whose first two columns are correlated. The posterior is of the same form (Bishop, PRML, exercise
3.12): with Lambda = lambda0 I + X^T X,

    tau | y ~ Gam(a0 + N/2, b0 + (y^T y - m^T Lambda m) / 2)    beta | tau, y ~ N(m, (tau Lambda)^-1)    m = Lambda^-1 X^T y
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pymc as pm

N, CORRELATION = 12, 0.9
A0, B0, LAMBDA0 = 3.0, 2.0, 1.0

SHIFT = 0.2
"""In posterior sds."""

DRAWS = 4000

Values = dict[str, np.ndarray]


def design() -> np.ndarray:
    """X (N, 3): of mean 0 and sd 1, the first two columns with the correlation `CORRELATION`, the third with neither."""
    Q = np.linalg.qr(np.column_stack([np.ones(N), np.random.default_rng(0).standard_normal((N, 3))]))[0][:, 1:]
    first, other, third = np.sqrt(N) * Q.T
    return np.column_stack([first, CORRELATION * first + np.sqrt(1 - CORRELATION**2) * other, third])


X = design()


def build() -> pm.Model:
    """The model: ``tau`` and ``beta`` (3,)."""
    import pymc as pm

    with pm.Model() as model:
        tau = pm.Gamma("tau", A0, B0)
        beta = pm.Normal("beta", 0, tau=LAMBDA0 * tau, shape=X.shape[1])
        pm.Normal("y", X @ beta, tau=tau, observed=np.zeros(N))
    return model


class Posterior(NamedTuple):
    """Parameters of the posterior; those of the prior are N = 0."""

    a: float
    b: float
    m: np.ndarray
    Lambda: np.ndarray

    @classmethod
    def of(cls, y: np.ndarray) -> Posterior:
        """Given data (N,)."""
        Lambda = LAMBDA0 * np.eye(X.shape[1]) + X.T @ X
        m = np.linalg.solve(Lambda, X.T @ y)
        return cls(A0 + len(y) / 2, B0 + float(y @ y - m @ Lambda @ m) / 2, m, Lambda)

    @property
    def sd(self) -> np.ndarray:
        """Posterior sds of beta (3,), by Student's t distribution."""
        return np.sqrt(self.b / (self.a - 1) * np.diagonal(np.linalg.inv(self.Lambda)))

    def draw(self, n: int, rng: np.random.Generator) -> Values:
        """Independent draws."""
        tau = rng.gamma(self.a, 1 / self.b, n)
        noise = np.linalg.solve(np.linalg.cholesky(self.Lambda).T, rng.standard_normal((len(self.m), n)))
        return {"tau": tau, "beta": self.m + (noise / np.sqrt(tau)).T}


PRIOR = Posterior(A0, B0, np.zeros(X.shape[1]), LAMBDA0 * np.eye(X.shape[1]))

Fault = Callable[[Posterior, int, np.random.Generator], Values]


def exact(posterior: Posterior, n: int, rng: np.random.Generator) -> Values:
    """No fault."""
    return posterior.draw(n, rng)


def shifted(posterior: Posterior, n: int, rng: np.random.Generator) -> Values:
    """The mean of the first coefficient is shifted by `SHIFT` sds."""
    values = posterior.draw(n, rng)
    values["beta"][:, 0] += SHIFT * posterior.sd[0]
    return values


def halved(posterior: Posterior, n: int, rng: np.random.Generator) -> Values:
    """The variance of the third coefficient is half of what it should be."""
    values = posterior.draw(n, rng)
    values["beta"][:, 2] = posterior.m[2] + np.sqrt(0.5) * (values["beta"][:, 2] - posterior.m[2])
    return values


def uncorrelated(posterior: Posterior, n: int, rng: np.random.Generator) -> Values:
    """The second coefficient depends on no other parameter; its own distribution is right."""
    values = posterior.draw(n, rng)
    values["beta"][:, 1] = rng.permutation(values["beta"][:, 1])
    return values


def flipped(posterior: Posterior, n: int, rng: np.random.Generator) -> Values:
    """The first coefficient has the wrong sign."""
    values = posterior.draw(n, rng)
    values["beta"][:, 0] *= -1
    return values


def of_the_prior(posterior: Posterior, n: int, rng: np.random.Generator) -> Values:
    """The data have no effect."""
    return PRIOR.draw(n, rng)


def without_jacobian(posterior: Posterior, n: int, rng: np.random.Generator) -> Values:
    """On the scale of log tau the density lacks log tau: in tau it is divided by tau, and still a Gamma density."""
    return posterior._replace(a=posterior.a - 1).draw(n, rng)


FAULTS: Mapping[str, Fault] = {
    "exact": exact,
    "mean shifted": shifted,
    "variance halved": halved,
    "correlation lost": uncorrelated,
    "sign flipped": flipped,
    "the prior": of_the_prior,
    "no Jacobian": without_jacobian,
}
"""By the names of the methods that have them."""

RIGHT = "exact"

NAMED: Mapping[str, tuple[str, str | None]] = {
    "mean shifted": ("shift", "beta[0]"),
    "variance halved": ("width", "beta[2]"),
    "correlation lost": ("correlations", None),
    "sign flipped": ("sign", "beta[0]"),
    "the prior": ("prior", ""),
    "no Jacobian": ("jacobian", "tau"),
}
"""The fault that has to be named, and its parameter; "" of all, None of any."""


def fits(draws: int) -> dict[str, Callable[[Mapping[str, np.ndarray], np.random.Generator], Values]]:
    """Every method as calibration takes it, each of so many draws."""
    return {name: partial(_fit, fault, draws) for name, fault in FAULTS.items()}


def _fit(fault: Fault, draws: int, data: Mapping[str, np.ndarray], rng: np.random.Generator) -> Values:
    return fault(Posterior.of(data["y"]), draws, rng)
