"""Moves from a local optimum: of the best run two clusters become one, and one that another start began with takes the place.

They are merges and splits (Ueda, Nakano, Ghahramani & Hinton 2000, *Neural Computation* 12:2109-2128), but that the new cluster
is not half of an old one: the starts' own lie where the points do, whatever the family, and a state is all that is needed. A
move counts only where the bound at which it settles is higher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mixtures.ascent.climb import NUMBERS, Problem, Runs, attempt, carry_on, climb, join
from mixtures.ascent.states import soften

if TYPE_CHECKING:
    from mixtures.ascent.whole import Whole

# Bounds within so many nats an observation, or within the tolerance, are those of one optimum, and before they have settled;
# candidates of a single start that agree so are enough.
SAME, ABOUT, ALIKE = 1e-6, 1e-3, 2

# Passes of a move before the quarter ahead goes on to its end, unless so many more at the pace of the last would not bring it
# to the bound that it is to raise.
TRIAL, PATIENCE = 20, 100

# Rounds without a gain until no more is tried: as many as starts are below the best optimum, twice that for states of so many
# numbers, and at least a fifth of the starts, or all but so few.
LARGE, AGREED, FEW = 32, 5, 5

# The additive recurrence of two dimensions whose points leave the smallest gaps (Roberts 2018): powers of the plastic number.
STEPS = 1.32471795724474602596 ** -np.arange(1.0, 3.0)


def move_on(
    problem: Problem,
    runs: Runs,
    s: np.ndarray,
    short: np.ndarray,
    n: float,
    tol: float,
    max_iter: int,
    accelerate: bool,
    whole: Whole | None = None,
    tell: Callable[[Runs], object] | None = None,
) -> Runs:
    """The runs of one data set, and after them, if moves raise the bound of the best, where these end.

    A round tries as many moves as a start has candidates, and the quarter ahead after short runs goes on. Every other round
    moves from the best optimum, and those between from the others in turn, until so many have gained nothing as there are
    starts below the best, or twice as many, and no fewer than `AGREED` and `FEW` say. From one start a round has half as many
    moves, and the first that gains nothing is the last; none is made where two candidates have come to about this bound.

    Parameters
    ----------
    problem, n, tol, max_iter, accelerate, whole
        See `mixtures.ascent.candidates.climb_from_best`.
    runs : Runs
        Of R starts.
    s : ndarray, shape (R C, K, P)
        What their candidates began with, C each.
    short : ndarray, shape (R C,)
        Bounds at which the candidates' short runs ended.
    tell : callable, optional
        Called with the runs after a move that counts.
    """
    R, K, same, often = len(runs.s), s.shape[1], n * max(SAME, tol), 1 + (s[0].size >= LARGE)
    each = len(s) // R if R > 1 else (len(s) + 1) // 2
    made, since, orders = 0, 0, dict[int, tuple[np.ndarray, np.ndarray]]()
    while K > 1 and not runs.collapsed.all():
        ends = _optima(runs, same)
        best = ends[0]
        below = often * int(np.sum(runs.end[:R] < runs.end[best] - same))
        if R == 1:
            below = int(np.sum(short >= runs.end[best] - n * ABOUT) < ALIKE)
        if since >= max(below, R // AGREED, R - FEW) or not runs.converged[best]:
            break
        at = best if since % 2 == 0 else ends[(since // 2 + 1) % len(ends)]
        if at not in orders:
            orders[at] = _pairs(problem, runs.s[at]), _clusters(problem, runs.s[at], s)
        moved = _moves(runs.s[at], *orders[at], made + np.arange(each))
        end = _climb(problem, moved, float(runs.end[best]), n, tol, max_iter, accelerate, whole)
        made, since = made + each, since + 1
        if end.converged[0] and end.end[0] > runs.end[best] + same:
            runs = runs.put(np.array([best]), end) if best == R else join([runs, end])
            since = 0
            orders.pop(R, None)
            if tell:
                tell(runs)
    return runs


def _optima(runs: Runs, same: float) -> list[int]:
    """A run for each optimum that was reached, the highest first."""
    order = np.argsort(-runs.end, kind="stable")
    order = order[~runs.collapsed[order]]
    apart = np.append(True, np.diff(runs.end[order]) < -same)
    return order[apart].tolist()  # type: ignore[no-any-return]


def _climb(
    problem: Problem,
    s: np.ndarray,
    aim: float,
    n: float,
    tol: float,
    max_iter: int,
    accelerate: bool,
    whole: Whole | None,
) -> Runs:
    """The highest end of the states (M, K, P); of the quarter ahead after short runs, those go on that may come to the aim."""
    trial = min(TRIAL, max_iter)
    short = _trial(problem, s, n, tol, trial, accelerate, whole)
    lost = np.flatnonzero(short.collapsed & (short.passes == 1))
    if len(lost):  # no step could be taken from these
        short = short.put(lost, _trial(problem, soften(s[lost]), n, tol, trial, accelerate, whole))
    runs = short.take(np.argsort(-short.end, kind="stable")[: (len(s) + 3) // 4])
    on = np.flatnonzero(~(runs.converged | runs.collapsed))
    on = on[runs.end[on] + PATIENCE * pace(runs, on) >= aim]
    if len(on):
        left = max_iter - len(short.trace) + 1
        rest = carry_on(problem, runs.take(on), on, n, tol, left, accelerate, None, whole)
        runs = runs.put(on, rest)  # of which some may collapse
    return runs.take(np.argmax(runs.end, keepdims=True))


def _trial(
    problem: Problem, s: np.ndarray, n: float, tol: float, passes: int, accelerate: bool, whole: Whole | None
) -> Runs:
    return whole.climb(s, n, tol, passes, accelerate) if whole else climb(problem, s, n, tol, passes, accelerate)


def pace(runs: Runs, some: np.ndarray) -> np.ndarray:
    """Half of what the last two passes of some runs have gained, (some,): infinity where there are no two."""
    bounds = [runs.bounds(run)[-3:] for run in some]
    return np.array([(b[-1] - b[0]) / 2 if len(b) == 3 else np.inf for b in bounds])


def _moves(state: np.ndarray, pairs: np.ndarray, clusters: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The moves of these numbers (M,) from a state: a pair merges, and a cluster takes the place; the first most often."""
    u, every = (0.5 + at[:, None] * STEPS) % 1, np.arange(len(at))
    merged, new = (
        each[((len(each) + 1) ** own).astype(int) - 1] for each, own in zip((pairs, clusters), u.T, strict=True)
    )
    kept, freed = merged.T
    moved = np.repeat(state[None], len(at), axis=0)
    moved[every, kept] += moved[every, freed]
    moved[every, freed] = new
    return moved


