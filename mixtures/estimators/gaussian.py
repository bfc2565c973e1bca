"""EM for maximum likelihood with the interface of scikit-learn's `GaussianMixture`."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.ascent import centred
from mixtures.engines.passes import noise
from mixtures.engines.responsibilities import log_sum
from mixtures.errors import CollapseError
from mixtures.estimators.base import (
    End,
    Mixture,
    Task,
)
from mixtures.estimators.structures import (
    MATRICES,
    as_array,
    check_positive,
    expected_statistics,
    family_of,
    precision_roots,
    scale_of,
    shape_of,
    squares,
)
from mixtures.families.normal import LOG_2PI
from mixtures.methods import em
from mixtures.model import Allocation, Family, Theta
from mixtures.rows import Moments

# A start of clusters too tight for the common coordinates has this share of the data's variance added to theirs.
WIDENING = 1e-6


class GaussianMixture(Mixture):
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
    - A component far tighter than the spread of the data keeps its digits (`mixtures.ascent.centred`). One that loses all
      its rows, or that collapses while ``reg_covar`` is 0, is an error that names it.
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
        **Mixture._parameter_constraints,
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
        return family_of(self.covariance_type, np.zeros(D), np.ones(D), None).n_free(K) + K - 1

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
            pi = given["weights"] = as_array(self.weights_init, (K,), "weights")
            if np.any(pi < 0) or np.any(pi > 1):
                raise ValueError(  # scikit-learn's words, in which the smallest stands for the largest
                    "The parameter 'weights' should be in the range [0, 1], "
                    f"but got max value {pi.min():.5f}, min value {pi.max():.5f}"
                )
            if not abs(1 - pi.sum()) <= (1e-6 if pi.dtype == np.float32 else 1e-8):
                raise ValueError(f"The parameter 'weights' should be normalized, but got sum(weights) = {pi.sum():.5f}")
        if self.means_init is not None:
            given["means"] = as_array(self.means_init, (K, D), "means")
        if self.precisions_init is not None:
            name = f"{structure} precision"
            precisions = as_array(self.precisions_init, shape_of(structure, K, D), name)
            check_positive(precisions, structure)
            given["covariances"] = 1 / precisions if structure not in MATRICES else np.linalg.inv(precisions)
        return given

    def _model(self, data: Moments) -> tuple[Family, Allocation]:
        """The family without a prior, which maximum likelihood does not ask for."""
        return family_of(self.covariance_type, *self._frame(data), None), Dirichlet.symmetric(self.n_components)

    def _climb(self, task: Task) -> End:
        try:
            return super()._climb(task)
        except CollapseError:
            if self.reg_covar == 0:
                raise
            return self._climb_centred(task)

    def _climb_centred(self, task: Task) -> End:
        """`_climb` for components too tight for common coordinates."""
        began = perf_counter()
        X, weights, data, *_ = task
        wide, allocation = self._model(data)
        family = family_of(self.covariance_type, data.mean, np.full_like(data.mean, np.sqrt(self.reg_covar)), None)
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
        return End(float(np.average(log_p, weights=weights)) * data.n, best.bound[:-1], best.converged)

    def _starts(self, task: Task, family: Family) -> np.ndarray:
        if task.last is not None or not self._given(task.X.shape[1]):
            return super()._starts(task, family)
        pi, means, covariances = self._begin(task, family)
        return expected_statistics(family, task.data.n * pi, self._theta(family, means, covariances))

    def _begin(self, task: Task, family: Family, widening: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
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
        return expected_statistics(family, data.n * self.weights_, self._theta(family, self.means_, self.covariances_))

    def _parameters(self, family: Family, allocation: Allocation, s: np.ndarray) -> dict[str, Any]:
        return self._attributes(family, allocation.maximum_likelihood(s[:, 0]), family.maximum_likelihood(s))

    def _attributes(self, family: Family, pi: np.ndarray, theta: Theta) -> dict[str, Any]:
        covariances = self._covariances(family, theta)
        roots = precision_roots(covariances, self.covariance_type)
        return {
            "weights_": pi,
            "means_": family.origin + family.unit * theta["means"],
            "covariances_": covariances,
            "precisions_cholesky_": roots,
            "precisions_": squares(roots, self.covariance_type),
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
        covariances = covariances / scale_of(family.unit, self.covariance_type)
        if self.covariance_type == "tied":
            covariances = np.repeat(covariances[..., None, :, :], means.shape[-2], axis=-3)
        name = "covariances" if self.covariance_type in MATRICES else "variances"
        return {"means": (means - family.origin) / family.unit, name: covariances}

    def _covariances(self, family: Family, theta: Theta) -> np.ndarray:
        """Covariances in the units of X, with the shape of the attribute."""
        covariances = theta["variances" if "variances" in theta else "covariances"]
        if self.covariance_type == "tied":
            covariances = covariances[..., 0, :, :]
        return covariances * scale_of(family.unit, self.covariance_type)

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


def _total(X: Any, sample_weight: Any) -> float:
    """Number of observations."""
    return float(_check_sample_weight(sample_weight, X, dtype=np.float64).sum())
