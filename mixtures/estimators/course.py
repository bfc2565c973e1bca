"""The course of a fit: from starts to the highest end, whose parameters are set."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import partial
from time import perf_counter
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from mixtures.ascent.ascend import Ascent, Own, reach
from mixtures.ascent.candidates import Listener, ahead, begun, candidates, climb_from_best, unfit
from mixtures.ascent.climb import Natural, Remembered, Runs
from mixtures.ascent.likewise import likewise
from mixtures.ascent.starts import starts
from mixtures.ascent.whole import Described, Whole, count_steps, seeded, whole
from mixtures.chunks import Chunked
from mixtures.engines.passes import Pass, blur, both_passes, gained, noise
from mixtures.errors import CollapseError, DistinctRowsError
from mixtures.estimators.chunked import counted, total
from mixtures.estimators.densities import in_blocks, log_densities
from mixtures.estimators.given import Start, start_of
from mixtures.estimators.predictions import Predictions
from mixtures.estimators.randomness import drawn
from mixtures.estimators.structures import family_of, uniform
from mixtures.model import Allocation, Family
from mixtures.rows.informed import informed
from mixtures.rows.moments import Moments

STARTS = {"kmeans": "k-means", "random": "random", "random_from_data": "rows", "k-means++": "k-means++"}

# Passes by which scikit-learn's own starts, if all have converged, are enough: clear clusters seldom have better ends.
AT_ONCE = {"kmeans": 2, "k-means++": 2, "random": 10, "random_from_data": 10}

# For starts that are given.
UNUSED = np.random.default_rng(0)


class Frame(NamedTuple):
    """Origin and unit of the coordinates of a family, and whether values are missing."""

    origin: np.ndarray
    unit: np.ndarray
    missing: bool


class Step(NamedTuple):
    """Where a fit is after one of its steps, as its ``callback`` is told.

    Attributes
    ----------
    iteration : int
        Steps so far, from 1.
    lower_bounds : ndarray of shape (n_starts,)
        The objective of each start in the unit of ``lower_bound_``; minus infinity where a component collapsed.
    estimator : callable
        Without arguments: a copy of the estimator with the parameters of the best start so far, ready to predict and score.
    """

    iteration: int
    lower_bounds: np.ndarray
    estimator: Callable[[], Any]


class Task(NamedTuple):
    """What a fit is given: rows, weights or None, their moments and frame, and, each or None, the state (1, K, P) to go on
    from, the start that a user gave, whom to tell of every step, the compiled ascent, and what noise adds to the mean of
    t(x)."""

    X: np.ndarray
    weights: np.ndarray | None
    data: Moments
    frame: Frame
    last: np.ndarray | None
    start: Start | None
    listener: Listener | None
    compiled: Whole | None = None
    noise: tuple[np.ndarray, np.ndarray] | None = None


class Likewise(NamedTuple):
    """scikit-learn's own starts (R, K, P), if there are any, and random numbers for other ones."""

    s: np.ndarray | None
    rng: np.random.Generator


class End(NamedTuple):
    """Where an ascent ended, its parameters being set: the bound there, the objective before each step, in nats."""

    bound: float
    trace: np.ndarray
    converged: bool


class Problem(NamedTuple):
    """What is climbed: the rows that say something and their weights, the model, its step and pass, the pass over the rows as
    they are, without the noise of ``reg_covar``, what that noise adds to the mean of t(x), and the compiled ascent or None."""

    x: Any
    weights: np.ndarray | None
    family: Family
    allocation: Allocation
    natural: Natural
    pass_: Pass
    exact: Pass
    noise: tuple[np.ndarray, np.ndarray] | None
    compiled: Whole | None

    def bound(self, s: np.ndarray) -> Any:
        """The bound at states (..., K, P), without noise, (...)."""
        eta, extra = self.natural(s)
        return self.exact(eta)[0] + extra

    def climb(self, s: np.ndarray, **limits: Any) -> tuple[Runs, list[tuple[int, np.ndarray]]]:
        """`climb_from_best` from states (R C, K, P)."""
        return climb_from_best(lambda _: (self.natural, self.pass_), s, whole=self.compiled, **limits)


