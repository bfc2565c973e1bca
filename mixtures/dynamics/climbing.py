"""The ascent of linear dynamical systems: that of mixtures (`mixtures.ascent.climb`), with the smoother for a pass."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from mixtures.ascent.climb import Callback, Runs, climb
from mixtures.checks import brief, check_flag, check_real, check_whole
from mixtures.dynamics.checks import check_theta, checked
from mixtures.dynamics.coordinates import movable, moved
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.passes import At, State, one_pass
from mixtures.dynamics.rows import Rows as OwnNoises
from mixtures.dynamics.starts import starts
from mixtures.engines.kalman import Data
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator

# From the model and the expected moments to what the smoother takes, and to what the bound has beside sum log_z.
Step = Callable[[LinearDynamics, State], tuple[At, float]]


EDGE = 64
"""Plain steps after which, and after each doubling, noises that shrink are tried at smaller variances."""

SHORT = 100
"""Times the tolerance that a run may stop short of its optimum: so much is left where gains fall by a hundredth a step."""


class Eta(np.ndarray):
    """Natural parameters of R runs, (R, 1, P), and what the smoother takes of each."""

    at: list[At]


class Ascent(NamedTuple):
    """The best of several runs.

    Attributes
    ----------
    s : tuple of Moments
        The state at which ``bound[-1]`` was taken.
    bound : ndarray, shape (passes,)
        The bound after each pass that was kept, in nats.
    converged : bool
    info : dict
        ``passes`` of the best run, ``restarts``, how many ``reached`` a bound within 1e-6 nats a row of the best, or `SHORT`
        times the tolerance where that is more, and how many ``collapsed``.
    seconds : float
    data : Data
    """

    s: State
    bound: np.ndarray
    converged: bool
    info: dict[str, Any]
    seconds: float
    data: Data


def ascend(
    step: Step,
    x: Rows,
    model: LinearDynamics,
    *,
    rng: Rng,
    init: Theta | Sequence[Theta] | None = None,
    restarts: int = 5,
    tol: float = 1e-9,
    max_iter: int = 10_000,
    accelerate: bool = True,
    callback: Callback = None,
    move: bool = True,
    edge: bool = False,
) -> Ascent:
    """Climb from every start and keep the highest end.

    Parameters
    ----------
    step : callable
    x : ndarray, shape (T, D), Sequences, or list of ndarray
        NaN where a value is missing.
    model : LinearDynamics
    rng : numpy.random.Generator or int
        Source of the starts.
    init : dict, or sequence of dicts, optional
        Parameters to start from, in place of `mixtures.dynamics.starts.starts`.
    restarts : int
        Number of starts.
    tol : float
        A run has converged when a step raises the bound by at most ``tol`` nats a row.
    max_iter : int
        Passes at most in one run.
    accelerate : bool
        Whether to extrapolate; the bound rises either way.
    callback : callable, optional
        See `mixtures.ascent.ascend.ascend`.
    move : bool
        Whether states are brought to better coordinates between passes, where the model leaves them free; of no use where the
        bound is the same in all of them.
    edge : bool
        Whether variances of noises may be zero at the best point, which steps alone then near by less and less; see `edged`.

    Raises
    ------
    ValueError
        If x or the model is not what the other needs.
    CollapseError
        If every run lost a noise.

    Warns
    -----
    ConvergenceWarning
        If the best run stopped at ``max_iter``.
    """
    began, rng = time.perf_counter(), generator(rng)
    check_real("tol", tol, 0)
    check_whole("max_iter", max_iter, 1)
    check_whole("restarts", restarts, 1)
    check_flag("accelerate", accelerate)
    if not (callback is None or callable(callback)):
        raise TypeError(f"callback is {brief(callback)}; expected a function of the runs")
    data = checked(x, model)
    given = [init] if isinstance(init, dict) else init
    for theta in given or ():
        check_theta(theta, model)
    begins = starts(model, data, restarts, rng) if given is None else [model.at(theta) for theta in given]
    s = np.stack([_flat(one_pass(model, data, at).s)[None] for at in begins])
    n = float(len(data.x))

    def natural(s: np.ndarray) -> tuple[Eta, np.ndarray]:
        return _natural(step, model, s)

    def pass_(eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert isinstance(eta, Eta)
        each = [_passed(model, data, at, eta.shape[-1]) for at in eta.at]
        return np.array([log_z for log_z, _ in each]), np.stack([s for _, s in each])

    def improved(s: np.ndarray) -> np.ndarray:
        return np.stack([_flat(moved(model, objective, unflat(model, flat), n))[None] for flat in s[:, 0]])

    def objective(s: State) -> tuple[float, State]:
        at, extra = step(model, s)
        eta = (model.moves.natural(at[0]), model.observes.natural(at[1]), model.begins.natural(at[2]))
        return extra + float(_flat(s) @ _flat(eta)), eta

    rounding = _rounding(model, data)
    steps = count(1)

    def at_edge(s: np.ndarray) -> np.ndarray:
        steps_made = next(steps)
        if steps_made < EDGE or steps_made & (steps_made - 1):
            return s
        return np.stack([edged(step, model, data, own, tol * n) for own in s])

    move = move and movable(model)
    s = improved(s) if move else s
    runs = climb(
        lambda _: (natural, pass_),
        s,
        n,
        tol,
        max_iter,
        accelerate,
        callback,
        lambda eta, s, n: n * rounding * np.ones(len(s)),
        improved if move else at_edge if edge else None,
    )
    return _best(runs, model, n, tol, max_iter, time.perf_counter() - began, data)


def edged(step: Step, model: LinearDynamics, data: Data, s: np.ndarray, enough: float) -> np.ndarray:
    """A state (1, P) with variances smaller by powers of 16, where each power raises the bound by more than ``enough`` nats."""

    def bound(s: State) -> float:
        try:
            at, extra = step(model, s)
        except (CollapseError, np.linalg.LinAlgError):
            return -np.inf
        return extra + _passed(model, data, at, 1)[0]

    found = list(unflat(model, s[0]))
    value = bound(tuple(found))  # type: ignore[arg-type]
    for place, part in enumerate(model.parts[:2]):
        if not isinstance(part, OwnNoises) or part.free.any():
            continue
        free = np.isnan(part.variances)
        for which in [free] if part.common else np.eye(len(free), dtype=bool)[free]:
            while True:
                smaller = [*found]
                smaller[place] = found[place]._replace(yy=np.where(which, found[place].yy / 16, found[place].yy))
                risen = bound(tuple(smaller))  # type: ignore[arg-type]
                if not risen - value > enough:
                    break
                found, value = smaller, risen
    return _flat(tuple(found))[None]  # type: ignore[arg-type]


def unflat(model: LinearDynamics, flat: np.ndarray) -> State:
    """The moments of the three regressions from all their numbers in a row."""
    counts = [sum(part.counts) for part in model.parts]
    parts = [part.unflat(own) for part, own in zip(model.parts, np.split(flat, np.cumsum(counts)[:-1]), strict=True)]
    return parts[0], parts[1], parts[2]


def _flat(s: State) -> np.ndarray:
    return np.concatenate([part.flat() for part in s])


def _natural(step: Step, model: LinearDynamics, s: np.ndarray) -> tuple[Eta, np.ndarray]:
    """`Step` of several runs (R, 1, P), with those that collapse told by the error."""
    found: list[tuple[At, float]] = []
    lost, error = np.zeros(len(s), bool), None
    for run, flat in enumerate(s[:, 0]):
        try:
            found.append(step(model, unflat(model, flat)))
        except (CollapseError, np.linalg.LinAlgError) as reason:
            lost[run], error = True, reason
    if error is not None:
        raise CollapseError(str(error), lost)
    etas = [_flat(tuple(part.natural(own) for part, own in zip(model.parts, at, strict=True))) for at, _ in found]  # type: ignore[arg-type]
    eta = np.stack(etas)[:, None].view(Eta)
    eta.at = [at for at, _ in found]
    return eta, np.array([extra for _, extra in found])


def _passed(model: LinearDynamics, data: Data, at: At, size: int) -> tuple[float, np.ndarray]:
    """A pass; minus infinity where a guess is so far off that it has no number."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            log_z, s = one_pass(model, data, at)
    except np.linalg.LinAlgError:
        return -np.inf, np.zeros((1, size))
    return (log_z if np.isfinite(log_z) else -np.inf), _flat(s)[None]


