"""Estimators with the interface of scikit-learn's `sklearn.mixture`, on the methods of this package.

`GaussianMixture` is EM for maximum likelihood, `BayesianGaussianMixture` is CAVI under conjugate priors. Names, shapes,
defaults, warnings and errors are scikit-learn's; each class says where its numbers differ. Both take ``sample_weight``.
"""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Callable
from functools import partial
from numbers import Integral, Real
from time import perf_counter
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, DensityMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from mixtures import COVARIANCES, centred
from mixtures.allocations.dirichlet import Dirichlet
from mixtures.allocations.stick_breaking import StickBreaking, Sticks
from mixtures.ascent import climb
from mixtures.errors import CollapseError, DistinctRowsError
from mixtures.families.diagonal import NormalGamma
from mixtures.families.gaussian import NormalWishart
from mixtures.families.spherical import SphericalNormalGamma
from mixtures.families.tied import SharedWishart
from mixtures.initial import SOFTENING, starts
from mixtures.methods import cavi, em
from mixtures.model import Allocation, Family, Theta
from mixtures.normal import LOG_2PI, SMALLEST_VARIANCE, outer
from mixtures.online import Learned, learn
from mixtures.passes import noise, one_pass
from mixtures.responsibilities import fold, log_sum, normalise
from mixtures.rows import Moments, moments

MATRICES = ("full", "tied")
STARTS = {"kmeans": "k-means", "random": "random", "random_from_data": "rows", "k-means++": "k-means++"}
CONJUGATE: dict[str, Any] = {
    "full": NormalWishart,
    "tied": SharedWishart,
    "diag": NormalGamma,
    "spherical": SphericalNormalGamma,
}

# Numbers in the largest array that a prediction holds beside its answer.
BLOCK_ELEMENTS = 200_000

# Stands for a log density below the range of numbers.
LOWEST = -1e300

# A start of clusters too tight for the common coordinates has this share of the data's variance added to theirs.
WIDENING = 1e-6

ILL_DEFINED = (
    "Fitting the mixture model failed because some components have ill-defined empirical covariance (for instance caused by "
    "singleton or collapsed samples). Try to decrease the number of components, increase reg_covar, or scale the input data."
)
NOT_CONVERGED = (
    "Best performing initialization did not converge. Try different init parameters, or increase max_iter, tol, or check for "
    "degenerate data."
)


class _Task(NamedTuple):
    """What a fit is given: rows, weights or None, their moments, random numbers, the state (1, K, P) to go on from or None."""

    X: np.ndarray
    weights: np.ndarray | None
    data: Moments
    rng: np.random.Generator
    last: np.ndarray | None


class _End(NamedTuple):
    """Where an ascent ended, its parameters being set: the bound there, the objective before each step, in nats."""

    bound: float
    trace: np.ndarray
    converged: bool


