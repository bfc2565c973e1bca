"""The loop: repeat a step until the bound settles, from several starts, and keep the best.

A step maps the state ``s`` (expected sufficient statistics) to the bound at ``s`` and the next state. The bound of a
correct EM or CAVI step never falls, so a fall beyond rounding raises instead of passing for convergence.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from mixtures.errors import CollapseError, ConvergenceWarning


@dataclass(frozen=True)
class Step:
    """The bound at a state, in nats, the state that follows, and the rounding error of the bound."""

    bound: float
    s: np.ndarray
    rounding: float


@dataclass(frozen=True)
class Ascent:
    """The best of several runs.

    Parameters
    ----------
    s : ndarray, shape (K, P)
        The state at which ``bound[-1]`` was taken.
    bound : ndarray, shape (passes,)
        The bound after each pass, in nats.
    converged : bool
        Whether the last rise was below the tolerance.
    restarts, reached, collapsed : int
        Runs made; runs that ended within 1e-6 nats an observation of the best bound; runs lost to a collapsed cluster.
    """

    s: np.ndarray
    bound: np.ndarray
    converged: bool
    restarts: int
    reached: int
    collapsed: int


def ascend(
    step: Callable[[np.ndarray], Step],
    starts: Iterable[np.ndarray],
    *,
    n: int,
    tol: float = 1e-9,
    max_iter: int = 10_000,
) -> Ascent:
    """Climb from every start and keep the highest end.

    Parameters
    ----------
    step : callable
        From a state to a `Step`.
    starts : iterable of ndarray, shape (K, P)
        Expected sufficient statistics to begin from.
    n : int
        Number of observations; ``tol`` is relative to it, so that neither N nor the units of the data matter.
    tol : float
        A run has converged when the bound rises by at most ``tol * n`` nats in one pass.
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
    runs, collapses = [], []
    for s in starts:
        try:
            runs.append(_climb(step, s, tol * n, max_iter))
        except CollapseError as error:
            collapses.append(error)
    if not runs:
        raise CollapseError(
            f"all {len(collapses)} starts ended in a collapse, the last: {collapses[-1]}"
        ) from collapses[-1]
    ends = np.array([bound[-1] for _, bound, _ in runs])
    s, bound, converged = runs[int(np.argmax(ends))]
    if not converged:
        warnings.warn(f"no convergence in {max_iter} passes; raise max_iter or tol", ConvergenceWarning, stacklevel=3)
    reached = int((ends >= ends.max() - 1e-6 * n).sum())
    return Ascent(s, bound, converged, len(runs) + len(collapses), reached, len(collapses))


def _climb(
    step: Callable[[np.ndarray], Step], s: np.ndarray, tol: float, max_iter: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    bounds: list[float] = []
    while True:
        now = step(s)
        if not np.isfinite(now.bound):
            raise ArithmeticError(f"the bound is {now.bound} after {len(bounds)} passes")
        rise = now.bound - bounds[-1] if bounds else np.inf
        if rise < -now.rounding:
            raise ArithmeticError(f"the bound fell by {-rise:.3g} nats in pass {len(bounds) + 1}: the step is wrong")
        bounds.append(now.bound)
        converged = rise <= max(tol, now.rounding)
        if converged or len(bounds) == max_iter:
            return s, np.array(bounds), converged
        s = now.s