def _rounding(model: LinearDynamics, data: Data) -> float:
    """Rounding error of a bound, in nats a row: that of residuals of x, and of moments about zero in its square."""
    level = np.abs(data.filled).max(0)
    moved = np.diff(data.filled, axis=0).std(0) if len(data.filled) > 1 else level
    size = float((level / np.where(moved > 0, moved, np.where(level > 0, level, 1))).max())
    eps = np.finfo(float).eps
    about_zero = model.moves.free.any() or model.observes.free.any()
    return 64 * eps + 4 * eps * size + about_zero * (64 * eps * size**2) ** 2


def _best(runs: Runs, model: LinearDynamics, n: float, tol: float, max_iter: int, seconds: float, data: Data) -> Ascent:
    if runs.collapsed.all():
        raise CollapseError(
            f"all {len(runs.s)} starts ended in a collapse, the last: {runs.errors[-1]}"
        ) from runs.errors[-1]
    run = int(np.argmax(runs.end))
    if not runs.converged[run] and runs.passes[run] >= max_iter:
        warnings.warn(f"no convergence in {max_iter} passes; raise max_iter or tol", ConvergenceWarning, stacklevel=4)
    info = {
        "passes": int(runs.passes[run]),
        "restarts": len(runs.s),
        "reached": int((runs.end >= runs.end[run] - max(1e-6, SHORT * tol) * n).sum()),
        "collapsed": int(runs.collapsed.sum()),
    }
    return Ascent(unflat(model, runs.s[run, 0]), runs.bounds(run), bool(runs.converged[run]), info, seconds, data)
