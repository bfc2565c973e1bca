"""The one pass over rows that Dask holds: each block has a pass of its own where it is, and their sums are added as a tree.

    eta (K, P) -> every worker      sum_n w_n log_z_n and s (K, P) <- every worker

So K P numbers a worker go over the network each way, whatever N is. A block that is lost with its worker is read and passed
over again, and no other. What the chosen engine prepares of a block (packed codes, rows grouped by their gaps) it prepares in
every pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixtures.chunks import Chunked
from mixtures.rows.reading import chunk_of

Sums = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class OverChunks:
    """The pass over rows that Dask holds.

    Parameters
    ----------
    x : Chunked
    weights : Chunked or None
    of_block : callable
        From a block (B, D) and its weights (B,) or None to the pass over it.
    entropies : callable
        From a pass over a block and eta to its sum of log_z and the entropy of its responsibilities.
    rounding : float
        What the bound may be off by beyond float64, in nats an observation.
    inverts : bool
        Whether rows may have gaps that are integrated out by an inverse of an inverse.
    """

    x: Chunked
    weights: Chunked | None
    of_block: Callable[..., Any]
    entropies: Callable[..., Sums]
    rounding: float = 0.0
    inverts: bool = False

    def __call__(self, eta: np.ndarray) -> Sums:
        """sum_n w_n log_z_n (...) and s (..., K, P)."""
        return self._summed(partial(_passed, self.of_block, self.x.width, eta), "pass")

    def entropy(self, eta: np.ndarray) -> np.ndarray:
        """Entropy of the responsibilities in nats, (...)."""
        return self._summed(partial(_entropy, self.of_block, self.entropies, self.x.width, eta), "entropy")[1]

    def _summed(self, each: Callable[..., Sums | None], name: str) -> Sums:
        found = self.x.fold(each, _added, self.weights, name)
        assert found is not None  # rows were counted before
        return found


def _passed(
    of_block: Callable[..., Any], width: int, eta: np.ndarray, block: Any, weights: Any, start: int
) -> Sums | None:
    x, w = chunk_of(block, weights, width)
    return of_block(x, w)(eta) if len(x) else None


def _entropy(
    of_block: Callable[..., Any], entropies: Callable[..., Sums], width: int, eta: np.ndarray, *rows: Any
) -> Sums | None:
    block, weights, _ = rows
    x, w = chunk_of(block, weights, width)
    return entropies(of_block(x, w), eta) if len(x) else None


def _added(a: Sums, b: Sums) -> Sums:
    return a[0] + b[0], a[1] + b[1]
