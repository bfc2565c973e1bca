"""Sequences laid out in lanes for `mixtures.engines.lanes`: several short ones side by side, or one in parts.

A block is a lane's worth of steps in each of the lanes; blocks go to threads, and those of one sequence are joined afterwards:
each begins and ends with what follows from ``overlap`` steps around it, which is compared with what its neighbours arrived at.
Where they differ the overlap grows, and stays so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numba.core import config

from mixtures.engines import laid, lanes
from mixtures.engines.softmax import pool
from mixtures.engines.vectors import LANES

# Rows of a block at most, and of what a thread is given at most; in how many parts a pass is divided, and rows of one at least.
ROWS, PIECE, PARTS, SMALLEST_PART = 16_384, 65_536, 8, 4096

# A sequence that is longer goes to all lanes of one block or of several; at least LANES squared, that none remains empty.
LONG = 1024

# Steps around a part from which it begins, at first and at most, and how many times as many the next time.
OVERLAP, LONGEST, GROWTH = 64, 4096, 2

# Transitions at least this probable bound the ratio of any two beta, so that no state that matters can underflow.
DENSE = 1e-40

# Passes that are left to loops without lanes once these have failed.
REST = 20

NOTHING = np.empty((0, 0))


class Blocks(NamedTuple):
    """What `mixtures.engines.lanes.sweep` is told of G blocks."""

    begins: np.ndarray
    lengths: np.ndarray
    weights: np.ndarray
    shapes: np.ndarray

    @classmethod
    def of(cls, begins: np.ndarray, lengths: np.ndarray, weights: np.ndarray, linked: bool, around: Any = 0) -> Blocks:
        """Blocks of lanes (G, LANES), each linked to the one before or alone, with so many rows around them (G, 2)."""
        filled: np.ndarray = LANES - 1 - np.argmax(lengths[:, ::-1] > 0, axis=1)
        shapes = np.zeros((len(begins), 8), np.int64)
        shapes[:, :4] = np.column_stack([lengths.max(1), lengths.min(1), filled, np.full(len(begins), linked)])
        shapes[:, 4:6] = around
        return cls(begins, lengths, weights, shapes)

    def take(self, some: slice) -> tuple[np.ndarray, ...]:
        """Those of some blocks."""
        return tuple(part[some] for part in self)

    @property
    def follow(self) -> np.ndarray:
        """Which blocks go on where the one before ends."""
        return np.flatnonzero(self.shapes[:, 4])


def blocks(edges: np.ndarray, weights: np.ndarray) -> Blocks:
    """Lay out sequences between edges (S + 1,), of weights (S,)."""
    n = np.diff(edges)
    whole = np.flatnonzero(n <= LONG)
    whole = whole[np.argsort(-n[whole], kind="stable")]
    parts = [_beside(edges[:-1][whole], n[whole], weights[whole])] if len(whole) else []
    parts += [_divided(edges[i], n[i], weights[i]) for i in np.flatnonzero(n > LONG)]
    found = Blocks(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    found.shapes[:, 7] = apart(LANES * found.shapes[:, 0])
    found.shapes[1:, 6] = np.cumsum(found.shapes[:-1, 7])
    return found


def apart(columns: Any) -> Any:
    """Columns of rows that do not fall on each other in the cache."""
    return columns + LANES * (columns % 128 == 0)


def _beside(begins: np.ndarray, n: np.ndarray, weights: np.ndarray) -> Blocks:
    """Short sequences, the longest first, one in each lane."""
    G = -(-len(n) // LANES)

    def laid(values: np.ndarray, kind: type) -> np.ndarray:
        filled = np.zeros(G * LANES, kind)
        filled[: len(values)] = values
        return filled.reshape(G, LANES)

    return Blocks.of(laid(begins, np.int64), laid(n, np.int64), laid(weights, float), linked=False)


def _divided(begin: int, n: int, weight: float) -> Blocks:
    """One sequence of n rows, divided into blocks and these into lanes."""
    G = max(-(-n // ROWS), min(PARTS, n // SMALLEST_PART), 1)
    cuts = np.linspace(0, n, G + 1).astype(np.int64)
    rows = np.diff(cuts)
    each = -(-rows // LANES)[:, None]
    first = each * np.arange(LANES)
    around = np.column_stack([cuts[:-1], n - cuts[1:]])
    lengths = np.minimum(each, rows[:, None] - first)
    return Blocks.of(begin + cuts[:-1, None] + first, lengths, np.full((G, LANES), float(weight)), True, around)


class Points(NamedTuple):
    """What is known of the points under one eta: coordinates, which of some distinct rows they are, or log densities.

    Parameters
    ----------
    kind : int
        Of `mixtures.engines.lanes`.
    eta : ndarray, shape (K, P), P being 0 unless it is for coordinates
    x : ndarray, shape (N, D)
    model : tuple
        Origin and unit (D, D) or (1, D) of the coordinates, and the runs of their products; see `mixtures.engines.products`.
    keep : bool
        Whether there are so few coordinates that they are kept as they are laid out.
    place : ndarray of int, shape (N,)
    t, log_rho : ndarray, shape (U, P) and (U, K)
        Features and log densities of the distinct rows; or the latter of all rows.
    """

    kind: int
    eta: np.ndarray
    x: np.ndarray = NOTHING
    model: tuple[np.ndarray, ...] = (np.empty(0), np.empty((1, 0)), np.empty((0, 4), np.int64))
    keep: bool = False
    place: np.ndarray = np.empty(0, np.int32)
    t: np.ndarray = NOTHING
    log_rho: np.ndarray = NOTHING

    @classmethod
    def places(cls, t: np.ndarray, place: np.ndarray, eta: np.ndarray) -> Points:
        """Points that are among some rows with features t (U, P)."""
        return cls(laid.PLACES, np.empty((len(eta), 0)), place=place, t=t, log_rho=np.ascontiguousarray(t @ eta.T))

    @classmethod
    def densities(cls, log_rho: np.ndarray) -> Points:
        """Points with these log densities (N, K)."""
        return cls(laid.DENSITIES, np.empty((log_rho.shape[1], 0)), log_rho=log_rho)

    def lay_out(self, blocks: Blocks) -> tuple[np.ndarray, np.ndarray]:
        """The coordinates if they are kept, and places, as they are laid out in blocks, block by block."""
        begins, lengths, _, shapes = blocks
        columns = int(shapes[-1, 6:].sum())
        numbers, places = np.empty(columns * self.x.shape[1] if self.keep else 0), np.zeros(0, np.int32)
        if self.keep:
            laid.lay_all(self.x, *self.model[:2], tuple(blocks), numbers)
        if self.kind == laid.PLACES:
            places = np.zeros(columns, np.int32)
            for first, n, shape in zip(begins, lengths, shapes, strict=True):
                steps = np.arange(shape[0])[:, None]
                own = places[shape[6] : shape[6] + LANES * shape[0]].reshape(-1, LANES)
                own[:] = np.where(steps < n, self.place[np.minimum(first + steps, len(self.place) - 1)], 0)
        return numbers, places

    def shared(self, blocks: tuple[np.ndarray, np.ndarray]) -> tuple[Any, ...]:
        """What `mixtures.engines.lanes.sweep` is told of the points, which are laid out so."""
        heights = table = NOTHING
        if self.kind == laid.PLACES:
            heights = self.log_rho.max(1)
            table = np.exp(np.maximum(self.log_rho - heights[:, None], laid.FAINT))
        (origin, unit, runs), (numbers, places) = self.model, blocks
        own = self.kind, self.x, origin, unit, numbers, runs, self.eta, self.log_rho
        return *own, self.place, places, table, heights.reshape(-1)

    def rooms(self, pieces: int) -> tuple[np.ndarray, np.ndarray]:
        """Zeros for the statistics (n, K, P) of n pieces, and for totals of the distinct rows (n, U, K) or one r (1, N, K)."""
        if self.kind == laid.DENSITIES:
            return np.empty((pieces, *self.eta.shape)), np.empty((1, *self.log_rho.shape))
        return np.zeros((pieces, *self.eta.shape)), np.zeros((pieces, *self.log_rho.shape))

    def found(self, s: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """The statistics (K, P), or r (N, K) where the log densities are given."""
        if self.kind == laid.DENSITIES:
            return totals[0]
        return totals.sum(0).T @ self.t if self.kind == laid.PLACES else s.sum(0)


@dataclass
class Side:
    """Passes over sequences side by side, which remember how many steps they have to overlap.

    Parameters
    ----------
    edges : ndarray, shape (S + 1,)
    weights : ndarray, shape (S,)
    """

    edges: np.ndarray
    weights: np.ndarray
    overlap: int = field(default_factory=lambda: OVERLAP)
    rest: int = 0
    free: list[Any] = field(default_factory=list)
    out: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.blocks = blocks(self.edges, self.weights)
        rows = self.blocks.lengths.sum(1)
        size = min(max(rows.sum() // PARTS, 1), PIECE)
        cuts = np.flatnonzero(np.diff(np.cumsum(rows) // size)) + 1
        self.cuts = np.array([0, *cuts.tolist(), len(rows)])

    def __call__(
        self, points: Points, log_pi: np.ndarray, log_A: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray] | None:
        """log_z, what `Points.found` is, starts (K,) and transitions (K, K) of one run; None where a number is too small."""
        if self.rest:
            self.rest -= 1
            return None
        pi, A = np.exp(log_pi), np.exp(log_A)
        if points.kind not in self.out:
            self.out[points.kind] = points.lay_out(self.blocks)
        while True:
            log_z, rounds, *sums, first, pairs, seams = self._pieces(points, pi, A)
            met = self._met(seams)
            if rounds.min() < 0 or (not met and self.overlap >= LONGEST):
                self.rest = REST
                return None
            if not met or rounds.max() > 1:
                self.overlap = min(self.overlap * GROWTH, LONGEST)
            if met:
                return float(log_z.sum()), points.found(*sums), first.sum(0), pairs.sum(0)

    def _met(self, seams: np.ndarray) -> bool:
        """Whether blocks began and ended with what their neighbours arrived at."""
        at = self.blocks.follow
        found = seams[at - 1, 1], seams[at, 3]
        taken = seams[at, 0], seams[at - 1, 2]
        return all(
            bool((np.abs(a - b) <= lanes.SAME * b + lanes.TINY * b.sum(-1, keepdims=True)).all())
            for a, b in zip(found, taken, strict=True)
        )

    def _pieces(self, points: Points, pi: np.ndarray, A: np.ndarray) -> tuple[np.ndarray, ...]:
        """What `mixtures.engines.lanes.sweep` finds in each piece, on as many threads as there are."""
        n, K, D = len(self.cuts) - 1, len(pi), points.x.shape[1] if not points.keep else 0
        told = points.shared(self.out[points.kind]), (pi, A, A.T.copy(), bool(A.min() < DENSE)), tuple(self.blocks)
        seams = np.empty((len(self.blocks.begins), 4, K))
        counter, sums = np.zeros(1, np.int64), (np.zeros((n, K)), np.zeros((n, K, K)))
        found = np.empty(n), np.empty(n, np.int64), *points.rooms(n), *sums, seams

        def work() -> None:
            room = self._room(K, D)
            lanes.sweep(counter, self.cuts, *told, self.overlap, room, *found)
            self.free.append(room)

        others = [pool().submit(work) for _ in range(min(config.NUMBA_NUM_THREADS, n) - 1)]
        work()
        for other in others:
            other.result()
        return found

    def _room(self, K: int, D: int) -> tuple[np.ndarray, ...]:
        """Arrays to work in, of an earlier call if there are some."""
        while self.free:
            room = self.free.pop()
            if (len(room[0]), len(room[2])) == (K, D):
                return room
        columns = int(self.blocks.shapes[:, 7].max())
        return np.empty((K, columns)), np.empty((K + 1, columns)), np.empty((D, columns))
