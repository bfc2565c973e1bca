"""Our side of the benchmark; `reports.bench.theirs` has the same functions for scikit-learn."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from mixtures import CollapseError, Dirichlet, Fit, Gaussian
from mixtures.ascent import climb as loops
from mixtures.ascent.climb import Runs
from mixtures.ascent.states import statistics
from mixtures.ascent.whole import ENGINE, Whole, whole
from mixtures.engines.passes import one_pass
from mixtures.methods import cavi, em
from reports.bench.cells import Problem

METHODS = {"em": em, "cavi": cavi}

LONGEST = 10_000


def loop(problem: Problem, method: str) -> Callable[[int], np.ndarray]:
    """So many iterations of a method from the start, and the last state: the step from s to eta, the pass from eta to s.

    In one compiled call where a fit takes that, once it is loaded.
    """
    family, allocation, step = problem.family, problem.allocation, METHODS[method].step
    if ENGINE in sys.modules and (compiled := whole(step, problem.x, None, family, allocation)):
        return partial(_compiled, compiled, state(problem, problem.r), len(problem.x))
    pass_ = one_pass(problem.x, None, family, problem.r.size)
    start = state(problem, problem.r)

    def iterate(times: int) -> np.ndarray:
        s = start
        for _ in range(times):
            eta, extra = step(family, allocation, s)
            log_z, s = pass_(eta)
            log_z += extra
        return s

    return iterate


def _compiled(compiled: Whole, start: np.ndarray, n: int, times: int) -> np.ndarray:
    """`loop` by the compiled ascent, begun anew where only rounding is left; and its next state by one pass more."""
    while True:
        runs = compiled.climb(start[None], float(n), 0.0, times, False)
        times -= len(runs.trace)
        if not times:
            return compiled.pass_(compiled.natural(runs.s[0])[0])[1]


def state(problem: Problem, r: np.ndarray) -> np.ndarray:
    """Expected sufficient statistics of responsibilities r (N, K), shape (K, P)."""
    return statistics(problem.x, problem.family, r)


def climb(problem: Problem, s: np.ndarray, passes: int = LONGEST) -> Runs:
    """EM from a state s (K, P) until only rounding is left, or so many passes; without a call's checks of the data."""
    pass_ = one_pass(problem.x, None, problem.family, problem.r.size)
    natural = partial(em.step, problem.family, problem.allocation)
    return loops.climb(lambda _: (natural, pass_), s[None], float(len(problem.x)), 0.0, passes, accelerate=True)


def fits(method: str, xs: np.ndarray, k: int, starts: int, tol: float, reg_covar: float) -> list[Fit | None]:
    """A fit of every data set of xs (R, N, D) from so many starts each, side by side; None where a cluster collapsed."""
    families, allocation = [Gaussian.from_data(x, k) for x in xs], Dirichlet.symmetric(k)
    found = METHODS[method].fit_many(
        xs,
        families,
        allocation,
        rng=np.random.default_rng(0),
        init="k-means",
        restarts=starts,
        tol=tol,
        reg_covar=reg_covar,
    )
    return [None if isinstance(fit, CollapseError) else fit for fit in found]


def score(fit: Fit | None, x: np.ndarray) -> float:
    """Mean log density of the points x (N, D) under a fit, in nats; missing where there is none."""
    return np.nan if fit is None else float(fit.log_predictive(x).mean())
