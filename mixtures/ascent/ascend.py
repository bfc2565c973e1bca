"""From the starts of one data set to the best of their ends."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mixtures.ascent.candidates import PATIENCE, TRIAL, Listener, ahead, begun, candidates, climb_from_best, unfit
from mixtures.ascent.climb import Callback, Natural, Remembered, carry_on
from mixtures.ascent.segments import with_segments
from mixtures.ascent.starts import starts
from mixtures.ascent.states import absorbing, soften
from mixtures.ascent.whole import Whole, whole
from mixtures.checks import brief, check_choice, check_count, check_flag, check_model, check_real, check_whole
from mixtures.engines.passes import ENGINES, FUSED_FROM, PRECISIONS, Pass, blur, log_base, noise, one_pass
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.families.collapse import SMALLEST_OF_LINKED
from mixtures.model import Allocation, Family
from mixtures.rows.informed import informed
from mixtures.rows.reading import Rows, as_rows, count
from mixtures.rows.sequences import Sequences
from mixtures.rows.weights import as_weights
from mixtures.seeds import Rng, generator

# Passes of a run before those ahead are chosen, where only a few of all starts go on.
SHORT = 20

# Times the passes of a run about centres of its own so far that it goes on before the others' ends tell whether it is worth it.
PART = 9

# Passes before an ascent about centres of its own is left, which may wait at a saddle point, where it gains next to nothing.
LEAST = 300

Method = Callable[[Family, Allocation, np.ndarray], tuple[np.ndarray, np.ndarray]]


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
        best; how many ``collapsed``, early or late; that it ``moved`` on to the best from the starts' own ends, if it did.
    own : Own, optional
        What s is about where each cluster has a centre of its own; see `mixtures.ascent.centred`.
    """

    s: np.ndarray
    bound: np.ndarray
    converged: bool
    info: dict[str, Any]
    own: Own | None = None


