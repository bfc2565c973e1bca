"""Many small data sets fitted side by side: one array operation moves all of them, so that none pays for the interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from mixtures.ascent.ascend import Ascent, Method, reach
from mixtures.ascent.candidates import beginnings, candidates, climb_from_best, in_turn, unfit
from mixtures.ascent.climb import Natural, attempt
from mixtures.ascent.starts import check_restarts, columns, few, given, near_points, starts_of_many
from mixtures.ascent.states import absorbing, soften
from mixtures.checks import check_choice, check_flag, check_real, check_whole
from mixtures.engines.passes import ENGINES, Pass, blur, entropy, log_base, noise, one_pass
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.model import Allocation, Family
from mixtures.rows.arrays import check_matrix
from mixtures.seeds import Rng, generator

# Runs moved together: enough to hide the interpreter, few enough for their data to stay in cache.
TOGETHER = 512


def ascend_many(
    method: Method,
    xs: Sequence[np.ndarray],
    families: Sequence[Family],
    allocation: Allocation,
    *,
    rngs: Sequence[np.random.Generator],
    init: object = "k-means++",
    restarts: int = 10,
    tol: float = 1e-9,
    max_iter: int = 10_000,
    accelerate: bool = True,
    reg_covar: float = 0.0,
    engine: str = "auto",
    go_on: Callable[..., Ascent] | None = None,
) -> list[Ascent | CollapseError]:
    """`mixtures.ascent.ascend.ascend` for G data sets of one shape, without its moves; where every start collapsed, the error.

    Parameters
    ----------
    method : callable
    xs : sequence of ndarray, each of shape (N, D)
    families : sequence of Family
        The model of each data set, all of one class, without missing values.
    allocation : Allocation
    rngs : sequence of numpy.random.Generator
        Source of the starts of each data set.
    init, restarts, tol, max_iter, accelerate, reg_covar, engine, go_on
        See `mixtures.ascent.ascend.ascend`; a given start is that of each data set.

    Raises
    ------
    ValueError
        If the data sets differ in shape, or there are not as many families and generators.

    Warns
    -----
    ConvergenceWarning
        If the best run of a data set stopped at ``max_iter``; once for all of them.
    """
    xs = [check_matrix(x) for x in xs]
    if not len(xs) == len(families) == len(rngs):
        raise ValueError(
            f"{len(xs)} data sets, {len(families)} families and {len(rngs)} generators; expected as many of each"
        )
    if len({x.shape for x in xs}) > 1 or len({type(family) for family in families}) > 1:
        raise ValueError("the data sets must have one shape and the families one class; fit the others apart")
    check_whole("restarts", restarts, 1)
    check_whole("max_iter", max_iter, 1)
    check_real("tol", tol, 0)
    check_real("reg_covar", reg_covar)
    check_flag("accelerate", accelerate)
    check_choice("engine", engine, ENGINES)
    N = len(xs[0]) if xs else 0
    each = candidates(N * allocation.n_components, families[0], init) if xs else 1
    together = max(1, TOGETHER // (restarts * each))
    results: list[Ascent | CollapseError] = []
    for first in range(0, len(xs), together):
        some = slice(first, first + together)
        results += _together(
            method,
            xs[some],
            families[some],
            allocation,
            rngs[some],
            init=init,
            restarts=restarts,
            tol=tol,
            max_iter=max_iter,
            accelerate=accelerate,
            reg_covar=reg_covar,
            engine=engine,
            go_on=go_on,
            each=each,
        )
    unsettled = sum(isinstance(result, Ascent) and not result.converged for result in results)
    if unsettled:
        message = f"no convergence in {max_iter} passes in {unsettled} of {len(xs)} data sets; raise max_iter or tol"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)
    return results


def one_by_one(
    fit: Callable[..., Any],
    xs: Sequence[Any],
    families: Sequence[Family],
    allocation: Allocation,
    rngs: Sequence[np.random.Generator],
    **options: Any,
) -> list[Any]:
    """What ``fit`` makes of each data set, or the error where every start collapsed."""
    results: list[Any] = []
    for x, family, rng in zip(xs, families, rngs, strict=True):
        try:
            results.append(fit(x, family, allocation, rng=rng, **options))
        except CollapseError as error:
            results.append(error)
    return results


def sources(rng: Rng | Sequence[Rng], number: int) -> list[np.random.Generator]:
    """A generator for each of so many data sets: children of one, or those that are given."""
    return [generator(own) for own in rng] if isinstance(rng, Iterable) else generator(rng).spawn(number)


def _together(
    method: Method,
    xs: Sequence[np.ndarray],
    families: Sequence[Family],
    allocation: Allocation,
    rngs: Sequence[np.random.Generator],
    *,
    init: object,
    restarts: int,
    tol: float,
    max_iter: int,
    accelerate: bool,
    reg_covar: float,
    engine: str,
    go_on: Callable[..., Ascent] | None,
    each: int,
) -> list[Ascent | CollapseError]:
    N, K = len(xs[0]), allocation.n_components
    z = np.stack([family.coordinates(x) for x, family in zip(xs, families, strict=True)])
    stacked = families[0].stack(families)
    near = np.stack([near_points(x, np.ones(N), family, N) for x, family in zip(xs, families, strict=True)])
    by_columns = None
    if few(families[0], N, K):
        by_columns = np.stack([columns(family) for family in families])
    if not isinstance(init, str):  # said of the rows as they are, whatever the coordinates of each data set
        check_restarts(restarts)
        init = [given(x, N, family, K, init)(x, 0) for x, family in zip(xs, families, strict=True)]
        restarts = 1
    s = np.concatenate(starts_of_many(z, stacked, allocation, init, restarts, rngs, near, each, by_columns))
    owner = np.repeat(np.arange(len(xs)), restarts * each)
    spread = np.stack([family.reduce_matrix(reg_covar * np.eye(z.shape[-1])) for family in families])[owner]
    every = stacked.take(owner)
    hard = blur(s, noise(stacked, spread))
    natural = partial(method, every, allocation)
    s = (
        soften(hard)
        if absorbing(stacked, init)
        else beginnings(natural, hard, in_turn(len(hard), each if each > 1 else restarts))
    )

    def problem(runs: np.ndarray, noisy: bool = True) -> tuple[Natural, Pass]:
        own = stacked.take(owner[runs])
        return partial(method, own, allocation), one_pass(
            z[owner[runs]], None, own, N * K * len(s) // each, spread[runs] if noisy else 0.0, engine
        )

    runs, tight = climb_from_best(problem, s, N, each, tol, max_iter, accelerate)
    ends = runs.end.reshape(-1, restarts)
    chosen = np.arange(len(xs)) * restarts + np.argmax(ends, axis=1)
    log_z, entropies = _without_noise(*problem(chosen * each, noisy=False), runs.s[chosen])
    to_data = np.array(
        [log_base(x, None, family) - N * family.log_volume for x, family in zip(xs, families, strict=True)]
    )
    limits = {"n": N, "tol": tol, "max_iter": max_iter, "accelerate": accelerate, "reg_covar": reg_covar}
    results: list[Ascent | CollapseError] = []
    for g, (end, best) in enumerate(zip(ends + to_data[:, None], chosen, strict=True)):
        found = []
        if not np.all(np.isneginf(end)):
            info = {
                "passes": int(runs.passes[best]),
                "log_z": float(log_z[g] + to_data[g]),
                "entropy": float(entropies[g]),
            }
            found.append(Ascent(runs.s[best], runs.bounds(best) + to_data[g], bool(runs.converged[best]), info))
        if go_on:
            from_here = partial(go_on, method, xs[g], None, families[g], allocation, **limits)
            for run, ascent in reach(
                from_here, _too_tight(tight, hard, s, restarts, each, g), max_iter, float(end.max())
            ):
                found.append(ascent)
                end[run] = max(end[run], ascent.bound[-1])
        if not found:
            results.append(CollapseError(f"all {restarts} starts ended in a collapse"))
            continue
        highest = max(found, key=lambda ascent: ascent.bound[-1])
        counts = {
            "restarts": restarts,
            "reached": int((end >= highest.bound[-1] - 1e-6 * N).sum()),
            "collapsed": int(np.isneginf(end).sum()),
        }
        results.append(highest._replace(info=highest.info | counts))
    return results


def _too_tight(
    tight: list[tuple[int, np.ndarray]], hard: np.ndarray, s: np.ndarray, restarts: int, each: int, g: int
) -> list[tuple[int, np.ndarray]]:
    """Starts of data set g, and states (C, K, P) of each in which a cluster was too tight for its digits; see `unfit`."""
    first = g * restarts
    lost = [(start - first, state[None]) for start, state in tight if first <= start < first + restarts]
    own = slice(first * each, (first + restarts) * each)
    return lost + unfit(hard[own], s[own], each)


def _without_noise(natural: Natural, pass_: Pass, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_n log_z_n and the entropy of the responsibilities at s (R, K, P), in nats; missing where s has collapsed."""
    _, (eta, _), lost = attempt(natural, s, [])
    log_z, entropies = entropy(pass_, eta)
    return np.where(lost, np.nan, log_z), np.where(lost, np.nan, entropies)
