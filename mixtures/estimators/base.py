"""What the two estimators share: the course of a fit, and predictions in blocks of rows."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache, partial
from itertools import takewhile
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar, NamedTuple, Self
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mixtures import COVARIANCES
from mixtures.allocations.dirichlet import Dirichlet
from mixtures.ascent.ascend import Ascent, Own, reach
from mixtures.ascent.candidates import Listener, begun, candidates, climb_from_best, unfit
from mixtures.ascent.climb import Runs
from mixtures.ascent.online import Learned, learn
from mixtures.ascent.starts import starts
from mixtures.ascent.whole import Whole, whole
from mixtures.chunks import Chunked, held
from mixtures.engines.missing import densities
from mixtures.engines.passes import blur, noise, one_pass
from mixtures.engines.responsibilities import fold, log_sum, normalise
from mixtures.errors import CollapseError, DistinctRowsError, FeatureError, stamped, unstamped
from mixtures.estimators.chunked import answered, counted, rows_of, total
from mixtures.estimators.given import Start, start_of
from mixtures.estimators.structures import MATRICES, blurred_root, family_of, shape_of, theta_of
from mixtures.families.scaling import dependence
from mixtures.families.wishart import LOG_2PI
from mixtures.fit import Fit
from mixtures.model import Allocation, Family
from mixtures.rows import Moments, informed, moments, seen_moments, unmasked

STARTS = {"kmeans": "k-means", "random": "random", "random_from_data": "rows", "k-means++": "k-means++"}

# Numbers in the largest array that a prediction holds beside its answer.
BLOCK_ELEMENTS = 200_000

# Stands for a log density below the range of numbers.
LOWEST = -1e300

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance caused by "
    "singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale the input data."
)
NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or check for "
    "degenerate data."
)


# The log densities of estimators by the name of their kind, and what they were made from; no part of an estimator.
PREPARED: WeakKeyDictionary[Any, dict[str, tuple[Any, Callable[[np.ndarray], np.ndarray]]]] = WeakKeyDictionary()


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
    """What a fit is given: rows, weights or None, their moments, random numbers, the state (1, K, P) to go on from or None,
    the start that a user gave or None, whom to tell of every step or None, and the compiled ascent or None."""

    X: np.ndarray
    weights: np.ndarray | None
    data: Moments
    rng: np.random.Generator
    last: np.ndarray | None
    start: Start | None
    listener: Listener | None
    compiled: Whole | None = None


class End(NamedTuple):
    """Where an ascent ended, its parameters being set: the bound there, the objective before each step, in nats."""

    bound: float
    trace: np.ndarray
    converged: bool


class Mixture(DensityMixin, BaseEstimator, metaclass=ABCMeta):
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
    allow_missing: bool
    covariance_type: str
    covariances_: np.ndarray
    weights_: np.ndarray
    means_: np.ndarray
    precisions_cholesky_: np.ndarray

    def _store(self, parameters: dict[str, Any]) -> None:
        """Set every parameter as the attribute of its name."""
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
        last, previous = None, -np.inf
        if self.warm_start and hasattr(self, "means_"):
            shapes = (self.n_components, X.shape[1]), shape_of(self.covariance_type, self.n_components, X.shape[1])
            if (self.means_.shape, self.covariances_.shape) != shapes:
                raise ValueError(
                    f"warm_start goes on from means and covariances of shapes {self.means_.shape} and "
                    f"{self.covariances_.shape}, but now they are {shapes[0]} and {shapes[1]}; set warm_start=False"
                )
            last, previous = self._last(data)[None], getattr(self, "lower_bound_", np.nan)
        self._check_parameters(data)
        start = None if self.init is None or last is not None else self._start(as_given, X.shape, sample_weight)
        rng = generator(check_random_state(self.random_state))
        try:
            listener = None if callback is None else Listener(callback)
            end = self._reach(Task(X, weights, data, rng, last, start, listener), as_given, sample_weight)
        except CollapseError as error:
            singular = dependence(data) if self.covariance_type in MATRICES else None
            why = "" if singular is None else f" {self._named(singular)}, so that the covariance of X is singular."
            raise CollapseError(f"{ILL_DEFINED} Here, {error}.{why}") from error
        self._settle(_kind(X))

        unit = self._bound_unit(data.n)
        self.n_iter_ = len(end.trace)
        self.lower_bound_ = end.bound / unit
        self.lower_bounds_ = [*(end.trace[1:] / unit).tolist(), self.lower_bound_][: self.n_iter_]
        self.converged_ = bool(end.converged or abs(self.lower_bound_ - previous) <= self.tol)
        if not self.converged_ and self.max_iter > 0 and not (listener and listener.stopped):
            warnings.warn(NOT_CONVERGED, ConvergenceWarning, stacklevel=3)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
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
        if not hasattr(self, "_batches"):
            self.fit(X, y, sample_weight)
            data = self._moments(*self._rows(X, sample_weight, reset=False))
            family, allocation = self._model(data)
            self._batches = family, allocation, Learned(self._last(data) / data.n, data.n, 1)
            return self
        family, allocation, learned = self._batches
        rows, weights = self._rows(X, sample_weight, reset=False)
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
        )
        self._store(self._parameters(family, allocation, learned.s * learned.n))
        self._settle(_kind(rows))
        self._batches = family, allocation, learned
        self.n_iter_, self.converged_, self.lower_bound_, self.lower_bounds_ = learned.batches, False, np.nan, []
        return self

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, callback: Callable[[Step], Any] | None = None
    ) -> np.ndarray:
        """Fit the mixture to the rows of X and give each the label of its most probable component; see `fit`, `predict`."""
        return self.fit(X, y, sample_weight, callback=callback).predict(X)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable component of every row, shape (n_samples,)."""
        return self._answer(X, self._log_rho, lambda log_rho: log_rho.argmax(1))

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every component for every row, shape (n_samples, n_components)."""
        return self._answer(X, self._log_rho, lambda log_rho: normalise(log_rho)[1])

    def score_samples(self, X: Any) -> np.ndarray:
        """The log density of every row in nats, shape (n_samples,)."""
        return self._answer(X, self._log_joint, log_sum)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The mean of `score_samples` over the rows of X, by weight where ``sample_weight`` is given."""
        if held(X):
            sum_of_log_p, n = total(X, sample_weight, self._unnamed().score_samples)
            return sum_of_log_p / n
        log_p = self.score_samples(X)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                unmasked(sample_weight), log_p, dtype=np.float64, ensure_non_negative=True
            )
        return float(np.average(log_p.astype(np.float64), weights=sample_weight))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion for the rows of X, -2 L + 2 p in nats; the smaller, the better (Akaike 1974).

        L is the log likelihood at ``weights_``, ``means_`` and ``covariances_``, and p the number of free parameters.
        """
        return -2 * self._log_likelihood(X, sample_weight) + 2 * self._n_parameters()

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """The Bayesian information criterion for the rows of X, -2 L + p log N; the smaller, the better (Schwarz 1978).

        L is the log likelihood at ``weights_``, ``means_`` and ``covariances_``, and p the number of free parameters.
        """
        n = _total(X, sample_weight)
        return -2 * self._log_likelihood(X, sample_weight) + self._n_parameters() * float(np.log(n))

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
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        random_state = check_random_state(self.random_state)
        weights = np.asarray(self.weights_, dtype=np.float64)
        counts = random_state.multinomial(n_samples, weights / weights.sum())
        return self._draw(counts, random_state), np.repeat(np.arange(len(counts)), counts)

    def __getstate__(self) -> dict[str, Any]:
        """What is saved: every attribute, and the version of this package."""
        return stamped(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was saved, with a warning where another version saved it."""
        super().__setstate__(unstamped(state, type(self).__name__))

    def _log_likelihood(self, X: Any, sample_weight: Any) -> float:
        """The log likelihood of the rows of X at the fitted parameters, in nats."""
        if held(X):
            own = self._unnamed()
            return total(X, sample_weight, lambda x: own._answer(x, own._at_parameters, log_sum))[0]
        log_p = self._answer(X, self._at_parameters, log_sum)
        weights = _check_sample_weight(unmasked(sample_weight), log_p, dtype=np.float64, ensure_non_negative=True)
        return float(log_p.astype(np.float64) @ weights)

    def _at_parameters(self) -> Callable[[np.ndarray], np.ndarray]:
        """From rows (B, D) to log pi_k + log N(x | mu_k, Sigma_k) at the fitted parameters, (B, K)."""
        K, D = self.means_.shape
        weights, roots = (np.asarray(a, dtype=np.float64) for a in (self.weights_, self.precisions_cholesky_))
        matrices = self.covariance_type in MATRICES
        diagonal = np.diagonal(roots, axis1=-2, axis2=-1) if matrices else roots.reshape(K, -1) * np.ones(D)
        log_pi = np.log(np.maximum(weights, 1e-300))
        whole = self._quadratic(log_pi + np.log(diagonal).sum(-1) - D / 2 * LOG_2PI)
        if not self.allow_missing:
            return whole
        family = family_of(self.covariance_type, *self._by_features(), None, True)
        means = np.asarray(self.means_, dtype=np.float64)
        eta = fold(log_pi, family.natural(theta_of(family, means, roots, self.covariance_type)))
        return lambda x: self._with_gaps(x, family, eta) if np.isnan(x).any() else whole(x)

    def _n_parameters(self) -> int:
        """Number of free parameters."""
        K, D = self.means_.shape
        return family_of(self.covariance_type, np.zeros(D), np.ones(D), None).n_free(K) + K - 1

    def _rows(self, X: Any, sample_weight: Any, **checks: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows, and their weights as the method takes them."""
        if held(X):
            least = checks.get("ensure_min_samples", 1)
            X, weights = rows_of(self, X, sample_weight, self._finite, checks["reset"], least)
            return X, None if weights is None else self._observations(weights)
        X = validate_data(self, unmasked(X), dtype=[np.float64, np.float32], ensure_all_finite=self._finite, **checks)
        if sample_weight is None:
            return X, None
        weights = _check_sample_weight(unmasked(sample_weight), X, dtype=np.float64, ensure_non_negative=True)
        return X, self._observations(weights)

    def _moments(self, X: np.ndarray, weights: np.ndarray | None) -> Moments:
        if not self.allow_missing:
            return moments(X, weights, root=self.covariance_type in MATRICES)
        data = seen_moments(X, weights)
        return replace(data, root=np.diag(np.sqrt(data.squares / data.n)))

    @property
    def _finite(self) -> bool | str:
        """What rows may hold, as scikit-learn's checks have it."""
        return "allow-nan" if self.allow_missing else True

    def __sklearn_tags__(self) -> Any:
        """Of the input: NaN is taken where ``allow_missing`` is set."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.allow_missing)
        return tags

    def _with_gaps(self, x: np.ndarray, family: Family, eta: np.ndarray) -> np.ndarray:
        """Log densities (B, K) of what was seen of rows, under eta (K, P)."""
        if family.linked:
            return np.maximum(densities(family, x, eta), LOWEST)
        return np.maximum(family.features(x) @ eta.T, LOWEST)

    def _unnamed(self) -> Self:
        """A copy that asks no names of the rows of a block."""
        check_is_fitted(self)
        own = copy(self)
        own.__dict__.pop("feature_names_in_", None)
        return own

    def _by_features(self) -> tuple[np.ndarray, np.ndarray]:
        """Origin and unit of coordinates that suit the fitted components, with a scale for each feature."""
        D = self.means_.shape[1]
        if self.covariance_type in MATRICES:
            variances = np.diagonal(self.covariances_.reshape(-1, D, D), axis1=1, axis2=2).mean(0)
            return np.asarray(self.weights_ @ self.means_, dtype=np.float64), np.diag(
                np.sqrt(variances.astype(np.float64))
            )
        unit = np.sqrt(self.covariances_.reshape(len(self.covariances_), -1).mean(0)) * np.ones(D)
        return np.asarray(self.weights_ @ self.means_, dtype=np.float64), unit.astype(np.float64)

    def _named(self, error: FeatureError) -> str:
        """The message with the names of the features, where X has them."""
        return error.named(self.feature_names_in_) if hasattr(self, "feature_names_in_") else str(error)

    def _answer(
        self,
        X: Any,
        density: Callable[[], Callable[[np.ndarray], np.ndarray]],
        answer: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Answers from log densities (B, K) of X in blocks of rows, in the precision of X and of the parameters."""
        if held(X):
            return answered(self, X, density, answer)
        check_is_fitted(self)
        X = validate_data(self, unmasked(X), reset=False, ensure_all_finite=self._finite)
        answers = self._by_blocks(X, self._prepared(density), answer)
        kind = np.result_type(X.dtype, self.means_.dtype) if answers.dtype == np.float64 else answers.dtype
        return answers.astype(kind, copy=False)

    def _prepared(
        self, density: Callable[[], Callable[[np.ndarray], np.ndarray]]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """The log densities that ``density`` makes, as they were made last while the parameters are what they were then."""
        if self.allow_missing:
            return density()
        key = [(name, _contents(value)) for name, value in vars(self).items() if _shapes(name)]
        known = PREPARED.setdefault(self, {})
        name = density.__name__
        if name not in known or known[name][0] != key:
            known[name] = key, density()
        return known[name][1]

    def _by_blocks(
        self,
        X: np.ndarray,
        log_density: Callable[[np.ndarray], np.ndarray],
        answer: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        K, D = self.means_.shape
        step = max(1, BLOCK_ELEMENTS // (D * max(K, D)))
        blocks = (np.asarray(X[start : start + step], dtype=np.float64) for start in range(0, len(X), step))
        parts = [answer(log_density(block)) for block in blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _quadratic(self, constant: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """From rows (B, D) to constants (K,) less half of the squared Mahalanobis distances from the means, (B, K)."""
        means, roots = (np.asarray(a, dtype=np.float64) for a in (self.means_, self.precisions_cholesky_))
        times = np.matmul if self.covariance_type in MATRICES else np.multiply
        own = roots if self.covariance_type in MATRICES else roots.reshape(len(means), 1, -1)

        def log_density(x: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                z = times(x - means[:, None], own)
                distance = np.einsum("knd,knd->nk", z, z)
            return np.maximum(constant - distance / 2, LOWEST)

        return log_density

    def _start(self, X: Any, shape: tuple[int, int], sample_weight: Any) -> Start | None:
        """Where ``init`` says to begin."""
        if self.init is None:
            return None
        start = start_of(self.init, X, shape, sample_weight, self.n_components)
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
        X, weights, data, *_ = task
        if self.allow_missing:
            X, weights = informed(X, weights)
        family, allocation = self._model(data)
        compiled = (
            whole(self._method, X, weights, family, allocation, self.reg_covar) if task.listener is None else None
        )
        natural = compiled.natural if compiled else partial(self._method, family, allocation)
        points, unit = len(X) * self.n_components, self._bound_unit(data.n)
        s = self._starts(task._replace(compiled=compiled), family)
        best, trace, converged = s[0], np.empty(0), False
        if self.max_iter:
            pass_ = compiled.pass_ if compiled else one_pass(X, weights, family, points, self.reg_covar)
            hard = s
            if task.last is None:
                s = begun(natural, s)
            told = self._told(task.listener, family, allocation, unit)
            limits: dict[str, Any] = {"n": data.n, "tol": self.tol * unit / data.n, "max_iter": self.max_iter}
            limits |= {"accelerate": True, "callback": told}
            each = max(1, len(s) // self.n_init)
            runs, tight = climb_from_best(lambda _: (natural, pass_), s, each=each, whole=compiled, **limits)
            states = [state for _, state in [*tight, *unfit(hard, s, each)]]
            more = self._rescued(task, states, self._method, X, weights, family, allocation, **limits)
            if runs.collapsed.all() and not more:
                raise runs.errors[-1]
            traces = [runs.bounds(int(run)) for run in np.flatnonzero(~runs.collapsed)] + [end.bound for end in more]
            settled = [*runs.converged[~runs.collapsed].tolist(), *(end.converged for end in more)]
            self._tell([trace / unit for trace in traces], settled, perf_counter() - began)
            first = max(range(len(traces)), key=lambda end: traces[end][-1])
            trace, converged = traces[first], settled[first]
            if first >= len(traces) - len(more):
                return self._end(task, allocation, more[first - len(traces)])
            run = int(np.argmax(runs.end))
            best = pass_(natural(runs.s[run])[0])[1]
            del hard, s, runs, states, tight  # which are large where there are many features
        eta, extra = natural(best)
        as_they_are = compiled.without_noise() if compiled else one_pass(X, weights, family, points)
        bound = as_they_are(eta)[0] + extra
        del eta
        self._store(self._parameters(family, allocation, best))
        return End(float(bound), trace, converged)

    def _rescued(self, task: Task, states: list[np.ndarray], *problem: Any, **limits: Any) -> list[Ascent]:
        """Ends that are reached from states whose components are too tight for common coordinates."""
        if self._go_on is None or self.allow_missing:
            return []
        wanted = takewhile(lambda _: task.listener is None or not task.listener.stopped, states)
        return reach(partial(self._go_on, *problem, reg_covar=self.reg_covar, **limits), wanted)

    def _end(self, task: Task, allocation: Allocation, end: Ascent) -> End:
        """Set the parameters of an end whose components have centres of their own."""
        assert end.own is not None
        beyond = end.own.pass_(self._method(end.own.family, allocation, end.s)[0])[1]
        self._store(self._about(end.own, allocation, beyond))
        log_p = partial(self._by_blocks, log_density=self._log_joint(), answer=log_sum)
        if isinstance(task.X, Chunked):
            return End(total(task.X, task.weights, log_p)[0], end.bound, end.converged)
        bound = float(np.average(log_p(task.X), weights=task.weights)) * task.data.n
        return End(bound, end.bound, end.converged)

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
        each = candidates(len(task.X) * self.n_components, family)
        return self._guesses(task, family, self.n_components, each)

    def _guesses(self, task: Task, family: Family, K: int, each: int = 1) -> np.ndarray:
        """States by ``init``, or by ``init_params``, which looks at distances in the units of X, (R, K, P)."""
        X, weights, rng, start = task.X, task.weights, task.rng, task.start
        try:
            unit = np.full_like(family.origin, np.exp(family.log_volume / X.shape[1]))
            even = family_of("spherical", family.origin, unit, None)
            init, clusters = (STARTS[self.init_params], K) if start is None else (start.guess, start.clusters)
            if start is not None and start.rows is not None:
                weights = counted(X, start.rows, weights)
            labels = Dirichlet.symmetric(clusters)
            compiled = task.compiled
            s = starts(X, weights, len(X), family, labels, init, self.n_init, rng, even, each, compiled is not None)
            s = blur(s, compiled.noise if compiled else noise(family, self.reg_covar))
            return s if clusters == K else self._spread(s, K)
        except DistinctRowsError as error:
            warnings.warn(
                f"Number of distinct rows ({error.distinct}) found smaller than n_components ({K}). Possibly due to duplicate "
                "points in X.",
                ConvergenceWarning,
                stacklevel=2,
            )
            return self._spread(self._guesses(task, family, error.distinct, each), K)

    def _frame(self, data: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Origin and unit of the family's coordinates: mean and root of the covariance, that of the noise included."""
        with np.errstate(invalid="ignore"):
            variance = data.squares / data.n + self.reg_covar
        if not np.all(np.isfinite(variance)):
            feature = int(np.argmax(~np.isfinite(variance)))
            raise ValueError(f"the variance of feature {feature} is too large for a number; rescale it")
        if self.covariance_type in MATRICES and self.allow_missing:
            return data.mean, np.diag(np.sqrt(np.where(variance > 0, variance, 1)))
        if self.covariance_type in MATRICES:
            return data.mean, blurred_root(data, self.reg_covar)
        if self.covariance_type == "spherical":
            variance = np.full_like(variance, variance.mean())
        return data.mean, np.sqrt(np.where(variance > 0, variance, 1))

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
    def _model(self, data: Moments) -> tuple[Family, Allocation]:
        """The family and the allocation, with their priors."""

    @abstractmethod
    def _last(self, data: Moments) -> np.ndarray:
        """The state (K, P) that the attributes follow from, in the coordinates for these data."""

    @abstractmethod
    def _parameters(self, family: Family, allocation: Allocation, s: np.ndarray) -> dict[str, Any]:
        """The fitted parameters at the state s (K, P), by attribute."""

    @abstractmethod
    def _spread(self, s: np.ndarray, K: int) -> np.ndarray:
        """States (R, k, P) of fewer clusters turned into states of K."""

    @abstractmethod
    def _log_rho(self) -> Callable[[np.ndarray], np.ndarray]:
        """From rows (B, D) to what the responsibilities are proportional to, in logs, (B, K)."""

    @abstractmethod
    def _log_joint(self) -> Callable[[np.ndarray], np.ndarray]:
        """From rows (B, D) to the log weight and density of each component, (B, K)."""

    @abstractmethod
    def _draw(self, counts: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """As many rows of each component as counted, (sum of counts, D)."""


def _contents(value: Any) -> Any:
    """A value, its arrays as their bytes, so that equal ones compare equal."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    return [_contents(own) for own in value] if isinstance(value, tuple) else value


@cache
def _shapes(name: str) -> bool:
    """Whether the density may follow from the attribute of this name."""
    fitted = name.endswith("_") and not name.startswith(("feature_names", "lower_bound", "n_iter", "converged"))
    return fitted or name in ("n_components", "covariance_type", "weight_concentration_prior_type", "_prior_root")


def _total(X: Any, sample_weight: Any) -> float:
    """Number of observations, rows of which nothing was seen left out."""
    if held(X):
        return total(X, sample_weight, lambda x: np.zeros(len(x)))[1]
    weights = _check_sample_weight(unmasked(sample_weight), X, dtype=np.float64)
    values = np.asarray(unmasked(X))
    return float(weights[~np.isnan(values).all(1)].sum()) if values.dtype.kind == "f" else float(weights.sum())


def _kind(X: Any) -> np.dtype:
    """The type of rows after their checks: of numbers that are not float32, float64."""
    return X.dtype if X.dtype == np.float32 else np.dtype(np.float64)


def generator(random_state: np.random.RandomState) -> np.random.Generator:
    """A generator that the state of the other determines."""
    return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))
