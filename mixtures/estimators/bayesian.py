"""CAVI under conjugate priors with the interface of scikit-learn's `BayesianGaussianMixture`."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from mixtures.allocations.stick_breaking import Sticks
from mixtures.ascent.states import SOFTENING
from mixtures.ascent.whole import Described
from mixtures.engines.responsibilities import fold
from mixtures.estimators.course import Frame
from mixtures.estimators.densities import BLOCK_ELEMENTS, LOWEST, Densities, draw_predictive, predictive, roots_of
from mixtures.estimators.predictions import Density
from mixtures.estimators.priors import UnderPrior
from mixtures.estimators.randomness import generator
from mixtures.estimators.structures import (
    MATRICES,
    from_roots,
    gather,
    in_data_units,
    precision_roots,
    squares,
)
from mixtures.families.gaps import per_feature
from mixtures.families.symmetric import outer
from mixtures.methods import cavi
from mixtures.model import Allocation, Family
from mixtures.rows.moments import Moments, root_of

# Tells the random numbers of `sample` from others of the same seed.
SAMPLE = 1


class BayesianGaussianMixture(UnderPrior):
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

        - labels of shape (n_samples,), n_components different ones or fewer; rows of label -1 are noise and left out of the
          start;
        - responsibilities of shape (n_samples, n_components), or fewer columns, whose rows sum to one;
        - means of shape (n_components, n_features), or fewer rows, each row of X beginning in the nearest component;
        - a fitted clusterer or mixture, whose ``predict_proba``, ``predict`` or ``labels_`` for X is taken, such as
          `sklearn.cluster.KMeans`; one that is not fitted is cloned and fitted to X;
        - a `mixtures.Fit`.

        Components keep the order of the start; those beyond it begin almost empty.
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
    allow_missing : bool, default=False
        Whether rows may hold NaN, for values missing at random. They are integrated out, in `fit` and in whatever else takes
        rows; a row of which nothing was seen is kept, with the weights for its probabilities. See `mixtures.engines.missing`
        for what a variational posterior makes of them.

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
    - The fit depends on the columns' linear coordinates by ``reg_covar``, by the starts, and by rounding of covariance_prior,
      which is in the units of X; of nearly dependent columns `mixtures.methods.cavi` has a prior in all their digits.
    - Each start is the best of six short runs. The first begins where scikit-learn does with the same ``random_state``, unless
      rows have weights or fewer than two in three are distinct; the others are drawn from other random numbers, and every
      other run is a little blurred: each row gives every component a small share.
      Under the process prior, in which weights fall with k, the largest cluster of these others comes first.
    - ``sample_weight`` counts rows: twice the weights are twice the evidence.
    - The posterior is in float64 whatever the type of X.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import BayesianGaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [4, 2], [12, 4], [10, 7]])
    >>> mixture = BayesianGaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.weights_.round(1)
    array([0.6, 0.4])
    >>> mixture.predict([[0, 0], [9, 3]])
    array([0, 1])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **UnderPrior._parameter_constraints,
        "weight_concentration_prior_type": [StrOptions({"dirichlet_process", "dirichlet_distribution"})],
        "weight_concentration_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_precision_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "mean_prior": [None, "array-like"],
        "degrees_of_freedom_prior": [None, Interval(Real, 0.0, None, closed="neither")],
        "covariance_prior": [None, "array-like", Interval(Real, 0.0, None, closed="neither")],
    }
    _of_density = (
        *("covariance_type", "weight_concentration_prior_type", "n_components", "weights_", "means_", "covariances_"),
        *("precisions_cholesky_", "weight_concentration_", "mean_precision_", "degrees_of_freedom_"),
    )
    _kind_of = ("covariance_type", "weight_concentration_prior_type")
    _method = staticmethod(cavi.step)
    _spare = True

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
        init: Any = None,
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
        self.allow_missing = allow_missing

    def sample_parameters(self, n_draws: int = 1, random_state: Any = None) -> dict[str, np.ndarray]:
        """Independent draws of the parameters from the fitted posterior q, for intervals of them or of what follows from them.

        Parameters
        ----------
        n_draws : int, default=1
        random_state : int, RandomState instance or None, default=None
            By default that of the estimator.

        Returns
        -------
        dict of ndarray
            ``weights`` (n_draws, K), ``means`` (n_draws, K, D) and ``covariances`` (n_draws, K, D, D), whatever their
            structure.
        """
        check_is_fitted(self)
        self._refuse_other_kind()
        if n_draws < 1:
            raise ValueError(f"n_draws is {n_draws}; expected at least 1")
        rng = generator(check_random_state(self.random_state if random_state is None else random_state))
        family, allocation = self._fitted()
        q_pi, q = self._posterior(family)
        theta = family.to_data(family.sample(q, n_draws, rng))
        return {"weights": allocation.sample(q_pi, n_draws, rng)} | {
            name: theta[name] for name in ("means", "covariances")
        }

    def _observations(self, weights: Any) -> Any:
        return weights

    def _bound_unit(self, n: float) -> float:
        return 1.0

    def _model(self, frame: Frame) -> tuple[Family, Allocation]:
        return self._family(*frame), self._allocation()

    def _in_order(self, s: np.ndarray) -> np.ndarray:
        """The largest component first, which stick-breaking makes the likelier the earlier it comes."""
        if not self._process:
            return s
        return np.take_along_axis(s, np.argsort(-s[..., 0], axis=1, kind="stable")[..., None], axis=1)

    def _spread(self, s: np.ndarray, K: int) -> np.ndarray:
        """Clusters beyond the distinct rows begin with a small even share of all rows."""
        spare = np.repeat(s.sum(1, keepdims=True), K - s.shape[1], axis=1)
        return np.concatenate([(1 - SOFTENING) * s, SOFTENING / spare.shape[1] * spare], axis=1)

    def _parameters(
        self, family: Family, allocation: Allocation, s: np.ndarray, described: Described | None = None
    ) -> dict[str, Any]:
        q_pi = allocation.posterior(s[:, 0])
        labels = {
            "weights_": allocation.mean(q_pi),
            "weight_concentration_": (np.append(q_pi.a, 1 + s[-1, 0]), np.append(q_pi.b, 0.0))
            if self._process
            else q_pi,
        }
        if described:
            return labels | {
                "mean_precision_": described.beta,
                "means_": described.means,
                "degrees_of_freedom_": described.dof[-1] if self.covariance_type == "tied" else described.dof,
                "covariances_": described.covariances,
                "precisions_cholesky_": described.roots,
                "precisions_": described.precisions,
            }
        q = family.posterior(s)
        W_inv, nu = (q.W_inv, q.nu) if hasattr(q, "nu") else (2 * q.b, 2 * q.a)
        covariances = W_inv / _along(nu, W_inv)
        roots = precision_roots(family, covariances, self.covariance_type)
        return labels | {
            "mean_precision_": q.beta,
            "means_": family.points(q.m),
            "degrees_of_freedom_": nu,
            "covariances_": in_data_units(family, covariances, self.covariance_type),
            "precisions_cholesky_": roots,
            "precisions_": squares(roots, self.covariance_type),
        }

    def _posterior(self, family: Family) -> tuple[Any, Any]:
        """q(pi) and q(theta) in the family's coordinates, from the attributes."""
        nu = np.asarray(self.degrees_of_freedom_)
        covariances = from_roots(family, self.precisions_cholesky_, self.covariance_type)
        m, W_inv = family.coordinates(self.means_), covariances * _along(nu, covariances)
        return self._labels(), self._conjugate(m, self.mean_precision_, W_inv, nu)

    def _labels(self) -> Any:
        """q(pi) from the attributes."""
        if not self._process:
            return self.weight_concentration_
        a, b = self.weight_concentration_
        return Sticks(a[:-1], b[:-1], np.arange(len(a)))

    def _fitted(self) -> tuple[Family, Allocation]:
        """The model in coordinates that suit the fitted components."""
        if self.allow_missing:
            return self._family(*self._by_features(), True), self._allocation()
        D = self.means_.shape[1]
        if self.covariance_type in MATRICES:
            unit = root_of(np.linalg.inv(self.precisions_cholesky_).reshape(-1, D))
        else:
            unit = np.sqrt(self.covariances_.reshape(len(self.covariances_), -1).mean(0)) * np.ones(D)
        return self._family(self.weights_ @ self.means_, unit, False), self._allocation()

    def _last(self, data: Moments, frame: Frame) -> np.ndarray:
        """The statistics whose posterior the attributes are, under the prior of the last fit."""
        family: Any = self._family(*frame)
        p = family.prior
        _, q = self._posterior(family)
        seen = np.maximum(q.beta - p.beta, 0)
        N = seen
        if seen.ndim == 2:  # of every feature
            concentration = self.weight_concentration_
            N = concentration[0] - 1 if self._process else concentration - float(self.weight_concentration_prior_)
        beta = per_feature(q.beta, q.m)
        first = beta * q.m - p.beta[..., None] * p.m
        second = beta[..., None] * outer(q.m) - p.beta[..., None, None] * outer(p.m)
        scatter = q.W_inv - p.W_inv if hasattr(q, "nu") else 2 * (q.b - p.b)
        K, D = q.m.shape
        scatter = {"tied": scatter / K, "spherical": scatter / D}.get(self.covariance_type, scatter)
        if self.covariance_type not in MATRICES:
            scatter = scatter.reshape(K, -1, 1) * np.eye(D)
        return gather(family, N, first, second + scatter, seen if seen.ndim == 2 else None)

    def _log_rho(self) -> Density:
        family, allocation = self._fitted()
        q_pi, q = self._posterior(family)
        eta = fold(allocation.expected_natural(q_pi), family.expected_natural(q))
        if self.allow_missing:
            log_pi = allocation.natural(allocation.mean(q_pi))
            return lambda x: np.where(np.isnan(x).all(1)[:, None], log_pi, self._with_gaps(x, family, eta))
        K, D = self.means_.shape
        at_means = (eta * family.features(self.means_)).sum(-1)
        return Densities(at_means, self.means_, roots_of(self.precisions_cholesky_, self.covariance_type, K, D))

    def _log_joint(self) -> Density:
        (K, D), allocation = self.means_.shape, self._allocation()
        log_pi = allocation.natural(allocation.mean(self._labels()))
        if not self.allow_missing:
            roots = roots_of(self.precisions_cholesky_, self.covariance_type, K, D)
            nu = self.degrees_of_freedom_
            return predictive(log_pi, self.means_, roots, self.mean_precision_, nu, self.covariance_type)
        family, _ = self._fitted()
        _, q = self._posterior(family)

        def log_joint(x: np.ndarray) -> np.ndarray:
            with np.errstate(over="ignore"):
                return np.maximum(log_pi + family.log_predictive(x, q), LOWEST)

        return log_joint

    def _source(self) -> np.random.Generator:
        seed = self.random_state
        if seed is None:
            words: Any = Words()
            return np.random.Generator(np.random.SFC64(words))
        if not isinstance(seed, Integral):
            seed = check_random_state(seed).tomaxint()
        return np.random.Generator(np.random.SFC64([int(seed), SAMPLE]))

    def _draw(self, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Each row from a component drawn for it from the posterior, or at once from what that comes to."""
        if np.ndim(self.mean_precision_) == 1:
            (K, D), structure = self.means_.shape, self.covariance_type
            roots, beta = roots_of(self.precisions_cholesky_, structure, K, D), np.asarray(self.mean_precision_, float)
            means, nu = np.asarray(self.means_, float), np.asarray(self.degrees_of_freedom_, float)
            return draw_predictive(counts, means, roots, beta, nu, structure, rng)
        family, _ = self._fitted()
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


class Words(ISeedSequence):
    """Words of NumPy's global random numbers, with which a generator begins at once: to mix a seed takes longer."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """So many of them."""
        return check_random_state(None).tomaxint(n_words).astype(dtype)


def _along(nu: np.ndarray, a: np.ndarray) -> np.ndarray:
    """nu with axes of length one for what ``a`` has beyond it."""
    return nu.reshape(nu.shape + (1,) * (a.ndim - nu.ndim))
