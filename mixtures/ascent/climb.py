"""The loop: repeat a step until the bound settles, from several starts side by side, and keep the best.

A method is one function of the state ``s`` (expected sufficient statistics): the natural parameters that follow from it, and
what the bound has beside sum_n log_z_n. One pass over the data then gives the bound and the next state:

    eta, extra = method(s)      log_z, F(s) = pass_(eta)      bound(s) = log_z + extra

The bound of a correct EM or CAVI step never falls, so a fall beyond rounding raises instead of passing for convergence. Once
the rise is slow, quasi-Newton guesses at the next state are tried first and kept only where the bound is at least as high.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mixtures.ascent.acceleration import QuasiNewton
from mixtures.ascent.segments import with_segments
from mixtures.ascent.starts import absorbing, soften, starts
from mixtures.engines.passes import Pass, blur, log_base, noise, one_pass
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.model import Allocation, Family
from mixtures.rows import Rows, Sequences, as_rows, as_weights, count, informed
from mixtures.seeds import Rng, generator

# Passes of a run before those ahead are chosen: where a few of all starts go on, and among the candidates of one start.
SHORT = 20
TRIAL = 10

# Candidates of a start at most, and terms r_nk t_p at most in a pass of all of them.
CANDIDATES = 6
TERMS = 2_000_000

# Numbers in the states of runs that are moved together; one run may have more.
NUMBERS = 1_000_000

# Guesses begin once a pass gains less than this many nats an observation; one that fails is tried again at this length.
SLOW = 3e-5
SHORTER = 0.25

Method = Callable[[Family, Allocation, np.ndarray], tuple[np.ndarray, np.ndarray]]
Natural = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Problem = Callable[[np.ndarray], tuple[Natural, Pass]]
Callback = Callable[["Runs"], object] | None


class Listener:
    """A callback, and whether it wants no more."""

    def __init__(self, callback: Callable[[Any], Any] | None) -> None:
        self.callback, self.stopped = callback, False

    def __call__(self, step: Any) -> None:
        """Tell it of a step."""
        try:
            if self.callback is not None:
                self.callback(step)
        except StopIteration:
            self.stopped = True
            raise


class Own(NamedTuple):
    """Centres of the clusters' own (K, D) in the units of x; the pass about them, with ``reg_covar`` and as the data are; and
    the family for statistics about them."""

    centres: np.ndarray
    pass_: Pass
    without_noise: Pass
    family: Family


class Ascent(NamedTuple):
    """The best of several runs.

    Attributes
    ----------
    s : ndarray, shape (K, P)
        The state at which ``bound[-1]`` was taken, about the family's origin unless there is ``own``.
    bound : ndarray, shape (passes,)
        The bound after each pass that was kept, in nats.
    converged : bool
        Whether the last step raised the bound by less than the tolerance.
    info : dict
        ``passes`` of the best run; ``restarts`` made; how many ``reached`` a bound within 1e-6 nats an observation of the
        best; how many ``collapsed``, early or late.
    own : Own, optional
        What s is about where each cluster has a centre of its own; see `mixtures.ascent.centred`.
    """

    s: np.ndarray
    bound: np.ndarray
    converged: bool
    info: dict[str, Any]
    own: Own | None = None


# From a state (K, P) in which a cluster is too tight for its digits to where the ascent ends from there.
GoOn = Callable[[np.ndarray], Ascent]


def ascend(
    method: Method,
    x: Rows,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    weights: np.ndarray | None = None,
    init: object = "k-means++",
    restarts: int = 10,
    keep: int | None = None,
    tol: float = 1e-9,
    max_iter: int = 10_000,
    accelerate: bool = True,
    reg_covar: float = 0.0,
    engine: str = "auto",
    callback: Callback = None,
    go_on: Callable[..., Ascent] | None = None,
) -> tuple[Ascent, Pass]:
    """Climb from every start and keep the highest end.

    A start is the best of six short runs (`climb_from_best`), of fewer where a pass takes long.

    Parameters
    ----------
    method : callable
        From (family, allocation, s) to eta and to what the bound adds to sum_n log_z_n.
    x : ndarray, shape (N, D), Sequences, or blocks of rows
        See `mixtures.rows.as_rows`.
    family, allocation : Family, Allocation
    rng : numpy.random.Generator or int
        Source of the starts.
    weights : ndarray, shape (N,), optional
        How many observations each row stands for.
    init, restarts
        See `mixtures.initial.starts`.
    keep : int, optional
        Continue only this many runs, those ahead after 20 passes, every start being one candidate; by default all go on, and
        each is the best of `candidates` short runs.
    tol : float
        A run has converged when a step raises the bound by at most ``tol`` nats an observation; relative to N, so that the
        units of the data, which shift the bound, do not matter.
    max_iter : int
        Passes at most in one run.
    accelerate : bool
        Whether to extrapolate; the bound rises either way.
    reg_covar, engine
        See `mixtures.engines.passes.one_pass`.
    callback : callable, optional
        Called with the `Runs` after every pass; it ends the ascent by raising StopIteration.
    go_on : callable, optional
        `mixtures.ascent.centred.go_on`, for runs in which a cluster is too tight for its digits; without it they are lost.

    Returns
    -------
    ascent : Ascent
    pass_ : callable
        The one pass over the data.

    Raises
    ------
    CollapseError
        If every run lost a cluster.
    ArithmeticError
        If a bound falls by more than rounding, or is not a number.

    Warns
    -----
    ConvergenceWarning
        If the best run stopped at ``max_iter``.
    """
    rng = generator(rng)
    if not tol >= 0 or max_iter < 1:
        raise ValueError(f"tol is {tol} and max_iter {max_iter}; expected tol >= 0 and max_iter >= 1")
    if keep is not None and keep < 1:
        raise ValueError(f"keep is {keep}; expected at least 1")
    x = allocation.rows(as_rows(x))
    weights = as_weights(x, weights)
    rows, n = count(x, weights, family.missing)
    if family.missing:
        x, weights = informed(x, weights)
        n = count(x, weights, True)[1]
    pass_ = one_pass(x, weights, family, rows * allocation.n_components, reg_covar, engine)
    each = candidates(rows * allocation.n_components, family) if isinstance(init, str) and keep is None else 1
    s = starts(x, weights, rows, family, allocation, init, restarts, rng, candidates=each)
    if isinstance(x, Sequences) and isinstance(init, str):
        s = with_segments(s, x, weights, family, allocation, rng)
    natural = partial(_with_base, partial(method, family, allocation), log_base(x, weights, family))
    hard = blur(s, noise(family, reg_covar))
    s = soften(hard) if absorbing(family, init) else begun(natural, hard)
    if go_on:
        limits: dict[str, Any] = {"n": n, "tol": tol, "max_iter": max_iter, "accelerate": accelerate}
        tell = (lambda runs, own: callback(runs)) if callback else None
        go_on = partial(go_on, method, x, weights, family, allocation, reg_covar=reg_covar, callback=tell, **limits)
    others = unfit(hard, s, each)
    return best_of(natural, pass_, s, n, tol, max_iter, accelerate, keep, callback, go_on, others, each), pass_


def _with_base(natural: Natural, base: float, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    eta, extra = natural(s)
    return eta, extra + base


def beginnings(natural: Natural, s: np.ndarray, restarts: int) -> np.ndarray:
    """Hard and softened starts in turn, and a hard one softened where no step can be taken from it, shape (R, K, P).

    Neither kind is the better one on all data: the hard ones keep apart clusters that are close beside rows far away, the
    softened ones lose fewer clusters where these are many.

    Parameters
    ----------
    natural : callable
    s : ndarray, shape (R, K, P)
        Hard starts, ``restarts`` of them for each data set.
    restarts : int
    """
    soft = soften(s)
    s = np.where((np.arange(len(s)) % restarts % 2 == 1)[:, None, None], soft, s)
    *_, lost = attempt(natural, s, [])
    lost &= np.all(s[..., 0] > 0, axis=-1)  # a cluster without a point was given so
    return np.where(lost[:, None, None], soft, s)


def begun(natural: Natural, hard: np.ndarray) -> np.ndarray:
    """`beginnings` of one data set, no more of them together than `climb` moves."""
    together = max(2, NUMBERS // hard[0].size // 2 * 2)
    parts = [hard[first : first + together] for first in range(0, len(hard), together)]
    return np.concatenate([beginnings(natural, part, len(part)) for part in parts])


def unfit(hard: np.ndarray, s: np.ndarray, each: int = 1) -> list[tuple[int, np.ndarray]]:
    """Starts of one data set that `beginnings` softened as no step could be taken from them, and how they were (K, P).

    Of ``each`` candidates of a start, the first such.
    """
    found = {run // each: hard[run] for run in reversed(range(0, len(hard), 2)) if np.any(s[run] != hard[run])}
    return sorted(found.items(), key=lambda start: start[0])


def candidates(points: int, family: Family) -> int:
    """How many short runs each start is the best of, for N times K ``points``: six, fewer where a pass takes long."""
    return int(np.clip(TERMS // (points * (1 + family.monomials[-1, 0])), 1, CANDIDATES))


def best_of(
    natural: Natural,
    pass_: Pass,
    s: np.ndarray,
    n: float,
    tol: float,
    max_iter: int,
    accelerate: bool = True,
    keep: int | None = None,
    callback: Callback = None,
    go_on: GoOn | None = None,
    others: Iterable[tuple[int, np.ndarray]] = (),
    each: int = 1,
) -> Ascent:
    """Climb from s (R ``each``, K, P), and go on from collapsed runs and ``others`` (start, state); see `ascend`."""
    R = len(s) // each
    first = max_iter if keep is None else min(SHORT, max_iter)

    def problem(runs: np.ndarray) -> tuple[Natural, Pass]:
        return natural, pass_

    runs, tight = climb_from_best(problem, s, n, each, tol, first, accelerate, callback)
    told_to_stop = len(runs.trace) < first and not np.all(runs.converged | runs.collapsed)
    go_on = None if told_to_stop else go_on
    more = [(run, ascent) for run, state in [*tight, *others] for ascent in reach(go_on, [state])]
    if runs.collapsed.all() and not more:
        raise CollapseError(f"all {R} starts ended in a collapse, the last: {runs.errors[-1]}") from runs.errors[-1]
    ends = runs.end.copy()
    if keep is not None and not told_to_stop and not runs.collapsed.all():
        ahead = np.argsort(-runs.end, kind="stable")[:keep]
        ahead = ahead[~runs.collapsed[ahead]]
        runs = _continue(problem, runs.take(ahead), ahead, n, tol, max_iter - SHORT + 1, accelerate, callback)
        ends[ahead] = runs.end
    found = [ascent for _, ascent in more]
    if not runs.collapsed.all():
        run = int(np.argmax(runs.end))
        found.append(
            Ascent(runs.s[run], runs.bounds(run), bool(runs.converged[run]), {"passes": int(runs.passes[run])})
        )
    best = max(found, key=lambda ascent: ascent.bound[-1])
    if not best.converged and best.info["passes"] >= max_iter:
        warnings.warn(f"no convergence in {max_iter} passes; raise max_iter or tol", ConvergenceWarning, stacklevel=4)
    for run, ascent in more:
        ends[run] = max(ends[run], ascent.bound[-1])
    info = {
        "restarts": R,
        "reached": int((ends >= best.bound[-1] - 1e-6 * n).sum()),
        "collapsed": int(np.isneginf(ends).sum()),
    }
    return best._replace(info=best.info | info)


def reach(go_on: GoOn | None, states: Iterable[np.ndarray]) -> list[Ascent]:
    """Where the ascent goes on to from states (K, P) that are too tight for their digits; none where it collapses."""
    ends = []
    for s in states:
        with suppress(CollapseError):
            ends += [go_on(s)] if go_on else []
    return ends


@dataclass(frozen=True)
class Runs:
    """Where R runs ended.

    Attributes
    ----------
    s : ndarray, shape (R, K, P)
        The last states that were kept.
    trace : list of ndarray, each of shape (R,)
        Bounds pass by pass; missing where a run had ended, or a guess was not kept.
    converged, collapsed : ndarray of bool, shape (R,)
    passes : ndarray of int, shape (R,)
    end : ndarray, shape (R,)
        The last bounds that were kept; minus infinity where a cluster collapsed.
    errors : list of CollapseError
    """

    s: np.ndarray
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


EACH = ("s", "converged", "collapsed", "passes", "end")


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


def climb_from_best(
    problem: Problem,
    s: np.ndarray,
    n: float | np.ndarray,
    each: int,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback = None,
) -> tuple[Runs, list[tuple[int, np.ndarray]]]:
    """`climb` from R starts, each the best of several candidates after ten passes, and the next best where that one collapses.

    Fewer passes do once every start has a candidate that has converged.

    Short runs find better optima than as many passes spent on more starts (Biernacki, Celeux & Govaert 2003, *CSDA*
    41:561-575). A start has collapsed once all of its candidates have.

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

    Returns
    -------
    runs : Runs
        Of the R starts.
    tight : list of (int, ndarray)
        Starts of which a candidate collapsed, and its last state (K, P).
    """
    if each == 1:
        runs = climb(problem, s, n, tol, max_iter, accelerate, callback)
        return runs, [(int(run), runs.s[run]) for run in np.flatnonzero(runs.collapsed)]
    n = np.broadcast_to(np.asarray(n, dtype=float), len(s))
    listener = Listener(callback)
    short = climb(problem, s, n, tol, min(TRIAL, max_iter), accelerate, partial(_listen, listener, each))
    ranked = _ranked(short, each)
    runs, wanted = short.take(ranked[0]), ~short.converged[ranked[0]]
    tight = {int(run) // each: short.s[run] for run in np.flatnonzero(short.collapsed)[::-1]}
    for candidate in ranked:
        going = np.flatnonzero(wanted & ~short.collapsed[candidate])
        if listener.stopped or len(short.trace) == max_iter or not len(going):
            break
        own = candidate[going]
        tell = callback and partial(_tell_of, listener, runs, going)
        rest = _continue(problem, short.take(own), own, n[own], tol, max_iter - len(short.trace) + 1, accelerate, tell)
        runs = runs.put(going, rest)
        wanted = runs.collapsed
        tight = {int(run): runs.s[run] for run in np.flatnonzero(wanted)} | tight
    return runs, sorted(tight.items(), key=lambda start: start[0])


def _ranked(short: Runs, each: int) -> np.ndarray:
    """Numbers of the candidates of every start, the highest bound first, shape (each, R)."""
    order = np.argsort(-short.end.reshape(-1, each), axis=1, kind="stable")
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


def climb(
    problem: Problem,
    s: np.ndarray,
    n: float | np.ndarray,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback = None,
    rounding_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None,
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
    """
    n = np.broadcast_to(np.asarray(n, dtype=float), len(s))
    together = max(1, NUMBERS // s[0].size) if callback is None and len(s) else len(s)
    parts = []
    for first in range(0, len(s), together):
        some = slice(first, first + together)
        own = partial(_numbered, problem, np.arange(first, len(s)))
        parts.append(
            _side_by_side(own, s[some], n[some], tol, max_iter, accelerate, callback, rounding_of or _rounding)
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
) -> Runs:
    """`climb` of as many runs as are held at once."""
    R = len(s)
    result = Runs(s.copy(), [], np.zeros(R, bool), np.zeros(R, bool), np.zeros(R, int), np.full(R, -np.inf), [])
    runs = np.arange(R)
    natural, pass_ = problem(runs)
    at, image, guess, length, bound = s, s, s, np.zeros(R), np.full(R, -np.inf)  # length 0: a plain step
    newton, direction = QuasiNewton(R), np.zeros_like(s)
    while True:
        new, following, eta, lost = _look(natural, pass_, guess, result.errors)
        plain = length == 0
        lost &= plain
        rise = np.where(np.isfinite(bound), new - np.where(np.isfinite(bound), bound, 0), np.inf)
        rounding = rounding_of(eta, following, n[runs])
        _refuse_fall(new, rise, plain & ~lost, rounding, len(result.trace))
        taken = np.where(plain, ~lost, rise >= -rounding)
        at, image = (np.where(taken[:, None, None], a, b) for a, b in ((guess, at), (following, image)))
        bound = np.where(taken, new, bound)
        slow = rise <= np.maximum(tol * n[runs], rounding)
        done = taken & plain & slow
        result.record(runs, at, bound, taken, done, lost)
        if _stopped(callback, result) or len(result.trace) == max_iter or np.all(done | lost):
            return result

        near = taken & (rise <= SLOW * n[runs])
        if accelerate and near.any():
            gradient, known = _gradient(natural, at, image - at)
            proposed = newton.direction(at, image - at, gradient, near & known)
            direction = np.where(taken[:, None, None], proposed, direction)
            length = np.where(taken, near & known & ~slow, np.where(length == 1, SHORTER, 0))
            newton.forget(~taken & (length == 0))
        else:
            length = np.where(~taken & (length == 1), SHORTER, 0)
        guess = at + length[:, None, None] * direction
        length = np.where(np.all(guess[..., 0] > 0, axis=-1), length, 0)
        guess = np.where((length == 0)[:, None, None], image, guess)

        stay = ~(done | lost)
        if not stay.all():
            runs, at, image, guess, length, bound, direction = (
                a[stay] for a in (runs, at, image, guess, length, bound, direction)
            )
            newton.take(stay)
            natural, pass_ = problem(runs)


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


def _gradient(natural: Natural, s: np.ndarray, f: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(d eta / d s) f by a central difference, which takes no pass over the data, and where it exists."""
    size = np.abs(s).max((-2, -1), keepdims=True) / np.maximum(np.abs(f).max((-2, -1), keepdims=True), 1e-300)
    h = np.minimum(1e-4 * size, 0.1)
    _, (ahead, _), lost = attempt(natural, s + h * f, [])
    _, (behind, _), also = attempt(natural, s - h * f, [])
    return (ahead - behind) / (2 * h), ~(lost | also)


def _refuse_fall(bound: np.ndarray, rise: np.ndarray, plain: np.ndarray, rounding: np.ndarray, passes: int) -> None:
    """Refuse bounds that are not numbers, and plain steps that lowered theirs."""
    if not np.all(np.isfinite(bound[plain])):
        raise ArithmeticError(f"the bound is {bound[plain][~np.isfinite(bound[plain])][0]} after {passes} passes")
    if np.any(rise[plain] < -rounding[plain]):
        fall = float(-rise[plain].min())
        raise ArithmeticError(f"the bound fell by {fall:.3g} nats in pass {passes + 1}: the step is wrong")


def _continue(
    problem: Problem,
    short: Runs,
    numbers: np.ndarray,
    n: float | np.ndarray,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback,
) -> Runs:
    """Take short runs, which have these numbers in the problem, to their end; their last pass, made again, counts once."""

    def whole(rest: Runs) -> Runs:
        passes = short.passes + rest.passes - 1
        return replace(rest, trace=short.trace + rest.trace[1:], passes=passes, errors=short.errors + rest.errors)

    def tell(rest: Runs) -> None:
        if callback and len(rest.trace) > 1:
            callback(whole(rest))

    own = partial(_numbered, problem, numbers)
    return whole(climb(own, short.s, n, tol, max(1, max_iter), accelerate, callback and tell))


def _rounding(eta: np.ndarray, s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Bound on the rounding error of sum_n log_z_n: about eps times the largest term of t(x) . eta, for each of n points."""
    return 64 * np.finfo(float).eps * n * (1 + np.abs(eta).max((-2, -1)))
