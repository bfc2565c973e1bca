"""EM for hidden Markov models with Gaussian states, with the interface of hmmlearn's `GaussianHMM`."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from mixtures import COVARIANCES
from mixtures.ascent.whole import Whole, whole_chain
from mixtures.checks import as_numbers
from mixtures.engines.passes import blur, noise
from mixtures.estimators.hmm import normal
from mixtures.estimators.hmm.base import HiddenMarkov, Parameters, Problem
from mixtures.estimators.hmm.likelihood import LikelihoodHMM
from mixtures.estimators.priors import CONJUGATE
from mixtures.estimators.structures import MATRICES, blurred_root, family_of, in_data_units, scale_of
from mixtures.families.collapse import refuse_empty
from mixtures.families.scaling import dependent
from mixtures.model import Family, Theta
from mixtures.rows.moments import moments, seen_moments
from mixtures.rows.sequences import Sequences


class GaussianStates(HiddenMarkov):
    """What models with Gaussian states share: covariances, and coordinates that suit the data or the states."""

    covariance_type: str
    n_features: int
    _emitted = ("means_", "_covars_")

    @property
    def covars_(self) -> np.ndarray:
        """A covariance matrix for each state, (n_components, n_features, n_features), whatever their structure."""
        if "_covars_" not in self.__dict__:
            raise AttributeError("covars_ are not set, and the model is not fitted")
        D = np.shape(self.means_)[-1] if hasattr(self, "means_") else getattr(self, "n_features", 1)
        return normal.whole_covariances(self._covars_, self.covariance_type, self.n_components, D)

    @covars_.setter
    def covars_(self, covars: Any) -> None:
        self._covars_ = normal.own_covariances(covars, self._structure(), self.n_components)

    def _structure(self) -> str:
        if self.covariance_type not in COVARIANCES:
            raise ValueError(f"covariance_type is {self.covariance_type!r}; expected one of {', '.join(COVARIANCES)}")
        return self.covariance_type

    def _check_data(self, x: Sequences) -> None:
        self.n_features = x.shape[1]

    def _n_parameters(self) -> dict[str, int]:
        K, D = int(self.n_components), self.n_features
        family = family_of(self.covariance_type, np.zeros(D), np.eye(D) if self._matrices else np.ones(D), None)
        return {"s": K - 1, "t": K * (K - 1), "m": K * D, "c": family.n_free(K) - K * D}

    @property
    def _matrices(self) -> bool:
        return self.covariance_type in MATRICES

    def _frame(self, x: Sequences) -> tuple[np.ndarray, np.ndarray]:
        """Origin and unit of coordinates that suit the data; where their covariance is singular, that of rows with noise."""
        matrices = self._matrices and not self.allow_missing
        data = seen_moments(x.x) if self.allow_missing else moments(x.x, root=matrices)
        with np.errstate(invalid="ignore"):
            variance = data.squares / data.n
        if not np.all(np.isfinite(variance)):
            feature = int(np.argmax(~np.isfinite(variance)))
            raise ValueError(f"the variance of feature {feature} is too large for a number; rescale it")
        noise = variance[variance > 0].mean() * 1e-6 if np.any(variance > 0) else 1.0
        if matrices:
            return data.mean, blurred_root(data, noise if dependent(data) else 0.0)
        if self.covariance_type == "spherical":
            variance = np.full_like(variance, variance.mean())
        unit = np.sqrt(np.where(variance > 0, variance, noise))
        return data.mean, np.diag(unit) if self._matrices else unit

    def _point(self) -> tuple[Family, Theta]:
        K, mu = int(self.n_components), np.asarray(self.means_, dtype=float)
        if mu.ndim != 2 or len(mu) != K or not np.all(np.isfinite(mu)):
            raise ValueError(f"means_ must be numbers of shape ({K}, n_features), and have {mu.shape}")
        own, D = normal.own_covariances(self._covars_, self._structure(), K), mu.shape[1]
        if own.ndim > 1 and own.shape[-1] != D:
            raise ValueError(f"covars_ are of {own.shape[-1]} features, and means_ of {D}")
        Sigma = normal.whole_covariances(own, self.covariance_type, K, D)
        variance = np.diagonal(Sigma, axis1=1, axis2=2).mean(0)
        if self.covariance_type == "spherical":
            variance = np.full_like(variance, variance.mean())
        unit = np.diag(np.sqrt(variance)) if self._matrices else np.sqrt(variance)
        family = family_of(self.covariance_type, mu.mean(0), unit, None, self.allow_missing)
        return family, {"means": mu, "covariances": Sigma}

    def _given_means(self, kept: frozenset[str]) -> np.ndarray | None:
        return np.asarray(self.means_, dtype=float) if "m" in kept else None

    def _compiled(self, problem: Problem) -> Whole | None:
        """Where every parameter moves, no transition is kept at zero, and the states have one prior."""
        if not set(self._letters) <= set(self.params) or self._closed(problem.kept).any():
            return None
        bayes = self._method == "cavi"
        prior = normal.of_each_state(problem.family, bayes)
        if prior is None:
            return None
        return whole_chain(self._update(problem, None), problem.x, problem.family, problem.allocation, bayes, prior)

    def _conjugate(self, family: Family, m: np.ndarray, beta: np.ndarray, W_inv: np.ndarray, nu: np.ndarray) -> Any:
        """The prior or posterior in the coordinates z, from locations and scales in the units of x."""
        make, m = CONJUGATE[self.covariance_type], family.coordinates(m)
        if self._matrices:
            return make(m, beta, family.reduce_matrix(W_inv), nu)
        return make(m, beta, nu / 2, W_inv / scale_of(family.unit, self.covariance_type) / 2)


class GaussianHMM(LikelihoodHMM, GaussianStates):
    """Hidden Markov model with Gaussian states, with the interface of `hmmlearn.hmm.GaussianHMM`.

    Fitted by EM (Baum-Welch; Bishop, PRML, section 13.2.1) with quasi-Newton steps once it has become slow, at the mode of the
    likelihood times

        Dirichlet(pi | startprob_prior) prod_j Dirichlet(A_j | transmat_prior)
        prod_k |Lambda_k|^(e/2) exp(-1/2 tr(C Lambda_k) - w/2 (mu_k - m)^T Lambda_k (mu_k - m))

    with m, w, C the ``means_prior``, ``means_weight`` and ``covars_prior``, and e = max(covars_weight - n_features, 0), or for
    'diag' and 'spherical' max(covars_weight - 1, 0) in each feature. So Sigma_k = (C + w (mu_k - m)(mu_k - m)^T + scatter) /
    (e + N_k).

    Parameters
    ----------
    n_components : int, default=1
        K, the number of states.
    covariance_type : {'diag', 'full', 'tied', 'spherical'}, default='diag'
        A variance for each state and feature, a matrix for each state, one matrix for all, or a variance for each state.
    min_covar : float, default=1e-3
        Variance of noise added to a start from which no step can be taken, as where a state begins on one row and there is no
        ``covars_prior``.
    startprob_prior : float or array-like of shape (n_components,), default=1
    transmat_prior : float or array-like of shape (n_components, n_components), default=1
        Concentrations of the Dirichlet priors, at least 1; at 1 they are flat.
    means_prior : float or array-like of shape (n_features,) or (n_components, n_features), default=0
    means_weight : float or array-like of shape (n_components,), default=0
    covars_prior : float or array-like, default=1e-2
        C, in squared units of X: a number times the identity; of shape (n_components,), a number for each state; or of the
        shape of the covariances.
    covars_weight : float, default=1
    algorithm : {'viterbi', 'map'}, default='viterbi'
        How `decode` and `predict` choose states.
    random_state : int, RandomState instance or None, default=None
        Source of the starts and of `sample`.
    n_iter : int, default=10
        Steps at most; 0 leaves the parameters at their start.
    tol : float, default=1e-2
        The ascent has converged when a step raises the objective by no more than this, in nats over all rows.
    verbose : bool, default=False
        Whether the steps of the start that is kept are printed to the standard error, once the ascent has ended.
    params, init_params : str, default='stmc'
        Which of startprob, transmat, means and covars move, and which begin anew; one that does not begin anew begins as it
        is set.
    implementation : {'log', 'scaling'}, default='log'
        Accepted for hmmlearn's sake. The recursions are scaled, and done again in logarithms where that would underflow.
    n_init : int, optional
        How many starts to climb from, of which the one that ends highest is kept; by default six, fewer where a pass takes
        long. There is one where means are given.
    allow_missing : bool, default=False
        Whether rows may hold NaN, for values missing at random; they are integrated out, and a row of which nothing was seen
        only takes its time.

    Attributes
    ----------
    startprob_ : ndarray of shape (n_components,)
    transmat_ : ndarray of shape (n_components, n_components)
        Row j: probabilities of the states after state j.
    means_ : ndarray of shape (n_components, n_features)
    covars_ : ndarray of shape (n_components, n_features, n_features)
        A matrix for each state, whatever the structure. It may be set in the structure's own shape too: (K,), (K, D),
        (K, D, D) or (D, D) for 'spherical', 'diag', 'full' and 'tied'.
    monitor_ : ConvergenceMonitor
        Its ``history`` is the objective after each step, in nats: log likelihood and log prior without its constants.
    n_collapsed_ : int
        How many starts were dropped because a state lost its rows or its variance.
    n_features : int
        D.

    Notes
    -----
    Differences from hmmlearn 0.3:

    - A state that loses its rows ends the start, which is dropped and counted; where none is left, the error names the state.
      There are no NaN, no rows of zeros in ``transmat_`` (a state that is never left goes to all states alike), and so nothing
      that `score` refuses afterwards.
    - Starts have means, covariances and transitions from k-means, or from pieces of the sequences that are alike, and there are
      several; hmmlearn's has means alone, random transitions and one covariance for all.
    - The objective includes the prior, so that it rises in every step, and the history is taken after a step, not before.
      Running out of steps, or a fall, is not convergence.
    - A number as ``covars_prior`` stands for that multiple of the identity, not for a matrix filled with it, and one for each
      state is not taken for one for each feature.
    - ``min_covar`` is not added to every start. It is no floor, there or here.
    - With ``params`` that leave out 'm', covariances are about the means as they are; hmmlearn then counts no rows.
    - ``covars_`` of 'spherical' has K matrices after a fit too, and can be given to another model as it is.
    - With ``init_params`` that leave out 's' or 't', zeros in ``startprob_`` or ``transmat_`` are kept as exact zeros, also
      where a path through them would have the higher density.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import GaussianHMM
    >>> X = np.array([0.1, -0.2, 0.0, 5.1, 4.9, 5.2, 5.0, 0.2, -0.1, 0.1])[:, None]
    >>> model = GaussianHMM(n_components=2, n_iter=100, random_state=0).fit(X)
    >>> np.sort(model.means_[:, 0]).round(2)
    array([0.02, 5.05])
    >>> model.predict(X) == model.predict(X)[0]
    array([ True,  True,  True, False, False, False, False,  True,  True,
            True])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **LikelihoodHMM._parameter_constraints,
        "covariance_type": [StrOptions(set(COVARIANCES))],
        "min_covar": [Interval(Real, 0.0, None, closed="left")],
        "means_prior": [Real, "array-like"],
        "means_weight": [Real, "array-like"],
        "covars_prior": [Real, "array-like"],
        "covars_weight": [Interval(Real, 0.0, None, closed="left")],
    }
    _letters: ClassVar[dict[str, tuple[str, ...]]] = {
        "s": ("startprob_",),
        "t": ("transmat_",),
        "m": ("means_",),
        "c": ("_covars_",),
    }

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "diag",
        min_covar: float = 1e-3,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        means_prior: Any = 0,
        means_weight: Any = 0,
        covars_prior: Any = 1e-2,
        covars_weight: float = 1,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stmc",
        init_params: str = "stmc",
        implementation: str = "log",
        *,
        n_init: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.min_covar = min_covar
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.means_prior = means_prior
        self.means_weight = means_weight
        self.covars_prior = covars_prior
        self.covars_weight = covars_weight
        self.algorithm = algorithm
        self.random_state = random_state
        self.n_iter = n_iter
        self.tol = tol
        self.verbose = verbose
        self.params = params
        self.init_params = init_params
        self.implementation = implementation
        self.n_init = n_init
        self.allow_missing = allow_missing

    def _check_given(self, kept: frozenset[str]) -> None:
        super()._check_given(kept)
        K, D = int(self.n_components), self.n_features
        if "m" in kept and np.shape(self.means_) != (K, D):
            raise ValueError(f"means_ must have shape {(K, D)}, and have {np.shape(self.means_)}")
        if "c" in kept and self.covars_.shape != (K, D, D):
            raise ValueError(f"covars_ must be of {D} features, and have shape {self.covars_.shape}")

    def _family(self, x: Sequences) -> Family:
        origin, unit = self._frame(x)
        bare = family_of(self.covariance_type, origin, unit, None, self.allow_missing)
        K, D = int(self.n_components), x.shape[1]
        m = self._spread("means_prior", (K, D))
        beta = self._spread("means_weight", (K,))
        C = self._covars_prior(K, D)
        weight = float(self.covars_weight)
        nu: Any
        if self.covariance_type == "full":
            nu = np.full(K, D + max(weight - D, 0))
        elif self.covariance_type == "tied":
            nu = np.asarray(D + 1 - K + max(weight - D, 0))
        elif self.covariance_type == "diag":
            nu = np.full(K, max(weight, 1.0))
        else:
            nu = np.full(K, 2 - D + D * max(weight - 1, 0.0))
        return replace(bare, prior=self._conjugate(bare, m, beta, C, nu))  # type: ignore[type-var]

    def _spread(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A prior's numbers, one for all or in this shape."""
        values = as_numbers(name, getattr(self, name))
        if not np.all(np.isfinite(values)):
            raise ValueError(f"{name} has missing or infinite values")
        if name != "means_prior" and np.any(values < 0):
            raise ValueError(f"{name} holds {values.min():g}; expected at least 0")
        try:
            return np.broadcast_to(values, shape).copy()
        except ValueError:
            raise ValueError(f"{name} must be a number or have shape {shape}, and has {values.shape}") from None

    def _covars_prior(self, K: int, D: int) -> np.ndarray:
        """C in the structure's own shape; of 'spherical' it counts in every feature."""
        C = as_numbers("covars_prior", self.covars_prior)
        if not np.all(np.isfinite(C)) or np.any(C < 0 if C.ndim < 2 or self.covariance_type == "diag" else False):
            raise ValueError(f"covars_prior holds {C.min():g}; expected at least 0")
        structure = self.covariance_type
        if C.ndim == 1 and C.shape != (K,):
            raise ValueError(f"covars_prior of one axis must have shape {(K,)}, one number a state, and has {C.shape}")
        if structure == "spherical":
            if C.ndim > 1:
                raise ValueError(f"covars_prior must be a number or have shape {(K,)}, and has {C.shape}")
            return D * np.broadcast_to(C, (K,))
        if structure == "diag":
            return np.broadcast_to(C[:, None] if C.ndim == 1 else C, (K, D)).copy()
        if structure == "tied":
            if C.ndim == 1:
                raise ValueError(f"covars_prior must be a number or have shape {(D, D)}, and has {C.shape}")
            C = C * np.eye(D) if C.ndim == 0 else C
            wanted: tuple[int, ...] = (D, D)
        else:
            C = C[..., None, None] * np.eye(D) if C.ndim < 2 else C
            wanted = (K, D, D)
        if C.shape[-2:] != (D, D) or C.ndim > len(wanted) or (C.ndim == 3 and len(C) != K):
            raise ValueError(f"covars_prior must be a number or have shape {wanted}, and has {C.shape}")
        if not np.allclose(C, C.swapaxes(-1, -2)) or np.linalg.eigvalsh(C).min() < -1e-12 * np.abs(C).max():
            raise ValueError("covars_prior must be symmetric and have no negative eigenvalue")
        return np.broadcast_to(C, wanted).copy()

    def _blurred(self, family: Family, s: np.ndarray) -> np.ndarray:
        return blur(s, noise(family, self.min_covar))

    def _emissions(self, family: Family, s: np.ndarray, start: Theta | None) -> Theta:
        moving = {"m", "c"} if start is None else set(self.params) & {"m", "c"}
        if start is not None and not moving:
            return start
        prior: Any = family.prior  # type: ignore[attr-defined]
        if np.any(prior.beta == 0) or "m" not in moving:
            refuse_empty(s[..., family.count_of].min(-1))
        if start is None or len(moving) == 2:
            return normal.mode_given(family, family.posterior(s))
        if "m" in moving:
            return start | {"means": normal.means_given(family, s)}
        return normal.mode_given(family, normal.with_means(family, s, start["means"], prior.beta))

    def _log_prior(self, family: Family, theta: Theta) -> np.ndarray:
        return normal.log_prior(family, theta)

    def _with_given(self, problem: Problem, theta: Theta) -> Theta:
        K, D = int(self.n_components), self.n_features
        clusters = problem.family.to_data(theta)
        if "m" in problem.kept:
            clusters["means"] = np.broadcast_to(np.asarray(self.means_, dtype=float), clusters["means"].shape)
        if "c" in problem.kept:
            Sigma = normal.whole_covariances(self._covars_, self.covariance_type, K, D)
            clusters["covariances"] = np.broadcast_to(Sigma, clusters["covariances"].shape)
        return problem.family.from_data_units(clusters) if problem.kept & {"m", "c"} else theta

    def _emission_attributes(self, family: Family, theta: Theta) -> Parameters:
        covariances = theta["variances" if "variances" in theta else "covariances"]
        own = covariances[0] if self.covariance_type == "tied" else covariances
        return {
            "means_": family.points(theta["means"]),
            "_covars_": in_data_units(family, own, self.covariance_type),
        }
