"""What the examples return: a q that is a product of independent factors (PRML 10.5), and the ELBO on the way to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Factorised:
    """q(v) = prod_i q_i(v_i).

    Parameters
    ----------
    factors : mapping of frozen SciPy distributions
        q_i of each variable by its name: of a number, or a multivariate normal of a vector.
    elbo : ndarray, shape (sweeps,)
        The bound after every sweep, in nats, with all constants.
    """

    factors: Mapping[str, Any]
    elbo: np.ndarray

    def sample(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Independent draws (n, *shape) of every variable."""
        return {
            name: np.reshape(q.rvs(size=n, random_state=rng), (n, q.dim) if hasattr(q, "dim") else n)
            for name, q in self.factors.items()
        }

    def log_prob(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """log q of draws (n, *shape), shape (n,), in nats."""
        return np.sum([np.atleast_1d(q.logpdf(values[name])) for name, q in self.factors.items()], axis=0)


def moving(elbo: Sequence[float], tol: float = 1e-9, most: int = 10_000) -> bool:
    """Whether the last sweep changed the bound by more than ``tol`` nats; false after ``most`` sweeps."""
    return len(elbo) < 2 or (abs(elbo[-1] - elbo[-2]) > tol and len(elbo) < most)
