"""The one pass over sequences: forward-backward on log rho (Rabiner 1989; PRML section 13.2).

    forward     alpha_t(k) = p(z_t = k | x_1 .. x_t)          rho_t (alpha_(t-1) A) over its sum p(x_t | x_1 .. x_(t-1))
    backward    r_t(k)     = p(z_t = k | x_1 .. x_T)          alpha_t (A u_(t+1)),  u_t = r_t / (alpha_(t-1) A)
    transitions sum_t p(z_t = j, z_(t+1) = k | x_1 .. x_T)    A_jk sum_t alpha_t(j) u_(t+1)(k)

The state s, and eta with it, has 1 + K columns behind those of the points: what starts in each state beside log pi, and what
goes from it to each state beside log A. So sum(s * eta) is the expected log joint density here too, and log_z is the log
normaliser of each sequence, whether eta are natural parameters or expected ones, under which pi and A do not sum to one.

Rows are read in spans. A sequence longer than a span is filtered from one end to the other, with the filtered probabilities
kept where spans end, and then smoothed from the last span to the first, each filtered again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import pairwise
from typing import Any

import numpy as np

from mixtures.engines import missing
from mixtures.engines.responsibilities import drawn, log_sum, normalise
from mixtures.model import Family
from mixtures.rows.sequences import Sequences

# Numbers of log rho held at once, and features that are formed once and kept.
SPAN, KEPT = 4_000_000, 10_000_000

# Sequences go to threads in so many parts, whose sums are added in order.
PARTS = 16

# Multiplications in a matrix product up to which the usual libraries stay on one thread; rows in a part at most.
PRODUCT, LARGEST_PART = 262_144, 16_384

# Steps times states squared below which starting threads costs more than it saves.
SEQUENTIAL = 50_000

# Steps times states from which series are taken side by side.
TOGETHER = 20_000

# Rows from which equal ones are looked for, in so many columns at most.
MANY, FEW_COLUMNS, LOOKED_AT = 2000, 16, 1000


def split(eta: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The parts of eta (..., K, P + 1 + K): those of the points (..., K, P), log pi (..., K) and log A (..., K, K)."""
    K = eta.shape[-2]
    return eta[..., : -1 - K], eta[..., -1 - K], eta[..., -K:]


