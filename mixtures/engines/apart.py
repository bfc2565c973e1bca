"""The pass in which every cluster has statistics about a centre of its own; what is missing is integrated out.

A family for each cluster, alike but for their origins, gives t(x - c_k); see `mixtures.ascent.centred`. The algebra of missing
values is that of `mixtures.engines.missing`, and asks for no origin but where statistics are about another than eta.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import add
from typing import Any

import numpy as np

from mixtures.engines import missing
from mixtures.engines.missing import Noise
from mixtures.engines.responsibilities import normalise
from mixtures.rows.reading import Rows, blocks, folded

# Numbers held at once.
BLOCK_ELEMENTS = 500_000


@dataclass(frozen=True)
class Points:
    """Rows in the order of what was seen of them, and their features about the centres of the clusters.

    Attributes
    ----------
    at : sequence of Family
        One for each cluster, with its centre.
    x : ndarray, shape (N, D)
    order : ndarray of int, shape (N,)
        The number of each row among those given.
    seen : ndarray of bool, shape (G, D)
        What was seen of the rows that are integrated in one way.
    first : ndarray of int, shape (G,)
        The first row of each such pattern.
    pattern : ndarray of int, shape (N,)
    t : ndarray, shape (K, N, P)
    """

    at: Sequence[Any]
    x: np.ndarray
    order: np.ndarray
    seen: np.ndarray
    first: np.ndarray
    pattern: np.ndarray
    t: np.ndarray

    @classmethod
    def of(cls, at: Sequence[Any], x: np.ndarray) -> Points:
        """Rows (N, D) about the centres of these families."""
        if at[0].linked:
            seen, rows = missing.patterns(at[0], x)
        else:
            seen, rows = np.ones((1, x.shape[1]), bool), [np.arange(len(x))]
        order, number = np.concatenate(rows), np.array([len(own) for own in rows])
        first, pattern = np.cumsum(number) - number, np.repeat(np.arange(len(rows)), number)
        x = x[order]
        return cls(at, x, order, seen, first, pattern, np.stack([family.features(x) for family in at]))

    def about(self, at: Sequence[Any]) -> Points:
        """The same about other centres."""
        return self if at is self.at else replace(self, at=at, t=np.stack([family.features(self.x) for family in at]))

    def densities(self, eta: np.ndarray, noise: Noise | None = None) -> np.ndarray:
        """t_o(x_n) . eta_k,o under eta (K, P), shape (N, K)."""
        own = missing.marginal(self.at[0], eta, self.seen)
        if noise is not None:
            extra, places = noise
            own[..., places] += own @ extra.T
        if len(own) == 1:
            return (self.t @ own[0, :, :, None])[..., 0].T
        return np.einsum("knp,nkp->kn", self.t, own[self.pattern]).T

    def sums(self, r: np.ndarray) -> np.ndarray:
        """sum_n r_nk t_o(x_n) over the rows of each pattern, shape (G, K, P), for responsibilities r (N, K)."""
        if len(self.first) == 1:
            return (r.T[:, None] @ self.t).swapaxes(0, 1)
        return np.add.reduceat(r.T[..., None] * self.t, self.first, axis=1).swapaxes(0, 1)


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

    def __call__(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """log_z (N,) and responsibilities (N, K)."""
        log_z, r = normalise(points.about(self.at).densities(self.eta, self.noise))
        return log_z, np.where(r > self.least, r, 0.0) if self.least else r

    def statistics(self, points: Points, r: np.ndarray) -> np.ndarray:
        """sum_n r_nk E_k[t(x_n) | x_o] about the centres of the points, (K, P)."""
        (extra, places), family = self.noise, self.at[0]
        s = points.sums(r)
        s += s[..., places] @ extra * missing.seen_statistics(family, points.seen)[:, None]
        return missing.complete(family, _moved(self.eta, self.at, points.at), points.seen, s).sum(0)


def densities(at: Sequence[Any], x: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """t_o(x_n) . eta_k,o of rows (N, D) under eta (K, P), each about the origin of its own family, shape (N, K)."""
    points = Points.of(at, x)
    log_rho = np.empty((len(x), len(at)))
    log_rho[points.order] = points.densities(eta)
    return log_rho


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
        expected = self._expected(eta)
        if self._points:
            log_z, s = _sums(expected, *self._points)
        else:
            log_z, s = read(self.x, self.weights, expected, self.at)
        return np.full(eta.shape[:-2], log_z), s.reshape(eta.shape)

    def entropy(self, eta: np.ndarray) -> np.ndarray:
        """Entropy of the responsibilities in nats, (...)."""
        each = partial(_entropy, self._expected(eta), self.at)
        return np.full(eta.shape[:-2], folded(self.x, self.weights, each, add, "pass"))

    def _expected(self, eta: np.ndarray) -> Expected:
        return Expected(self.at, eta.reshape(-1, eta.shape[-1]), self.noise)

    @cached_property
    def _points(self) -> tuple[Points, Any] | None:
        """The points of an array of one block, which serve every pass, and their weights."""
        if not isinstance(self.x, np.ndarray) or len(self.x) > _step(self.at):
            return None
        ((block, w),) = blocks(self.x, self.weights)
        return Points.of(self.at, block), w


def read(x: Rows, weights: Any, assign: Any, at: Sequence[Any]) -> tuple[float, np.ndarray]:
    """sum_n w_n log_z_n, and s (K, P) of the assigned responsibilities, each about the origin of its own family."""
    found = folded(x, weights, partial(_read, assign, at), _both, "pass")
    assert found is not None
    return found


def _step(at: Sequence[Any]) -> int:
    """How many rows are held at once."""
    return max(1, BLOCK_ELEMENTS // (len(at) * (1 + int(at[0].monomials[-1, 0]))))


def _both(a: tuple[float, np.ndarray], b: tuple[float, np.ndarray]) -> tuple[float, np.ndarray]:
    return a[0] + b[0], a[1] + b[1]


def _pieces(at: Sequence[Any], block: np.ndarray, w: np.ndarray | None) -> Iterator[tuple[Points, np.ndarray | None]]:
    """The points of a block, and their weights, as many as are held at once."""
    step = _step(at)
    for first in range(0, len(block), step):
        rows = slice(first, first + step)
        yield Points.of(at, block[rows]), None if w is None else w[rows]


def _read(
    assign: Any, at: Sequence[Any], block: np.ndarray, w: np.ndarray | None, start: int
) -> tuple[float, np.ndarray]:
    """What a block adds to `read`."""
    found = 0.0, np.zeros((len(at), 1 + int(at[0].monomials[-1, 0])))
    for points, own in _pieces(at, block, w):
        found = _both(found, _sums(assign, points, own))
    return found


def _sums(assign: Any, points: Points, w: np.ndarray | None) -> tuple[float, np.ndarray]:
    """sum_n w_n log_z_n and s (K, P) of points, whose weights are in the order in which they were given."""
    log_z, r = assign(points)
    if w is not None:
        w = w[points.order]
        log_z, r = log_z * w, r * w[:, None]
    return float(log_z.sum()), assign.statistics(points, r)


def _entropy(expected: Expected, at: Sequence[Any], block: np.ndarray, w: np.ndarray | None, start: int) -> float:
    found = 0.0
    for points, weights in _pieces(at, block, w):
        _, r = expected(points)
        own = -(r * np.log(np.where(r > 0, r, 1.0))).sum(1)
        found += float(own.sum() if weights is None else own @ weights[points.order])
    return found
