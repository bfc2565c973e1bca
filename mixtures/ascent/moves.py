"""Moves from a local optimum: of the best run two clusters become one, and one that another start began with takes the place.

They are merges and splits (Ueda, Nakano, Ghahramani & Hinton 2000, *Neural Computation* 12:2109-2128), but that the new cluster
is not half of an old one: the starts' own lie where the points do, whatever the family, and a state is all that is needed. A
move counts only where the bound at which it settles is higher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mixtures.ascent.climb import NUMBERS, Problem, Runs, attempt, carry_on, climb

if TYPE_CHECKING:
    from mixtures.ascent.whole import Whole

# Bounds within so many nats an observation, or within the tolerance, are those of one optimum.
SAME = 1e-6


def move_on(
    problem: Problem,
    runs: Runs,
    s: np.ndarray,
    n: float,
    trial: int,
    tol: float,
    max_iter: int,
    accelerate: bool,
    whole: Whole | None = None,
    tell: Callable[[Runs], object] | None = None,
) -> Runs:
    """The runs of one data set, the best moved on for as long as that raises its bound.

    For each start that did not reach the best optimum, of no more than there are clusters, as many moves are tried as it has
    candidates, and the one ahead after short runs goes on to its end. Where every start came to one optimum, none is tried.

    Parameters
    ----------
    problem, n, tol, max_iter, accelerate, whole
        See `mixtures.ascent.candidates.climb_from_best`.
    runs : Runs
        Of R starts.
    s : ndarray, shape (R C, K, P)
        What their candidates began with, C each.
    trial : int
        Passes of a move before the best is chosen.
    tell : callable, optional
        Called with the runs after a move that counts.
    """
    K, each, same, made = s.shape[1], len(s) // len(runs.s), n * max(SAME, tol), 0
    while K > 1:
        best = int(np.argmax(runs.end))
        moves = each * min(K, int(np.sum(runs.end < runs.end[best] - same)))
        if not (moves and runs.converged[best]):
            break
        moved = _moves(problem, runs.s[best], s, made + np.arange(moves))
        end = _climb(problem, moved, n, each, trial, tol, max_iter, accelerate, whole)
        if not end.end[0] > runs.end[best] + same:
            break
        runs, made = runs.put(np.array([best]), end), made + moves
        if tell:
            tell(runs)
    return runs


def _climb(
    problem: Problem,
    s: np.ndarray,
    n: float,
    each: int,
    trial: int,
    tol: float,
    max_iter: int,
    accelerate: bool,
    whole: Whole | None,
) -> Runs:
    """The highest end of the states (M, K, P), of which the one in ``each`` goes on that is ahead after short runs."""
    short = whole.climb(s, n, tol, trial, accelerate) if whole else climb(problem, s, n, tol, trial, accelerate)
    ahead = np.arange(0, len(s), each) + np.argmax(short.end.reshape(-1, each), axis=1)
    runs, on = short.take(ahead), np.flatnonzero(~(short.converged | short.collapsed)[ahead])
    if len(on):
        left = max_iter - len(short.trace) + 1
        rest = carry_on(problem, runs.take(on), on, n, tol, left, accelerate, None, whole)
        runs = runs.put(on, rest)  # of which some may collapse
    return runs.take(np.argmax(runs.end, keepdims=True))


def _moves(problem: Problem, state: np.ndarray, s: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The moves of these numbers (M,) from a state: pairs merge in turn, and clusters of s (C, K, P) take the free place."""
    K, pairs, every = len(state), _pairs(problem, state), np.arange(len(at))
    kept, freed = pairs[at % min(len(pairs), K)].T
    moved = np.repeat(state[None], len(at), axis=0)
    moved[every, kept] += moved[every, freed]
    moved[every, freed] = s[at % len(s), (at + at // K) % K]
    return moved


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