def join(s: np.ndarray, first: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The inverse of `split`."""
    return np.concatenate([s, first[..., None], pairs], axis=-1)


def plain(
    family: Family, x: Sequences, weights: np.ndarray | None, eta: np.ndarray, u: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log_z and the expected statistics, or those of states drawn at random: the readable reference, in logarithms.

    Parameters
    ----------
    family : Family
    x : Sequences
    weights : ndarray, shape (N,), or None
        How often each sequence counts, row by row.
    eta : ndarray, shape (..., K, P + 1 + K)
    u : ndarray, shape (..., N), optional
        Uniform random numbers: states are then drawn, the last one first (Frühwirth-Schnatter 2006, algorithm 11.5).

    Returns
    -------
    log_z : ndarray, shape (...)
        Log normalisers of the sequences, summed by weight, in nats.
    s : ndarray, shape (..., K, P + 1 + K)
    """
    own, log_pi, log_A = split(eta)
    log_z, s = np.zeros(eta.shape[:-2]), np.zeros_like(eta)
    for rows in x.slices():
        t = family.features(x.x[rows])
        log_rho = (own @ t.T).swapaxes(-1, -2)
        each, r, pairs = through(log_rho, log_pi, log_A, None if u is None else u[..., rows])
        w = 1.0 if weights is None else weights[rows.start]
        log_z = log_z + w * each
        s += w * join(r.swapaxes(-1, -2) @ t, r[..., 0, :], pairs)
    return log_z, s


def through(
    log_rho: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, u: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log_z (...), smoothed or drawn r (..., T, K) and transitions (..., K, K) of one sequence of log_rho (..., T, K)."""
    alpha, before = np.empty_like(log_rho), np.empty_like(log_rho)
    log_z = np.zeros(log_rho.shape[:-2])
    for t in range(log_rho.shape[-2]):
        before[..., t, :] = log_sum((alpha[..., t - 1, :, None] + log_A).swapaxes(-1, -2)) if t else log_pi
        alpha[..., t, :] = before[..., t, :] + log_rho[..., t, :]  # PRML 13.59
        scale = log_sum(alpha[..., t, :])
        alpha[..., t, :] -= scale[..., None]
        log_z = log_z + scale  # PRML 13.63
    r, pairs = np.empty_like(log_rho), np.zeros_like(log_A)
    for t in range(log_rho.shape[-2] - 1, -1, -1):
        log_p = alpha[..., t, :]
        if u is not None:
            if t + 1 < log_rho.shape[-2]:
                log_p = log_p + (r[..., t + 1, None, :] * log_A).sum(-1)
            r[..., t, :] = drawn(normalise(log_p)[1], u[..., t])
            if t + 1 < log_rho.shape[-2]:
                pairs += r[..., t, :, None] * r[..., t + 1, None, :]
        elif t + 1 < log_rho.shape[-2]:
            with np.errstate(divide="ignore"):
                log_u = np.log(r[..., t + 1, None, :]) - before[..., t + 1, None, :]
            pair = np.exp(log_p[..., None] + log_A + log_u)  # PRML 13.65
            r[..., t, :] = pair.sum(-1)
            pairs += pair
        else:
            r[..., t, :] = np.exp(log_p)
    return log_z, r, pairs


@dataclass(frozen=True)
class Points:
    """The points of a pass: their log densities, and their statistics.

    Parameters
    ----------
    family : Family
    x : ndarray, shape (N, D)
    """

    family: Family
    x: np.ndarray

    @cached_property
    def distinct(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Features of the distinct rows (U, P), and which of them each row is (N,), where rows are few and often repeated."""
        N, D = self.x.shape
        if N < MANY or D > FEW_COLUMNS:
            return None
        some = self.x[:: -(-N // LOOKED_AT)]
        if 2 * len(np.unique(some, axis=0)) > len(some):
            return None
        rows, place = np.unique(self.x, axis=0, return_inverse=True)
        return (self.family.features(rows), place.reshape(-1)) if 4 * len(rows) <= N else None

    @cached_property
    def gapped(self) -> bool:
        """Whether values are missing that have to be integrated out."""
        return bool(self.family.linked) and bool(np.isnan(self.x).any())

    @cached_property
    def kept(self) -> np.ndarray | None:
        """The features of all rows (N, P), where they are not too many."""
        return self.family.features(self.x) if len(self.x) * self.width <= KEPT else None

    @cached_property
    def numbers(self) -> np.ndarray | None:
        """The points as compiled loops read them, where all that is known of them are their coordinates."""
        if not self.family.affine or self.family.missing:
            return None
        x = self.x
        if x.dtype == np.float64 and x.flags.c_contiguous and x.flags.aligned:
            return x
        return np.require(x, np.float64, ("C", "A")) if x.size <= KEPT else None

    @cached_property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        """What gives coordinates, and which of their products are features; see `mixtures.engines.split.Points`."""
        from mixtures.engines.products import runs_of

        unit = np.require(np.atleast_2d(self.family.unit), np.float64, "C")
        return self.family.origin, unit, runs_of(self.family.monomials)

    @cached_property
    def place(self) -> np.ndarray:
        """Which of the distinct rows each row is, as compiled loops read it, (N,)."""
        assert self.distinct is not None
        return self.distinct[1].astype(np.int32)

    @property
    def width(self) -> int:
        """P."""
        return int(1 + self.family.monomials[-1, 0])

    def features(self, rows: slice) -> np.ndarray:
        """t(x) of some rows, (n, P)."""
        return self.family.features(self.x[rows]) if self.kept is None else self.kept[rows]

    def _parts(self, rows: slice, K: int) -> list[slice]:
        """The rows in parts whose products are so small that a library does not start threads of its own for them."""
        size = min(max(PRODUCT // (K * self.width), 256), LARGEST_PART)
        return [slice(first, min(first + size, rows.stop)) for first in range(rows.start, rows.stop, size)]

    def log_rho(self, rows: slice, eta: np.ndarray) -> np.ndarray:
        """t(x) . eta_k of some rows under R runs eta (R, K, P), shape (R, n, K)."""
        if self.gapped:
            return missing.densities(self.family, self.x[rows], eta)
        if self.distinct is None:
            by_cluster, log_rho = eta.swapaxes(-1, -2), np.empty((len(eta), rows.stop - rows.start, eta.shape[-2]))

            def work(part: slice) -> None:
                here = slice(part.start - rows.start, part.stop - rows.start)
                np.matmul(self.features(part), by_cluster, out=log_rho[:, here])

            _each(work, self._parts(rows, eta.shape[-2]))
            return log_rho
        t, place = self.distinct
        return np.take(t @ eta.swapaxes(-1, -2), place[rows], axis=1)

    def statistics(self, rows: slice, r: np.ndarray, eta: np.ndarray) -> np.ndarray:
        """sum_n r_nk E_k[t(x_n) | x_o] over some rows, shape (R, K, P), of r (R, n, K) under eta (R, K, P)."""
        if self.gapped:
            return missing.statistics(self.family, self.x[rows], r, eta)
        if self.distinct is None:
            by_cluster = r.swapaxes(-1, -2)

            def work(part: slice) -> np.ndarray:
                return by_cluster[..., part.start - rows.start : part.stop - rows.start] @ self.features(part)

            return np.sum(_each(work, self._parts(rows, r.shape[-1])), axis=0)
        from mixtures.engines import chains

        t, place = self.distinct
        totals = np.zeros((len(r), len(t), r.shape[-1]))
        chains.add_up(r, place[rows], totals)
        return totals.swapaxes(-1, -2) @ t


@dataclass(frozen=True)
class Compiled:
    """The pass over sequences in compiled loops.

    Parameters
    ----------
    points : Points
    x : Sequences
    weights : ndarray, shape (N,), or None
    """

    points: Points
    x: Sequences
    weights: np.ndarray | None
    sides: dict[tuple[int, int], Any] = field(default_factory=dict)

    def __call__(self, eta: np.ndarray, u: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Sum of log_z and the statistics; see `plain`."""
        runs = eta.reshape(-1, *eta.shape[-2:])
        own, log_pi, log_A = (np.ascontiguousarray(part) for part in split(runs))
        uniform = np.empty((len(runs), 0)) if u is None else u.reshape(len(runs), -1)
        log_z, s = np.zeros(len(runs)), np.zeros_like(runs)
        left = np.ones(len(runs), bool)
        for run in range(len(runs) if u is None and self._apt(own) else 0):
            found = self._side(0, len(self.x.lengths))(self._laid(own[run]), log_pi[run], log_A[run])
            if found is not None:
                log_z[run], s[run], left[run] = found[0], join(*found[1:]), False
        if left.any():
            log_z[left], s[left] = self._in_spans(own[left], log_pi[left], log_A[left], uniform[left])
        return log_z.reshape(eta.shape[:-2]), s.reshape(eta.shape)

    def _in_spans(
        self, own: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, uniform: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """log_z (R,) and s (R, K, P + 1 + K) by log rho of some rows at a time."""
        R, K, _ = own.shape
        each = self._each()
        log_z, s, first, pairs = np.zeros(R), np.zeros_like(own), np.zeros((R, K)), np.zeros((R, K, K))
        rows = max(1, SPAN // (R * K))
        for some in self._groups(rows):
            edges = self.x.edges[some.start : some.stop + 1]
            if edges[-1] - edges[0] > rows:
                for run in range(R):
                    parts = self._long(slice(*edges), SPAN // K, own[[run]], log_pi[run], log_A[run], uniform[run])
                    for total, part in zip((log_z, s, first, pairs), parts, strict=True):
                        total[run] += each[some.start] * part
                continue
            here = slice(edges[0], edges[-1])
            r = self.points.log_rho(here, own)
            left = np.ones(R, bool)
            if not uniform.size and r[0].size >= TOGETHER and not self._apt(own):
                left = self._beside(some, r, log_pi, log_A, log_z, pairs)
            if left.any():
                rest, own_z, own_pairs = r[left], np.zeros(left.sum()), np.zeros_like(log_A[left])
                told = edges - edges[0], each[some], log_pi[left], log_A[left], uniform[left, here]
                _smooth(rest, *told, own_z, own_pairs)
                r[left], log_z[left], pairs[left] = rest, log_z[left] + own_z, pairs[left] + own_pairs
            first += r[:, edges[:-1] - edges[0]].sum(1)
            s += self.points.statistics(here, r, own)
        return log_z, join(s, first, pairs)

    def _beside(
        self, some: slice, r: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, log_z: np.ndarray, pairs: np.ndarray
    ) -> np.ndarray:
        """Smooth r (R, T, K) of some sequences side by side, from their log rho; which runs it could not be done for."""
        from mixtures.engines.split import Points

        left = np.zeros(len(r), bool)
        for run in range(len(r)):
            found = self._side(some.start, some.stop)(Points.densities(r[run]), log_pi[run], log_A[run])
            if found is None:
                left[run] = True
                continue
            log_z[run] += found[0]
            r[run] = found[1]
            pairs[run] += found[3]
        return left

    def _apt(self, own: np.ndarray) -> bool:
        """Whether the points are such that `mixtures.engines.lanes` reads them itself, and there are many."""
        many = len(self.x) * own.shape[1] >= TOGETHER and not self.points.gapped
        return many and (self.points.distinct is not None or self.points.numbers is not None)

    def _laid(self, eta: np.ndarray) -> Any:
        """The points under eta (K, P) as `mixtures.engines.lanes` reads them."""
        from mixtures.engines import laid
        from mixtures.engines.split import Points

        if self.points.distinct is not None:
            return Points.places(self.points.distinct[0], self.points.place, eta)
        x, keep = self.points.numbers, self.points.x.size <= KEPT
        assert x is not None
        return Points(laid.NUMBERS, eta, x, self.points.coordinates, keep)

    def _side(self, first: int, stop: int) -> Any:
        """The passes over some sequences side by side."""
        from mixtures.engines.split import Side

        if (first, stop) not in self.sides:
            edges = self.x.edges[first : stop + 1]
            self.sides[first, stop] = Side(edges - edges[0], self._each()[first:stop])
        return self.sides[first, stop]

    def entropy(self, eta: np.ndarray) -> np.ndarray:
        """Entropy of the states in nats (...), of which that of missing values is no part."""
        runs = eta.reshape(-1, *eta.shape[-2:])
        own, log_pi, log_A = split(runs)
        log_z, s = self(runs)
        _, first, pairs = split(s)
        found = log_z - (first * log_pi).sum(-1) - (pairs * log_A).sum((-2, -1))
        for rows, w in zip(self.x.slices(), self._each(), strict=True):
            log_rho = self.points.log_rho(rows, own)
            r = smoothed(log_rho, log_pi, log_A, np.array([0, rows.stop - rows.start]))
            found -= w * (r * log_rho).sum((-2, -1))
        return np.maximum(found, 0).reshape(eta.shape[:-2])

    def _each(self) -> np.ndarray:
        """The weight of each sequence, (S,)."""
        return np.ones(len(self.x.lengths)) if self.weights is None else self.weights[self.x.edges[:-1]]

    def _groups(self, rows: int) -> Iterator[slice]:
        """Groups of sequences that have at most so many rows together, or of one that has more."""
        edges, i = self.x.edges, 0
        while i < len(edges) - 1:
            j = max(i + 1, int(np.searchsorted(edges, edges[i] + rows, side="right")) - 1)
            yield slice(i, j)
            i = j

    def _long(
        self, rows: slice, size: int, eta: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, u: np.ndarray
    ) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        """log_z, s (K, P), starts (K,) and transitions (K, K) of one sequence under one run, in spans of so many rows."""
        from mixtures.engines import chains

        none, spans = np.empty(0), [slice(a, min(a + size, rows.stop)) for a in range(rows.start, rows.stop, size)]

        def forward(span: slice, log_first: np.ndarray) -> tuple[float, bool, np.ndarray, np.ndarray]:
            log_rho = self.points.log_rho(span, eta)[0]
            alpha = np.empty_like(log_rho)
            return *chains.forward(log_rho, log_first, log_A, alpha, none), alpha, log_rho

        firsts = [log_pi]
        for span in spans[:-1]:
            _, in_logs, alpha, _ = forward(span, firsts[-1])
            with np.errstate(divide="ignore"):
                last = alpha[-1] if in_logs else np.log(alpha[-1])
            firsts.append(log_sum((last[:, None] + log_A).T))
        log_z, s, pairs = 0.0, np.zeros_like(eta), np.zeros_like(log_A)
        smoothed, state = none, -1
        for span, log_first in zip(reversed(spans), reversed(firsts), strict=True):
            own_z, in_logs, alpha, r = forward(span, log_first)
            if u.size:
                state = chains.sample(alpha, in_logs, log_A, state, u[span], 1.0, r, pairs)
            else:
                chains.backward(alpha, in_logs, log_A, smoothed, 1.0, r, pairs)
                smoothed = r[0].copy()
            log_z += own_z
            s += self.points.statistics(span, r[None], eta)
        return log_z, s[0], r[0], pairs


def _each(work: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
    """What the work on each part returns, done on as many threads as there are."""
    if len(parts) == 1:
        return [work(parts[0])]
    from mixtures.engines.softmax import pool

    return list(pool().map(work, parts))


def _smooth(
    r: np.ndarray,
    edges: np.ndarray,
    weights: np.ndarray,
    log_pi: np.ndarray,
    log_A: np.ndarray,
    u: np.ndarray,
    log_z: np.ndarray,
    pairs: np.ndarray,
) -> None:
    """`mixtures.engines.chains.smooth` of some runs and parts of the sequences at a time, on as many threads as there are."""
    from mixtures.engines import chains

    (R, n, K), S = r.shape, len(edges) - 1
    alpha, u = np.empty_like(r), np.ascontiguousarray(u)
    if R * n * K * K < SEQUENTIAL or R * S == 1:
        chains.smooth(r, alpha, edges, weights, log_pi, log_A, u, log_z, pairs)
        return
    runs = np.unique(np.linspace(0, R, 1 + min(R, PARTS)).astype(int))
    cuts = np.unique(np.linspace(0, S, 1 + max(1, PARTS // R)).astype(int))
    tasks = [(slice(*some), slice(a, b)) for some in pairwise(runs) for a, b in pairwise(cuts)]
    found = [(np.zeros(some.stop - some.start), np.zeros((some.stop - some.start, K, K))) for some, _ in tasks]

    def work(task: int) -> None:
        run, some = tasks[task]
        rows, own = slice(edges[some.start], edges[some.stop]), edges[some.start : some.stop + 1]
        parts = r[run, rows], alpha[run, rows], own - own[0], weights[some], log_pi[run], log_A[run], u[run, rows]
        chains.smooth(*parts, *found[task])  # type: ignore[call-arg]

    _each(work, range(len(tasks)))
    for (run, _), (own_z, own_pairs) in zip(tasks, found, strict=True):
        log_z[run] += own_z
        pairs[run] += own_pairs


def one_pass(family: Family, x: Sequences, weights: np.ndarray | None, engine: str) -> Callable[..., Any]:
    """The pass over these sequences, as a function of eta (..., K, P + 1 + K) and uniform numbers (..., N) or None."""
    points = Points(family, x.x)
    if engine == "plain":
        if points.gapped:
            raise ValueError("the plain engine takes no values missing among correlated features; give engine='auto'")
        return partial(plain, family, x, weights)
    return Compiled(points, x, weights)


def filtered(
    log_rho: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """p(z_t = k | x_1 .. x_t) (R, N, K) and log p(x_t | x_1 .. x_(t-1)) (R, N) of whole sequences under R runs."""
    from mixtures.engines import chains

    log_rho = np.ascontiguousarray(log_rho)
    alpha, scales = np.empty_like(log_rho), np.empty(log_rho.shape[:2])
    log_pi, log_A = map(np.ascontiguousarray, (log_pi, log_A))
    chains.filtered(log_rho, alpha, edges, log_pi, log_A, scales)
    return alpha, scales


def smoothed(log_rho: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """p(z_t = k | x_1 .. x_T) of whole sequences under R runs, (R, N, K)."""
    (R, _, K), r = log_rho.shape, np.array(log_rho, order="C")
    log_pi, log_A = map(np.ascontiguousarray, (log_pi, log_A))
    _smooth(r, edges, np.ones(len(edges) - 1), log_pi, log_A, np.empty((R, 0)), np.zeros(R), np.zeros((R, K, K)))
    return r


def path(log_rho: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, edges: np.ndarray, u: np.ndarray) -> np.ndarray:
    """States (R, N) of whole sequences drawn under R runs with uniform random numbers u (R, N), the last one first."""
    (R, _, K), r = log_rho.shape, np.array(log_rho, order="C")
    log_pi, log_A = map(np.ascontiguousarray, (log_pi, log_A))
    _smooth(r, edges, np.ones(len(edges) - 1), log_pi, log_A, u, np.zeros(R), np.zeros((R, K, K)))
    return r.argmax(-1)


def viterbi(
    log_rho: np.ndarray, log_pi: np.ndarray, log_A: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The most probable states (N,) of sequences of log_rho (N, K), and the log joint density along each, (S,)."""
    from mixtures.engines import chains

    log_rho, log_pi, log_A = map(np.ascontiguousarray, (log_rho, log_pi, log_A))
    states = np.empty(len(log_rho), np.int64)
    values = [chains.viterbi(log_rho[a:b], log_pi, log_A, states[a:b]) for a, b in pairwise(edges)]
    return states, np.array(values)
