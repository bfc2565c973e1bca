"""The loop: repeat a step until the bound settles, from several starts, and keep the best.

A step maps the state ``s`` (expected sufficient statistics) to the bound at ``s`` and the next state. The bound of a
correct EM or CAVI step never falls, so a fall beyond rounding raises instead of passing for convergence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mixtures.engines.plain import pass_
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.initial import starts
from mixtures.model import Allocation, Family

Pass = Callable[[np.ndarray], tuple[float, np.ndarray]]


class Step(NamedTuple):
    """The bound at a state in nats, the state that follows, and the natural parameters between them."""

    bound: float
    s: np.ndarray
    eta: np.ndarray


class Ascent(NamedTuple):
    """The best of several runs.

    Attributes
    ----------
    s : ndarray, shape (K, P)
        The state at which ``bound[-1]`` was taken.
    bound : ndarray, shape (passes,)
        The bound after each pass, in nats.
    converged : bool
        Whether the last rise was below the tolerance.
    info : dict
        ``passes`` of the best run; ``restarts`` made; how many ``reached`` a bound within 1e-6 nats an observation of the
        best; how many ``collapsed``.
    """

    s: np.ndarray
    bound: np.ndarray
    converged: bool
    info: dict[str, Any]


def ascend(
    method: Callable[[Family, Allocation, Pass], Callable[[np.ndarray], Step]],
    x: np.ndarray,
    family: Family,
    allocation: Allocation,
    *,
    rng: np.random.Generator,
    init: object = "k-means++",
    restarts: int = 10,
    tol: float = 1e-9,
    max_iter: int = 10_000,
) -> Ascent:
    """Climb from every start and keep the highest end.

    Parameters
    ----------
    method : callable
        From (family, allocation, pass_) to a step, where ``pass_(eta)`` is the one pass over the data.
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
    rng : numpy.random.Generator
        Source of the starts.
    init, restarts
        See `mixtures.initial.starts`.
    tol : float
        A run has converged when the bound rises by at most ``tol`` nats an observation in one pass; relative to N, so that
        the units of the data, which shift the bound, do not matter.
    max_iter : int
        Passes at most in one run.

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
    if not tol >= 0 or max_iter < 2:
        raise ValueError(f"tol is {tol} and max_iter {max_iter}; expected tol >= 0 and max_iter >= 2")
    if not np.all(np.isfinite(x)):
        raise ValueError("x has missing or infinite values; leave those rows out")
    step = method(family, allocation, partial(pass_, family.features, x))
    return best_of(step, starts(x, family, allocation, init, restarts, rng), len(x), tol, max_iter)


def best_of(
    step: Callable[[np.ndarray], Step], starts: Iterable[np.ndarray], n: int, tol: float, max_iter: int
) -> Ascent:
    """Climb from every state in ``starts``; see `ascend`."""
    runs, collapses = [], []
    for s in starts:
        try:
            runs.append(_climb(step, s, n, tol, max_iter))
        except CollapseError as error:
            collapses.append(error)
    if not runs:
        raise CollapseError(
            f"all {len(collapses)} starts ended in a collapse, the last: {collapses[-1]}"
        ) from collapses[-1]
    ends = np.array([bound[-1] for _, bound, _ in runs])
    s, bound, converged = runs[int(np.argmax(ends))]
    if not converged:
        warnings.warn(f"no convergence in {max_iter} passes; raise max_iter or tol", ConvergenceWarning, stacklevel=4)
    reached = int((ends >= ends.max() - 1e-6 * n).sum())
    info = {
        "passes": len(bound),
        "restarts": len(runs) + len(collapses),
        "reached": reached,
        "collapsed": len(collapses),
    }
    return Ascent(s, bound, converged, info)


def _climb(
    step: Callable[[np.ndarray], Step], s: np.ndarray, n: int, tol: float, max_iter: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    bounds: list[float] = []
    while True:
        bound, s_next, eta = step(s)
        if not np.isfinite(bound):
            raise ArithmeticError(f"the bound is {bound} after {len(bounds)} passes")
        rise = bound - bounds[-1] if bounds else np.inf
        rounding = _rounding(eta, n)
        if rise < -rounding:
            raise ArithmeticError(f"the bound fell by {-rise:.3g} nats in pass {len(bounds) + 1}: the step is wrong")
        bounds.append(bound)
        converged = rise <= max(tol * n, rounding)
        if converged or len(bounds) == max_iter:
            return s, np.array(bounds), converged
        s = s_next


def _rounding(eta: np.ndarray, n: int) -> float:
    """Bound on the rounding error of sum_n log_z_n: about eps times the largest term of t(x) . eta, for each of n points."""
    return 64 * np.finfo(float).eps * n * (1 + np.abs(eta).max())
