"""Each start is the best of several candidates, which short runs of the loop choose among."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.ascent.climb import NUMBERS, Callback, Natural, Problem, Runs, attempt, carry_on, climb, join
from mixtures.ascent.moves import move_on, pace
from mixtures.ascent.states import soften
from mixtures.model import Family

if TYPE_CHECKING:
    from mixtures.ascent.whole import Whole

# Passes of a candidate before those ahead are chosen: of many data sets, or where there are no moves, and of one data set.
TRIAL, LONGER = 10, 50

# Candidates of a start at most, two more where they start from seeds, and terms r_nk t_p at most in a pass of all of them.
CANDIDATES = 6
MORE = 2
TERMS = 2_000_000

# Share of a bound within which ends are one: the first of them is ahead, whatever rounding says, which differs between engines.
TIED = 1e-11

# A first candidate goes on unless so many more passes at the pace of its last would not bring it to the end of the one ahead.
PATIENCE = 1000


class Listener:
    """A callback, and whether it wants no more."""

    def __init__(self, callback: Callable[[Any], Any] | None) -> None:
        self.callback, self.stopped = callback, False

    def __call__(self, step: Any) -> None:
        """Tell it of a step; once it wants no more, of none."""
        if self.stopped:
            raise StopIteration
        try:
            if self.callback is not None:
                self.callback(step)
        except StopIteration:
            self.stopped = True
            raise


def beginnings(natural: Natural, s: np.ndarray, soft: np.ndarray) -> np.ndarray:
    """Hard and softened starts in turn, and a hard one softened where no step can be taken from it, shape (R, K, P).

    Neither kind is the better one on all data: the hard ones keep apart clusters that are close beside rows far away, the
    softened ones lose fewer clusters where these are many.

    Parameters
    ----------
    natural : callable
    s : ndarray, shape (R, K, P)
        Hard starts.
    soft : ndarray of bool, shape (R,)
        Which are softened: those `in_turn`.
    """
    hard = s
    if soft.any():
        s = np.where(soft[:, None, None], soften(s), s)
    *_, lost = attempt(natural, s, [])
    if not lost.any():
        return s
    lost &= np.all(s[..., 0] > 0, axis=-1)  # a cluster without a point was given so
    return np.where(lost[:, None, None], soften(hard), s) if lost.any() else s


def in_turn(starts: int, each: int) -> np.ndarray:
    """Every second of each so many starts, shape (starts,)."""
    return np.arange(starts) % each % 2 == 1


def begun(natural: Natural, hard: np.ndarray, each: int = 1) -> np.ndarray:
    """`beginnings` of one data set whose starts have so many candidates, no more of them together than `climb` moves."""
    together = max(1, NUMBERS // hard[0].size)
    soft = in_turn(len(hard), each if each > 1 else len(hard))
    parts = [slice(first, first + together) for first in range(0, len(hard), together)]
    found = [beginnings(natural, hard[part], soft[part]) for part in parts]
    return found[0] if len(found) == 1 else np.concatenate(found)


def unfit(hard: np.ndarray, s: np.ndarray, each: int = 1) -> list[tuple[int, np.ndarray]]:
    """Starts of one data set, and those of their ``each`` candidates that `beginnings` softened, as they were, (C, K, P).

    No step could be taken from these.
    """
    if s is hard:
        return []
    lost = np.any(s != hard, axis=(-2, -1)) & ~in_turn(len(hard), each if each > 1 else len(hard))
    found = [np.flatnonzero(own) + start * each for start, own in enumerate(lost.reshape(-1, each))]
    return [(start, hard[own]) for start, own in enumerate(found) if len(own)]


def candidates(points: int, family: Family, init: object = "k-means") -> int:
    """How many short runs each start is the best of, for N times K ``points``; fewer where a pass takes long, one if given.

    From k-means++ seeds they are eight, of which two go on by Lloyd's algorithm: seeds alone lose optima among many features,
    and Lloyd's algorithm, which brings many seeds to the same clusters, loses others.
    """
    if not isinstance(init, str):
        return 1
    most = CANDIDATES + MORE if init == "k-means++" else CANDIDATES
    return int(max(1, min(most, TERMS // (points * (1 + int(family.monomials[-1, 0]))))))


def climb_from_best(
    problem: Problem,
    s: np.ndarray,
    n: float | np.ndarray,
    each: int,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback = None,
    whole: Whole | None = None,
    moves: bool = False,
    likewise: bool = False,
) -> tuple[Runs, list[tuple[int, np.ndarray]]]:
    """`climb` from R starts, each the best of several candidates after ten passes, and the next best where that one collapses.

    Of starts that may be moved on the passes are fifty: after ten, those ahead are often the same in every start, and all end
    at one optimum below the best. Fewer passes do once every start has a candidate that has converged.

    Short runs find better optima than as many passes spent on more starts (Biernacki, Celeux & Govaert 2003, *CSDA*
    41:561-575). A start has collapsed once all of its candidates have. For ``moves`` see `mixtures.ascent.moves`.

    Parameters
    ----------
    problem, n, tol, max_iter, accelerate
        See `climb`.
    s : ndarray, shape (R each, K, P)
        The candidates of a start one after another.
    each : int
        How many candidates a start has.
    callback : callable, optional
        Called with the `Runs` of the R starts, each by the candidate ahead.
    whole : Whole, optional
        The same problem in one compiled call, which is used where there is no callback.
    moves : bool
        Whether the best run is moved on, where all starts are of one data set of independent points.
    likewise : bool
        Whether of every start the first candidate goes on beside the one ahead, as long as it may come to its end. The lower
        of both comes after all others.

    Returns
    -------
    runs : Runs
        Of the R starts, and after them of the moves that raised the best, if any did; see ``likewise`` too.
    tight : list of (int, ndarray)
        Starts of which a candidate collapsed, and its last state (K, P).
    """
    if callback:
        whole = None
    if each == 1:
        runs = (
            whole.climb(s, n, tol, max_iter, accelerate)
            if whole
            else climb(problem, s, n, tol, max_iter, accelerate, callback)
        )
        return runs, [(int(run), runs.s[run]) for run in np.flatnonzero(runs.collapsed)]
    n = np.broadcast_to(np.asarray(n, dtype=float), len(s))
    listener = Listener(callback)
    trial = min(LONGER if moves else TRIAL, max_iter)
    if whole:
        short = whole.climb(s, n, tol, trial, accelerate, each)
    else:
        short = climb(problem, s, n, tol, trial, accelerate, partial(_listen, listener, each))
    ranked = _ranked(short, each)
    runs, wanted = short.take(ranked[0]), ~short.converged[ranked[0]]
    tight = {int(run) // each: short.s[run] for run in np.flatnonzero(short.collapsed)[::-1]}
    for candidate in ranked:
        going = np.flatnonzero(wanted & ~short.collapsed[candidate])
        if listener.stopped or len(short.trace) == max_iter or not len(going):
            break
        own = candidate[going]
        tell = callback and partial(_tell_of, listener, runs, going)
        left = max_iter - len(short.trace) + 1
        rest = carry_on(problem, short.take(own), own, n[own], tol, left, accelerate, tell, whole)
        runs = runs.put(going, rest)
        wanted = runs.collapsed
        tight = {int(run): runs.s[run] for run in np.flatnonzero(wanted)} | tight
    beside: list[Runs] = []
    if likewise and not listener.stopped:
        first = each * np.arange(len(runs.s))
        there = np.flatnonzero((ranked[0] != first) & ~short.collapsed[first])
        there = there[short.end[first[there]] + PATIENCE * pace(short, first[there]) >= runs.end[there]]
        own = first[there]
        ends, on = short.take(own), np.flatnonzero(~short.converged[own])
        if len(on):
            left = max_iter - len(short.trace) + 1
            ends = ends.put(
                on, carry_on(problem, ends.take(on), own[on], n[own[on]], tol, left, accelerate, None, whole)
            )
        if len(there):
            both, higher = join([runs.take(there), ends]), ends.end > runs.end[there]
            lower = np.arange(len(there)) + len(there) * ~higher
            runs, beside = runs.put(there[higher], ends.take(np.flatnonzero(higher))), [both.take(lower)]
    if moves and not listener.stopped:
        with suppress(StopIteration):
            told = listener if callback else None
            runs = move_on(problem, runs, s, short.end, float(n[0]), tol, max_iter, accelerate, whole, told)
    return join([runs, *beside]) if beside else runs, sorted(tight.items(), key=lambda start: start[0])


def ahead(end: np.ndarray) -> np.ndarray:
    """Which ends (..., R) are the highest, but for rounding, shape (..., R)."""
    highest = end.max(axis=-1, keepdims=True)
    return end >= highest - TIED * np.abs(highest)


def _ranked(short: Runs, each: int) -> np.ndarray:
    """Numbers of the candidates of every start, the highest bound first, shape (each, R)."""
    end = short.end.reshape(-1, each)
    order = np.argsort(-np.where(ahead(end), end.max(axis=1, keepdims=True), end), axis=1, kind="stable")
    return (order + each * np.arange(len(order))[:, None]).T


def _listen(listener: Listener, each: int, short: Runs) -> None:
    """Tell of the candidates ahead, and end the short runs once every start has one that has converged."""
    if listener.callback:
        listener(short.take(_ranked(short, each)[0]))
    if np.all(short.converged.reshape(-1, each).any(axis=1)):
        raise StopIteration


def _tell_of(listener: Listener, runs: Runs, going: np.ndarray, rest: Runs) -> None:
    """Tell of the runs, some of which go on."""
    listener(runs.put(going, rest))
