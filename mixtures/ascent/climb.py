"""The loop: repeat a step until the bound settles, for several states side by side.

A method is one function of the state ``s`` (expected sufficient statistics): the natural parameters that follow from it, and
what the bound has beside sum_n log_z_n. One pass over the data then gives the bound and the next state:

    eta, extra = method(s)      log_z, F(s) = pass_(eta)      bound(s) = log_z + extra

The bound of a correct EM or CAVI step never falls, so a fall beyond rounding raises instead of passing for convergence. Once
the rise is slow, quasi-Newton guesses at the next state are tried first and kept only where the bound is at least as high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mixtures.ascent.acceleration import QuasiNewton
from mixtures.engines.passes import Pass, inverts
from mixtures.engines.passes import rounding as rounding_of_pass
from mixtures.errors import CollapseError

if TYPE_CHECKING:
    from mixtures.ascent.whole import Whole

# Numbers in the states of runs that are moved together; one run may have more.
NUMBERS = 150_000

# Numbers in states up to which the step from them is kept.
REMEMBERED = 1_000_000

# Numbers in a state up to which the next one is kept beside it.
FOLLOWED = 10_000

# Share of a bound that rounding may take off where terms of a prior, or what cancels in them, are larger than those of data.
FALL = 2048 * float(np.finfo(float).eps)

# Guesses begin once a pass gains less than this many nats an observation; one that fails is tried again at this length.
SLOW = 3e-5
SHORTER = 0.25

# Share of a state by which it is moved to see how eta changes: guesses need few digits, but the same ones from all engines.
DIFFERENCE = 1e-4

Natural = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Problem = Callable[[np.ndarray], tuple[Natural, Pass]]
Callback = Callable[["Runs"], object] | None


@dataclass(frozen=True)
class Runs:
    """Where R runs ended.

    Attributes
    ----------
    s : ndarray, shape (R, K, P)
        The last states that were kept.
    following : ndarray, shape (R, K, P)
        The states that one more step leads to; (R, 0, 0) where they are large.
    trace : list of ndarray, each of shape (R,)
        Bounds pass by pass; missing where a run had ended, or a guess was not kept.
    converged, collapsed : ndarray of bool, shape (R,)
    passes : ndarray of int, shape (R,)
    end : ndarray, shape (R,)
        The last bounds that were kept; minus infinity where a cluster collapsed.
    errors : list of CollapseError
    """

    s: np.ndarray
    following: np.ndarray
    trace: list[np.ndarray]
    converged: np.ndarray
    collapsed: np.ndarray
    passes: np.ndarray
    end: np.ndarray
    errors: list[CollapseError]

    def record(
        self,
        runs: np.ndarray,
        s: np.ndarray,
        following: np.ndarray,
        bound: np.ndarray,
        taken: np.ndarray,
        done: np.ndarray,
        lost: np.ndarray,
    ) -> None:
        """Note what one pass did to these runs."""
        row = np.full(len(self.s), np.nan)
        row[runs[taken]] = bound[taken]
        self.trace.append(row)
        self.s[runs] = s
        if self.following.size:
            self.following[runs] = following
        self.passes[runs] += 1
        self.converged[runs], self.collapsed[runs] = done, lost
        self.end[runs] = np.where(lost, -np.inf, bound)

    def bounds(self, run: int) -> np.ndarray:
        """The bounds that one run kept, in order."""
        trace = np.array([row[run] for row in self.trace])
        return trace[np.isfinite(trace)]

    def take(self, which: np.ndarray) -> Runs:
        """Some of the runs, in this order."""
        arrays = {name: getattr(self, name)[which] for name in EACH}
        return Runs(trace=[row[which] for row in self.trace], errors=self.errors, **arrays)

    def put(self, which: np.ndarray, others: Runs) -> Runs:
        """The runs with others in the place of some."""
        order = np.arange(len(self.s))
        order[which] = len(order) + np.arange(len(which))
        return join([self, others]).take(order)


EACH = ("s", "following", "converged", "collapsed", "passes", "end")


def join(parts: Sequence[Runs]) -> Runs:
    """Runs that were not side by side."""
    passes = max(len(part.trace) for part in parts)
    missing = [[np.full(len(part.s), np.nan)] * (passes - len(part.trace)) for part in parts]
    traces = zip(*(part.trace + more for part, more in zip(parts, missing, strict=True)), strict=True)
    return Runs(
        trace=[np.concatenate(row) for row in traces],
        errors=[error for part in parts for error in part.errors],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in EACH},
    )


def climb(
    problem: Problem,
    s: np.ndarray,
    n: float | np.ndarray,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback = None,
    rounding_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
    improved: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Runs:
    """Climb from R states side by side until each has settled.

    Parameters
    ----------
    problem : callable
        From the numbers of the runs still climbing to their method and their pass.
    s : ndarray, shape (R, K, P)
    n : float or ndarray, shape (R,)
        Number of observations.
    tol, max_iter, accelerate, callback
        See `ascend`.
    rounding_of : callable, optional
        From eta, the statistics there and n to a bound on the rounding error of sum_n log_z_n; by default for coordinates in
        which the data are of order one.
    improved : callable, optional
        From states (r, K, P) to states of which the bound is no lower, for the steps that are not guesses.
    """
    n = np.broadcast_to(np.asarray(n, dtype=float), len(s))
    together = max(1, NUMBERS // s[0].size) if callback is None and len(s) else len(s)
    parts = []
    for first in range(0, len(s), together):
        some = slice(first, first + together)
        own = partial(_numbered, problem, np.arange(first, len(s)))
        parts.append(
            _side_by_side(
                own,
                s[some] if together < len(s) else s,
                n[some],
                tol,
                max_iter,
                accelerate,
                callback,
                rounding_of or _rounding,
                improved,
            )
        )
    return parts[0] if len(parts) == 1 else join(parts)


def _numbered(problem: Problem, numbers: np.ndarray, runs: np.ndarray) -> tuple[Natural, Pass]:
    """The problem of runs that have these numbers in it."""
    return problem(numbers[runs])


def _side_by_side(
    problem: Problem,
    s: np.ndarray,
    n: np.ndarray,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback,
    rounding_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    improved: Callable[[np.ndarray], np.ndarray] | None,
) -> Runs:
    """`climb` of as many runs as are held at once."""
    R = len(s)
    following = s.copy() if s[0].size <= FOLLOWED else np.empty((R, 0, 0))
    result = Runs(
        s.copy(), following, [], np.zeros(R, bool), np.zeros(R, bool), np.zeros(R, int), np.full(R, -np.inf), []
    )
    runs = np.arange(R)
    natural, pass_ = problem(runs)
    at, image, guess, length, bound = s, s, s, np.zeros(R), np.full(R, -np.inf)  # length 0: a plain step
    newton, direction = QuasiNewton(R), np.zeros_like(s)
    while True:
        new, following, eta, lost = _look(natural, pass_, guess, result.errors)
        plain = length == 0
        lost &= plain
        rise = np.where(np.isfinite(bound), new - np.where(np.isfinite(bound), bound, 0), np.inf)
        rounding = np.maximum(rounding_of(eta, following, n[runs]), n[runs] * rounding_of_pass(pass_))
        judged = plain & ~lost
        settled = judged & _fell_by_rounding(pass_, eta, new, rise, rounding, n[runs])
        _refuse_fall(new, rise, judged & ~settled, rounding, len(result.trace))
        taken = np.where(plain, judged & ~settled, rise >= -rounding)
        at, image = _chosen(taken, guess, at), _chosen(taken, following, image)
        bound = np.where(taken, new, bound)
        slow = rise <= np.maximum(tol * n[runs], rounding)
        done = (taken & plain & slow) | settled
        result.record(runs, at, image, bound, taken, done, lost)
        if _stopped(callback, result) or len(result.trace) == max_iter or np.all(done | lost):
            return result

        near = taken & (rise <= SLOW * n[runs])
        if accelerate and near.any():
            gradient, known = _gradient(natural, at, image - at, eta)
            proposed = newton.direction(at, image - at, gradient, near, known)
            direction = _chosen(taken, proposed, direction)
            length = np.where(taken, near & known & ~slow, np.where(length == 1, SHORTER, 0))
        else:
            length = np.where(~taken & (length == 1), SHORTER, 0)
        newton.forget(~taken & (length == 0))
        guess = image
        if length.any():
            ahead = at + length[:, None, None] * direction
            length = np.where(np.all(ahead[..., 0] > 0, axis=-1), length, 0)
            guess = _chosen(length != 0, ahead, image)

        stay = ~(done | lost)
        if not stay.all():
            runs, at, image, guess, length, bound, direction = (
                a[stay] for a in (runs, at, image, guess, length, bound, direction)
            )
            newton.take(stay)
            natural, pass_ = problem(runs)
        plain = length == 0
        if improved is not None and plain.any():
            guess = guess.copy()
            guess[plain] = improved(guess[plain])


def _chosen(which: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The states (R, K, P) of a for some runs, and of b for the others; a itself if for all."""
    return a if which.all() else np.where(which[:, None, None], a, b)


