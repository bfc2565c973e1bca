"""Sequences laid out in lanes for `mixtures.engines.lanes`: several short ones side by side, or one in parts.

A block is a lane's worth of steps in each of the lanes; blocks go to threads, and those of one sequence are joined afterwards:
each begins and ends with what follows from ``overlap`` steps around it, which is compared with what its neighbours arrived at.
Where they differ the overlap grows, and stays so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba.core import config

from mixtures.engines import fused, lanes
from mixtures.engines.softmax import pool
from mixtures.engines.vectors import LANES
from mixtures.model import Family

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
        shapes = np.zeros((len(begins), 6), np.int64)
        shapes[:, :4] = np.column_stack([lengths.max(1), lengths.min(1), filled, np.full(len(begins), linked)])
        shapes[:, 4:] = around
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
    return Blocks(*(np.concatenate(each) for each in zip(*parts, strict=True)))


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
    eta : ndarray, shape (1, K, P), P being 0 unless it is for coordinates
    x : ndarray, shape (N, D)
    model : tuple
        Of the coordinates, as in `mixtures.engines.fused`.
    place : ndarray of int, shape (N,)
    t, log_rho : ndarray, shape (U, P) and (U, K)
        Features and log densities of the distinct rows; or the latter of all rows.
    """

    kind: int
    eta: np.ndarray
    x: np.ndarray = NOTHING
    model: tuple[Any, ...] = (np.empty(0), np.empty((1, 0)), np.empty((0, 3), np.int64), np.zeros(1, np.int64), False)
    place: np.ndarray = np.empty(0, np.int32)
    t: np.ndarray = NOTHING
    log_rho: np.ndarray = NOTHING

    @classmethod
    def numbers(cls, family: Family, x: np.ndarray, eta: np.ndarray) -> Points:
        """Points whose coordinates are (x - origin) / unit."""
        by_rows = fused.in_rows(family, *eta.shape)
        edges = fused.parts_of_features(len(family.unit), eta.shape[-1], by_rows)
        unit = np.require(np.atleast_2d(family.unit), np.float64, "C")
        return cls(lanes.NUMBERS, eta[None], x, (family.origin, unit, family.monomials, edges, by_rows))

    @classmethod
    def places(cls, t: np.ndarray, place: np.ndarray, eta: np.ndarray) -> Points:
        """Points that are among some rows with features t (U, P)."""
        return cls(lanes.PLACES, np.empty((1, len(eta), 0)), place=place, t=t, log_rho=np.ascontiguousarray(t @ eta.T))

    @classmethod
    def densities(cls, log_rho: np.ndarray) -> Points:
        """Points with these log densities (N, K)."""
        return cls(lanes.DENSITIES, np.empty((1, log_rho.shape[1], 0)), log_rho=log_rho)

    def shared(self) -> tuple[Any, ...]:
        """What `mixtures.engines.lanes.sweep` is told of the points."""
        heights = table = NOTHING
        if self.kind == lanes.PLACES:
            heights = self.log_rho.max(1)
            table = np.exp(np.maximum(self.log_rho - heights[:, None], lanes.FAINT))
        return self.kind, self.x, self.log_rho, self.place, table, heights.reshape(-1), self.model, self.eta

    def rooms(self, pieces: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each piece zeros for the statistics (1, K, P), and totals of the distinct rows (U, K) or one r (N, K) for all."""
        if self.kind == lanes.DENSITIES:
            return [(self.eta, np.empty_like(self.log_rho))] * pieces
        return [(np.zeros_like(self.eta), np.zeros_like(self.log_rho)) for _ in range(pieces)]

    def found(self, rooms: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        """The statistics (K, P), or r (N, K) where the log densities are given."""
        s, totals = zip(*rooms, strict=True)
        if self.kind == lanes.DENSITIES:
            return totals[0]
        return np.sum(totals, axis=0).T @ self.t if self.kind == lanes.PLACES else np.sum(s, axis=0)[0]


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

    def __post_init__(self) -> None:
        self.blocks = blocks(self.edges, self.weights)
        rows = self.blocks.lengths.sum(1)
        size = min(max(rows.sum() // PARTS, 1), PIECE)
        cuts = np.flatnonzero(np.diff(np.cumsum(rows) // size)) + 1
        ends = [0, *cuts.tolist(), len(rows)]
        self.pieces = [slice(a, b) for a, b in pairwise(ends) if a < b]
        self.columns = LANES * int(self.blocks.lengths.max()) + LANES

    def __call__(
        self, points: Points, log_pi: np.ndarray, log_A: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray] | None:
        """log_z, what `Points.found` is, starts (K,) and transitions (K, K) of one run; None where a number is too small."""
        if self.rest:
            self.rest -= 1
            return None
        pi, A = np.exp(log_pi), np.exp(log_A)
        while True:
            seams = np.empty((len(self.blocks.begins), 4, len(pi)))
            rooms = points.rooms(len(self.pieces))
            log_z, rounds, first, pairs = zip(*self._pieces(points, pi, A, rooms, seams), strict=True)
            met = self._met(seams)
            if min(rounds) < 0 or (not met and self.overlap >= LONGEST):
                self.rest = REST
                return None
            if not met or max(rounds) > 1:
                self.overlap = min(self.overlap * GROWTH, LONGEST)
            if met:
                return float(np.sum(log_z)), points.found(rooms), np.sum(first, axis=0), np.sum(pairs, axis=0)

    def _met(self, seams: np.ndarray) -> bool:
        """Whether blocks began and ended with what their neighbours arrived at."""
        at = self.blocks.follow
        found = seams[at - 1, 1], seams[at, 3]
        taken = seams[at, 0], seams[at - 1, 2]
        return all(
            bool((np.abs(a - b) <= lanes.SAME * b + lanes.TINY * b.sum(-1, keepdims=True)).all())
            for a, b in zip(found, taken, strict=True)
        )

    def _pieces(self, points: Points, pi: np.ndarray, A: np.ndarray, rooms: list[Any], seams: np.ndarray) -> list[Any]:
        """What `mixtures.engines.lanes.sweep` finds in each piece, on as many threads as there are."""
        K = len(pi)
        told = (*points.shared(), pi, A, A.T.copy(), bool(A.min() < DENSE))

        def work(number: int) -> tuple[Any, ...]:
            piece, room, first, pairs = self.pieces[number], self._room(K), np.zeros(K), np.zeros((K, K))
            own = (*self.blocks.take(piece), self.overlap, *room, *rooms[number], first, pairs, seams[piece])
            log_z, rounds = lanes.sweep(*told, *own)
            self.free.append(room)
            return log_z, rounds, first, pairs

        return shared_out(work, len(self.pieces))

    def _room(self, K: int) -> tuple[np.ndarray, np.ndarray]:
        """Two arrays to work in, of an earlier call if there are some."""
        while self.free:
            room = self.free.pop()
            if len(room[0]) == K + 1:
                return room
        columns = self.columns + (LANES if self.columns % 128 == 0 else 0)
        return np.empty((K + 1, columns)), np.empty((K + 1, columns))


def shared_out(work: Callable[[int], Any], parts: int) -> list[Any]:
    """What the work on each part returns, in their order, done by as many threads as numba was told to use."""
    found: dict[int, Any] = {}
    left = iter(range(parts))

    def on() -> None:
        for number in left:
            found[number] = work(number)

    others = [pool().submit(on) for _ in range(min(config.NUMBA_NUM_THREADS, parts) - 1)]
    on()
    for other in others:
        other.result()
    return [found[number] for number in range(parts)]
