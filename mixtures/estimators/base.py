"""What the two estimators share: the course of a fit, and predictions in blocks of rows."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import lru_cache, partial
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar, NamedTuple, Self
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mixtures import COVARIANCES
from mixtures.ascent.ascend import Ascent, Own, reach
from mixtures.ascent.candidates import Listener, begun, candidates, climb_from_best, unfit
from mixtures.ascent.climb import Natural, Remembered, Runs
from mixtures.ascent.online import Learned, check_kappa, learn
from mixtures.ascent.starts import furthest_apart, starts
from mixtures.ascent.whole import Described, Whole, seeded, whole
from mixtures.chunks import Chunked, held
from mixtures.engines.passes import Pass, blur, both_passes, gained, noise
from mixtures.errors import CollapseError, DistinctRowsError, FeatureError, stamped, unstamped
from mixtures.estimators.chunked import counted, rows_of, total
from mixtures.estimators.densities import in_blocks, log_densities
from mixtures.estimators.given import Start, start_of
from mixtures.estimators.predictions import Predictions
from mixtures.estimators.structures import MATRICES, blurred_root, family_of, shape_of, uniform
from mixtures.families.scaling import dependence
from mixtures.fit import Fit
from mixtures.methods.em import far_row
from mixtures.model import Allocation, Family
from mixtures.rows import Moments, informed, moments, seen_moments, unmasked

STARTS = {"kmeans": "k-means", "random": "random", "random_from_data": "rows", "k-means++": "k-means++"}

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance caused by "
    "singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale the input data."
)
NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or check for "
    "degenerate data."
)


# Rows from which random responsibilities are so much alike that of several the furthest apart alone is climbed from.
ALIKE = 1000

# What compiled steps save a later batch, in ascents of the plain loop.
BATCH = 0.2

# The compiled steps for a batch of an estimator, under what family and reg_covar; no part of an estimator.
COMPILED: WeakKeyDictionary[Any, tuple[Family, float, Whole]] = WeakKeyDictionary()


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
    """What a fit is given: rows, weights or None, their moments and frame, what makes random numbers, and, each or None, the
    state (1, K, P) to go on from, the start that a user gave, whom to tell of every step, the compiled ascent, and what noise
    adds to the mean of t(x)."""

    X: np.ndarray
    weights: np.ndarray | None
    data: Moments
    frame: Frame
    rng: Callable[[], np.random.Generator]
    last: np.ndarray | None
    start: Start | None
    listener: Listener | None
    compiled: Whole | None = None
    noise: tuple[np.ndarray, np.ndarray] | None = None


class End(NamedTuple):
    """Where an ascent ended, its parameters being set: the bound there, the objective before each step, in nats."""

    bound: float
    trace: np.ndarray
    converged: bool


class Mixture(Predictions):
    """What the two estimators share: the course of a fit, and predictions in blocks of rows."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(STARTS))],
        "init": [None, "array-like", HasMethods("fit"), Fit],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(COVARIANCES))],
        "allow_missing": ["boolean"],
    }
    _method: ClassVar[Callable[..., Any]]
    _go_on: ClassVar[Callable[..., Ascent] | None] = None
    _spare: ClassVar[bool] = False  # whether components may begin without a cluster of a given start
    lower_bound_: float

    def _store(self, parameters: dict[str, Any]) -> None:
        """Set every parameter as the attribute of its name, and note what they are."""
        self._fitted_as = {name: getattr(self, name) for name in self._kind_of}
        for name, value in parameters.items():
            setattr(self, name, value)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, callback: Callable[[Step], Any] | None = None
    ) -> Self:
        """Fit the mixture to the rows of X.

        ``n_init`` starts climb side by side, and the one that ends highest is kept. With ``warm_start``, a second call goes
        on from the parameters of the first, or starts anew where the rows have moved too far for that, and says so.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Float32 or float64; the arithmetic is in float64 either way. Rows that Dask holds, a `dask.array` or
            `dask.dataframe`, stay where they are, and predictions for such rows are `dask.array`.
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional
            How many observations each row stands for. A whole number is the same as that many copies of the row.
        callback : callable, optional
            Called with a `Step` after every step; it ends the fit there by raising StopIteration.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X, a parameter or the weights are not usable, or every start lost a component (`mixtures.CollapseError`).

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the best start was still climbing after ``max_iter`` steps, or X has fewer distinct rows than components.
        UserWarning
            If ``warm_start`` had to start anew.
        """
        self.__dict__.pop("_batches", None)
        if callback is not None and not callable(callback):
            raise TypeError(f"callback is {callback!r}; expected a function of one argument, or None")
        as_given = X
        X, weights = self._rows(X, sample_weight, reset=True, ensure_min_samples=2)
        if len(X) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {len(X)}"
            )
        data = self._moments(X, weights)
        frame = self._frame(self._of_bulk(X, weights, data))
        last, previous = None, -np.inf
        if self.warm_start and hasattr(self, "means_"):
            self._refuse_other_kind("set warm_start=False")
            shapes = (self.n_components, X.shape[1]), shape_of(self.covariance_type, int(self.n_components), X.shape[1])
            if (self.means_.shape, self.covariances_.shape) != shapes:
                raise ValueError(
                    f"warm_start goes on from means and covariances of shapes {self.means_.shape} and "
                    f"{self.covariances_.shape}, but now they are {shapes[0]} and {shapes[1]}; set warm_start=False"
                )
            last, previous = self._last(data, frame)[None], getattr(self, "lower_bound_", np.nan)
        self._check_parameters(data)
        start = None if self.init is None or last is not None else self._start(as_given, X.shape, sample_weight)
        rng = partial(_generator_of, self.random_state)
        try:
            listener = None if callback is None else Listener(callback)
            end = self._reach(Task(X, weights, data, frame, rng, last, start, listener), as_given, sample_weight)
        except CollapseError as error:
            singular = dependence(data) if self.covariance_type in MATRICES else None
            if singular is not None:
                why = f"{error}. {self._named(singular)}, so that the covariance of X is singular"
            else:
                far = far_row(X, self._model(frame)[0], error)
                why = str(error) if far is None else self._named(far)
            raise CollapseError(f"{ILL_DEFINED} Here, {why}.") from error
        self._settle(_kind(X))

        unit = self._bound_unit(data.n)
        self.n_iter_ = len(end.trace)
        self.lower_bound_ = end.bound / unit
        self.lower_bounds_ = [*(end.trace[1:] / unit).tolist(), self.lower_bound_][: self.n_iter_]
        self.converged_ = bool(end.converged or abs(self.lower_bound_ - previous) <= self.tol)
        if not self.converged_ and self.max_iter > 0 and not (listener and listener.stopped):
            warnings.warn(NOT_CONVERGED, ConvergenceWarning, stacklevel=3)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, kappa: float = 0.75) -> Self:
        """Move the fit on by one batch of rows; the first batch, or the first after `fit`, is fitted to its end.

        Each later batch moves the expected statistics once (`mixtures.ascent.online`), in the coordinates and under the prior
        that the first batch set. Its rows are not looked at again, so that no bound is known.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional
        kappa : float, default=0.75
            In (1/2, 1]: how fast early batches are forgotten; at 1 every observation weighs the same.

        Returns
        -------
        self : object
        """
        check_kappa(kappa)
        if not hasattr(self, "_batches"):
            self.fit(X, y, sample_weight)
            data = self._moments(*self._rows(X, sample_weight, reset=False), gaps=self.allow_missing)
            frame = self._frame(data)
            family, allocation = self._model(frame)
            self._batches = family, allocation, Learned(self._last(data, frame) / data.n, data.n, 1)
            return self
        self._refuse_other_kind()
        family, allocation, learned = self._batches
        if allocation.n_components != self.n_components:
            raise ValueError(
                f"n_components is {self.n_components} now, and was {allocation.n_components} for the batches before; fit again"
            )
        rows, weights = self._rows(X, sample_weight, reset=False)
        compiled = self._compiled_batch(rows, weights, family, allocation)
        learned = learn(
            self._method,
            learned,
            rows,
            family,
            allocation,
            rng=np.random.default_rng(0),  # for starts, which only a first batch needs
            weights=weights,
            kappa=kappa,
            reg_covar=self.reg_covar,
            compiled=compiled,
        )
        s = learned.s * learned.n
        described = compiled.describe(s) if compiled else None
        self._store(self._parameters(family, allocation, s, described))
        self._settle(_kind(rows))
        self._batches = family, allocation, learned
        self.n_iter_, self.converged_, self.lower_bound_, self.lower_bounds_ = learned.batches, False, np.nan, []
        return self

    def _compiled_batch(
        self, X: Any, weights: np.ndarray | None, family: Family, allocation: Allocation
    ) -> Whole | None:
        """The compiled steps for a later batch, where they serve; of each model they are made once."""
        known, reg_covar = COMPILED.get(self), self.reg_covar
        if known and known[0] is family and known[1] == reg_covar and len(X) <= len(known[2].rows[0][0]):
            return known[2].over(X, weights)
        made = whole(self._method, X, weights, family, allocation, reg_covar, share=BATCH)
        if made:
            COMPILED[self] = family, reg_covar, made
        return made

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, callback: Callable[[Step], Any] | None = None
    ) -> np.ndarray:
        """Fit the mixture to the rows of X and give each the label of its most probable component; see `fit`, `predict`."""
        return self.fit(X, y, sample_weight, callback=callback).predict(X)

    def sample(self, n_samples: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Random rows from the fitted density.

        Parameters
        ----------
        n_samples : int, default=1

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Sorted by component.
        y : ndarray of shape (n_samples,)
            The component that each row comes from.
        """
        if "means_" not in vars(self):
            check_is_fitted(self)
        self._refuse_other_kind()
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        weights, rng = np.asarray(self.weights_, dtype=np.float64), self._source()
        counts = rng.multinomial(n_samples, weights / weights.sum())
        return self._draw(counts, rng), np.repeat(np.arange(len(counts)), counts)

    def __getstate__(self) -> dict[str, Any]:
        """What is saved: every attribute, and the version of this package."""
        return stamped(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was saved, with a warning where another version saved it."""
        self.__dict__.update(unstamped(state, type(self).__name__))

    def _rows(self, X: Any, sample_weight: Any, **checks: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows, and their weights as the method takes them."""
        least = checks.get("ensure_min_samples", 1)
        if held(X):
            X, weights = rows_of(self, X, sample_weight, self._finite, checks["reset"], least)
            return X, None if weights is None else self._observations(weights)
        rows = self._passing_anew(X, least) if checks["reset"] else self._passing(X)
        if rows is not None:
            X = rows
        else:
            kinds = [np.float64, np.float32]
            X = validate_data(self, unmasked(X), dtype=kinds, ensure_all_finite=self._finite, **checks)
        if sample_weight is None:
            return X, None
        weights = _check_sample_weight(unmasked(sample_weight), X, dtype=np.float64, ensure_non_negative=True)
        return X, self._observations(weights)

    def _moments(self, X: np.ndarray, weights: np.ndarray | None, gaps: bool | None = None) -> Moments:
        """Of the values that were seen, where there are ``gaps``; by default where an array has some, and of other rows."""
        if gaps is None:
            gaps = self.allow_missing and not (isinstance(X, np.ndarray) and not np.isnan(X).any())
        if not gaps:
            return moments(X, weights, root=self.covariance_type in MATRICES)
        data = seen_moments(X, weights)
        return replace(data, root=np.diag(np.sqrt(data.squares / data.n)))

    def _of_bulk(self, X: Any, weights: np.ndarray | None, data: Moments) -> Moments:
        """The moments that set the coordinates."""
        return data

    def _named(self, error: FeatureError) -> str:
        """The message with the names of the features, where X has them."""
        return error.named(self.feature_names_in_) if hasattr(self, "feature_names_in_") else str(error)

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
        s = self._starts(task._replace(compiled=compiled, noise=about), family)
        best, trace, converged, before = s[0], np.empty(0), False, np.empty(0)
        if self.max_iter:
            hard = s
            if task.last is None:
                s = begun(natural, s)
            at = s
            if len(s) == 1 and task.listener is None and (task.last is not None or self._alike(task)):
                with suppress(CollapseError):
                    best, end = _a_step(natural, pass_, exact, about, s[0], self.tol * unit)
                    at, before = best[None], end.trace
                    if end.converged or self.max_iter == 1:
                        self._tell([end.trace / unit], [end.converged], perf_counter() - began)
                        self._store(
                            self._parameters(family, allocation, best, compiled.describe(best) if compiled else None)
                        )
                        return end
            told = self._told(task.listener, family, allocation, unit)
            limits: dict[str, Any] = {"n": data.n, "tol": self.tol * unit / data.n, "accelerate": True}
            limits |= {"max_iter": int(self.max_iter) - len(before), "callback": told}
            each = max(1, len(s) // int(self.n_init))
            runs, tight = climb_from_best(
                lambda _: (natural, pass_), at, each=each, whole=compiled, moves=allocation.independent, **limits
            )
            states = [state[None] for _, state in tight] + [own for _, own in unfit(hard, s, each)]
            enough = task.listener is not None and task.listener.stopped and not runs.collapsed.all()
            more = self._rescued(states, enough, self._method, X, weights, family, allocation, **limits)
            if runs.collapsed.all() and not more:
                raise runs.errors[-1]
            traces = [np.append(before, runs.bounds(int(run))) for run in np.flatnonzero(~runs.collapsed)]
            traces += [end.bound for end in more]
            settled = [*runs.converged[~runs.collapsed].tolist(), *(end.converged for end in more)]
            self._tell([trace / unit for trace in traces], settled, perf_counter() - began)
            first = max(range(len(traces)), key=lambda end: traces[end][-1])
            trace, converged = traces[first], settled[first]
            if first >= len(traces) - len(more):
                return self._end(task, allocation, more[first - len(traces)])
            run = int(np.argmax(runs.end))
            best = runs.following[run] if runs.following.size else pass_(natural(runs.s[run])[0])[1]
            del hard, s, at, runs, states, tight  # which are large where there are many features
        eta, extra = natural(best)
        bound = exact(eta)[0] + extra
        del eta
        self._store(self._parameters(family, allocation, best, compiled.describe(best) if compiled else None))
        return End(float(bound), trace, converged)

    def _rescued(self, states: list[np.ndarray], enough: bool, *problem: Any, **limits: Any) -> list[Ascent]:
        """Ends that are reached from states (C, K, P) whose components are too tight for common coordinates, unless there are
        ``enough``."""
        if self._go_on is None or enough:
            return []
        go_on = partial(self._go_on, *problem, reg_covar=self.reg_covar, **limits)
        return [end for own in states for end in reach(go_on, own, limits["max_iter"])]

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

    def _starts(self, task: Task, family: Family) -> np.ndarray:
        """States to climb from: the last one (1, K, P), or candidates of ``n_init`` new ones (n_init C, K, P)."""
        if task.last is not None:
            return task.last
        each = candidates(len(task.X) * int(self.n_components), family)
        s = self._guesses(task, family, int(self.n_components), each)
        return furthest_apart(s, each, len(family.unit)) if self._alike(task) else s

    def _alike(self, task: Task) -> bool:
        """Whether the starts are random responsibilities of many rows."""
        return self.init_params == "random" and task.start is None and len(task.X) >= ALIKE and not task.frame.missing

    def _guesses(self, task: Task, family: Family, K: int, each: int = 1) -> np.ndarray:
        """States by ``init``, or by ``init_params``, which looks at distances in the units of X, (R, K, P)."""
        X, weights, rng, start = task.X, task.weights, task.rng(), task.start
        try:
            unit = np.full_like(family.origin, np.exp(family.log_volume / X.shape[1]))
            even = family_of("spherical", family.origin, unit, None)
            init, clusters = (STARTS[self.init_params], K) if start is None else (start.guess, start.clusters)
            if start is not None and start.rows is not None:
                weights = counted(X, start.rows, weights)
            labels = uniform(clusters)
            compiled = task.compiled
            loops = compiled is not None or seeded(len(X), family, clusters)
            s = starts(X, weights, len(X), family, labels, init, int(self.n_init), rng, even, each, loops)
            if self.reg_covar:
                s = blur(s, noise(family, self.reg_covar) if task.noise is None else task.noise)
            return s if clusters == K else self._spread(s, K)
        except DistinctRowsError as error:
            warnings.warn(
                f"Number of distinct rows ({error.distinct}) found smaller than n_components ({K}). Possibly due to duplicate "
                "points in X.",
                ConvergenceWarning,
                stacklevel=2,
            )
            return self._spread(self._guesses(task, family, error.distinct, each), K)

    def _frame(self, data: Moments) -> Frame:
        """Origin and unit of the family's coordinates: mean and root of the covariance, that of the noise included."""
        with np.errstate(invalid="ignore"):
            variance = data.squares / data.n + self.reg_covar
        if not np.all(np.isfinite(variance)):
            feature = int(np.argmax(~np.isfinite(variance)))
            raise ValueError(f"the variance of feature {feature} is too large for a number; rescale it")
        missing = data.seen is not None
        if self.covariance_type in MATRICES and not missing:
            return Frame(data.mean, blurred_root(data, self.reg_covar), missing)
        if self.covariance_type == "spherical":
            variance = np.full_like(variance, variance.mean())
        unit = np.sqrt(np.where(variance > 0, variance, 1))
        return Frame(data.mean, np.diag(unit) if self.covariance_type in MATRICES else unit, missing)

    def _tell(self, traces: list[np.ndarray], converged: list[bool], seconds: float) -> None:
        """Print how the runs went, as ``verbose`` asks."""
        for run, trace in enumerate(traces if self.verbose else []):
            print(f"Initialization {run}")
            changes = np.diff(trace, prepend=-np.inf)
            for step in range(self.verbose_interval, len(trace) + 1, self.verbose_interval):
                print(f"  Iteration {step}" + (f"\t ll change {changes[step - 1]:.5f}" if self.verbose > 1 else ""))
            cost = f" time lapse of all {seconds:.5f}s\t lower bound {trace[-1]:.5f}." if self.verbose > 1 else ""
            print(f"Initialization {'converged' if converged[run] else 'did not converge'}.{cost}")

    def _settle(self, kind: np.dtype) -> None:
        """Bring the fitted parameters to the precision of X, where that is the contract."""

    @abstractmethod
    def _observations(self, weights: Any) -> Any:
        """The weights of the rows as the method takes them."""

    @abstractmethod
    def _bound_unit(self, n: float) -> float:
        """What a bound over n observations is divided by to give ``lower_bound_``."""

    @abstractmethod
    def _check_parameters(self, data: Moments) -> None:
        """Refuse parameters that do not suit the data."""

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

    @abstractmethod
    def _source(self) -> Any:
        """Random numbers for `sample`."""

    @abstractmethod
    def _draw(self, counts: np.ndarray, rng: Any) -> np.ndarray:
        """As many rows of each component as counted, (sum of counts, D)."""


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


def _kind(X: Any) -> np.dtype:
    """The type of rows after their checks: of numbers that are not float32, float64."""
    return X.dtype if X.dtype == np.float32 else np.dtype(np.float64)


def _generator_of(random_state: Any) -> np.random.Generator:
    """`generator`, whose seed is kept for whole numbers, as a RandomState takes long to begin."""
    if type(random_state) is int:
        return np.random.default_rng(_entropy(random_state))
    return generator(check_random_state(random_state))


@lru_cache(1000)
def _entropy(seed: int) -> np.ndarray:
    return _numbers(check_random_state(seed))


def generator(random_state: np.random.RandomState) -> np.random.Generator:
    """A generator that the state of the other determines."""
    return np.random.default_rng(_numbers(random_state))


def _numbers(random_state: np.random.RandomState) -> np.ndarray:
    return random_state.randint(2**32, size=4, dtype=np.uint32)