# From a state (K, P) in which a cluster is too tight for its digits to where the ascent ends from there.
GoOn = Callable[..., Ascent]


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
    precision: str = "float64",
    callback: Callback = None,
    go_on: Callable[..., Ascent] | None = None,
) -> tuple[Ascent, Pass]:
    """Climb from every start and keep the highest end.

    A start is the best of eight short runs (`climb_from_best`), of fewer where a pass takes long; from the best optimum of all
    starts, moves to a higher one are tried (`mixtures.ascent.moves`).

    Parameters
    ----------
    method : callable
        From (family, allocation, s) to eta and to what the bound adds to sum_n log_z_n.
    x : ndarray, shape (N, D), Sequences, or blocks of rows
        See `mixtures.rows.reading.as_rows`.
    family, allocation : Family, Allocation
    rng : numpy.random.Generator or int
        Source of the starts.
    weights : ndarray, shape (N,), optional
        How many observations each row stands for.
    init, restarts
        See `mixtures.ascent.starts.starts`.
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
    reg_covar, engine, precision
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
    source: Any = generator(rng) if isinstance(init, str) else None  # what is given needs none
    check_real("tol", tol, 0)
    check_whole("max_iter", max_iter, 1)
    check_real("reg_covar", reg_covar)
    check_flag("accelerate", accelerate)
    check_choice("engine", engine, ENGINES)
    check_choice("precision", precision, PRECISIONS)
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback is {brief(callback)}; expected a function of the runs")
    if keep is not None:
        check_whole("keep", keep, 1)
    check_model(family, allocation)
    if isinstance(init, str):
        check_whole("restarts", restarts)
        if restarts >= 1:
            check_count("restarts", restarts, allocation.n_components * (1 + len(family.count_of)), "start")
    x = allocation.rows(as_rows(x))
    weights = as_weights(x, weights)
    rows, n = count(x, weights, family.missing)
    if family.missing:
        x, weights = informed(x, weights)
        n = count(x, weights, True)[1]
    if go_on and family.linked:
        family = replace(family, least=SMALLEST_OF_LINKED)  # type: ignore[type-var]
    plain_numbers = callback is None and precision == "float64"
    given = method, x, weights, family, allocation, reg_covar, engine
    compiled = whole(*given, least=FUSED_FROM) if plain_numbers else None
    pass_: Pass
    if compiled:
        natural, pass_ = compiled.natural, compiled
    else:
        natural = Remembered(partial(_with_base, partial(method, family, allocation), log_base(x, weights, family)))
        pass_ = one_pass(x, weights, family, rows * allocation.n_components, reg_covar, engine, precision)
    each = candidates(rows * allocation.n_components, family, init) if keep is None else 1
    own = None if reg_covar else pass_
    s = starts(x, weights, rows, family, allocation, init, restarts, source, None, each, compiled is not None, own)
    if isinstance(x, Sequences) and isinstance(init, str):
        s = with_segments(s, x, weights, family, allocation, source)
    hard = blur(s, noise(family, reg_covar)) if reg_covar else s
    s = soften(hard) if absorbing(family, init) else begun(natural, hard, each)
    callback = Listener(callback) if callback else None
    if go_on:
        limits: dict[str, Any] = {"n": n, "tol": tol, "max_iter": max_iter, "accelerate": accelerate}
        tell = (lambda runs, own: callback(runs)) if callback else None
        go_on = partial(go_on, method, x, weights, family, allocation, reg_covar=reg_covar, callback=tell, **limits)
    others = unfit(hard, s, each)
    more: dict[str, Any] = {"each": each, "compiled": compiled, "moves": allocation.independent}
    ascent = best_of(natural, pass_, s, n, tol, max_iter, accelerate, keep, callback, go_on, others, **more)
    return ascent, pass_


def _with_base(natural: Natural, base: float, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    eta, extra = natural(s)
    return eta, extra + base


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
    others: Sequence[tuple[int, np.ndarray]] = (),
    each: int = 1,
    compiled: Whole | None = None,
    moves: bool = False,
) -> Ascent:
    """Climb from s (R ``each``, K, P), and go on from collapsed runs and ``others`` (start, states); see `ascend`."""
    R = len(s) // each
    first = max_iter if keep is None else min(SHORT, max_iter)

    def problem(runs: np.ndarray) -> tuple[Natural, Pass]:
        return natural, pass_

    runs, tight = climb_from_best(problem, s, n, each, tol, first, accelerate, callback, compiled, moves)
    told_to_stop = len(runs.trace) < first and not np.all(runs.converged | runs.collapsed)
    go_on = None if told_to_stop else go_on
    tight = [(run, state[None]) for run, state in tight]
    more = reach(go_on, [*tight, *others], max_iter, float(runs.end.max()))
    ends = runs.end.copy()
    if keep is not None and not told_to_stop and not runs.collapsed.all():
        first_ones = np.argsort(-runs.end, kind="stable")[:keep]
        first_ones = first_ones[~runs.collapsed[first_ones]]
        left = max_iter - SHORT + 1
        runs = carry_on(problem, runs.take(first_ones), first_ones, n, tol, left, accelerate, callback, compiled)
        ends[first_ones] = runs.end
    found = [ascent for _, ascent in more]
    if not runs.collapsed.all():
        run = int(np.argmax(runs.end))
        found.append(
            Ascent(runs.s[run], runs.bounds(run), bool(runs.converged[run]), {"passes": int(runs.passes[run])})
        )
    if not found:
        raise CollapseError(f"all {R} starts ended in a collapse, the last: {runs.errors[-1]}") from runs.errors[-1]
    best = max(found, key=lambda ascent: ascent.bound[-1])
    if not best.converged and best.info["passes"] >= max_iter:
        warnings.warn(f"no convergence in {max_iter} passes; raise max_iter or tol", ConvergenceWarning, stacklevel=4)
    for run, ascent in more:
        ends[run] = max(ends[run], ascent.bound[-1])
    info = {
        "restarts": R,
        "reached": int((ends[:R] >= best.bound[-1] - 1e-6 * n).sum()),
        "collapsed": int(np.isneginf(ends[:R]).sum()),
    } | ({"moved": True} if np.any(ends[R:] >= best.bound[-1]) else {})
    return best._replace(info=best.info | info)


def reach(
    go_on: GoOn | None, states: Sequence[tuple[int, np.ndarray]], max_iter: int, aim: float = -np.inf
) -> list[tuple[int, Ascent]]:
    """Where the ascent goes on to from states (C, K, P) of starts, (start, states), too tight for their digits, in their order.

    Of a start that is from the state ahead after `TRIAL` passes, and nowhere if all collapse. States that are alike go on once,
    those ahead first, and others as long as they may come to the best end, or to a bound ``aim``.
    """
    if go_on is None:
        return []
    tried: dict[bytes, Ascent | None] = {}
    for s in (s for _, own in states for s in own):
        if (key := _key(s)) not in tried:
            tried[key] = _from(go_on, s, max_iter=min(TRIAL, max_iter))
    ends = [[end for key in map(_key, own) if (end := tried[key])] for _, own in states]
    found: dict[int, Ascent] = {}
    gone: list[tuple[Ascent, Ascent | None]] = []
    highest = [max((end.bound[-1] for end in own), default=-np.inf) for own in ends]
    for place in sorted(range(len(ends)), key=lambda place: -highest[place]):
        for end in sorted(ends[place], key=lambda end: -end.bound[-1]):
            if (last := next((last for first, last in gone if _alike(first, end)), end)) is end:
                last = _to_its_end(go_on, end, max_iter, aim)
                gone.append((end, last))
            if last:
                found[place], aim = last, max(aim, last.bound[-1])
                break
    return [(states[place][0], found[place]) for place in sorted(found)]


def _key(s: np.ndarray) -> bytes:
    """What states (K, P) have in common that differ in the order of their clusters alone."""
    return s[np.lexsort(s.T)].tobytes()


def _alike(a: Ascent, b: Ascent) -> bool:
    """Whether two ends are one but for rounding."""
    return a is b or bool(ahead(np.array([a.bound[-1], b.bound[-1]])).all())


def _from(go_on: GoOn, s: np.ndarray, **others: Any) -> Ascent | None:
    with suppress(CollapseError):
        return go_on(s, **others)
    return None


def _to_its_end(go_on: GoOn, end: Ascent, max_iter: int, aim: float) -> Ascent | None:
    """Where an ascent goes on to, in parts each `PART` times as long as all before; None if it collapses.

    It is left once `PATIENCE` more passes at the pace of its last would not bring it to the aim, but not before `LEAST`.
    """
    while not end.converged and (made := end.info["passes"]) < max_iter:
        slow = made >= LEAST and len(end.bound) > 2
        if slow and end.bound[-1] + PATIENCE * (end.bound[-1] - end.bound[-3]) / 2 < aim:
            break
        part = min(PART * made if made >= LEAST else LEAST - made, max_iter - made)
        rest = _from(go_on, end.s, own=end.own, max_iter=part)
        if rest is None:
            return None
        passes, bound = rest.info["passes"], np.append(end.bound, rest.bound)
        end = rest._replace(bound=bound, info=rest.info | {"passes": made + passes})
        if passes < part:
            break
    return end
