"""Variational Bayes for hidden Markov models with Gaussian states: the interface of hmmlearn's `VariationalGaussianHMM`."""

from __future__ import annotations

from dataclasses import replace
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import StrOptions

from mixtures import COVARIANCES
from mixtures.estimators.hmm import normal
from mixtures.estimators.hmm.base import Parameters, Problem
from mixtures.estimators.hmm.gaussian import GaussianStates
from mixtures.estimators.hmm.variational import VariationalHMM
from mixtures.estimators.structures import family_of, in_data_units
from mixtures.model import Family
from mixtures.rows.sequences import Sequences

# The hyperparameters of Gaussian states: m, beta, nu and W^-1.
NAMES = ("means", "beta", "dof", "scale")


class VariationalGaussianHMM(GaussianStates, VariationalHMM):
    """Hidden Markov model with Gaussian states by variational Bayes: `hmmlearn.vhmm.VariationalGaussianHMM`'s interface.

    CAVI under Dirichlet and Normal-Wishart priors (MacKay 1997; Beal 2003, section 3.4; Bishop, PRML, section 10.2) with
    quasi-Newton steps once it has become slow. Each covariance structure has its own conjugate prior; the model of a state is
    stated at the top of `mixtures.families`' files.

    Parameters
    ----------
    n_components : int, default=1
        K, the number of states.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        A matrix for each state, one matrix for all, a variance for each state and feature, or a variance for each state.
    startprob_prior : float or array-like of shape (n_components,), optional
    transmat_prior : float or array-like of shape (n_components, n_components), optional
        Concentrations; by default 1 / n_components.
    means_prior : array-like of shape (n_components, n_features), optional
        m0; by default the mean of X.
    beta_prior : array-like of shape (n_components,), optional
        beta0, the number of rows that the prior of a mean counts for; by default 1.
    dof_prior : array-like of shape (n_components,), or float for 'tied', optional
        nu0, more than n_features - 1, or more than 0 for 'diag' and 'spherical'; by default n_features.
    scale_prior : array-like, optional
        W0^-1 in squared units of X, so that E[Lambda] = nu0 W0, of shape (K, D, D), (D, D), (K, D) or (K,) for 'full', 'tied',
        'diag' and 'spherical'; by default 1e-3, or that on the diagonal.
    algorithm : {'viterbi', 'map'}, default='viterbi'
        How `decode` and `predict` choose states.
    random_state : int, RandomState instance or None, default=None
        Source of the starts and of `sample`.
    n_iter : int, default=100
        Steps at most; 0 leaves the posterior at its start.
    tol : float, default=1e-6
        The ascent has converged when a step raises the lower bound by no more than this, in nats over all rows.
    verbose : bool, default=False
        Whether the steps of the start that is kept are printed to the standard error, once the ascent has ended.
    params, init_params : str, default='stmc'
        Which posteriors of startprob, transmat, means (with beta) and covars (dof and scale) move, and which begin anew; one
        that does not begin anew begins as its prior and posterior are set.
    implementation : {'log', 'scaling'}, default='log'
        Accepted for hmmlearn's sake. The recursions are scaled, and done again in logarithms where that would underflow.
    n_init : int, optional
        How many starts to climb from, of which the one that ends highest is kept; by default six, fewer where a pass takes
        long. There is one where means are given.
    allow_missing : bool, default=False
        Whether rows may hold NaN, for values missing at random; they are integrated out. For 'diag' and 'spherical' every
        feature then has a beta of its own, and for 'diag' a dof.

    Attributes
    ----------
    startprob_prior_, startprob_posterior_ : ndarray of shape (n_components,)
    transmat_prior_, transmat_posterior_ : ndarray of shape (n_components, n_components)
        Concentrations of the Dirichlet priors and posteriors.
    means_prior_, means_posterior_ : ndarray of shape (n_components, n_features)
    beta_prior_, beta_posterior_ : ndarray of shape (n_components,)
    dof_prior_, dof_posterior_ : ndarray of shape (n_components,), or float for 'tied'
    scale_prior_, scale_posterior_ : ndarray, in the shapes of ``scale_prior``
        m, beta, nu and W^-1 of the priors and posteriors.
    startprob_, transmat_, means_ : ndarray
        Posterior means.
    covars_ : ndarray of shape (n_components, n_features, n_features)
        Inverses of the posterior mean of the precisions, W^-1 / nu.
    monitor_ : ConvergenceMonitor
        Its ``history`` is the lower bound on the log evidence after each step, in nats, every constant kept.
    n_collapsed_ : int
        How many starts were dropped.
    n_features : int
        D.

    Notes
    -----
    `score`, `decode` and `predict_proba` are those of the model at ``startprob_``, ``transmat_``, ``means_`` and ``covars_``,
    as in hmmlearn: a plug-in, not an average over the posterior. `as_fit` has that: ``as_fit().log_evidence(X, draws, rng)``.

    Differences from hmmlearn 0.3:

    - 'diag' and 'spherical' have Gamma priors in one dimension, Gamma(nu0 / 2, W0^-1 / 2); hmmlearn takes the expectations of
      'full' for all. So for 'spherical' the dof grow by N_k n_features, and the scale by the sum over features. With one
      feature there is no difference.
    - The lower bound has the constant -N D / 2 log 2 pi too, and is taken after a step. Neither running out of steps nor a fall
      is convergence.
    - With ``params`` that leave out means or covars, what moves is at its optimum given what does not.
    - There are several starts, from k-means or from pieces of the sequences that are alike.
    - `aic` and `bic` count the parameters of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import VariationalGaussianHMM
    >>> X = np.array([0.1, -0.2, 0.0, 5.1, 4.9, 5.2, 5.0, 0.2, -0.1, 0.1])[:, None]
    >>> model = VariationalGaussianHMM(n_components=2, random_state=0).fit(X)
    >>> np.sort(model.beta_posterior_).round()
    array([5., 7.])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **VariationalHMM._parameter_constraints,
        "covariance_type": [StrOptions(set(COVARIANCES))],
        "means_prior": [None, Real, "array-like"],
        "beta_prior": [None, Real, "array-like"],
        "dof_prior": [None, Real, "array-like"],
        "scale_prior": [None, Real, "array-like"],
    }
    _letters: ClassVar[dict[str, tuple[str, ...]]] = {
        "s": ("startprob_prior_", "startprob_posterior_"),
        "t": ("transmat_prior_", "transmat_posterior_"),
        "m": ("means_prior_", "means_posterior_", "beta_prior_", "beta_posterior_"),
        "c": ("dof_prior_", "dof_posterior_", "scale_prior_", "scale_posterior_"),
    }

    def __init__(
        self,
        n_components: int = 1,
        covariance_type: str = "full",
        startprob_prior: Any = None,
        transmat_prior: Any = None,
        means_prior: Any = None,
        beta_prior: Any = None,
        dof_prior: Any = None,
        scale_prior: Any = None,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 100,
        tol: float = 1e-6,
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
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.means_prior = means_prior
        self.beta_prior = beta_prior
        self.dof_prior = dof_prior
        self.scale_prior = scale_prior
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

    @property
    def means_(self) -> np.ndarray:
        """Posterior means of the states' means, ``means_posterior_``."""
        return self.means_posterior_

    @property
    def _dofs(self) -> tuple[int, ...]:
        return () if self.covariance_type == "tied" else (int(self.n_components),)

    @property
    def _scales(self) -> tuple[int, ...]:
        K, D = int(self.n_components), self.n_features
        return {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[self.covariance_type]

    def _prepare(self, x: Sequences, kept: frozenset[str]) -> None:
        super()._prepare(x, kept)
        K, D = int(self.n_components), self.n_features
        if "m" not in kept:
            m0 = self._prior_of("means_prior", 0.0, (K, D))
            if self.means_prior is None:
                m0 = np.repeat(self._frame(x)[0][None], K, axis=0)
            self._set({"means_prior_": m0, "beta_prior_": self._prior_of("beta_prior", 1.0, (K,))})
        if "c" not in kept:
            if self.covariance_type == "tied" and np.ndim(self.dof_prior if self.dof_prior is not None else 0):
                raise ValueError(f"dof_prior must be a number for 'tied', and has shape {np.shape(self.dof_prior)}")
            scale = self._prior_of("scale_prior", 1e-3, self._scales)
            if self._matrices and np.ndim(1e-3 if self.scale_prior is None else self.scale_prior) == 0:
                scale = scale * np.eye(D)
            self._set({"dof_prior_": self._prior_of("dof_prior", float(D), self._dofs), "scale_prior_": scale})

    def _check_given(self, kept: frozenset[str]) -> None:
        super()._check_given(kept)
        K, D = int(self.n_components), self.n_features
        wide = self.allow_missing and not self._matrices
        for part, given in (("prior", True), ("posterior", "m" in kept)):
            if given:
                self._positive(f"means_{part}_", (K, D), -np.inf)
                per_feature = wide and part == "posterior" and np.ndim(self.beta_posterior_) == 2
                self._positive(f"beta_{part}_", (K, D) if per_feature else (K,))
        least = D - 1 if self._matrices else 0
        for part, given in (("prior", True), ("posterior", "c" in kept)):
            if given:
                per_feature = wide and part == "posterior" and np.ndim(self.dof_posterior_) == 2
                self._positive(f"dof_{part}_", (K, D) if per_feature else self._dofs, least)
                scale = self._positive(f"scale_{part}_", self._scales, -np.inf if self._matrices else 0.0)
                normal.own_covariances(scale, self.covariance_type, K)

    def _family(self, x: Sequences) -> Family:
        return self._with_prior(family_of(self.covariance_type, *self._frame(x), None, self.allow_missing))

    def _with_prior(self, family: Family) -> Family:
        m0, beta0, nu0, W0_inv = (np.asarray(getattr(self, f"{name}_prior_"), dtype=float) for name in NAMES)
        return replace(family, prior=self._conjugate(family, m0, beta0, W0_inv, nu0))  # type: ignore[type-var]

    def _emissions(self, family: Family, s: np.ndarray, start: Any) -> Any:
        moving = {"m", "c"} if start is None else set(self.params) & {"m", "c"}
        if not moving:
            return start
        if moving == {"c"}:
            return normal.with_means(family, s, start.m, start.beta)
        q = family.posterior(s)
        return q if len(moving) == 2 else replace(start, m=q.m, beta=q.beta)

    def _divergence(self, family: Family, q: Any) -> np.ndarray:
        return normal.divergence(family, q)

    def _with_given(self, problem: Problem, q: Any) -> Any:
        if not problem.kept & {"m", "c"}:
            return q
        given = {
            name: np.asarray(getattr(self, f"{name}_posterior_"), dtype=float)
            for name in NAMES
            if ("m" if name in ("means", "beta") else "c") in problem.kept
        }
        shapes = {"means": (int(self.n_components), self.n_features), "beta": (int(self.n_components),)}
        shapes |= {"dof": self._dofs, "scale": self._scales}
        whole = {name: given.get(name, np.ones(shapes[name])) for name in NAMES}
        own = self._conjugate(problem.family, whole["means"], whole["beta"], whole["scale"], whole["dof"])
        fields = {"means": "m", "beta": "beta", "dof": "nu" if self._matrices else "a"}
        fields["scale"] = "W_inv" if self._matrices else "b"
        parts = {}
        for field in (fields[name] for name in given):
            value, wanted = getattr(own, field), getattr(q, field).shape
            value = value[..., None] if value.ndim < len(wanted) - 1 else value  # one number for all features
            parts[field] = np.broadcast_to(value, wanted).copy()
        return replace(q, **parts)

    def _emission_attributes(self, family: Family, q: Any) -> Parameters:
        nu, W_inv = (q.nu, q.W_inv) if self._matrices else (2 * q.a, 2 * q.b)
        scale = in_data_units(family, W_inv, self.covariance_type)
        return {
            "means_posterior_": family.points(q.m),
            "beta_posterior_": q.beta,
            "dof_posterior_": float(nu) if np.ndim(nu) == 0 else nu,
            "scale_posterior_": scale,
            "_covars_": scale / np.reshape(nu, np.shape(nu) + (1,) * (scale.ndim - np.ndim(nu))),
        }

    def _posterior(self) -> tuple[Family, Any]:
        family = self._with_prior(self._point()[0])
        m, beta, nu, W_inv = (np.asarray(getattr(self, f"{name}_posterior_"), dtype=float) for name in NAMES)
        return family, self._conjugate(family, m, beta, W_inv, nu)