class Course(Predictions):
    """How the two estimators climb from their starts, and set the parameters of the highest end."""

    _method: ClassVar[Callable[..., Any]]
    _go_on: ClassVar[Callable[..., Ascent] | None] = None
    _spare: ClassVar[bool] = False  # whether components may begin without a cluster of a given start

    def _reach(self, task: Task, X: Any, sample_weight: Any) -> End:
        """Climb, and where the last parameters lose a component on these rows, start anew."""
        try:
            return self._climb(task)
        except CollapseError as error:
            if task.last is None:
                raise
            warnings.warn(
                f"warm_start: from the last parameters a component lost the rows of this X ({error}); starting anew",
                UserWarning,
                stacklevel=4,
            )
        return self._climb(task._replace(last=None, start=self._start(X, task.X.shape, sample_weight)))

    def _climb(self, task: Task) -> End:
        """Climb from every start and set the parameters of the highest end, one step beyond the last that was judged."""
        began, problem = perf_counter(), self._problem(task)
        unit, s, before = self._bound_unit(task.data.n), task.last, np.empty(0)
        task = task._replace(compiled=problem.compiled, noise=problem.noise)
        if not self.max_iter:
            s = self._starts(task, problem.family) if s is None else s
            return self._keep(problem, s[0], before, False)
        if s is not None and task.listener is None:
            with suppress(CollapseError):
                state, end = _a_step(problem, s[0], self.tol * unit)
                if end.converged or self.max_iter == 1:
                    self._tell([end.trace / unit], [end.converged], perf_counter() - began)
                    self._set(problem, state)
                    return end
                s, before = state[None], end.trace
        told = self._told(task.listener, problem.family, problem.allocation, unit)
        limits = {"n": task.data.n, "tol": self.tol * unit / task.data.n, "accelerate": True, "callback": told}
        limits["max_iter"] = int(self.max_iter) - len(before)
        runs, tight = self._runs(task, problem, s, limits)
        if isinstance(problem.natural, Remembered):
            count_steps(problem.natural.made, problem.x, problem.family, problem.allocation)
        if task.listener is not None and task.listener.stopped and not runs.collapsed.all():
            tight = []  # what it has is enough
        more = self._rescued(problem, tight, float(runs.end.max()), limits)
        if runs.collapsed.all() and not more:
            raise runs.errors[-1]
        ended = np.flatnonzero(~runs.collapsed)
        traces = [np.append(before, runs.bounds(int(run))) for run in ended] + [end.bound for end in more]
        settled = [*runs.converged[ended].tolist(), *(end.converged for end in more)]
        self._tell([trace / unit for trace in traces], settled, perf_counter() - began)
        bounds = np.array([trace[-1] for trace in traces])
        if self.reg_covar and len(bounds) > 1 and not more and runs.following.size:
            bounds = problem.bound(runs.following[ended])
        first = int(np.argmax(ahead(bounds)))
        if first >= len(ended):
            return self._end(task, problem.allocation, more[first - len(ended)])
        run = ended[first]
        best = runs.following[run] if runs.following.size else problem.pass_(problem.natural(runs.s[run])[0])[1]
        del runs, tight  # which are large where there are many features
        return self._keep(problem, best, traces[first], settled[first])

    def _problem(self, task: Task) -> Problem:
        """The rows and the model, and what climbs: the compiled ascent, where it serves."""
        x, weights = informed(task.X, task.weights) if task.frame.missing else (task.X, task.weights)
        family, allocation = self._model(task.frame)
        compiled = None
        if task.listener is None:
            compiled = whole(self._method, x, weights, family, allocation, self.reg_covar)
        if compiled:
            own = compiled.natural, compiled.pass_, compiled.without_noise(), compiled.noise
            return Problem(x, weights, family, allocation, *own, compiled)
        pass_, exact = both_passes(x, weights, family, len(x) * int(self.n_components), self.reg_covar)
        natural = Remembered(partial(self._method, family, allocation))
        return Problem(x, weights, family, allocation, natural, pass_, exact, getattr(pass_, "noise", None), None)

    def _runs(
        self, task: Task, problem: Problem, s: np.ndarray | None, limits: dict[str, Any]
    ) -> tuple[Runs, list[np.ndarray]]:
        """Runs from the last state (1, K, P), or from new starts, and of starts the states (C, K, P) that are too tight."""
        if s is not None:
            runs, tight = problem.climb(s, each=1, **limits)
            return runs, [state[None] for _, state in tight]
        alike = self._likewise(task, problem.family, int(self.n_components)) if self._anew(task) else None
        if runs_at_once := self._at_once(task, problem, alike, limits):
            return runs_at_once, []
        hard = self._starts(task, problem.family, alike)
        each = max(1, len(hard) // int(self.n_init))
        begin = begun(problem.natural, hard, each)
        runs, tight = problem.climb(begin, each=each, moves=problem.allocation.independent, likewise=True, **limits)
        return runs, [state[None] for _, state in tight] + [own for _, own in unfit(hard, begin, each)]

    def _at_once(self, task: Task, problem: Problem, alike: Likewise | None, limits: dict[str, Any]) -> Runs | None:
        """The runs of scikit-learn's own starts, if there are some and all have converged in few passes."""
        if alike is None or alike.s is None:
            return None
        s, few = self._blurred(task, problem.family, alike.s), min(AT_ONCE[self.init_params], int(self.max_iter))
        runs, _ = problem.climb(s, each=1, **limits | {"max_iter": few, "callback": None})
        if runs.collapsed.any() or not (runs.converged.all() or self.max_iter == 1):
            return None
        return problem.climb(s, each=1, **limits)[0] if limits["callback"] else runs

    def _set(self, problem: Problem, s: np.ndarray) -> None:
        """Set the parameters at the state s (K, P)."""
        described = problem.compiled.describe(s) if problem.compiled else None
        self._store(self._parameters(problem.family, problem.allocation, s, described))

    def _keep(self, problem: Problem, s: np.ndarray, trace: np.ndarray, converged: bool) -> End:
        """Set the parameters at the state s (K, P), and say where that is."""
        bound = float(problem.bound(s))
        self._set(problem, s)
        return End(bound, trace, converged)

    def _rescued(self, problem: Problem, states: list[np.ndarray], aim: float, limits: dict[str, Any]) -> list[Ascent]:
        """Ends that are reached from states (C, K, P) whose components are too tight for common coordinates; see `reach`."""
        if self._go_on is None:
            return []
        model = self._method, problem.x, problem.weights, problem.family, problem.allocation
        go_on = partial(self._go_on, *model, reg_covar=self.reg_covar, **limits)
        return [end for _, end in reach(go_on, list(enumerate(states)), limits["max_iter"], aim)]

    def _end(self, task: Task, allocation: Allocation, end: Ascent) -> End:
        """Set the parameters of an end whose components have centres of their own."""
        assert end.own is not None
        beyond = end.own.pass_(self._method(end.own.family, allocation, end.s)[0])[1]
        self._store(self._about(end.own, allocation, beyond))
        log_p = partial(in_blocks, K=len(self.means_), log_density=self._log_joint(), answer=log_densities)
        if isinstance(task.X, Chunked):
            return End(total(task.X, task.weights, log_p)[0], end.bound, end.converged)
        bound = log_p(task.X).sum() if task.weights is None else task.weights @ log_p(task.X)
        return End(float(bound), end.bound, end.converged)

    def _about(self, own: Own, allocation: Allocation, s: np.ndarray) -> dict[str, Any]:
        """`_parameters` of a state about the components' own centres."""
        found = self._parameters(own.family, allocation, s)
        return found | {"means_": own.centres + (found["means_"] - own.family.origin)}

    def _told(
        self, listener: Listener | None, family: Family, allocation: Allocation, unit: float
    ) -> Callable[..., None] | None:
        """What tells a callback where the runs are."""
        if listener is None:
            return None

        def tell(runs: Runs, own: Own | None = None) -> None:
            s = runs.s[np.argmax(runs.end)].copy()
            listener(
                Step(
                    len(runs.trace),
                    runs.end / unit,
                    lambda: self._with(
                        self._about(own, allocation, s) if own else self._parameters(family, allocation, s)
                    ),
                )
            )

        return tell

    def _with(self, parameters: dict[str, Any]) -> Self:
        """A copy that has these parameters."""
        own = copy(self)
        own._store(parameters)
        return own

    def _store(self, parameters: dict[str, Any]) -> None:
        """Set every parameter as the attribute of its name, and note what they are."""
        self._fitted_as = {name: getattr(self, name) for name in self._kind_of}
        for name, value in parameters.items():
            setattr(self, name, value)

    def _anew(self, task: Task) -> bool:
        """Whether all of the starts are to be alike."""
        return task.last is None and task.start is None

    def _likewise(self, task: Task, family: Family, K: int) -> Likewise:
        """scikit-learn's own starts by ``init_params``; of weighted rows there are none."""
        X, R, init = task.X, int(self.n_init), STARTS[self.init_params]
        numbers, rng = drawn(self.random_state, init, R, len(X), K)
        s = None
        if task.weights is None:
            compiled = task.compiled is not None or seeded(len(X), family, K)
            with suppress(DistinctRowsError):
                s = likewise(X, len(X), family, self._even(family), K, init, numbers, rng, compiled)
        return Likewise(s, rng)

    def _starts(self, task: Task, family: Family, alike: Likewise | None = None) -> np.ndarray:
        """States to climb from: candidates of ``n_init`` starts, (n_init C, K, P)."""
        each = candidates(len(task.X) * int(self.n_components), family)
        return self._guesses(task, family, int(self.n_components), each, alike)

    def _guesses(self, task: Task, family: Family, K: int, each: int = 1, alike: Likewise | None = None) -> np.ndarray:
        """States by ``init``, or by ``init_params``, which looks at distances in the units of X, (R C, K, P)."""
        X, weights, start = task.X, task.weights, task.start
        try:
            clusters = K if start is None else start.clusters
            if start is None:
                s = self._candidates(task, family, K, each, alike or self._likewise(task, family, K))
            else:
                if start.rows is not None:
                    weights = counted(X, start.rows, weights)
                even = self._even(family)
                s = starts(X, weights, len(X), family, uniform(clusters), start.guess, 1, UNUSED, even)
            s = self._blurred(task, family, s)
            return s if clusters == K else self._spread(s, K)
        except DistinctRowsError as error:
            warnings.warn(
                f"Number of distinct rows ({error.distinct}) found smaller than n_components ({K}). Possibly due to duplicate "
                "points in X.",
                ConvergenceWarning,
                stacklevel=2,
            )
            return self._spread(self._guesses(task, family, error.distinct, each), K)

    def _even(self, family: Family) -> Family:
        """In whose coordinates distances are those in the units of X, but for a common factor."""
        unit = np.full_like(family.origin, np.exp(family.log_volume / len(family.origin)))
        return family_of("spherical", family.origin, unit, None)

    def _blurred(self, task: Task, family: Family, s: np.ndarray) -> np.ndarray:
        """The states of rows to which the noise of ``reg_covar`` is added."""
        if not self.reg_covar:
            return s
        return blur(s, noise(family, self.reg_covar) if task.noise is None else task.noise)

    def _candidates(self, task: Task, family: Family, K: int, each: int, alike: Likewise) -> np.ndarray:
        """States by ``init_params``, (R C, K, P): for every start that of scikit-learn, if any, and then other candidates."""
        if alike.s is not None and each == 1:
            return alike.s
        X, R, init, labels = task.X, int(self.n_init), STARTS[self.init_params], uniform(K)
        compiled = task.compiled is not None or seeded(len(X), family, K)
        more, sort = (each, True) if alike.s is None else (each - 1, False)
        others = starts(
            X, task.weights, len(X), family, labels, init, R, alike.rng, self._even(family), more, compiled, sort=sort
        )
        others = self._in_order(others)
        if alike.s is None:
            return others
        every = np.concatenate([alike.s[:, None], others.reshape(R, -1, *alike.s.shape[1:])], axis=1)
        return every.reshape(-1, *alike.s.shape[1:])

    def _in_order(self, s: np.ndarray) -> np.ndarray:
        """States (R, K, P) with their components in the order in which they are to begin."""
        return s

    def _start(self, X: Any, shape: tuple[int, int], sample_weight: Any) -> Start | None:
        """Where ``init`` says to begin."""
        if self.init is None:
            return None
        start = start_of(self.init, X, shape, sample_weight, int(self.n_components))
        if start.clusters < self.n_components and not self._spare:
            raise ValueError(
                f"init has {start.clusters} clusters, and n_components is {self.n_components}; set "
                f"n_components={start.clusters}"
            )
        return start

    def _tell(self, traces: list[np.ndarray], converged: list[bool], seconds: float) -> None:
        """Print how the runs went, as ``verbose`` asks."""
        for run, trace in enumerate(traces if self.verbose else []):
            print(f"Initialization {run}")
            changes = np.diff(trace, prepend=-np.inf)
            for step in range(self.verbose_interval, len(trace) + 1, self.verbose_interval):
                print(f"  Iteration {step}" + (f"\t ll change {changes[step - 1]:.5f}" if self.verbose > 1 else ""))
            cost = f" time lapse of all {seconds:.5f}s\t lower bound {trace[-1]:.5f}." if self.verbose > 1 else ""
            print(f"Initialization {'converged' if converged[run] else 'did not converge'}.{cost}")

    @abstractmethod
    def _bound_unit(self, n: float) -> float:
        """What a bound over n observations is divided by to give ``lower_bound_``."""

    @abstractmethod
    def _model(self, frame: Frame) -> tuple[Family, Allocation]:
        """The family in these coordinates and the allocation, with their priors."""

    @abstractmethod
    def _last(self, data: Moments, frame: Frame) -> np.ndarray:
        """The state (K, P) that the attributes follow from, in these coordinates."""

    @abstractmethod
    def _parameters(
        self, family: Family, allocation: Allocation, s: np.ndarray, described: Described | None = None
    ) -> dict[str, Any]:
        """The fitted parameters at the state s (K, P), by attribute; what compiled steps say of it, if anything, is taken."""

    @abstractmethod
    def _spread(self, s: np.ndarray, K: int) -> np.ndarray:
        """States (R, k, P) of fewer clusters turned into states of K."""


def _a_step(problem: Problem, s: np.ndarray, least: float) -> tuple[np.ndarray, End]:
    """The state after s (K, P), and the end there, converged if that raised the bound by surely no more than ``least`` nats.

    The bound at s is known with noise about the rows, and without, where it is known what noise adds, as a lower bound of it.
    """
    eta, extra = problem.natural(s)
    log_z, after = problem.pass_(eta)
    objective, noise = float(log_z + extra), problem.noise
    lowest = objective - (float(gained(noise, eta, after)) if noise else 0.0)
    bound = float(problem.bound(after))
    known = noise is not None or problem.exact is problem.pass_
    return after, End(bound, np.array([objective]), known and bound - lowest <= least)
