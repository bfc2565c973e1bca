"""Variational Bayes for hidden Markov models of symbols, with the interface of hmmlearn's `VariationalCategoricalHMM`."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.utils._param_validation import Interval

from mixtures.estimators.hmm.base import Parameters, Problem
from mixtures.estimators.hmm.discrete import CategoricalStates
from mixtures.estimators.hmm.variational import VariationalHMM
from mixtures.families.categorical import DirichletProduct
from mixtures.model import Family
from mixtures.rows.sequences import Sequences


class VariationalCategoricalHMM(CategoricalStates, VariationalHMM):
    """Hidden Markov model of symbols by variational Bayes, with the interface of `hmmlearn.vhmm.VariationalCategoricalHMM`.

    CAVI under Dirichlet priors (MacKay 1997; Beal 2003, *Variational Algorithms for Approximate Bayesian Inference*, section
    3.4) with quasi-Newton steps once it has become slow.

    Parameters
    ----------
    n_components : int, default=1
        K, the number of states.
    startprob_prior : float or array-like of shape (n_components,), optional
    transmat_prior : float or array-like of shape (n_components, n_components), optional
        Concentrations; by default 1 / n_components.
    emissionprob_prior : float or array-like of shape (n_components, n_features), optional
        Concentrations; by default 1 / n_features.
    n_features : int, optional
        Number of symbols, which are 0, 1, ...; by default one more than the largest of X, and kept from then on.
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
    params, init_params : str, default='ste'
        Which posteriors of startprob, transmat and emissionprob move, and which begin anew; one that does not begin anew begins
        as its prior and posterior are set.
    implementation : {'log', 'scaling'}, default='log'
        Accepted for hmmlearn's sake. The recursions are scaled, and done again in logarithms where that would underflow.
    n_init : int, optional
        How many starts to climb from, of which the one that ends highest is kept; by default six, fewer where a pass takes
        long.
    allow_missing : bool, default=False
        Whether X may hold NaN, for symbols missing at random: such a row only takes its time.

    Attributes
    ----------
    startprob_prior_, startprob_posterior_ : ndarray of shape (n_components,)
    transmat_prior_, transmat_posterior_ : ndarray of shape (n_components, n_components)
    emissionprob_prior_, emissionprob_posterior_ : ndarray of shape (n_components, n_features)
        Concentrations of the Dirichlet priors and posteriors.
    startprob_, transmat_, emissionprob_ : ndarray
        Their posterior means.
    monitor_ : ConvergenceMonitor
        Its ``history`` is the lower bound on the log evidence after each step, in nats, every constant kept.
    n_collapsed_ : int
        How many starts were dropped.
    n_features : int

    Notes
    -----
    `score`, `decode` and `predict_proba` are those of the model at the posterior means, as in hmmlearn: a plug-in, not an
    average over the posterior. `as_fit` has that: ``as_fit().log_evidence(X, draws, rng)``.

    Differences from hmmlearn 0.3: several starts; the bound is taken after a step, and neither running out of steps nor a fall
    is convergence; `aic` and `bic` count the parameters of the model.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import VariationalCategoricalHMM
    >>> X = np.tile([0, 1, 2], 20)[:, None]
    >>> model = VariationalCategoricalHMM(n_components=3, random_state=0).fit(X)
    >>> np.sort(model.emissionprob_.max(axis=1)).round(2)
    array([0.97, 0.97, 0.97])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **VariationalHMM._parameter_constraints,
        "emissionprob_prior": [None, Real, "array-like"],
        "n_features": [None, Interval(Integral, 1, None, closed="left")],
    }
    _letters: ClassVar[dict[str, tuple[str, ...]]] = {
        "s": ("startprob_prior_", "startprob_posterior_"),
        "t": ("transmat_prior_", "transmat_posterior_"),
        "e": ("emissionprob_prior_", "emissionprob_posterior_"),
    }

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = None,
        transmat_prior: Any = None,
        emissionprob_prior: Any = None,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 100,
        tol: float = 1e-6,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
        *,
        n_init: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        self.n_components = n_components
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.emissionprob_prior = emissionprob_prior
        self.n_features = n_features
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
    def _shape(self) -> tuple[int, int]:
        return int(self.n_components), int(self.n_features or 1)

    def _prepare(self, x: Sequences, kept: frozenset[str]) -> None:
        super()._prepare(x, kept)
        if "e" not in kept:
            prior = self._prior_of("emissionprob_prior", 1 / self._shape[1], self._shape)
            self._set({"emissionprob_prior_": prior})

    def _check_given(self, kept: frozenset[str]) -> None:
        super()._check_given(kept)
        self._positive("emissionprob_prior_", self._shape)
        if "e" in kept:
            self._positive("emissionprob_posterior_", self._shape)

    def _family(self, x: Sequences) -> Family:
        return self._symbols(self._shape[1], np.asarray(self.emissionprob_prior_, dtype=float))

    def _emissions(self, family: Family, s: np.ndarray, start: Any) -> Any:
        return start if start is not None and "e" not in self.params else family.posterior(s)

    def _divergence(self, family: Family, q: Any) -> np.ndarray:
        counts = q.alpha - family.prior.alpha  # type: ignore[attr-defined]
        s = np.concatenate([counts.sum(-1, keepdims=True), counts], axis=-1)
        return (s * family.expected_natural(q)).sum((-2, -1)) - family.log_marginal(s)

    def _with_given(self, problem: Problem, q: Any) -> Any:
        if "e" not in problem.kept:
            return q
        given = np.asarray(self.emissionprob_posterior_, dtype=float)
        return DirichletProduct(np.broadcast_to(given, q.alpha.shape).copy())

    def _emission_attributes(self, family: Family, q: Any) -> Parameters:
        mean = q.alpha / q.alpha.sum(-1, keepdims=True)
        return {"emissionprob_posterior_": q.alpha.copy(), "emissionprob_": mean}

    def _posterior(self) -> tuple[Family, Any]:
        family = self._symbols(self._shape[1], np.asarray(self.emissionprob_prior_, dtype=float))
        return family, DirichletProduct(np.asarray(self.emissionprob_posterior_, dtype=float))
