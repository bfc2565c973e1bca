"""Many small data sets fitted side by side: one array operation moves all of them, so that none pays for the interpreter."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from mixtures.ascent.climb import Ascent, Method, Natural, attempt, beginnings, climb
from mixtures.ascent.starts import absorbing, soften, starts_of_many
from mixtures.engines.passes import Pass, entropy, log_base, noise, one_pass
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.model import Allocation, Family
from mixtures.rows import check_matrix
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
    init: str = "k-means++",
    restarts: int = 10,
    tol: float = 1e-9,
    max_iter: int = 10_000,
    accelerate: bool = True,
    reg_covar: float = 0.0,
    engine: str = "auto",
) -> list[Ascent | CollapseError]:
    """`mixtures.ascent.climb.ascend` for G data sets of one shape; where every start collapsed, the error.

    Parameters
    ----------
    method : callable
    xs : sequence of ndarray, each of shape (N, D)
    families : sequence of Family
        The model of each data set, all of one class.
    allocation : Allocation
    rngs : sequence of numpy.random.Generator
        Source of the starts of each data set.
    init, restarts, tol, max_iter, accelerate, reg_covar, engine
        See `mixtures.ascent.climb.ascend`.

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
    together = max(1, TOGETHER // restarts)
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
        )
    unsettled = sum(isinstance(result, Ascent) and not result.converged for result in results)
    if unsettled:
        message = f"no convergence in {max_iter} passes in {unsettled} of {len(xs)} data sets; raise max_iter or tol"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)
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
    init: str,
    restarts: int,
    tol: float,
    max_iter: int,
    accelerate: bool,
    reg_covar: float,
    engine: str,
) -> list[Ascent | CollapseError]:
    N, K = len(xs[0]), allocation.n_components
    z = np.stack([family.coordinates(x) for x, family in zip(xs, families, strict=True)])
    stacked = families[0].stack(families)
    near = np.stack([family.near(x) for x, family in zip(xs, families, strict=True)])
    s = np.concatenate(starts_of_many(z, stacked, allocation, init, restarts, rngs, near))
    owner = np.repeat(np.arange(len(xs)), restarts)
    blur = np.stack([family.reduce_matrix(reg_covar * np.eye(z.shape[-1])) for family in families])[owner]
    every = stacked.take(owner)
    hard = s + s[..., :1] * noise(stacked, blur)[:, None]
    natural = partial(method, every, allocation)
    s = soften(hard) if absorbing(stacked, init) else beginnings(natural, hard, restarts)

    def problem(runs: np.ndarray, noisy: bool = True) -> tuple[Natural, Pass]:
        own = stacked.take(owner[runs])
        return partial(method, own, allocation), one_pass(
            z[owner[runs]], None, own, N * K * len(s), blur[runs] if noisy else 0.0, engine
        )

    runs = climb(problem, s, N, tol, max_iter, accelerate)
    ends = runs.end.reshape(-1, restarts)
    chosen = np.arange(len(xs)) * restarts + np.argmax(ends, axis=1)
    log_z, entropies = _without_noise(*problem(chosen, noisy=False), runs.s[chosen])
    to_data = np.array(
        [log_base(x, None, family) - N * family.log_volume for x, family in zip(xs, families, strict=True)]
    )
    results: list[Ascent | CollapseError] = []
    for g, (end, best) in enumerate(zip(ends, chosen, strict=True)):
        lost = int(np.isneginf(end).sum())
        if lost == restarts:
            results.append(CollapseError(f"all {restarts} starts ended in a collapse"))
            continue
        info = {
            "passes": int(runs.passes[best]),
            "restarts": restarts,
            "reached": int((end >= end.max() - 1e-6 * N).sum()),
            "collapsed": lost,
            "log_z": float(log_z[g] + to_data[g]),
            "entropy": float(entropies[g]),
        }
        results.append(Ascent(runs.s[best], runs.bounds(best) + to_data[g], bool(runs.converged[best]), info))
    return results


def _without_noise(natural: Natural, pass_: Pass, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_n log_z_n and the entropy of the responsibilities at s (R, K, P), in nats; missing where s has collapsed."""
    _, (eta, _), lost = attempt(natural, s, [])
    log_z, following = pass_(eta)
    return np.where(lost, np.nan, log_z), np.where(lost, np.nan, entropy(eta, log_z, following))
