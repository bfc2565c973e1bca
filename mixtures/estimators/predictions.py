"""What a fitted mixture says of rows: labels, probabilities, densities and criteria, in blocks of rows.

scikit-learn's checks of rows and parameters take longer than the answer where the rows are few. An array that all of them would
let pass as it is is known at a glance, and parameters that they let pass once are known again; whatever else comes is given to
them, so that they refuse, warn and convert as ever.
"""

from __future__ import annotations

import sys
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mixtures.chunks import held
from mixtures.engines import apart, missing
from mixtures.engines.responsibilities import fold
from mixtures.estimators.chunked import answered, total
from mixtures.estimators.densities import (
    LOWEST,
    Densities,
    gaussian,
    in_blocks,
    labels,
    log_densities,
    probabilities,
    roots_of,
)
from mixtures.estimators.structures import MATRICES, family_of, theta_of
from mixtures.model import Family
from mixtures.rows.arrays import unmasked

Density = Callable[[np.ndarray], np.ndarray]
Answer = Callable[[np.ndarray], np.ndarray]

# The log densities of estimators by the name of their kind, and what they were made from; no part of an estimator.
PREPARED: WeakKeyDictionary[Any, dict[str, tuple[Any, Density]]] = WeakKeyDictionary()

# Of a constant of eta, from which each component has an origin of its own, as its densities lose digits about one of all.
LARGEST = 1e6

# Parameters that were accepted, as many of them at most, and the types of values of which equal ones are alike.
ACCEPTED: set[tuple[Any, ...]] = set()
MOST = 1000
PLAIN = {bool, float, int, str, type(None)}


