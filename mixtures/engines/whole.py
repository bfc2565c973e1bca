"""The whole ascent of small data in one compiled call: steps, passes and the loop over runs; the loops are in `loops.whole`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mixtures.engines.objects import loops

ROWS = ("d3", "d2", "d2", "d2", "q1")
AFFINE = ("d1", "d2", "q2", "q1=")
LABELS = ("q", "d1", "d")
PRIOR = ("q", "?", "d2", "d1", "d1", "d3", "d1", "d", "d", LABELS)
ENDS = ("d3=", "d3=", "d2=", "q1=", "?1=", "?1=", "d1=", "d3=", "d1=")

_steps, _passes, _climb = loops(
    "whole",
    steps=("q1", PRIOR, "d3", "d3=", "d1="),
    passes=(ROWS, AFFINE, "q1", "d3", "d1=", "d3="),
    climb=(ROWS, AFFINE, PRIOR, "q1", "d1", "d", "q", "?", "q", "d", "d", "q", "d", *ENDS),
)

# What a climb ended with; rows of a trace that there is room for at first.
WELL, NO_NUMBER, FELL, NO_ROOM = range(4)
ROOM = 4096


class Climbed(NamedTuple):
    """See `mixtures.engines.loops.whole.climb`."""

    s: np.ndarray
    following: np.ndarray
    trace: np.ndarray
    passes: np.ndarray
    converged: np.ndarray
    collapsed: np.ndarray
    end: np.ndarray
    lost: np.ndarray
    said: np.ndarray


class Problem(NamedTuple):
    """Rows, affine map and prior as the loops take them; see `mixtures.engines.loops.whole.climb`."""

    rows: tuple[Any, ...]
    affine: tuple[Any, ...]
    prior: tuple[Any, ...]


def steps(of: Problem, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The natural parameters of every state (R, K, P), and the extras (R,); not a number where a cluster collapsed."""
    eta, extra = np.empty_like(s), np.empty(len(s))
    _steps(np.zeros(len(s), np.int64), of.prior, s, eta, extra)
    return eta, extra


def passes(rows: tuple[Any, ...], affine: tuple[Any, ...], eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sum_n w_n log_z_n (R,) of the pass of every run under eta (R, K, P), and its statistics (R, K, P)."""
    log_z, s = np.empty(len(eta)), np.empty_like(eta)
    _passes(rows, affine, np.zeros(len(s), np.int64), eta, log_z, s)
    return log_z, s


def climb(of: Problem, s: np.ndarray, n: np.ndarray, tol: float, max_iter: int, *rules: Any) -> tuple[int, Climbed]:
    """What went wrong, if anything, and runs from states (R, K, P); see `mixtures.engines.loops.whole.climb`."""
    (R, K, P), room = s.shape, min(max_iter, ROOM)
    owner = np.zeros(R, np.int64)
    while True:
        following, lost = np.empty((2, R, K, P))
        converged, collapsed = np.empty((2, R), bool)
        trace, passes, end = np.empty((room, R)), np.empty(R, np.int64), np.empty(R)
        found = Climbed(s.copy(), following, trace, passes, converged, collapsed, end, lost, np.zeros(3))
        fault = _climb(*of, owner, n, tol, max_iter, *rules, *found)
        if fault != NO_ROOM:
            return fault, found._replace(trace=trace[: int(found.said[0])])
        room = min(max_iter, 8 * room)