class _Mixture(DensityMixin, BaseEstimator, metaclass=ABCMeta):
    """What the two estimators share: the course of a fit, and predictions in blocks of rows."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "reg_covar": [Interval(Real, 0.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "init_params": [StrOptions(set(STARTS))],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
        "verbose_interval": [Interval(Integral, 1, None, closed="left")],
        "covariance_type": [StrOptions(set(COVARIANCES))],
    }
    _method: ClassVar[Callable[..., Any]]
    lower_bound_: float

    def _store(self, parameters: dict[str, Any]) -> None:
        """Set every parameter as the attribute of its name."""
        for name, value in parameters.items():
            setattr(self, name, value)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Fit the mixture to the rows of X.

        ``n_init`` starts climb side by side, and the one that ends highest is kept. With ``warm_start``, a second call goes
        on from the parameters of the first.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Float32 or float64; the arithmetic is in float64 either way.
        y : Ignored
        sample_weight : array-like of shape (n_samples,), optional
            How many observations each row stands for. A whole number is the same as that many copies of the row.

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
        """
        self.__dict__.pop("_batches", None)
        X, weights = self._rows(X, sample_weight, reset=True, ensure_min_samples=2)
        if len(X) < self.n_components:
            raise ValueError(
                f"Expected n_samples >= n_components but got n_components = {self.n_components}, n_samples = {len(X)}"
            )
        data = moments(X, weights)
        last, previous = None, -np.inf
        if self.warm_start and hasattr(self, "converged_"):
            shapes = (self.n_components, X.shape[1]), _shape(self.covariance_type, self.n_components, X.shape[1])
            if (self.means_.shape, self.covariances_.shape) != shapes:
                raise ValueError(
                    f"warm_start goes on from means and covariances of shapes {self.means_.shape} and "
                    f"{self.covariances_.shape}, but now they are {shapes[0]} and {shapes[1]}; set warm_start=False"
                )
            last, previous = self._last(data)[None], self.lower_bound_
        self._check_parameters(data)
        rng = _generator(check_random_state(self.random_state))
        try:
            end = self._climb(_Task(X, weights, data, rng, last))
        except CollapseError as error:
            raise CollapseError(f"{ILL_DEFINED} Here, {error}.") from error
        self._settle(X.dtype)

        unit = self._bound_unit(data.n)
        self.n_iter_ = len(end.trace)
        self.lower_bound_ = end.bound / unit
        self.lower_bounds_ = [*(end.trace[1:] / unit).tolist(), self.lower_bound_][: self.n_iter_]
        self.converged_ = bool(end.converged or abs(self.lower_bound_ - previous) <= self.tol)
        if not self.converged_ and self.max_iter > 0:
            warnings.warn(NOT_CONVERGED, ConvergenceWarning, stacklevel=3)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, kappa: float = 0.75) -> Self:
        """Move the fit on by one batch of rows; the first batch, or the first after `fit`, is fitted to its end.

        Each later batch moves the expected statistics once (`mixtures.online`), in the coordinates and under the prior that
        the first batch set. Its rows are not looked at again, so that no bound is known.

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
            data = moments(*self._rows(X, sample_weight, reset=False))
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
        self._settle(rows.dtype)
        self._batches = family, allocation, learned
        self.n_iter_, self.converged_, self.lower_bound_, self.lower_bounds_ = learned.batches, False, np.nan, []
        return self

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit the mixture to the rows of X and give each the label of its most probable component; see `fit`, `predict`."""
        return self.fit(X, y, sample_weight).predict(X)

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
        log_p = self.score_samples(X)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, log_p, dtype=np.float64, ensure_non_negative=True)
        return float(np.average(log_p.astype(np.float64), weights=sample_weight))

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

    def _rows(self, X: Any, sample_weight: Any, **checks: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """The rows, and their weights as the method takes them."""
        X = validate_data(self, X, dtype=[np.float64, np.float32], **checks)
        if sample_weight is None:
            return X, None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, self._observations(weights)

    def _answer(
        self,
        X: Any,
        density: Callable[[], Callable[[np.ndarray], np.ndarray]],
        answer: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        """Answers from log densities (B, K) of X in blocks of rows, in the precision of X and of the parameters."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False)
        answers = self._by_blocks(X, density(), answer)
        kind = np.result_type(X.dtype, self.means_.dtype) if answers.dtype == np.float64 else answers.dtype
        return answers.astype(kind, copy=False)

    def _by_blocks(
        self,
        X: np.ndarray,
        log_density: Callable[[np.ndarray], np.ndarray],
        answer: Callable[[np.ndarray], np.ndarray],
    ) -> np.ndarray:
        K, D = self.means_.shape
        step = max(1, BLOCK_ELEMENTS // (D * max(K, D)))
        blocks = (np.asarray(X[start : start + step], dtype=np.float64) for start in range(0, len(X), step))
        return np.concatenate([answer(log_density(block)) for block in blocks])

    def _quadratic(self, constant: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """From rows (B, D) to constants (K,) less half of the squared Mahalanobis distances from the means, (B, K)."""
        means, roots = (np.asarray(a, dtype=np.float64) for a in (self.means_, self.precisions_cholesky_))
        own = np.broadcast_to(roots, (len(means), *roots.shape)) if self.covariance_type == "tied" else roots
        times = np.matmul if self.covariance_type in MATRICES else np.multiply

        def log_density(x: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                z = (times(x - mu, U) for mu, U in zip(means, own, strict=True))
                distance = np.stack([np.einsum("nd,nd->n", z_k, z_k) for z_k in z], axis=-1)
            return np.maximum(constant - distance / 2, LOWEST)

        return log_density

    def _climb(self, task: _Task) -> _End:
        """Climb from every start and set the parameters of the highest end, one step beyond the last that was judged."""
        began = perf_counter()
        X, weights, data, *_ = task
        family, allocation = self._model(data)
        natural = partial(self._method, family, allocation)
        points, unit = len(X) * self.n_components, self._bound_unit(data.n)
        s = self._starts(task, family)
        best, trace, converged = s[0], np.empty(0), False
        if self.max_iter:
            pass_ = one_pass(X, weights, family, points, self.reg_covar)
            runs = climb(
                lambda _: (natural, pass_), s, data.n, self.tol * unit / data.n, self.max_iter, accelerate=True
            )
            if runs.collapsed.all():
                raise runs.errors[-1]
            traces = [runs.bounds(run) for run in range(len(s))]
            self._tell([trace / unit for trace in traces], runs.converged.tolist(), perf_counter() - began)
            run = int(np.argmax(runs.end))
            best, trace, converged = pass_(natural(runs.s[run])[0])[1], traces[run], bool(runs.converged[run])
        eta, extra = natural(best)
        bound = one_pass(X, weights, family, points)(eta)[0] + extra
        self._store(self._parameters(family, allocation, best))
        return _End(float(bound), trace, converged)

    def _starts(self, task: _Task, family: Family) -> np.ndarray:
        """States to climb from, (R, K, P): the last one, or ``n_init`` new ones."""
        return self._guesses(task, family, self.n_components) if task.last is None else task.last

    def _guesses(self, task: _Task, family: Family, K: int) -> np.ndarray:
        """States by ``init_params``, which looks at distances in the units of X, (n_init, K, P)."""
        X, weights, _, rng, _ = task
        try:
            even = _family(self.covariance_type, family.origin, np.full_like(family.unit, family.unit.mean()), None)
            s = starts(X, weights, len(X), even, Dirichlet.symmetric(K), STARTS[self.init_params], self.n_init, rng)
            return s * _change(even, family) + s[..., :1] * noise(family, self.reg_covar)
        except DistinctRowsError as error:
            warnings.warn(
                f"Number of distinct rows ({error.distinct}) found smaller than n_components ({K}). Possibly due to duplicate "
                "points in X.",
                ConvergenceWarning,
                stacklevel=2,
            )
            return self._spread(self._guesses(task, family, error.distinct), K)

    def _frame(self, data: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Origin and unit of the family's coordinates, each (D,): mean and standard deviation, those of the noise included."""
        with np.errstate(invalid="ignore"):
            variance = np.diagonal(data.scatter) / data.n + self.reg_covar
        if not np.all(np.isfinite(variance)):
            feature = int(np.argmax(~np.isfinite(variance)))
            raise ValueError(f"the variance of feature {feature} is too large for a number; rescale it")
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
    def _observations(self, weights: np.ndarray) -> np.ndarray:
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


class GaussianMixture(_Mixture):
    """Gaussian mixture by maximum likelihood, with the interface of `sklearn.mixture.GaussianMixture`.

    EM (Bishop, PRML, section 9.2.2) with quasi-Newton steps once it has become slow.

    Parameters
    ----------
    n_components : int, default=1
        K.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        A matrix for each component, one matrix for all, a variance for each component and feature, or one for each component.
    tol : float, default=1e-3
        The ascent has converged when a step raises the mean log likelihood of a row by no more than this.
    reg_covar : float, default=1e-6
        Added to the diagonal of every covariance. It keeps components on a few or equal rows, and constant features, from a
        variance of zero.
    max_iter : int, default=100
        Steps at most; 0 leaves the parameters at their start.
    n_init : int, default=1
        How many starts to climb from.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where to begin: k-means; the rows nearest to each of K seeds far apart; random responsibilities; the rows nearest to
        each of K rows drawn at random.
    weights_init : array-like of shape (n_components,), optional
    means_init : array-like of shape (n_components, n_features), optional
    precisions_init : array-like, optional
        Parameters to begin from, in the place of those that ``init_params`` gives; precisions are inverse covariances, in
        the shape of ``covariances_``.
    random_state : int, RandomState instance or None, default=None
        Source of the starts and of `sample`.
    warm_start : bool, default=False
        Whether `fit` goes on from the last solution.
    verbose : int, default=0
        1 prints every ``verbose_interval``-th step of every start, 2 also bounds and time; once the ascent has ended, for the
        starts climb side by side.
    verbose_interval : int, default=10

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
    means_ : ndarray of shape (n_components, n_features)
    covariances_ : ndarray
        (K, D, D), (D, D), (K, D) or (K,) for 'full', 'tied', 'diag' and 'spherical'.
    precisions_ : ndarray
        Inverse covariances, in the same shape.
    precisions_cholesky_ : ndarray
        Upper triangular factors U with precision U U^T, or the roots of precisions; in the same shape.
    converged_ : bool
    n_iter_ : int
        Steps of the best start.
    lower_bound_ : float
        Mean log likelihood of a row at the fitted parameters, in nats: what `score` gives for the rows of the fit.
    lower_bounds_ : list of float
        The objective after each step; see the notes.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X has names of its features.

    Notes
    -----
    Differences from scikit-learn:

    - ``lower_bound_`` is taken at the fitted parameters, not before the last step.
    - ``reg_covar`` is the variance of independent noise about every row, in the E-step as in the M-step. The covariances are
      those of scikit-learn's M-step, and the objective, the mean log likelihood less half of reg_covar times the expected
      trace of the precision, rises in every step. The end differs from scikit-learn's by a share of about reg_covar over the
      variance. ``lower_bounds_`` are this objective, moved by a constant so that the last is ``lower_bound_``.
    - Starts are drawn from other random numbers, and are a little blurred: each row gives every component a small share.
    - A component far tighter than the spread of the data keeps its digits (`mixtures.centred`). One that loses all its rows,
      or that collapses while ``reg_covar`` is 0, is an error that names it.
    - Float32 parameters are float64 ones rounded at the end, or left as they are where the range of float32 is too small.
    - The scale of ``sample_weight`` does not matter: in `aic` and `bic` the number of observations is their sum.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import GaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> mixture = GaussianMixture(n_components=2, random_state=0).fit(X)
    >>> np.sort(mixture.means_[:, 0]).round(6)
    array([ 1., 10.])
    >>> mixture.predict([[0, 0]]) == mixture.predict([[1, 4]])
    array([ True])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **_Mixture._parameter_constraints,
        "weights_init": ["array-like", None],
        "means_init": ["array-like", None],
        "precisions_init": ["array-like", None],
    }
    _method = staticmethod(em.step)

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    def aic(self, X: Any, sample_weight: Any = None) -> float:
        """Akaike's information criterion for the rows of X, -2 L + 2 p in nats; the smaller, the better (Akaike 1974)."""
        return -2 * self.score(X, sample_weight=sample_weight) * _total(X, sample_weight) + 2 * self._n_parameters()

    def bic(self, X: Any, sample_weight: Any = None) -> float:
        """The Bayesian information criterion for the rows of X, -2 L + p log N; the smaller, the better (Schwarz 1978)."""
        n = _total(X, sample_weight)
        return -2 * self.score(X, sample_weight=sample_weight) * n + self._n_parameters() * float(np.log(n))

    def _n_parameters(self) -> int:
        """Number of free parameters."""
        K, D = self.means_.shape
        return _family(self.covariance_type, np.zeros(D), np.ones(D), None).n_free(K) + K - 1

    def _observations(self, weights: np.ndarray) -> np.ndarray:
        """The weights scaled to a mean of one, for their scale does not matter."""
        weights = weights / weights.max()
        return weights / weights.mean()

    def _bound_unit(self, n: float) -> float:
        return n

    def _check_parameters(self, data: Moments) -> None:
        self._given(len(data.mean))

    def _given(self, D: int) -> dict[str, np.ndarray]:
        """Those of the weights, means and covariances to begin from that were given."""
        K, structure = self.n_components, self.covariance_type
        given = {}
        if self.weights_init is not None:
            pi = given["weights"] = _array(self.weights_init, (K,), "weights")
            if np.any(pi < 0) or np.any(pi > 1):
                raise ValueError(  # scikit-learn's words, in which the smallest stands for the largest
                    "The parameter 'weights' should be in the range [0, 1], "
                    f"but got max value {pi.min():.5f}, min value {pi.max():.5f}"
                )
            if not abs(1 - pi.sum()) <= (1e-6 if pi.dtype == np.float32 else 1e-8):
                raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {pi.sum():.5f}")
        if self.means_init is not None:
            given["means"] = _array(self.means_init, (K, D), "means")
        if self.precisions_init is not None:
            name = f"{structure} precision"
            precisions = _array(self.precisions_init, _shape(structure, K, D), name)
            _check_positive(precisions, structure)
            given["covariances"] = 1 / precisions if structure not in MATRICES else np.linalg.inv(precisions)
        return given

    def _model(self, data: Moments) -> tuple[Family, Allocation]:
        """The family without a prior, which maximum likelihood does not ask for."""
        return _family(self.covariance_type, *self._frame(data), None), Dirichlet.symmetric(self.n_components)

    def _climb(self, task: _Task) -> _End:
        try:
            return super()._climb(task)
        except CollapseError:
            if self.reg_covar == 0:
                raise
            return self._climb_centred(task)

    def _climb_centred(self, task: _Task) -> _End:
        """`_climb` for components too tight for common coordinates."""
        began = perf_counter()
        X, weights, data, *_ = task
        wide, allocation = self._model(data)
        family = _family(self.covariance_type, data.mean, np.full_like(data.mean, np.sqrt(self.reg_covar)), None)
        limits: dict[str, Any] = {"reg_covar": self.reg_covar, "tol": self.tol, "max_iter": self.max_iter}
        ends, errors = [], []
        for pi, means, covariances in zip(*self._begin(task, wide, WIDENING), strict=True):
            theta = self._theta(family, means, covariances)
            try:
                ends.append(centred.em(X, weights, family, allocation, pi, theta, n=data.n, **limits))
            except CollapseError as error:
                errors.append(error)
        if not ends:
            raise errors[-1]
        self._tell([end.bound / data.n for end in ends], [end.converged for end in ends], perf_counter() - began)
        best = max(ends, key=lambda end: end.bound[-1:].sum())
        self._store(self._attributes(family, best.weights, best.theta))
        log_p = self._by_blocks(X, self._log_joint(), log_sum)
        return _End(float(np.average(log_p, weights=weights)) * data.n, best.bound[:-1], best.converged)

    def _starts(self, task: _Task, family: Family) -> np.ndarray:
        if task.last is not None or not self._given(task.X.shape[1]):
            return super()._starts(task, family)
        pi, means, covariances = self._begin(task, family)
        return _expected(family, task.data.n * pi, self._theta(family, means, covariances))

    def _begin(self, task: _Task, family: Family, widening: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights (R, K), means (R, K, D) and covariances (R, ...) to begin from, in the units of X.

        ``widening`` is added to guessed variances in the family's coordinates.
        """
        if task.last is not None:
            return self.weights_[None], self.means_[None], self.covariances_[None]
        start = {name: value[None] for name, value in self._given(task.X.shape[1]).items()}
        if len(start) < 3:
            s = self._guesses(task, family, self.n_components)
            s = s + s[..., :1] * noise(family, widening * family.unit**2)
            theta = family.maximum_likelihood(s)
            guess = {
                "weights": s[..., 0] / s[..., 0].sum(-1, keepdims=True),
                "means": family.origin + family.unit * theta["means"],
                "covariances": self._covariances(family, theta),
            }
            start = guess | {name: np.repeat(value, self.n_init, axis=0) for name, value in start.items()}
        return start["weights"], start["means"], start["covariances"]

    def _last(self, data: Moments) -> np.ndarray:
        family, _ = self._model(data)
        return _expected(family, data.n * self.weights_, self._theta(family, self.means_, self.covariances_))

    def _parameters(self, family: Family, allocation: Allocation, s: np.ndarray) -> dict[str, Any]:
        return self._attributes(family, allocation.maximum_likelihood(s[:, 0]), family.maximum_likelihood(s))

    def _attributes(self, family: Family, pi: np.ndarray, theta: Theta) -> dict[str, Any]:
        covariances = self._covariances(family, theta)
        roots = _precision_roots(covariances, self.covariance_type)
        return {
            "weights_": pi,
            "means_": family.origin + family.unit * theta["means"],
            "covariances_": covariances,
            "precisions_cholesky_": roots,
            "precisions_": _square(roots, self.covariance_type),
        }

    def _settle(self, kind: np.dtype) -> None:
        names = ("weights_", "means_", "covariances_", "precisions_cholesky_", "precisions_")
        with np.errstate(over="ignore"):
            rounded = {name: np.asarray(getattr(self, name)).astype(kind) for name in names}
        lost = any(
            not np.isfinite(value).all() or ((value == 0) & (getattr(self, name) != 0)).any()
            for name, value in rounded.items()
            if name != "weights_"
        )
        if not lost:
            self._store(rounded)

    def _theta(self, family: Family, means: np.ndarray, covariances: np.ndarray) -> Theta:
        """Parameters in the family's coordinates from those in the units of X, with the shapes of the attributes."""
        covariances = covariances / _scale(family.unit, self.covariance_type)
        if self.covariance_type == "tied":
            covariances = np.repeat(covariances[..., None, :, :], means.shape[-2], axis=-3)
        name = "covariances" if self.covariance_type in MATRICES else "variances"
        return {"means": (means - family.origin) / family.unit, name: covariances}

    def _covariances(self, family: Family, theta: Theta) -> np.ndarray:
        """Covariances in the units of X, with the shape of the attribute."""
        covariances = theta["variances" if "variances" in theta else "covariances"]
        if self.covariance_type == "tied":
            covariances = covariances[..., 0, :, :]
        return covariances * _scale(family.unit, self.covariance_type)

    def _spread(self, s: np.ndarray, K: int) -> np.ndarray:
        """Clusters beyond the distinct rows begin as copies of others."""
        return s[:, np.arange(K) % s.shape[1]]

    def _log_joint(self) -> Callable[[np.ndarray], np.ndarray]:
        K, D = self.means_.shape
        weights, roots = (np.asarray(a, dtype=np.float64) for a in (self.weights_, self.precisions_cholesky_))
        matrices = self.covariance_type in MATRICES
        diagonal = np.diagonal(roots, axis1=-2, axis2=-1) if matrices else roots.reshape(K, -1) * np.ones(D)
        return self._quadratic(np.log(np.maximum(weights, 1e-300)) + np.log(diagonal).sum(-1) - D / 2 * LOG_2PI)

    _log_rho = _log_joint

    def _draw(self, counts: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        K, D = self.means_.shape
        covariances = (
            np.broadcast_to(self.covariances_, (K, D, D)) if self.covariance_type == "tied" else self.covariances_
        )
        if self.covariance_type in MATRICES:
            parts = [
                random_state.multivariate_normal(mu, Sigma, int(count))
                for mu, Sigma, count in zip(self.means_, covariances, counts, strict=True)
            ]
        else:
            parts = [
                mu + random_state.standard_normal((count, D)) * np.sqrt(variance)
                for mu, variance, count in zip(self.means_, covariances, counts, strict=True)
            ]
        return np.concatenate(parts).astype(np.float64, copy=False)


class BayesianGaussianMixture(_Mixture):
    """Gaussian mixture by variational Bayes, with the interface of `sklearn.mixture.BayesianGaussianMixture`.

    CAVI (Bishop, PRML, section 10.2) with quasi-Newton steps once it has become slow, each covariance structure under its own
    conjugate prior; the model of a component is stated at the top of `mixtures.families`' files.

    Parameters
    ----------
    n_components : int, default=1
        K, or where the weights have a process prior, its truncation.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        A matrix for each component, one matrix for all, a variance for each component and feature, or one for each component.
    tol : float, default=1e-3
        The ascent has converged when a step raises the lower bound by no more than this, in nats over all rows.
    reg_covar : float, default=1e-6
        Variance of independent noise about every row, which adds as much to the diagonal of every scatter.
    max_iter : int, default=100
        Steps at most; 0 leaves the posterior at its start.
    n_init : int, default=1
        How many starts to climb from.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where to begin: k-means; the rows nearest to each of K seeds far apart; random responsibilities; the rows nearest to
        each of K rows drawn at random.
    weight_concentration_prior_type : {'dirichlet_process', 'dirichlet_distribution'}, default='dirichlet_process'
        Weights from K - 1 sticks v_k ~ Beta(1, gamma0), the last component taking what is left; or weights from a symmetric
        Dirichlet(alpha0).
    weight_concentration_prior : float, optional
        gamma0 or alpha0; by default 1 / K.
    mean_precision_prior : float, optional
        beta0, the number of rows that the prior of a mean counts for; by default 1.
    mean_prior : array-like of shape (n_features,), optional
        m0; by default the mean of X.
    degrees_of_freedom_prior : float, optional
        nu0, more than n_features - 1; by default n_features.
    covariance_prior : float or array-like, optional
        The inverse W0^-1 of the Wishart's scale matrix, so that E[Lambda] = nu0 W0: (D, D) for 'full' and 'tied', (D,) for
        'diag', one number for 'spherical'; by default the covariance of X, its diagonal, or the mean of that. Where that
        covariance is singular, ``reg_covar`` is added to its diagonal.
    random_state : int, RandomState instance or None, default=None
        Source of the starts and of `sample`.
    warm_start : bool, default=False
        Whether `fit` goes on from the last solution.
    verbose : int, default=0
        1 prints every ``verbose_interval``-th step of every start, 2 also bounds and time; once the ascent has ended, for the
        starts climb side by side.
    verbose_interval : int, default=10

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Posterior mean of the weights.
    weight_concentration_ : ndarray of shape (n_components,), or a pair of them
        Posterior Dirichlet; for the process prior a_k and b_k of the sticks' Beta(a_k, b_k), where b_K = 0 closes the last.
    means_ : ndarray of shape (n_components, n_features)
    mean_precision_ : ndarray of shape (n_components,)
        Posterior m_k and beta_k.
    degrees_of_freedom_ : ndarray of shape (n_components,), or float
        Posterior nu_k: nu0 + N_k; nu0 + N, a single one, for 'tied'; nu0 + N_k D for 'spherical'.
    covariances_ : ndarray
        W_k^-1 / nu_k: (K, D, D), (D, D), (K, D) or (K,) for 'full', 'tied', 'diag' and 'spherical'.
    precisions_ : ndarray
        Posterior mean of the precisions, nu_k W_k, the inverse of ``covariances_``; in the same shape.
    precisions_cholesky_ : ndarray
        Upper triangular factors U with precision U U^T, or the roots of precisions; in the same shape.
    weight_concentration_prior_, mean_precision_prior_, degrees_of_freedom_prior_ : float
    mean_prior_, covariance_prior_ : ndarray or float
        The prior that was used.
    converged_ : bool
    n_iter_ : int
        Steps of the best start.
    lower_bound_ : float
        The ELBO of the posterior: a lower bound on the log evidence of all rows around one labelling, in nats, every
        constant kept (PRML 10.70).
    lower_bounds_ : list of float
        The objective after each step; see the notes.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X has names of its features.

    Notes
    -----
    Differences from scikit-learn:

    - ``lower_bound_`` is absolute, so that it can be compared across K, priors and structures, and taken at the fitted
      posterior. It is a float for every structure.
    - `score_samples` is the log posterior predictive density, a mixture of Student-t densities (PRML 10.81) that integrates
      to one, and `sample` draws from it. `predict_proba` is the optimal q(z) of a row (PRML 10.49).
    - 'tied' has one Wishart, updated by the scatter of all components; 'diag' and 'spherical' have Gamma priors in one
      dimension, Gamma(nu0 / 2, W0^-1 / 2). Scikit-learn uses the expectations of 'full' for all four.
    - The last stick is closed, so that the weights sum to one without being rescaled.
    - ``reg_covar`` acts in the E-step too, so that the objective, the ELBO less half of reg_covar times the expected trace of
      the precisions, rises in every step. ``lower_bounds_`` are this objective, moved by a constant so that the last is
      ``lower_bound_``.
    - Starts are drawn from other random numbers, and are a little blurred: each row gives every component a small share.
      Under the process prior, in which weights fall with k, the largest cluster of a start comes first.
    - ``sample_weight`` counts rows: twice the weights are twice the evidence.
    - The posterior is in float64 whatever the type of X.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import BayesianGaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]])
    >>> mixture = BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.weights_.round(2)
    array([0.64, 0.36])
    >>> mixture.predict([[0, 0], [9, 3]])
    array([0, 1])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **_Mixture._parameter_constraints,
        "weight_concentration_prior_type": [StrOptions({"dirichlet_process", "dirichlet_distribution"})],
        "weight_concentration_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_precision_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_prior": [None, "array-like"],
        "degrees_of_freedom_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "covariance_prior": [None, "array-like", Interval(Real, 0.0, None, closed="neither")],
    }
    _method = staticmethod(cavi.step)

    def __init__(
        self,
        *,
        n_components: int = 1,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weight_concentration_prior_type: str = "dirichlet_process",
        weight_concentration_prior: float | None = None,
        mean_precision_prior: float | None = None,
        mean_prior: Any = None,
        degrees_of_freedom_prior: float | None = None,
        covariance_prior: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval

    @property
    def _process(self) -> bool:
        return self.weight_concentration_prior_type == "dirichlet_process"

    def _observations(self, weights: np.ndarray) -> np.ndarray:
        return weights

    def _bound_unit(self, n: float) -> float:
        return 1.0

    def _check_parameters(self, data: Moments) -> None:
        D, structure, concentration = len(data.mean), self.covariance_type, self.weight_concentration_prior
        self.weight_concentration_prior_ = 1.0 / self.n_components if concentration is None else concentration
        self.mean_precision_prior_ = 1.0 if self.mean_precision_prior is None else self.mean_precision_prior
        self.mean_prior_ = data.mean if self.mean_prior is None else _array(self.mean_prior, (D,), "means")
        if self.degrees_of_freedom_prior is None:
            self.degrees_of_freedom_prior_: float = D
        elif self.degrees_of_freedom_prior > D - 1:
            self.degrees_of_freedom_prior_ = self.degrees_of_freedom_prior
        else:
            raise ValueError(
                "The parameter 'degrees_of_freedom_prior' should be greater than "
                f"{D - 1}, but got {self.degrees_of_freedom_prior:.3f}."
            )
        if self.covariance_prior is None:
            self.covariance_prior_ = self._data_covariance(data)
            return
        shape: tuple[int, ...] = {"diag": (D,), "spherical": ()}.get(structure, (D, D))
        self.covariance_prior_ = _array(self.covariance_prior, shape, f"{structure} covariance_prior")
        _check_positive(self.covariance_prior_, structure)

    def _data_covariance(self, data: Moments) -> Any:
        """The covariance of the rows in the shape of the prior, with ``reg_covar`` added where it is singular."""
        if not data.n > 1:
            raise ValueError(
                f"the weights sum to {data.n:g}; they must sum to more than 1 unless covariance_prior is given"
            )
        full = data.scatter / (data.n - 1)
        variances = np.diagonal(full).copy()
        covariance: Any = {"diag": variances, "spherical": variances.mean()}.get(self.covariance_type, full)
        scale = _scale(self._frame(data)[1], self.covariance_type)
        noise = self.reg_covar * (np.eye(len(data.mean)) if np.ndim(covariance) == 2 else 1.0)
        for candidate in (covariance, covariance + noise):
            relative = candidate / scale
            smallest = np.linalg.eigvalsh(relative)[0] if np.ndim(relative) == 2 else relative.min()
            if smallest > SMALLEST_VARIANCE:
                return candidate
        raise ValueError(
            f"{ILL_DEFINED} Here, the covariance of X is singular, so that it cannot be the covariance_prior; give one."
        )

    def _model(self, data: Moments) -> tuple[Family, Allocation]:
        return self._family(*self._frame(data)), self._allocation()

    def _family(self, origin: np.ndarray, unit: np.ndarray) -> Family:
        """The family under its prior, in these coordinates."""
        m0 = (self.mean_prior_ - origin) / unit
        W0_inv = np.asarray(self.covariance_prior_ / _scale(unit, self.covariance_type), dtype=np.float64)
        beta0, nu0 = np.asarray(float(self.mean_precision_prior_)), np.asarray(float(self.degrees_of_freedom_prior_))
        if self.covariance_type == "tied":
            m0, beta0 = m0[None], beta0[None]
        return _family(self.covariance_type, origin, unit, self._conjugate(m0, beta0, W0_inv, nu0))

    def _allocation(self) -> Allocation:
        K, concentration = self.n_components, float(self.weight_concentration_prior_)
        return StickBreaking(K, concentration) if self._process else Dirichlet.symmetric(K, concentration)

    def _conjugate(self, m: np.ndarray, beta: np.ndarray, W_inv: np.ndarray, nu: np.ndarray) -> Any:
        """Hyperparameters of the structure's own type; a Gamma has half of nu and of W^-1."""
        make = CONJUGATE[self.covariance_type]
        return make(m, beta, W_inv, nu) if self.covariance_type in MATRICES else make(m, beta, nu / 2, W_inv / 2)

    def _starts(self, task: _Task, family: Family) -> np.ndarray:
        s = super()._starts(task, family)
        if task.last is not None or not self._process:
            return s
        return np.take_along_axis(s, np.argsort(-s[..., 0], axis=1, kind="stable")[..., None], axis=1)

    def _spread(self, s: np.ndarray, K: int) -> np.ndarray:
        """Clusters beyond the distinct rows begin with a small even share of all rows."""
        spare = np.repeat(s.sum(1, keepdims=True), K - s.shape[1], axis=1)
        return np.concatenate([(1 - SOFTENING) * s, SOFTENING / spare.shape[1] * spare], axis=1)

    def _parameters(self, family: Family, allocation: Allocation, s: np.ndarray) -> dict[str, Any]:
        q_pi, q = allocation.posterior(s[:, 0]), family.posterior(s)
        W_inv, nu = (q.W_inv, q.nu) if hasattr(q, "nu") else (2 * q.b, 2 * q.a)
        covariances = W_inv / _along(nu, W_inv) * _scale(family.unit, self.covariance_type)
        roots = _precision_roots(covariances, self.covariance_type)
        return {
            "weights_": allocation.mean(q_pi),
            "weight_concentration_": (np.append(q_pi.a, 1 + s[-1, 0]), np.append(q_pi.b, 0.0))
            if self._process
            else q_pi,
            "mean_precision_": q.beta,
            "means_": family.origin + family.unit * q.m,
            "degrees_of_freedom_": nu,
            "covariances_": covariances,
            "precisions_cholesky_": roots,
            "precisions_": _square(roots, self.covariance_type),
        }

    def _posterior(self, family: Family) -> tuple[Any, Any]:
        """q(pi) and q(theta) in the family's coordinates, from the attributes."""
        q_pi = self.weight_concentration_
        if self._process:
            a, b = q_pi
            q_pi = Sticks(a[:-1], b[:-1], np.arange(len(a)))
        nu = np.asarray(self.degrees_of_freedom_)
        covariances = self.covariances_ / _scale(family.unit, self.covariance_type)
        m = (self.means_ - family.origin) / family.unit
        return q_pi, self._conjugate(m, self.mean_precision_, covariances * _along(nu, covariances), nu)

    def _fitted(self) -> tuple[Family, Allocation]:
        """The model in coordinates that suit the fitted components."""
        C = self.covariances_
        variances = np.diagonal(C, axis1=-2, axis2=-1) if self.covariance_type in MATRICES else C.reshape(len(C), -1)
        unit = np.sqrt(np.atleast_2d(variances).mean(0)) * np.ones(self.means_.shape[1])
        return self._family(self.weights_ @ self.means_, unit), self._allocation()

    def _last(self, data: Moments) -> np.ndarray:
        """The statistics whose posterior the attributes are, under the prior of the last fit."""
        family: Any = self._family(*self._frame(data))
        p = family.prior
        _, q = self._posterior(family)
        N = np.maximum(q.beta - p.beta, 0)
        first = q.beta[:, None] * q.m - p.beta[..., None] * p.m
        second = q.beta[:, None, None] * outer(q.m) - p.beta[..., None, None] * outer(p.m)
        scatter = q.W_inv - p.W_inv if hasattr(q, "nu") else 2 * (q.b - p.b)
        K, D = q.m.shape
        scatter = {"tied": scatter / K, "spherical": scatter / D}.get(self.covariance_type, scatter)
        if self.covariance_type not in MATRICES:
            scatter = scatter.reshape(K, -1, 1) * np.eye(D)
        return _gather(family, N, first, second + scatter)

    def _log_rho(self) -> Callable[[np.ndarray], np.ndarray]:
        family, allocation = self._fitted()
        q_pi, q = self._posterior(family)
        eta = fold(allocation.expected_natural(q_pi), family.expected_natural(q))
        return self._quadratic((eta * family.features(self.means_)).sum(-1))

    def _log_joint(self) -> Callable[[np.ndarray], np.ndarray]:
        family, allocation = self._fitted()
        q_pi, q = self._posterior(family)
        log_pi = allocation.natural(allocation.mean(q_pi))

        def log_joint(x: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.maximum(log_pi + family.log_predictive(x, q), LOWEST)

        return log_joint

    def _draw(self, counts: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
        """Each row from a component drawn for it from the posterior."""
        rng, (family, _) = _generator(random_state), self._fitted()
        _, q = self._posterior(family)
        step = max(1, BLOCK_ELEMENTS // self.means_.shape[1] ** 2)
        parts = []
        for k, count in enumerate(counts):
            for start in range(0, count, step):
                size = min(step, count - start)
                theta = {
                    name: value[:, 0] for name, value in family.sample(q.permute(np.array([k])), size, rng).items()
                }
                parts.append(family.simulate(theta, np.arange(size), rng))
        return np.concatenate(parts)


def _generator(random_state: np.random.RandomState) -> np.random.Generator:
    """A generator that the state of the other determines."""
    return np.random.default_rng(random_state.randint(2**32, size=4, dtype=np.uint32))


def _family(structure: str, origin: np.ndarray, unit: np.ndarray, prior: Any) -> Family:
    """The family of this structure."""
    make: Any = COVARIANCES[structure]
    return make(origin, unit, prior)


def _expected(family: Any, counts: np.ndarray, theta: Theta) -> np.ndarray:
    """The state (..., K, P) whose maximum likelihood is theta: the expected statistics of so many points (..., K)."""
    mu, N = theta["means"], counts[..., None]
    return _gather(family, counts, N * mu, N[..., None] * (family.covariances(theta) + outer(mu)))


def _gather(family: Family, N: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """s (..., K, P) from the counts (..., K), sums (..., K, D) and second moments (..., K, D, D) of z."""
    D = first.shape[-1]
    M = np.empty((*N.shape, D + 1, D + 1))
    M[..., 0, 0], M[..., 0, 1:], M[..., 1:, 1:] = N, first, second
    p, i, j = family.monomials.T
    return np.add.reduceat(M[..., i, j], np.flatnonzero(np.diff(p, prepend=-1)), axis=-1)


def _change(old: Family, new: Family) -> np.ndarray:
    """What turns statistics in one family's coordinates into those in another's of the same origin, (P,)."""
    p, i, j = new.monomials.T
    scale = np.append(1, old.unit / new.unit)
    return (scale[i] * scale[j])[np.flatnonzero(np.diff(p, prepend=-1))]


def _shape(structure: str, K: int, D: int) -> tuple[int, ...]:
    """The shape of ``covariances_``."""
    return {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[structure]


def _array(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Finite numbers of this shape."""
    if shape == () and np.ndim(values) == 0:
        return values
    array = check_array(values, dtype=[np.float64, np.float32], ensure_2d=False, allow_nd=len(shape) == 3)
    if array.shape != shape:
        raise ValueError(f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}")
    return array


def _check_positive(precision: np.ndarray, structure: str) -> None:
    """Refuse precisions, or covariances, that are none."""
    if structure not in MATRICES:
        if np.any(precision <= 0):
            raise ValueError(f"'{structure} precision' should be positive")
    elif not np.allclose(precision, precision.swapaxes(-1, -2)) or np.any(np.linalg.eigvalsh(precision) <= 0):
        raise ValueError(f"'{structure} precision' should be symmetric, positive-definite")


def _total(X: Any, sample_weight: Any) -> float:
    """Number of observations."""
    return float(_check_sample_weight(sample_weight, X, dtype=np.float64).sum())


def _scale(unit: np.ndarray, structure: str) -> Any:
    """What a covariance of one in the coordinates z is in the units of x."""
    return {"diag": unit**2, "spherical": unit[0] ** 2}.get(structure, np.outer(unit, unit))


def _along(nu: np.ndarray, a: np.ndarray) -> np.ndarray:
    """nu with axes of length one for what ``a`` has beyond it."""
    return nu.reshape(nu.shape + (1,) * (a.ndim - nu.ndim))


def _precision_roots(covariances: np.ndarray, structure: str) -> np.ndarray:
    """Upper triangular U with U U^T the inverse of each covariance, or roots of inverse variances."""
    if structure not in MATRICES:
        return 1 / np.sqrt(covariances)
    sd = np.sqrt(np.diagonal(covariances, axis1=-2, axis2=-1))
    correlations = covariances / (sd[..., :, None] * sd[..., None, :])
    return np.triu(np.linalg.inv(np.linalg.cholesky(correlations)).swapaxes(-1, -2)) / sd[..., None]


def _square(roots: np.ndarray, structure: str) -> np.ndarray:
    """The precisions with these roots."""
    return roots**2 if structure not in MATRICES else roots @ roots.swapaxes(-1, -2)