class Predictions(DensityMixin, BaseEstimator, metaclass=ABCMeta):
    """Predictions of an estimator that has the attributes below."""

    _of_density: ClassVar[tuple[str, ...]]  # attributes from which the densities follow
    _kind_of: ClassVar[tuple[str, ...]] = ("covariance_type",)  # parameters that say what the fitted ones are
    n_components: int
    allow_missing: bool
    covariance_type: str
    covariances_: np.ndarray
    weights_: np.ndarray
    means_: np.ndarray
    precisions_cholesky_: np.ndarray

    def predict(self, X: Any) -> np.ndarray:
        """The most probable component of every row, shape (n_samples,)."""
        return self._answer(X, self._log_rho, labels)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of every component for every row, shape (n_samples, n_components)."""
        return self._answer(X, self._log_rho, probabilities)

    def score_samples(self, X: Any) -> np.ndarray:
        """The log density of every row in nats, shape (n_samples,)."""
        return self._answer(X, self._log_joint, log_densities)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The mean of `score_samples` over the rows of X, by weight where ``sample_weight`` is given."""
        if held(X):
            sum_of_log_p, n = total(X, sample_weight, self._unnamed().score_samples)
            return sum_of_log_p / n
        log_p = self.score_samples(X)
        if sample_weight is not None:
            weights = _check_sample_weight(
                unmasked(sample_weight, "sample_weight"), log_p, dtype=np.float64, ensure_non_negative=True
            )
            if not np.isfinite(weights).all():
                raise ValueError("sample_weight has missing or infinite values")
            some = weights > 0
            return float(np.average(log_p[some].astype(np.float64), weights=weights[some] / weights.max()))
        return float(log_p.mean(dtype=np.float64))

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion for the rows of X, -2 L + 2 p in nats; the smaller, the better (Akaike 1974).

        L is the log likelihood at ``weights_``, ``means_`` and ``covariances_``, and p the number of free parameters.
        """
        return -2 * self._log_likelihood(X, sample_weight) + 2 * self._n_parameters()

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """The Bayesian information criterion for the rows of X, -2 L + p log N; the smaller, the better (Schwarz 1978).

        L is the log likelihood at ``weights_``, ``means_`` and ``covariances_``, and p the number of free parameters.
        """
        log_p = self._log_likelihood(X, sample_weight)  # which refuses what is no table
        return -2 * log_p + self._n_parameters() * float(np.log(_total(X, sample_weight, self.allow_missing)))

    def _log_likelihood(self, X: Any, sample_weight: Any) -> float:
        """The log likelihood of the rows of X at the fitted parameters, in nats."""
        if held(X):
            own = self._unnamed()
            return total(X, sample_weight, lambda x: own._answer(x, own._at_parameters, log_densities))[0]
        log_p = self._answer(X, self._at_parameters, log_densities)
        if sample_weight is None:
            return float(log_p.sum(dtype=np.float64))
        weights = _check_sample_weight(
            unmasked(sample_weight, "sample_weight"), log_p, dtype=np.float64, ensure_non_negative=True
        )
        some = weights > 0
        return float(log_p[some].astype(np.float64) @ weights[some])

    def _at_parameters(self) -> Density:
        """From rows (B, D) to log pi_k + log N(x | mu_k, Sigma_k) at the fitted parameters, (B, K)."""
        K, D = self.means_.shape
        log_pi = np.log(np.maximum(np.asarray(self.weights_, dtype=np.float64), 1e-300))
        roots = roots_of(self.precisions_cholesky_, self.covariance_type, K, D)
        whole = gaussian(log_pi, self.means_, roots)
        if not self.allow_missing:
            return whole
        family = family_of(self.covariance_type, *self._by_features(), None, True)
        means, own = (np.asarray(a, dtype=np.float64) for a in (self.means_, self.precisions_cholesky_))
        theta = theta_of(family, means, own, self.covariance_type)
        eta = fold(log_pi, family.natural(theta))
        if np.abs(eta[:, family.count_of]).max() <= LARGEST:
            return lambda x: self._with_gaps(x, family, eta) if np.isnan(x).any() else whole(x)
        at = [replace(family, origin=mean) for mean in means]  # type: ignore[type-var]
        eta = fold(log_pi, family.natural(theta | {"means": np.zeros_like(means)}))
        return lambda x: np.maximum(apart.densities(at, x, eta), LOWEST) if np.isnan(x).any() else whole(x)

    def _n_parameters(self) -> int:
        """Number of free parameters."""
        K, D = self.means_.shape
        return family_of(self.covariance_type, np.zeros(D), np.ones(D), None).n_free(K) + K - 1

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
            return np.maximum(missing.densities(family, x, eta), LOWEST)
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

    def _answer(self, X: Any, density: Callable[[], Density], answer: Answer) -> np.ndarray:
        """Answers from log densities (B, K) of X in blocks of rows, in the precision of X and of the parameters."""
        finite = True
        if (rows := self._passing(X)) is not None:
            X = rows
        elif held(X):
            return answered(self, X, density, answer)
        else:
            check_is_fitted(self)
            X = validate_data(self, unmasked(X), reset=False, ensure_all_finite=self._finite)
            finite = not get_config()["assume_finite"]
        own = self._prepared(density)
        if finite and isinstance(own, Densities):
            answers = own.answers(X, answer)
        else:
            answers = in_blocks(X, len(self.means_), own, answer)
        kind = np.result_type(X.dtype, self.means_.dtype) if answers.dtype == np.float64 else answers.dtype
        return answers.astype(kind, copy=False)

    def _passing(self, X: Any) -> np.ndarray | None:
        """The rows of X if they are floats that `check_is_fitted` and `validate_data` would surely let pass as they are."""
        own = vars(self)
        if "feature_names_in_" in own:
            X = _values(X, own["feature_names_in_"])
        return X if "means_" in own and _plain(X, 1) and X.shape[1] == own.get("n_features_in_") else None

    def _passing_anew(self, X: Any, least: int) -> np.ndarray | None:
        """The same of at least so many rows that are to be fitted, whose features have no names; their number is noted."""
        if not (_plain(X, least) and X.shape[1]):
            return None
        self.__dict__.pop("feature_names_in_", None)
        self.n_features_in_ = X.shape[1]
        return X

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        return super()._get_param_names()

    def _validate_params(self) -> None:
        """scikit-learn's checks of the parameters, once for the same ones."""
        values = [getattr(self, name) for name in self._get_param_names()]
        kinds = [type(value) for value in values]
        if not PLAIN.issuperset(kinds):
            super()._validate_params()
            return
        key = type(self), *kinds, *values
        if key not in ACCEPTED:
            super()._validate_params()
            if len(ACCEPTED) == MOST:
                ACCEPTED.clear()
            ACCEPTED.add(key)

    def _prepared(self, density: Callable[[], Density]) -> Density:
        """The log densities that ``density`` makes, as they were made last while the parameters are what they were then."""
        if self.allow_missing:
            self._refuse_other_kind()
            return density()
        own = vars(self)
        key = [_contents(own.get(name)) for name in self._of_density]
        known = PREPARED.setdefault(self, {})
        name = density.__name__
        if name not in known or known[name][0] != key:
            self._refuse_other_kind()
            known[name] = key, density()
        return known[name][1]

    def _refuse_other_kind(self, advice: str = "fit again") -> None:
        """Refuse parameters of the fit whose meaning was changed since by `set_params`."""
        for name, fitted in vars(self).get("_fitted_as", {}).items():
            if getattr(self, name) != fitted:
                raise ValueError(f"{name} is {getattr(self, name)!r} now, and was {fitted!r} in the last fit; {advice}")

    @abstractmethod
    def _log_rho(self) -> Density:
        """From rows (B, D) to what the responsibilities are proportional to, in logs, (B, K)."""

    @abstractmethod
    def _log_joint(self) -> Density:
        """From rows (B, D) to the log weight and density of each component, (B, K)."""


def _plain(X: Any, least: int) -> bool:
    """Whether X is a matrix of finite floats with so many rows."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype.char in "df"
        and X.dtype.isnative
        and len(X) >= least
        and bool(np.isfinite(X).all())
    )


def _contents(value: Any) -> Any:
    """A value, its arrays as their bytes, so that equal ones compare equal."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype, value.tobytes()
    return [_contents(own) for own in value] if isinstance(value, tuple) else value


def _values(X: Any, names: np.ndarray) -> np.ndarray | None:
    """The numbers of a pandas frame with columns of these names and plain numbers, None of anything else."""
    pandas = sys.modules.get("pandas")
    if pandas is None or type(X) is not pandas.DataFrame or X.columns.tolist() != names.tolist():
        return None
    return X.to_numpy() if all(isinstance(kind, np.dtype) for kind in X.dtypes.tolist()) else None


def _total(X: Any, sample_weight: Any, gaps: bool) -> float:
    """Number of observations, rows of which nothing was seen left out where there may be ``gaps``."""
    if sample_weight is None and not gaps and not held(X):
        return float(len(X))
    if held(X):
        return total(X, sample_weight, lambda x: np.zeros(len(x)))[1]
    weights = _check_sample_weight(unmasked(sample_weight, "sample_weight"), X, dtype=np.float64)
    values = np.asarray(unmasked(X))
    return float(weights[~np.isnan(values).all(1)].sum()) if values.dtype.kind == "f" else float(weights.sum())