def _clusters(problem: Problem, state: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The clusters of s (R C, K, P), first those whose points are the least likely beside their own density, (R C K, P).

    That is the paper's criterion of a split, a Kullback-Leibler divergence, of clusters that are known by their statistics.
    """
    eta = problem(np.arange(1))[0](state[None])[0][0]
    together, divergence = max(1, NUMBERS // s[0].size), np.zeros(s.shape[:-1])
    for first in range(0, len(s), together):
        runs = np.arange(first, min(first + together, len(s)))
        some = s[runs]
        _, (own, _), lost = attempt(problem(runs)[0], some, [])
        gain = (own * some).sum(-1) - (some @ eta.T).max(-1)
        divergence[runs] = np.where(lost[:, None], 0.0, gain / np.maximum(some[..., 0], np.finfo(float).tiny))
    return s.reshape(-1, s.shape[-1])[np.argsort(-divergence, axis=None, kind="stable")]


def _pairs(problem: Problem, state: np.ndarray) -> np.ndarray:
    """Pairs of clusters, first those whose merging takes the least from the bound of labelled points, (K (K - 1) / 2, 2)."""
    pairs = np.argwhere(np.tri(len(state), k=-1, dtype=bool))
    if len(pairs) == 1:
        return pairs
    merged = (state[pairs[:, 0]] + state[pairs[:, 1]]) / 2
    score = 2 * np.log(2) * merged[:, 0]  # a half is as likely as the whole but for its weight
    together = max(1, NUMBERS // state.size)
    for first in range(0, len(pairs), together):
        some = np.arange(first, min(first + together, len(pairs)))
        halves, every = np.repeat(state[None], len(some), axis=0), np.arange(len(some))
        for side in pairs[some].T:
            halves[every, side] = merged[some]
        natural, _ = problem(some)
        _, (eta, extra), lost = attempt(natural, halves, [])
        score[some] += np.where(lost, -np.inf, (eta * halves).sum((-2, -1)) + extra)
    return pairs[np.argsort(-score, kind="stable")]
