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
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mixtures.ascent.acceleration import QuasiNewton
from mixtures.ascent.starts import absorbing, soften, starts
from mixtures.engines.passes import Pass, blur, log_base, noise, one_pass
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.model import Allocation, Family
from mixtures.rows import Rows, as_rows, as_weights, count
from mixtures.seeds import Rng, generator

SHORT = 20

# Numbers in the states of runs that are moved together; one run may have more.
NUMBERS = 1_000_000

# Guesses begin once a pass gains less than this many nats an observation; one that fails is tried again at this length.
SLOW = 3e-5
SHORTER = 0.25

Method = Callable[[Family, Allocation, np.ndarray], tuple[np.ndarray, np.ndarray]]
Natural = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
Callback = Callable[["Runs"], object] | None


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
        Continue only this many runs, those ahead after 20 passes (short runs of EM; Biernacki, Celeux & Govaert 2003); by
        default all.
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
    rows, n = count(x, weights)
    pass_ = one_pass(x, weights, family, rows * allocation.n_components, reg_covar, engine)
    s = starts(x, weights, rows, family, allocation, init, restarts, rng)
    natural = partial(_with_base, partial(method, family, allocation), log_base(x, weights, family))
    hard = blur(s, noise(family, reg_covar))
    s = soften(hard) if absorbing(family, init) else begun(natural, hard)
    if go_on:
        limits: dict[str, Any] = {"n": n, "tol": tol, "max_iter": max_iter, "accelerate": accelerate}
        tell = (lambda runs, own: callback(runs)) if callback else None
        go_on = partial(go_on, method, x, weights, family, allocation, reg_covar=reg_covar, callback=tell, **limits)
    return best_of(natural, pass_, s, n, tol, max_iter, accelerate, keep, callback, go_on, unfit(hard, s)), pass_


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


def unfit(hard: np.ndarray, s: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Runs of one data set, and their hard starts (K, P), that `beginnings` softened as no step could be taken from them."""
    return [(run, hard[run]) for run in range(0, len(hard), 2) if np.any(s[run] != hard[run])]


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
) -> Ascent:
    """Climb from every state in s (R, K, P), and go on from collapsed ones and ``others`` (run, state); see `ascend`."""
    R = len(s)
    first = max_iter if keep is None else min(SHORT, max_iter)
    runs = climb(lambda _: (natural, pass_), s, n, tol, first, accelerate, callback)
    told_to_stop = len(runs.trace) < first and not np.all(runs.converged | runs.collapsed)
    go_on = None if told_to_stop else go_on
    others = [*((int(run), runs.s[run]) for run in np.flatnonzero(runs.collapsed)), *others]
    more = [(run, ascent) for run, state in others for ascent in reach(go_on, [state])]
    if runs.collapsed.all() and not more:
        raise CollapseError(f"all {R} starts ended in a collapse, the last: {runs.errors[-1]}") from runs.errors[-1]
    ends = runs.end.copy()
    if keep is not None and not told_to_stop and not runs.collapsed.all():
        ahead = np.argsort(-runs.end, kind="stable")[:keep]
        ahead = ahead[~runs.collapsed[ahead]]
        runs = _continue(natural, pass_, runs, ahead, n, tol, max_iter, accelerate, callback)
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


def join(parts: Sequence[Runs]) -> Runs:
    """Runs that were not side by side."""
    passes = max(len(part.trace) for part in parts)
    missing = [[np.full(len(part.s), np.nan)] * (passes - len(part.trace)) for part in parts]
    traces = zip(*(part.trace + more for part, more in zip(parts, missing, strict=True)), strict=True)
    names = ("s", "converged", "collapsed", "passes", "end")
    return Runs(
        trace=[np.concatenate(row) for row in traces],
        errors=[error for part in parts for error in part.errors],
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
    )


def climb(
    problem: Callable[[np.ndarray], tuple[Natural, Pass]],
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
        own = partial(_from, problem, first)
        parts.append(
            _side_by_side(own, s[some], n[some], tol, max_iter, accelerate, callback, rounding_of or _rounding)
        )
    return parts[0] if len(parts) == 1 else join(parts)


def _from(problem: Callable[[np.ndarray], tuple[Natural, Pass]], first: int, runs: np.ndarray) -> tuple[Natural, Pass]:
    """The problem of runs that are numbered from ``first`` on."""
    return problem(first + runs)


def _side_by_side(
    problem: Callable[[np.ndarray], tuple[Natural, Pass]],
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
    natural: Natural,
    pass_: Pass,
    short: Runs,
    ahead: np.ndarray,
    n: float,
    tol: float,
    max_iter: int,
    accelerate: bool,
    callback: Callback,
) -> Runs:
    """Take the runs ahead to their end; the others stay where they are, and are not counted."""
    rest = climb(lambda _: (natural, pass_), short.s[ahead], n, tol, max(1, max_iter - SHORT), accelerate, callback)
    return Runs(
        rest.s,
        [row[ahead] for row in short.trace] + rest.trace[1:],
        rest.converged,
        rest.collapsed,
        short.passes[ahead] + rest.passes,
        rest.end,
        short.errors + rest.errors,
    )


def _rounding(eta: np.ndarray, s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Bound on the rounding error of sum_n log_z_n: about eps times the largest term of t(x) . eta, for each of n points."""
    return 64 * np.finfo(float).eps * n * (1 + np.abs(eta).max((-2, -1)))
