"""What an exact posterior takes, by whether its sum factorises and whether its clusters are exchangeable."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mixtures.methods.exact_posterior import BLOCK_ELEMENTS
from mixtures.methods.partitions import INNER, partitions
from mixtures.model import Allocation, Family

LARGEST_SECONDS = 60.0
LARGEST_BYTES = 2e9
"""What an exact posterior may take, by `cost`."""

# Measured on one core of an AMD EPYC: a term of a convolution; a marginal likelihood with its posterior, and more for each
# sufficient statistic.
SECONDS_A_TERM, SECONDS_A_STATE, SECONDS_A_STATISTIC = 8e-9, 5e-6, 3e-7


class Cost(NamedTuple):
    """What an exact posterior takes: terms summed, bytes held at once (an upper bound) and seconds (an estimate)."""

    terms: float
    bytes: float
    seconds: float

    @property
    def affordable(self) -> bool:
        """Whether both are within `LARGEST_SECONDS` and `LARGEST_BYTES`."""
        return self.seconds <= LARGEST_SECONDS and self.bytes <= LARGEST_BYTES


def cost(n: int, family: Family, allocation: Any) -> Cost:
    """What the exact posterior of n points takes; infinite where a float cannot hold it."""
    K, P, some = allocation.n_components, 1 + family.n_free(1), min(n, 8)
    terms = 0.0
    with np.errstate(over="ignore"):
        if factorises(family, allocation):
            sizes = np.unique(allocation.log_factors(np.arange(some + 1)[:, None]), axis=1, return_counts=True)[1]
            tables = np.prod(sizes + 1.0) - len(sizes) - 2  # one for every choice of 2..K-1 clusters
            states, terms = np.exp2(n), tables * np.power(3.0, n) if tables else 0.0
            numbers = states * (tables + 6 * len(sizes) + 8 + 2 * 1.5**INNER * (tables > 0))
        else:
            states = partitions(n, K) if exchangeable(allocation, some) else np.power(float(K), n)
            numbers = states * (n / 4 + 5 * K + 5)
    pairs = n**2 if K > 1 else 0
    size = 8 * (numbers + 3 * pairs + 8 * BLOCK_ELEMENTS)
    seconds = SECONDS_A_TERM * terms + (SECONDS_A_STATE + SECONDS_A_STATISTIC * P) * states
    return Cost(float(states + terms), float(size), float(seconds))


def factorises(family: Family, allocation: Allocation) -> bool:
    """Whether p(x, z) is a product over several clusters: no parameter is shared, and p(z) has a factor for each."""
    several = allocation.n_components > 1
    return several and family.n_free(2) == 2 * family.n_free(1) and hasattr(allocation, "log_factors")


def exchangeable(allocation: Allocation, n: int) -> bool:
    """Whether p(z) is the same whatever the clusters are called, judged by labellings of up to n points in one cluster."""
    if not allocation.independent:
        return bool(allocation.exchangeable)  # type: ignore[attr-defined]
    counts = np.arange(1, n + 1)[:, None, None] * np.eye(allocation.n_components)
    return bool(np.ptp(allocation.log_marginal(counts), axis=1).max() < 1e-9)