def _stopped(callback: Callback, runs: Runs) -> bool:
    """Tell the callback, if there is one, where the runs are, and whether it wants no more."""
    try:
        if callback is not None:
            callback(runs)
    except StopIteration:
        return True
    return False


def _look(
    natural: Natural, pass_: Pass, s: np.ndarray, errors: list[CollapseError]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bounds, next states and eta at s, and which runs collapsed; those have a bound of minus infinity."""
    s, (eta, extra), lost = attempt(natural, s, errors)
    if lost.all():
        return np.full(len(s), -np.inf), s, eta, lost
    log_z, following = pass_(eta)
    return np.where(lost, -np.inf, log_z + extra), following, eta, lost


def attempt(
    natural: Natural, s: np.ndarray, errors: list[CollapseError]
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """natural(s), with the states of runs that collapse replaced by that of another run, and which those are."""
    lost = np.zeros(len(s), bool)
    while True:
        try:
            return s, natural(s), lost
        except CollapseError as error:
            errors.append(error)
            lost = lost | error.runs
            if lost.all():
                return s, (np.zeros_like(s), np.zeros(len(s))), lost
            s = np.where(lost[:, None, None], s[~lost][0], s)


class Remembered:
    """A step that is not made again from the states that it was last made from, and how often it was made."""

    def __init__(self, natural: Natural) -> None:
        self.natural, self.s, self.made = natural, np.empty(0), 0
        self.found = self.s, self.s

    def __call__(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Natural`; states of many numbers are not kept."""
        if s is self.s:
            return self.found
        found = self.natural(s)
        self.made += 1
        if s.size <= REMEMBERED:
            self.s, self.found = s, found
        return found


def _gradient(natural: Natural, s: np.ndarray, f: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(d eta / d s) f by a difference from eta at s, which takes no pass over the data, and where it exists."""
    with np.errstate(over="ignore"):  # at a fixed point, where f is zero
        size = np.abs(s).max((-2, -1), keepdims=True) / np.maximum(np.abs(f).max((-2, -1), keepdims=True), 1e-300)
    h = np.minimum(DIFFERENCE * size, 0.1)
    _, (ahead, _), lost = attempt(natural, s + h * f, [])
    return (ahead - eta) / h, ~lost


def _refuse_fall(bound: np.ndarray, rise: np.ndarray, plain: np.ndarray, rounding: np.ndarray, passes: int) -> None:
    """Refuse bounds that are not numbers, and plain steps that lowered theirs."""
    if not np.all(np.isfinite(bound[plain])):
        raise ArithmeticError(f"the bound is {bound[plain][~np.isfinite(bound[plain])][0]} after {passes} passes")
    if np.any(rise[plain] < -rounding[plain] - FALL * np.abs(bound[plain])):
        fall = float(-rise[plain].min())
        raise ArithmeticError(f"the bound fell by {fall:.3g} nats in pass {passes + 1}: the step is wrong")


def _fell_by_rounding(
    pass_: Pass, eta: np.ndarray, bound: np.ndarray, rise: np.ndarray, rounding: np.ndarray, n: np.ndarray
) -> np.ndarray:
    """Bounds that fell by no more than the rounding of an inverse of an inverse: there are no digits to go on with."""
    if not inverts(pass_):
        return np.zeros(len(bound), bool)
    large = np.finfo(float).eps * n * np.abs(eta).max((-2, -1)) ** 2
    return (rise < -rounding - FALL * np.abs(bound)) & (rise >= -large)


def carry_on(
    problem: Problem,
    short: Runs,
    numbers: np.ndarray,
    n: float | np.ndarray,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback,
    whole: Whole | None = None,
) -> Runs:
    """Take short runs, which have these numbers in the problem, to their end; their last pass, made again, counts once."""

    def joined(rest: Runs) -> Runs:
        passes = short.passes + rest.passes - 1
        return replace(rest, trace=short.trace + rest.trace[1:], passes=passes, errors=short.errors + rest.errors)

    def tell(rest: Runs) -> None:
        if callback and len(rest.trace) > 1:
            callback(joined(rest))

    if whole:
        return joined(whole.climb(short.s, n, tol, max(1, max_iter), accelerate))
    own = partial(_numbered, problem, numbers)
    return joined(climb(own, short.s, n, tol, max(1, max_iter), accelerate, callback and tell))


def _rounding(eta: np.ndarray, s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Bound on the rounding error of sum_n log_z_n: about eps times the largest term of t(x) . eta, for each of n points.

    Most points are of order one; of those far away, the terms add up to those of the statistics s.
    """
    far = np.abs(eta * s).max((-2, -1))
    return 64 * np.finfo(float).eps * (n * (1 + np.abs(eta).max((-2, -1))) + far)
