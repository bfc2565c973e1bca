"""EM for maximum likelihood with the interface of scikit-learn's `GaussianMixture`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import validate_data

from mixtures import COVARIANCES
from mixtures.ascent import centred
from mixtures.ascent.bulk import bulk_moments, bulk_of
from mixtures.ascent.whole import Described
from mixtures.chunks import Chunked
from mixtures.estimators.base import Mixture
from mixtures.estimators.chunked import scaled
from mixtures.estimators.course import Frame, Likewise, Task
from mixtures.estimators.predictions import Density
from mixtures.estimators.structures import (
    MATRICES,
    as_array,
    as_weights,
    check_positive,
    expected_statistics,
    family_of,
    in_data_units,
    precision_roots,
    shape_of,
    squares,
    theta_of,
    uniform,
)
from mixtures.families.collapse import SMALLEST_OF_LINKED
from mixtures.methods import em
from mixtures.model import Allocation, Family, Theta
from mixtures.rows.moments import Moments


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
        How many starts to climb from, each the best of six candidates after up to 50 steps, and from the best end moves
        to a higher one are tried (`mixtures.ascent.moves`); where X is large, of fewer, and of one without moves. The first
        candidate is where scikit-learn begins with the same ``random_state`` (of more than 100,000 rows, with a sample), and
        goes on beside the one ahead. There are no others once the first ones of all starts have converged in two steps, of
        random ones in ten. Of several ends the one with the highest ``lower_bound_`` is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        Where to begin: k-means; the rows nearest to each of K seeds far apart; random responsibilities; the rows nearest to
        each of K rows drawn at random.
    init : array-like, clusterer or Fit, optional
        One start, in the place of those by ``init_params``:

        - labels of shape (n_samples,), n_components different ones; rows of label -1 are noise and left out of the start;
        - responsibilities of shape (n_samples, n_components), whose rows sum to one;
        - means of shape (n_components, n_features), each row beginning in the nearest component;
        - a fitted clusterer or mixture, whose ``predict_proba``, ``predict`` or ``labels_`` for X is taken, such as
          `sklearn.cluster.KMeans`; one that is not fitted is cloned and fitted to X;
        - a `mixtures.Fit`.
    weights_init : array-like of shape (n_components,), optional
    means_init : array-like of shape (n_components, n_features), optional
    precisions_init : array-like, optional
        Parameters to begin from, in the place of those that ``init`` or ``init_params`` gives; precisions are inverse
        covariances, in the shape of ``covariances_``.
    random_state : int, RandomState instance or None, default=None
        Source of the starts and of `sample`.
    warm_start : bool, default=False
        Whether `fit` goes on from the last solution.
    verbose : int, default=0
        1 prints every ``verbose_interval``-th step of every start, 2 also bounds and time; once the ascent has ended, for the
        starts climb side by side.
    verbose_interval : int, default=10
    allow_missing : bool, default=False
        Whether rows may hold NaN, for values missing at random. They are integrated out, in `fit` and in whatever else takes
        rows; a row of which nothing was seen is kept, with the weights for its probabilities, and counts for no mean.

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
    - The fit depends on the columns' linear coordinates by ``reg_covar`` and by the starts, as scikit-learn's does. Where
      reg_covar is 0 and ``init`` gives the start, a linear map of the columns changes ``lower_bound_`` by log |det| alone.
    - Each start is the best of six short runs. The first begins where scikit-learn does with the same ``random_state``, unless
      rows have weights or fewer than two in three are distinct; the others are drawn from other random numbers, and every
      other run is a little blurred: each row gives every component a small share.
    - A component far tighter than the spread of the data keeps its digits (`mixtures.ascent.centred`), and rows far away, such
      as a code of 9999 for what is missing, take none from the others (`mixtures.ascent.bulk`). A component that loses all its
      rows, or that collapses while ``reg_covar`` is 0, is an error that names it.
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
    _of_density = ("covariance_type", "weights_", "means_", "precisions_cholesky_")
    _method = staticmethod(em.step)
    _go_on = staticmethod(centred.go_on)

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
        init: Any = None,
        weights_init: Any = None,
        means_init: Any = None,
        precisions_init: Any = None,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        allow_missing: bool = False,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.init = init
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.allow_missing = allow_missing

    @classmethod
    def from_parameters(
        cls, weights: Any, means: Any, covariances: Any, *, covariance_type: str = "full", **parameters: Any
    ) -> Self:
        """A mixture with these parameters, ready to predict, score and sample; with ``warm_start``, `fit` goes on from them.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Of at least 0, summing to one.
        means : array-like of shape (n_components, n_features)
            Of a data frame, the columns become the names of the features.
        covariances : array-like
            (K, D, D), (D, D), (K, D) or (K,) for 'full', 'tied', 'diag' and 'spherical'.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        **parameters
            Of the class, such as ``random_state``, the source of `sample`.

        Raises
        ------
        ValueError
            If a shape does not fit, the weights do not sum to one, or a covariance is not positive definite.

        Examples
        --------
        >>> from mixtures import GaussianMixture
        >>> mixture = GaussianMixture.from_parameters([0.5, 0.5], [[0.0], [4.0]], [1.0, 1.0], covariance_type="spherical")
        >>> mixture.predict([[0.5], [3.0]])
        array([0, 1])
        """
        mixture = cls(covariance_type=covariance_type, **parameters)
        if not isinstance(covariance_type, str) or covariance_type not in COVARIANCES:
            raise ValueError(f"covariance_type is {covariance_type!r}; expected one of {', '.join(COVARIANCES)}")
        mixture._validate_params()
        mu = validate_data(mixture, means, dtype=np.float64)
        (K, D), mixture.n_components = mu.shape, len(mu)
        if parameters.get("n_components", K) != K:
            raise ValueError(f"n_components is {parameters['n_components']}, and there are {K} means")
        pi = as_weights(weights, K)
        name = f"{covariance_type} covariance"
        shape = shape_of(covariance_type, K, D)
        if np.ndim(covariances) == 0:
            raise ValueError(f"The parameter '{name}s' should have the shape of {shape}, but got one value")
        Sigma = as_array(covariances, shape, f"{name}s").astype(np.float64)
        check_positive(Sigma, name)
        if covariance_type in MATRICES:
            Sigma = (Sigma + Sigma.swapaxes(-1, -2)) / 2
        unit = np.eye(D) if covariance_type in MATRICES else np.ones(D)
        family = family_of(covariance_type, np.zeros(D), unit, None)
        with np.errstate(all="ignore"):
            found = mixture._of_covariances(family, pi / pi.sum(), mu, Sigma)
        if not all(np.all(np.isfinite(value)) for value in found.values()):
            raise ValueError(f"the inverse of a {name} is too large for a number; rescale the features")
        mixture._store(found)
        return mixture

    def _of_bulk(self, X: Any, weights: np.ndarray | None, data: Moments) -> Moments:
        """Those of the rows that are far from the others in no feature."""
        if not np.isfinite(data.squares).all():
            return data
        bulk, read = bulk_of(X, data.low, data.high), partial(self._moments, gaps=data.seen is not None)
        return bulk_moments(X, weights, bulk, read) or data

    def _observations(self, weights: Any) -> Any:
        """The weights scaled to a mean of one, for their scale does not matter."""
        if isinstance(weights, Chunked):
            return scaled(weights)
        weights = weights / weights.max()
        return weights / weights.mean()

    def _bound_unit(self, n: float) -> float:
        return n

    def _check_parameters(self, data: Moments) -> None:
        self._given(len(data.mean))

    def _given(self, D: int) -> dict[str, np.ndarray]:
        """Those of the weights, means and roots of precisions to begin from that were given."""
        K, structure = int(self.n_components), self.covariance_type
        given = {}
        if self.weights_init is not None:
            given["weights"] = as_weights(self.weights_init, K)
        if self.means_init is not None:
            given["means"] = as_array(self.means_init, (K, D), "means")
        if self.precisions_init is not None:
            name = f"{structure} precision"
            precisions = as_array(self.precisions_init, shape_of(structure, K, D), name)
            check_positive(precisions, name)
            given["roots"] = np.linalg.cholesky(precisions) if structure in MATRICES else np.sqrt(precisions)
        return given

    def _model(self, frame: Frame) -> tuple[Family, Allocation]:
        """The family without a prior, which maximum likelihood does not ask for."""
        family: Any = family_of(self.covariance_type, frame.origin, frame.unit, None, frame.missing)
        if family.linked:
            family = replace(family, least=SMALLEST_OF_LINKED)
        return family, uniform(int(self.n_components))

    def _anew(self, task: Task) -> bool:
        return super()._anew(task) and not self._given(task.X.shape[1])

    def _starts(self, task: Task, family: Family, alike: Likewise | None = None) -> np.ndarray:
        if not self._given(task.X.shape[1]):
            return super()._starts(task, family, alike)
        pi, means, roots = self._begin(task, family)
        return expected_statistics(family, task.data.n * pi, self._theta(family, means, roots))

    def _begin(self, task: Task, family: Family) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights (R, K), means (R, K, D) and roots of precisions (R, ...) to begin from, in the units of X."""
        if task.last is not None:
            return self.weights_[None], self.means_[None], self.precisions_cholesky_[None]
        start = {name: value[None] for name, value in self._given(task.X.shape[1]).items()}
        if len(start) < 3:
            s = self._guesses(task, family, int(self.n_components))
            theta = family.maximum_likelihood(s)
            guess = {
                "weights": s[..., 0] / s[..., 0].sum(-1, keepdims=True),
                "means": family.points(theta["means"]),
                "roots": precision_roots(family, self._covariances(theta), self.covariance_type),
            }
            start = guess | {name: np.repeat(value, len(s), axis=0) for name, value in start.items()}
        return start["weights"], start["means"], start["roots"]

    def _last(self, data: Moments, frame: Frame) -> np.ndarray:
        family, _ = self._model(frame)
        theta = self._theta(family, self.means_, self.precisions_cholesky_)
        return expected_statistics(family, data.n * self.weights_, theta)

    def _parameters(
        self, family: Family, allocation: Allocation, s: np.ndarray, described: Described | None = None
    ) -> dict[str, Any]:
        if described:
            return {
                "weights_": allocation.maximum_likelihood(s[:, 0]),
                "means_": described.means,
                "covariances_": described.covariances,
                "precisions_cholesky_": described.roots,
                "precisions_": described.precisions,
            }
        return self._attributes(family, allocation.maximum_likelihood(s[:, 0]), family.maximum_likelihood(s))

    def _attributes(self, family: Family, pi: np.ndarray, theta: Theta) -> dict[str, Any]:
        return self._of_covariances(family, pi, theta["means"], self._covariances(theta))

    def _of_covariances(
        self, family: Family, pi: np.ndarray, means: np.ndarray, covariances: np.ndarray
    ) -> dict[str, Any]:
        """The attributes from parameters in the family's coordinates, with the shapes of the attributes."""
        roots = precision_roots(family, covariances, self.covariance_type)
        return {
            "weights_": pi,
            "means_": family.points(means),
            "covariances_": in_data_units(family, covariances, self.covariance_type),
            "precisions_cholesky_": roots,
            "precisions_": squares(roots, self.covariance_type),
        }

    def _settle(self, kind: np.dtype) -> None:
        if kind == np.float64:
            return
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

    def _theta(self, family: Family, means: np.ndarray, roots: np.ndarray) -> Theta:
        """Parameters in the family's coordinates from means and roots of precisions, with the shapes of the attributes."""
        return theta_of(family, means, roots, self.covariance_type)

    def _covariances(self, theta: Theta) -> np.ndarray:
        """The covariances of theta, with the shape of the attribute."""
        covariances = theta["variances" if "variances" in theta else "covariances"]
        return covariances[..., 0, :, :] if self.covariance_type == "tied" else covariances

    def _spread(self, s: np.ndarray, K: int) -> np.ndarray:
        """Clusters beyond the distinct rows begin as copies of others."""
        return s[:, np.arange(K) % s.shape[1]]

    def _log_joint(self) -> Density:
        return self._at_parameters()

    _log_rho = _log_joint

    def _source(self) -> np.random.RandomState:
        return check_random_state(self.random_state)

    def _draw(self, counts: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
        K, D = self.means_.shape
        covariances = (
            np.broadcast_to(self.covariances_, (K, D, D)) if self.covariance_type == "tied" else self.covariances_
        )
        if self.covariance_type in MATRICES:
            parts = [
                rng.multivariate_normal(mu, Sigma, int(count))
                for mu, Sigma, count in zip(self.means_, covariances, counts, strict=True)
            ]
        else:
            parts = [
                mu + rng.standard_normal((count, D)) * np.sqrt(variance)
                for mu, variance, count in zip(self.means_, covariances, counts, strict=True)
            ]
        return np.concatenate(parts).astype(np.float64, copy=False)
