"""The pass in which every cluster has statistics about a centre of its own; what is missing is integrated out.

A family for each cluster, alike but for their origins, gives t(x - c_k); see `mixtures.ascent.centred`. The algebra of missing
values is that of `mixtures.engines.missing`, and asks for no origin but where statistics are about another than eta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixtures.engines import missing
from mixtures.engines.missing import Noise
from mixtures.engines.responsibilities import normalise
from mixtures.model import Family
from mixtures.rows.reading import Rows, folded

# Numbers held at once.
BLOCK_ELEMENTS = 500_000


@dataclass(frozen=True)
class Expected:
    """Responsibilities of rows, and what is missing of them, by natural parameters.

    Parameters
    ----------
    at : sequence of Family
        One for each cluster.
    eta : ndarray, shape (K, P)
        Each about the origin of its own family.
    noise : tuple of ndarray
        Of `mixtures.engines.passes.noise`.
    least : float
        Responsibilities that are no larger count for nothing.
    """

    at: Sequence[Any]
    eta: np.ndarray
    noise: Noise
    least: float = 0.0

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log_z (N,) and responsibilities (N, K)."""
        log_z, r = normalise(densities(self.at, x, self.eta, self.noise))
        return log_z, np.where(r > self.least, r, 0.0) if self.least else r

    def statistics(self, x: np.ndarray, r: np.ndarray, at: Sequence[Any]) -> np.ndarray:
        """sum_n r_nk E_k[t(x_n) | x_o] about the origins of other families, (K, P)."""
        (extra, places), s = self.noise, np.zeros_like(self.eta)
        eta = _moved(self.eta, self.at, at)
        for seen, rows in _patterns(at[0], x):
            own = np.stack([r_k @ f.features(x[rows]) for r_k, f in zip(r[rows].T, at, strict=True)])
            own += own[:, places] @ extra * missing.seen_statistics(at[0], seen)
            s += missing.complete(at[0], eta, seen, own[None])[0]
        return s


def densities(at: Sequence[Any], x: np.ndarray, eta: np.ndarray, noise: Noise | None = None) -> np.ndarray:
    """t_o(x_n) . eta_k,o of rows (N, D) under eta (K, P), each about the origin of its own family, shape (N, K)."""
    log_rho = np.empty((len(at), len(x)))
    for seen, rows in _patterns(at[0], x):
        own = missing.marginal(at[0], eta, seen)[0]
        if noise is not None:
            extra, places = noise
            own[:, places] += own @ extra.T
        for log_rho_k, family, eta_k in zip(log_rho, at, own, strict=True):
            log_rho_k[rows] = family.features(x[rows]) @ eta_k
    return log_rho.T


def _patterns(family: Family, x: np.ndarray) -> list[tuple[np.ndarray, Any]]:
    """What was seen (1, D) of rows that have to be integrated in one way, and which they are."""
    if not family.linked:
        return [(np.ones((1, x.shape[1]), bool), slice(None))]
    return [(seen[None], rows) for seen, rows in zip(*missing.patterns(family, x), strict=True)]


def _moved(eta: np.ndarray, before: Sequence[Any], after: Sequence[Any]) -> np.ndarray:
    """eta (K, P) about other origins but for its constant, where values are integrated out, which asks for no constant."""
    if not before[0].linked or before is after:
        return eta
    step = np.stack([f.reduce(g.origin - f.origin) for f, g in zip(before, after, strict=True)])
    eta = eta.copy()
    for link in before[0].linked:
        own = eta[:, link.places]
        own[:, 1 : 1 + len(link.columns)] -= link.family.turned(own, step[:, link.columns])
        eta[:, link.places] = own
    return eta


@dataclass(frozen=True)
class Apart:
    """The pass for natural parameters of one run, each cluster's about the origin of its own family.

    Parameters
    ----------
    x, weights
        See `mixtures.rows.reading.as_rows`.
    at : sequence of Family
        One for each cluster.
    noise : tuple of ndarray
        Of `mixtures.engines.passes.noise`.
    """

    x: Rows
    weights: Any
    at: Sequence[Any]
    noise: Noise

    def __call__(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum_n w_n log_z_n (...) and s (..., K, P), the leading axes being of length one."""
        log_z, s = read(self.x, self.weights, self._expected(eta), self.at)
        return np.full(eta.shape[:-2], log_z), s.reshape(eta.shape)

    def entropy(self, eta: np.ndarray) -> np.ndarray:
        """Entropy of the responsibilities in nats, (...)."""
        found = folded(self.x, self.weights, partial(_entropy, self._expected(eta)), lambda a, b: a + b, "pass")
        return np.full(eta.shape[:-2], found)

    def _expected(self, eta: np.ndarray) -> Expected:
        return Expected(self.at, eta.reshape(-1, eta.shape[-1]), self.noise)


def read(x: Rows, weights: Any, assign: Any, at: Sequence[Any]) -> tuple[float, np.ndarray]:
    """sum_n w_n log_z_n, and s (K, P) of the assigned responsibilities, each about the origin of its own family."""
    found = folded(x, weights, partial(_read, assign, at), lambda a, b: (a[0] + b[0], a[1] + b[1]), "pass")
    assert found is not None
    return found


def _read(
    assign: Any, at: Sequence[Any], block: np.ndarray, w: np.ndarray | None, start: int
) -> tuple[float, np.ndarray]:
    """What a block adds to `read`."""
    total, s = 0.0, np.zeros((len(at), 1 + int(at[0].monomials[-1, 0])))
    step = max(1, BLOCK_ELEMENTS // s.size)
    for first in range(0, len(block), step):
        rows = slice(first, first + step)
        log_z, r = assign(block[rows])
        if w is not None:
            log_z, r = log_z * w[rows], r * w[rows, None]
        total += float(log_z.sum())
        s += assign.statistics(block[rows], r, at)
    return total, s


def _entropy(expected: Expected, block: np.ndarray, w: np.ndarray | None, start: int) -> float:
    found = 0.0
    for first in range(0, len(block), BLOCK_ELEMENTS // expected.eta.size + 1):
        rows = slice(first, first + BLOCK_ELEMENTS // expected.eta.size + 1)
        _, r = expected(block[rows])
        own = -(r * np.log(np.where(r > 0, r, 1.0))).sum(1)
        found += float(own.sum() if w is None else own @ w[rows])
    return found
