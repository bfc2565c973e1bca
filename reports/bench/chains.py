"""The cells of the benchmark of hidden Markov models, the series that fill them, and the start that all sides share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixtures import Categorical, Gaussian, Poisson
from mixtures.allocations.markov import Markov
from mixtures.ascent.states import statistics
from mixtures.datasets.simulated import simulate
from mixtures.model import Family
from mixtures.rows.sequences import Sequences
from mixtures.sequences import SequenceFit, given
from reports.bench.cells import SEED, SEPARATION, Cell, softened

# Probability that a state stays for another step: in the data, and at the start of EM.
STAY, STAY_AT_FIRST = 0.9, 0.7

# Smallest rate of a Poisson state, and how many times as large the next one is.
RATE, RISE = 2.0, 2.5

BLOCK = 100_000


class Chain(NamedTuple):
    """N steps of D features in S series of one length, K states; of categories, C levels."""

    family: str
    n: int
    d: int
    k: int
    s: int = 1
    c: int = 0

    def __str__(self) -> str:
        many = f" in {self.s} series" if self.s > 1 else ""
        return f"{self.family}, {Cell(self.n, self.d, self.k)}{many}"


CHAINS = (
    Chain("full", 100_000, 1, 3),
    Chain("full", 100_000, 2, 3),
    Chain("full", 100_000, 10, 3),
    Chain("full", 100_000, 2, 10),
    Chain("full", 100_000, 10, 10),
    Chain("full", 100_000, 2, 3, 1000),
    Chain("categorical", 100_000, 1, 5, 1, 20),
    Chain("poisson", 100_000, 1, 3),
)

# A series of a whole fit, and the longest one of the memory map.
SMALL, MAPPED = Chain("full", 200, 1, 2), Chain("full", 10_000_000, 2, 3)


@dataclass(frozen=True)
class Problem:
    """Series and a start.

    Parameters
    ----------
    rows : Sequences
    family : Family
        Ours, with its default prior.
    allocation : Markov
    start : dict of ndarray
        ``initial`` (K,), ``transitions`` (K, K) and the family's own (K, ...) in the units of x.
    """

    rows: Sequences
    family: Family
    allocation: Markov
    start: dict[str, np.ndarray]

    def fit(self, parameters: dict[str, np.ndarray]) -> SequenceFit:
        """The model with these parameters."""
        own = {name: parameters[name] for name in self.family.parameters}
        return given(self.family, self.allocation, parameters["initial"], parameters["transitions"], own)

    def parameters(self, s: np.ndarray) -> dict[str, np.ndarray]:
        """Those of the M-step from a state s (K, P + 1 + K), named as in ``start``."""
        labels, points = self.allocation.split(s)
        named = self.allocation.named(self.allocation.maximum_likelihood(labels))
        return named | self.family.to_data(self.family.maximum_likelihood(points))

    def log_likelihood(self, parameters: dict[str, np.ndarray]) -> float:
        """In nats a step; missing where a parameter is not a number."""
        if not all(np.isfinite(value).all() for value in parameters.values()):
            return float("nan")
        return float(self.fit(parameters).total_log_likelihood(self.rows)[0, 0]) / len(self.rows)


def pose(chain: Chain, seed: int = SEED) -> Problem:
    """Series of a chain that stays with a probability of 0.9, and a start whose states have half of the labels wrong."""
    rng = np.random.default_rng(seed)
    labels = walk(chain.n, chain.k, chain.s, rng)
    x, family = _drawn(chain, labels, rng)
    wrong = np.where(rng.random(chain.n) < 0.5, labels, rng.integers(chain.k, size=chain.n))
    theta = family.to_data(family.maximum_likelihood(statistics(x, family, softened(wrong, chain.k))))
    start = {"initial": np.full(chain.k, 1 / chain.k), "transitions": sticky(chain.k, STAY_AT_FIRST)} | theta
    return Problem(Sequences(x, [chain.n // chain.s] * chain.s), family, Markov.symmetric(chain.k), start)


def sticky(k: int, stay: float) -> np.ndarray:
    """Transitions (K, K) that stay with a probability, and go to all others alike."""
    return (1 - stay) / max(1, k - 1) * (1 - np.eye(k)) + (stay if k > 1 else 1) * np.eye(k)


def walk(n: int, k: int, s: int, rng: np.random.Generator) -> np.ndarray:
    """Labels (N,) of s series of one length; a series starts in any state."""
    moves = np.where(rng.random(n) < STAY, 0, rng.integers(1, max(2, k), size=n)).reshape(s, -1)
    moves[:, 0] = rng.integers(k, size=s)
    return (np.cumsum(moves, axis=1) % k).ravel()


def _drawn(chain: Chain, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, Family]:
    """Points (N, D) of labels, and their family."""
    if chain.family == "poisson":
        x = rng.poisson(RATE * RISE ** np.arange(chain.k)[labels], (chain.d, chain.n)).T.astype(float)
        return x, Poisson.from_data(x, chain.k)
    if chain.family == "categorical":
        reached = np.cumsum(rng.dirichlet(np.ones(chain.c), (chain.k, chain.d)), axis=-1)[labels]
        x = np.minimum((rng.random((chain.n, chain.d, 1)) >= reached).sum(-1), chain.c - 1).astype(float)
        return x, Categorical.from_data(x, chain.k, levels=[chain.c] * chain.d)
    truth = _gaussian(chain.k, chain.d)
    x = _points(truth, labels, rng)
    return x, Gaussian.from_data(x, chain.k)


def _gaussian(k: int, d: int) -> dict[str, Any]:
    truth = simulate(1, k, d, separation=SEPARATION, rng=np.random.default_rng(SEED)).truth
    assert truth is not None
    return truth


def _points(truth: dict[str, Any], labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = rng.standard_normal((len(labels), truth["means"].shape[1]))
    for k, root in enumerate(np.linalg.cholesky(truth["covariances"])):
        x[labels == k] = truth["means"][k] + x[labels == k] @ root.T
    return x


def write(path: Path, chain: Chain) -> dict[str, np.ndarray]:
    """Write one Gaussian series as .npy, block by block, and return the start that `pose` has for its first block."""
    rng, truth = np.random.default_rng(SEED), _gaussian(chain.k, chain.d)
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(chain.n, chain.d))
    for first in range(0, chain.n, BLOCK):
        labels = walk(min(BLOCK, chain.n - first), chain.k, 1, rng)
        x[first : first + len(labels)] = _points(truth, labels, rng)
    x.flush()
    return pose(chain._replace(n=min(BLOCK, chain.n))).start
