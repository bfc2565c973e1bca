"""What the two estimators share: what a user calls, and what of the rows and parameters is looked at before a fit."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
from sklearn.base import _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mixtures import COVARIANCES
from mixtures.ascent.candidates import Listener
from mixtures.ascent.online import Learned, check_kappa, learn
from mixtures.ascent.whole import Whole, whole
from mixtures.checks import check_count, check_whole
from mixtures.chunks import held
from mixtures.errors import CollapseError, FeatureError, stamped, unstamped
from mixtures.estimators.chunked import rows_of
from mixtures.estimators.course import STARTS, Course, Frame, Step, Task
from mixtures.estimators.structures import MATRICES, blurred_root, shape_of
from mixtures.families.scaling import dependence
from mixtures.fit import Fit
from mixtures.methods.em import far_row
from mixtures.model import Allocation, Family
from mixtures.rows.arrays import unmasked
from mixtures.rows.moments import Moments, moments, seen_moments

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance caused by "
    "singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale the input data."
)
NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or check for "
    "degenerate data."
)


# Milliseconds that compiled steps save a later batch.
BATCH = 0.3

# The compiled steps for a batch of an estimator, under what family and reg_covar; no part of an estimator.
COMPILED: WeakKeyDictionary[Any, tuple[Family, float, Whole]] = WeakKeyDictionary()


class Mixture(Course):
    """What the two estimators share: `fit` and the other calls of a user, and the checks before them."""

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
    lower_bound_: float

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
        check_count("n_init", int(self.n_init), int(self.n_components) * (1 + X.shape[1]), "start")
        start = None if self.init is None or last is not None else self._start(as_given, X.shape, sample_weight)
        try:
            listener = None if callback is None else Listener(callback)
            end = self._reach(Task(X, weights, data, frame, last, start, listener), as_given, sample_weight)
        except (CollapseError, np.linalg.LinAlgError) as error:  # the latter where squares of X underflow
            singular = dependence(data) if self.covariance_type in MATRICES else None
            if singular is not None:
                why = f"{error}. {self._named(singular)}, so that the covariance of X is singular"
            else:
                far = far_row(X, self._model(frame)[0], error) if isinstance(error, CollapseError) else None
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
            rows, weights = self._rows(X, sample_weight, reset=False)
            data = self._moments(rows, weights, gaps=self.allow_missing)
            frame = self._frame(self._of_bulk(rows, weights, data))
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
        made = whole(self._method, X, weights, family, allocation, reg_covar, saved=BATCH)
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
        check_whole("n_samples", n_samples)
        if n_samples < 1:
            raise ValueError(f"Invalid value for 'n_samples': {n_samples} . The sampling requires at least one sample.")
        check_count("n_samples", n_samples, 1 + self.means_.shape[1], "row")
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
        weights = _check_sample_weight(
            unmasked(sample_weight, "sample_weight"), X, dtype=np.float64, ensure_non_negative=True
        )
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

    def _settle(self, kind: np.dtype) -> None:
        """Bring the fitted parameters to the precision of X, where that is the contract."""

    @abstractmethod
    def _observations(self, weights: Any) -> Any:
        """The weights of the rows as the method takes them."""

    @abstractmethod
    def _check_parameters(self, data: Moments) -> None:
        """Refuse parameters that do not suit the data."""

    @abstractmethod
    def _source(self) -> Any:
        """Random numbers for `sample`."""

    @abstractmethod
    def _draw(self, counts: np.ndarray, rng: Any) -> np.ndarray:
        """As many rows of each component as counted, (sum of counts, D)."""


def _kind(X: Any) -> np.dtype:
    """The type of rows after their checks: of numbers that are not float32, float64."""
    return X.dtype if X.dtype == np.float32 else np.dtype(np.float64)
