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

# Passes by which scikit-learn's own starts, if all have converged, are enough: clear clusters have no better ends.
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
        began = perf_counter()
        X, weights, data, frame, *_ = task
        if frame.missing:
            X, weights = informed(X, weights)
        family, allocation = self._model(frame)
        compiled = (
            whole(self._method, X, weights, family, allocation, self.reg_covar) if task.listener is None else None
        )
        natural = compiled.natural if compiled else Remembered(partial(self._method, family, allocation))
        points, unit = len(X) * int(self.n_components), self._bound_unit(data.n)
        if compiled:
            pass_, exact = compiled.pass_, compiled.without_noise()
        else:
            pass_, exact = both_passes(X, weights, family, points, self.reg_covar)
        about = compiled.noise if compiled else getattr(pass_, "noise", None)
        task = task._replace(compiled=compiled, noise=about)
        s, before = task.last, np.empty(0)
        if s is not None and self.max_iter and task.listener is None:
            with suppress(CollapseError):
                state, end = _a_step(natural, pass_, exact, about, s[0], self.tol * unit)
                if end.converged or self.max_iter == 1:
                    self._tell([end.trace / unit], [end.converged], perf_counter() - began)
                    self._store(
                        self._parameters(family, allocation, state, compiled.describe(state) if compiled else None)
                    )
                    return end
                s, before = state[None], end.trace
        alike = self._likewise(task, family, int(self.n_components)) if self._anew(task) else None
        trace, converged = np.empty(0), False
        if self.max_iter:
            limits: dict[str, Any] = {"n": data.n, "tol": self.tol * unit / data.n, "accelerate": True}
            limits["max_iter"] = int(self.max_iter) - len(before)
            climb: Callable[..., tuple[Runs, list[tuple[int, np.ndarray]]]] = partial(
                climb_from_best, lambda _: (natural, pass_), whole=compiled, **limits
            )
            told = self._told(task.listener, family, allocation, unit)
            runs, states = self._at_once(task, family, alike, climb, told) if alike else None, list[np.ndarray]()
            if runs is None:
                hard = self._starts(task, family, alike) if s is None else s
                each = max(1, len(hard) // int(self.n_init))
                begin = begun(natural, hard, each) if task.last is None else hard
                runs, tight = climb(begin, each=each, callback=told, moves=allocation.independent, likewise=True)
                states = [state[None] for _, state in tight] + [own for _, own in unfit(hard, begin, each)]
                del hard, begin, tight
            if isinstance(natural, Remembered):
                count_steps(natural.made, X, family, allocation)
            enough = task.listener is not None and task.listener.stopped and not runs.collapsed.all()
            highest = float(runs.end.max())
            more = self._rescued(
                states, enough, highest, self._method, X, weights, family, allocation, callback=told, **limits
            )
            if runs.collapsed.all() and not more:
                raise runs.errors[-1]
            traces = [np.append(before, runs.bounds(int(run))) for run in np.flatnonzero(~runs.collapsed)]
            traces += [end.bound for end in more]
            settled = [*runs.converged[~runs.collapsed].tolist(), *(end.converged for end in more)]
            self._tell([trace / unit for trace in traces], settled, perf_counter() - began)
            bounds = np.array([trace[-1] for trace in traces])
            if self.reg_covar and len(bounds) > 1 and not more and runs.following.size:
                eta, extra = natural(runs.following[~runs.collapsed])
                bounds = exact(eta)[0] + extra  # of the rows as they are, without noise
            first = int(np.argmax(ahead(bounds)))
            trace, converged = traces[first], settled[first]
            if first >= len(traces) - len(more):
                return self._end(task, allocation, more[first - len(traces)])
            run = int(np.flatnonzero(~runs.collapsed)[first])
            best = runs.following[run] if runs.following.size else pass_(natural(runs.s[run])[0])[1]
            del runs, states  # which are large where there are many features
        else:
            best = (self._starts(task, family, alike) if s is None else s)[0]
        eta, extra = natural(best)
        bound = exact(eta)[0] + extra
        del eta
        self._store(self._parameters(family, allocation, best, compiled.describe(best) if compiled else None))
        return End(float(bound), trace, converged)

    def _at_once(
        self, task: Task, family: Family, alike: Likewise, climb: Callable[..., Any], told: Callable[..., None] | None
    ) -> Runs | None:
        """The runs of scikit-learn's own starts, if there are some and all have converged in few passes."""
        if alike.s is None:
            return None
        s, few = self._blurred(task, family, alike.s), min(AT_ONCE[self.init_params], int(self.max_iter))
        runs, _ = climb(s, each=1, max_iter=few)
        if runs.collapsed.any() or not (runs.converged.all() or self.max_iter == 1):
            return None
        return climb(s, each=1, callback=told)[0] if told else runs

    def _rescued(
        self, states: list[np.ndarray], enough: bool, aim: float, *problem: Any, **limits: Any
    ) -> list[Ascent]:
        """Ends that are reached from states (C, K, P) whose components are too tight for common coordinates, unless there are
        ``enough``; see `reach`."""
        if self._go_on is None or enough:
            return []
        go_on = partial(self._go_on, *problem, reg_covar=self.reg_covar, **limits)
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

    def _starts(self, task: Task, family: Family, alike: Likewise | None) -> np.ndarray:
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


def _a_step(
    natural: Natural, pass_: Pass, exact: Pass, noise: tuple[np.ndarray, np.ndarray] | None, s: np.ndarray, least: float
) -> tuple[np.ndarray, End]:
    """The state after s (K, P), and the end there, converged if that raised the bound by surely no more than ``least`` nats.

    The bound at s is known with noise about the rows, and without, where ``noise`` says what it adds, as a lower bound of it.
    """
    eta, extra = natural(s)
    log_z, after = pass_(eta)
    objective = float(log_z + extra)
    lowest = objective - (float(gained(noise, eta, after)) if noise else 0.0)
    eta, extra = natural(after)
    bound = float(exact(eta)[0] + extra)
    return after, End(bound, np.array([objective]), (noise is not None or exact is pass_) and bound - lowest <= least)
