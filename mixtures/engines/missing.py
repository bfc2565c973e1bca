"""The one pass where values that are missing at random have to be integrated out: rows grouped by what of them was seen.

    log rho_nk = log int exp(t(x_o, x_m) . eta_k) dx_m = t_o(x_n) . eta_k,o      s_k = sum_n r_nk E_k[t(x_n) | x_o]

Both are functions of eta alone (Ghahramani & Jordan 1994, *NIPS* 6:120-127; Little & Rubin 2019, *Statistical Analysis with
Missing Data*, section 11.2). E_k[t | x_o] is linear in t_o(x_n). So a pattern of gaps needs one small computation a cluster
ahead of the pass over its rows, which is the plain pass with t_o and eta_o in place of t and eta, and one after it on their
sums. t_o is t with zeros where a missing value has part: all patterns have one shape, and those with about as many rows move
together. `missing.md` has the algebra.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np

from mixtures.engines import plain
from mixtures.engines.responsibilities import drawn, normalise
from mixtures.model import Family
from mixtures.rows.reading import Rows, blocks

# Numbers held at once: of the statistics of all rows, below which they are kept from pass to pass, and of a batch.
KEPT, TOGETHER = 20_000_000, 1_000_000

# Natural parameters of patterns that are remembered while rows are gone through.
REMEMBERED = 50_000_000

# Rows of a pattern from which compiled loops take it.
COMPILED_ROWS = 1024

Noise = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Batch:
    """Patterns with about as many rows.

    Attributes
    ----------
    seen : ndarray of bool, shape (G, D)
    rows : ndarray of int, shape (G, n)
        The rows of each pattern; where it has fewer than n, row 0 stands in with weight 0.
    weights : ndarray, shape (G, n)
    t : ndarray, shape (G, n, P), or None
        t_o of these rows, if it is kept.
    y : list of ndarray, each of shape (n_g, W), or None
        For compiled loops, the rows as `mixtures.model.Family.factors` has them, if that is kept.
    """

    seen: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    t: np.ndarray | None = None
    y: list[np.ndarray] | None = None


def one_pass(family: Family, x: Rows, weights: np.ndarray | None, compiled: bool, noise: Noise | None = None) -> Any:
    """The pass over rows with gaps in linked columns; of blocks, each is grouped anew in every pass."""
    if isinstance(x, np.ndarray):
        return Grouped.of(family, x, weights, compiled, noise)
    return OverBlocks(family, x, compiled, noise)


@dataclass(frozen=True)
class Grouped:
    """The pass over an array whose rows are grouped.

    Parameters
    ----------
    family : Family
    x : ndarray, shape (N, D)
    batches : list of Batch
    compiled : bool
        Whether compiled loops take the patterns with many rows.
    noise : tuple of ndarray, optional
        What noise adds to every statistic for each count, (C, P), and the counts' places in t, (C,).
    """

    family: Family
    x: np.ndarray
    batches: list[Batch]
    compiled: bool
    noise: Noise | None

    @classmethod
    def of(
        cls, family: Family, x: np.ndarray, weights: np.ndarray | None, compiled: bool, noise: Noise | None = None
    ) -> Grouped:
        """Group the rows; those of weight zero are left out."""
        seen, rows = patterns(family, x)
        if weights is not None:
            rows = [own[weights[own] > 0] for own in rows]
        if not compiled:
            seen, rows = _pieces(seen, rows)
        keep = len(x) * (1 + family.monomials[-1, 0]) <= KEPT
        batches = []
        for chosen, together in _batches(rows, 1 + int(family.monomials[-1, 0])):
            w = (together >= 0) * (1.0 if weights is None else weights[together])
            batch, t, y = Batch(seen[chosen], np.maximum(together, 0), w), None, None
            if keep and compiled and together.shape[1] >= COMPILED_ROWS:
                y = [family.factors(x[rows[g]]) for g in chosen]
            elif keep:
                t = family.features(x[batch.rows.ravel()]).reshape(*together.shape, -1)
            batches.append(replace(batch, t=t, y=y))
        return cls(family, x, batches, compiled, noise)

    @cached_property
    def place(self) -> np.ndarray:
        """The number of each row among those with gaps; 0 for the others, (N,)."""
        gapped = np.isnan(self.x).any(1)
        return np.where(gapped, np.cumsum(gapped) - 1, 0)

    @property
    def gaps(self) -> tuple[int, int]:
        """How many rows have gaps, and D: the shape of the normal random numbers that draw what is missing."""
        return int(self.place.max()) + 1, self.x.shape[1]

    def __call__(self, eta: np.ndarray, u: np.ndarray | None = None, e: np.ndarray | None = None) -> tuple[Any, Any]:
        """sum_n w_n log_z_n (...) and s (..., K, P), or that of labels and values drawn.

        Parameters
        ----------
        eta : ndarray, shape (..., K, P)
        u : ndarray, shape (..., N), optional
            Uniform random numbers, which draw the labels.
        e : ndarray, shape (..., *gaps), optional
            Normal random numbers, which draw what is missing.
        """
        total, s = np.zeros(eta.shape[:-2]), np.zeros_like(eta)
        for batch in self.batches:
            own = self.marginal(eta, batch.seen)
            if u is None:
                log_z, s_o = self._expected(batch, own)
                s = s + complete(self.family, eta, batch.seen, s_o).sum(0)
            else:
                assert e is not None
                log_z, s_o = self._drawn(batch, eta, own, u[..., batch.rows], e[..., self.place[batch.rows], :])
                s = s + s_o
            total = total + log_z.sum(0)
        return total, s

    def entropy(self, eta: np.ndarray) -> np.ndarray:
        """Entropy of the responsibilities in nats, (...): that of what is missing is no part of it."""
        found = np.zeros(eta.shape[:-2])
        for batch in self.batches:
            own = self.marginal(eta, batch.seen)
            log_z, s_o = self._expected(batch, own)
            found = found + (log_z - (s_o * own).sum((-2, -1))).sum(0)
        return np.maximum(found, 0)

    def marginal(self, eta: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """eta_o of patterns (G, D), with what noise adds to it: (G, ..., K, P)."""
        own = marginal(self.family, eta, seen)
        if self.noise is not None:
            extra, places = self.noise
            own[..., places] += own @ extra.T
        return own

    def _expected(self, batch: Batch, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum log_z (G, ...) and the statistics of what was seen (G, ..., K, P), for eta_o (G, ..., K, P)."""
        if self.compiled and batch.rows.shape[1] >= COMPILED_ROWS:
            log_z, s = self._in_loops(batch, own)
        else:
            w = batch.weights.reshape(len(batch.seen), *(1,) * (own.ndim - 3), -1)
            t = self._statistics(batch).reshape(*w.shape, -1)
            log_z, s = plain.over(t, w, own)
        if self.noise is not None:
            extra, places = self.noise
            mask = seen_statistics(self.family, batch.seen)
            s = s + s[..., places] @ extra * mask.reshape(len(mask), *(1,) * (own.ndim - 2), -1)
        return log_z, s

    def _in_loops(self, batch: Batch, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from mixtures.engines import fused

        flat = numbers(self.family)
        found = []
        for g, eta in enumerate(own):
            some = batch.weights[g] > 0
            w = batch.weights[g, some]
            y = self.family.factors(self.x[batch.rows[g, some]]) if batch.y is None else batch.y[g]
            found.append(fused.pass_(flat, y, None if np.all(w == 1) else w, eta))
        log_z, s = zip(*found, strict=True)
        return np.array(log_z), np.array(s)

    def _statistics(self, batch: Batch) -> np.ndarray:
        if batch.t is not None:
            return batch.t
        return self.family.features(self.x[batch.rows.ravel()]).reshape(*batch.rows.shape, -1)

    def _drawn(
        self, batch: Batch, eta: np.ndarray, own: np.ndarray, u: np.ndarray, e: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """sum log_z (G, ...) and the statistics (..., K, P) of labels and values drawn; u (..., G, n), e (..., G, n, D)."""
        t = self._statistics(batch)
        runs = (1,) * (own.ndim - 3)
        u, e = (np.moveaxis(v, own.ndim - 3, 0) for v in (u, e))  # (G, ..., n)
        w = batch.weights.reshape(len(t), *runs, -1)
        t = t.reshape(len(t), *runs, *t.shape[1:])
        log_z, r = normalise((own @ t.swapaxes(-1, -2)).swapaxes(-1, -2))
        r = drawn(r, u)
        if not batch.seen.all():
            t = np.broadcast_to(t, (*own.shape[:-2], *t.shape[-2:])).copy()
            for link in self.family.linked:
                given = link.family.conditional(eta[..., link.places], batch.seen[:, link.columns])
                z = t[..., None, :, link.places[1 : 1 + len(link.columns)]]
                e_k = e[..., None, :, link.columns]
                each = z @ given.A.swapaxes(-1, -2) + given.b[..., None, :] + e_k @ given.F  # (G, ..., K, n, D)
                z = (each * r.swapaxes(-1, -2)[..., None]).sum(-3)
                t[..., link.places] = link.family.statistics(z)
        s = (r * w[..., None]).swapaxes(-1, -2) @ t
        return (log_z * w).sum(-1), s.sum(0)


@dataclass(frozen=True)
class OverBlocks:
    """The pass over blocks of rows, see `Grouped`."""

    family: Family
    x: Any
    compiled: bool
    noise: Noise | None

    def __call__(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """sum_n w_n log_z_n (...) and s (..., K, P)."""
        found = [group(eta) for group in self._groups()]
        return np.sum([log_z for log_z, _ in found], axis=0), np.sum([s for _, s in found], axis=0)

    def entropy(self, eta: np.ndarray) -> np.ndarray:
        """Entropy of the responsibilities in nats, (...)."""
        return np.sum([group.entropy(eta) for group in self._groups()], axis=0)

    def _groups(self) -> Iterator[Grouped]:
        for block, weights in blocks(self.x):
            yield Grouped.of(self.family, block, weights, self.compiled, self.noise)


def marginal(family: Family, eta: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """eta_o of patterns (G, D) from eta (..., K, P): shape (G, ..., K, P)."""
    found = np.repeat(eta[None], len(seen), axis=0)
    for link in family.linked:
        own = link.family.marginal(eta[..., link.places], seen[:, link.columns])
        found[..., link.places[1:]] = own[..., 1:]
        found[..., 0] += own[..., 0] - eta[..., 0]
    return found


def complete(family: Family, eta: np.ndarray, seen: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Expected statistics (G, ..., K, P) from those of what was seen."""
    s = s.copy()
    for link in family.linked:
        own = link.family.complete(eta[..., link.places], seen[:, link.columns], s[..., link.places])
        s[..., link.places[1:]] = own[..., 1:]
    return s


def seen_statistics(family: Family, seen: np.ndarray) -> np.ndarray:
    """1 for the statistics of which no part is missing, else 0, in patterns (G, D): (G, P)."""
    mask = np.ones((len(seen), 1 + family.monomials[-1, 0]))
    for link in family.linked:
        mask[:, link.places] = link.family.statistics(seen[:, link.columns].astype(float))
    return mask


def patterns(family: Family, x: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which columns were seen in each pattern of the linked ones, others taken for seen, (G, D), and the rows of each."""
    linked = np.concatenate([link.columns for link in family.linked])
    gaps = np.packbits(np.isnan(x[:, linked]), axis=1)
    keys, pattern = np.unique(gaps, axis=0, return_inverse=True)
    seen = np.ones((len(keys), x.shape[1]), bool)
    seen[:, linked] = np.unpackbits(keys, axis=1, count=len(linked)) == 0
    order = np.argsort(pattern.ravel(), kind="stable")
    edges = np.cumsum(np.bincount(pattern.ravel(), minlength=len(keys)))[:-1]
    return seen, np.split(order, edges)


def _pieces(seen: np.ndarray, rows: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The patterns with no more than a block of rows, those with more several times."""
    parts = [np.array_split(own, -(-max(1, len(own)) // plain.BLOCK)) for own in rows]
    return np.repeat(seen, [len(part) for part in parts], axis=0), [own for part in parts for own in part]


def _batches(rows: list[np.ndarray], P: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Patterns with about as many rows, their numbers (G,) and rows (G, n), filled up with -1."""
    sizes = np.array([len(own) for own in rows])
    classes = np.ceil(np.log2(np.maximum(sizes, 1))).astype(int)
    for size in np.unique(classes[sizes > 0]):
        chosen = np.flatnonzero((classes == size) & (sizes > 0))
        n = int(sizes[chosen].max())
        step = max(1, TOGETHER // (n * P))
        for first in range(0, len(chosen), step):
            some = chosen[first : first + step]
            together = np.full((len(some), n), -1)
            for g, own in zip(together, some, strict=True):
                g[: sizes[own]] = rows[own]
            yield some, together


def numbers(family: Family) -> Any:
    """What the compiled loops ask of a family whose points are given as `Family.factors`."""
    W = int(family.monomials[:, 1:].max())
    return SimpleNamespace(origin=np.zeros(W), unit=np.ones(W), monomials=family.monomials, affine=True)


def densities(
    family: Family, x: np.ndarray, eta: np.ndarray, known: dict[bytes, np.ndarray] | None = None
) -> np.ndarray:
    """t_o(x_n) . eta_k,o of rows with gaps (N, D) under eta (..., K, P), shape (..., N, K).

    ``known`` holds eta_o of patterns of earlier calls with this eta, and gains those of this one while there is room.
    """
    log_rho = np.empty((*eta.shape[:-2], len(x), eta.shape[-2]))
    known = {} if known is None else known
    for seen, rows in zip(*patterns(family, x), strict=True):
        own = known.get(seen.tobytes())
        if own is None:
            own = marginal(family, eta, seen[None])[0]
            if (len(known) + 1) * own.size <= REMEMBERED:
                known[seen.tobytes()] = own
        t = family.features(x[rows])
        log_rho[..., rows, :] = (own @ t.T).swapaxes(-1, -2)
    return log_rho


def statistics(family: Family, x: np.ndarray, r: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """sum_n r_nk E_k[t(x_n) | x_o] of given responsibilities r (..., N, K) under eta (..., K, P), shape (..., K, P)."""
    s = np.zeros_like(eta)
    for seen, rows in zip(*patterns(family, x), strict=True):
        s_o = r[..., rows, :].swapaxes(-1, -2) @ family.features(x[rows])
        s = s + complete(family, eta, seen[None], s_o[None])[0]
    return s
