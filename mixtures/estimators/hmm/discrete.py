"""EM for hidden Markov models of categories and of counts, with the interface of hmmlearn's classes."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.special import xlogy
from sklearn.utils._param_validation import Interval

from mixtures.checks import as_numbers
from mixtures.estimators.hmm.base import HiddenMarkov, Parameters
from mixtures.estimators.hmm.likelihood import LikelihoodHMM
from mixtures.families.categorical import Categorical, DirichletProduct
from mixtures.families.collapse import refuse_empty
from mixtures.families.discrete import refuse_fractions
from mixtures.families.poisson import COUNT, Gamma, Poisson
from mixtures.model import Family, Theta
from mixtures.rows.sequences import Sequences


class CategoricalStates(HiddenMarkov):
    """What models with categorical states share: symbols, and how many there are."""

    n_features: int | None
    emissionprob_: np.ndarray
    _emitted = ("emissionprob_",)

    def _check_data(self, x: Sequences) -> None:
        self._check_symbols(x)
        if self.n_features is None:
            self.n_features = int(np.nanmax(x.x)) + 1 if np.any(~np.isnan(x.x)) else 1

    def _check_symbols(self, x: Sequences) -> None:
        if x.shape[1] != 1:
            raise ValueError(f"X has {x.shape[1]} columns; expected one of symbols, shape (n_samples, 1)")
        most = np.inf if self.n_features is None else self.n_features - 1
        what = "a symbol, a whole number of at least 0" + ("" if self.n_features is None else f" and at most {most}")
        refuse_fractions(x.x, most, what, missing=self.allow_missing)

    def _rows(self, X: Any, lengths: Any, *, reset: bool) -> Sequences:
        x = super()._rows(X, lengths, reset=reset)
        if not reset:
            self._check_symbols(x)
        return x

    def _n_parameters(self) -> dict[str, int]:
        K = int(self.n_components)
        symbols = self.emissionprob_.shape[1] if self.n_features is None else self.n_features
        return {"s": K - 1, "t": K * (K - 1), "e": K * (symbols - 1)}

    def _point(self) -> tuple[Family, Theta]:
        K, L = int(self.n_components), self.n_features
        p = np.atleast_2d(np.asarray(self.emissionprob_, dtype=float))
        mu = self._probabilities("emissionprob_", (K, p.shape[-1] if L is None else L))
        return self._symbols(mu.shape[1], 1.0), {"probabilities": mu[:, None]}

    def _symbols(self, levels: int, alpha: Any) -> Categorical:
        """The family of so many symbols with the concentrations alpha, a number or (K, levels)."""
        prior = DirichletProduct(np.broadcast_to(alpha, (*np.shape(alpha)[:-1], levels)).astype(float))
        return Categorical(prior, (levels,), missing=self.allow_missing)


class CategoricalHMM(CategoricalStates, LikelihoodHMM):
    """Hidden Markov model of symbols, with the interface of `hmmlearn.hmm.CategoricalHMM`.

    Fitted by EM (Baum-Welch; Bishop, PRML, section 13.2.1) with quasi-Newton steps once it has become slow, at maximum
    likelihood or, where concentrations are above 1, at the posterior mode under Dirichlet priors.

    Parameters
    ----------
    n_components : int, default=1
        K, the number of states.
    startprob_prior : float or array-like of shape (n_components,), default=1
    transmat_prior : float or array-like of shape (n_components, n_components), default=1
    emissionprob_prior : float or array-like of shape (n_components, n_features), default=1
        Concentrations of the Dirichlet priors, at least 1; at 1 they are flat.
    n_features : int, optional
        Number of symbols, which are 0, 1, ...; by default one more than the largest of X, and kept from then on.
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
    params, init_params : str, default='ste'
        Which of startprob, transmat and emissionprob move, and which begin anew; one that does not begin anew begins as it is
        set.
    implementation : {'log', 'scaling'}, default='log'
        Accepted for hmmlearn's sake. The recursions are scaled, and done again in logarithms where that would underflow.
    n_init : int, optional
        How many starts to climb from, of which the one that ends highest is kept; by default six, fewer where a pass takes
        long.
    allow_missing : bool, default=False
        Whether X may hold NaN, for symbols missing at random: such a row only takes its time.

    Attributes
    ----------
    startprob_ : ndarray of shape (n_components,)
    transmat_ : ndarray of shape (n_components, n_components)
        Row j: probabilities of the states after state j.
    emissionprob_ : ndarray of shape (n_components, n_features)
        Row k: probabilities of the symbols in state k.
    monitor_ : ConvergenceMonitor
        Its ``history`` is the objective after each step, in nats: log likelihood and log prior without its constants.
    n_collapsed_ : int
        How many starts were dropped because a state lost its rows.
    n_features : int

    Notes
    -----
    Differences from hmmlearn 0.3:

    - X is of shape (n_samples, 1). Whole numbers are symbols whatever their type.
    - A state that loses its rows ends the start, which is dropped and counted. There are no NaN, and no rows of zeros in
      ``transmat_`` or ``emissionprob_``.
    - There are several starts, from rows or from pieces of the sequences that are alike, or at random where there are fewer
      symbols than states.
    - The objective includes the prior, so that it rises in every step, and the history is taken after a step, not before.
      Running out of steps, or a fall, is not convergence.
    - A symbol that is impossible under the parameters has the likelihood 0, without a warning of divisions.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import CategoricalHMM
    >>> model = CategoricalHMM(n_components=2)
    >>> model.startprob_, model.transmat_ = np.array([0.6, 0.4]), np.array([[0.7, 0.3], [0.4, 0.6]])
    >>> model.emissionprob_ = np.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])
    >>> log_prob, states = model.decode([[0], [1], [2]])
    >>> round(np.exp(log_prob), 5), states
    (np.float64(0.01344), array([1, 0, 0]))
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **LikelihoodHMM._parameter_constraints,
        "emissionprob_prior": [Real, "array-like"],
        "n_features": [None, Interval(Integral, 1, None, closed="left")],
    }
    _letters: ClassVar[dict[str, tuple[str, ...]]] = {
        "s": ("startprob_",),
        "t": ("transmat_",),
        "e": ("emissionprob_",),
    }

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        *,
        emissionprob_prior: Any = 1.0,
        n_features: int | None = None,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "ste",
        init_params: str = "ste",
        implementation: str = "log",
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

    def _check_given(self, kept: frozenset[str]) -> None:
        super()._check_given(kept)
        if "e" in kept:
            self._probabilities("emissionprob_", (int(self.n_components), int(self.n_features or 0)))

    def _family(self, x: Sequences) -> Family:
        levels = int(self.n_features or 1)
        return self._symbols(levels, self._concentrations("emissionprob_prior", (int(self.n_components), levels)))

    def _emissions(self, family: Family, s: np.ndarray, start: Theta | None) -> Theta:
        if start is not None and "e" not in self.params:
            return start
        if np.all(family.prior.alpha == 1):  # type: ignore[attr-defined]
            refuse_empty(s[..., 0])
        return family.mode(s)

    def _log_prior(self, family: Family, theta: Theta) -> np.ndarray:
        return xlogy(family.prior.alpha - 1, theta["probabilities"][..., 0, :]).sum((-2, -1))  # type: ignore[attr-defined]

    def _emission_attributes(self, family: Family, theta: Theta) -> Parameters:
        return {"emissionprob_": theta["probabilities"][:, 0].copy()}


class PoissonHMM(LikelihoodHMM):
    """Hidden Markov model of counts, with the interface of `hmmlearn.hmm.PoissonHMM`.

    Fitted by EM (Baum-Welch; Bishop, PRML, section 13.2.1) with quasi-Newton steps once it has become slow, at maximum
    likelihood or, where a prior is given, at the mode of the posterior density of pi, A and the logarithms of the rates. So
    lambda_kd = (a + sum of the counts) / (b + N_k) with a, b the ``lambdas_prior`` and ``lambdas_weight``.

    Parameters
    ----------
    n_components : int, default=1
        K, the number of states.
    startprob_prior : float or array-like of shape (n_components,), default=1
    transmat_prior : float or array-like of shape (n_components, n_components), default=1
        Concentrations of the Dirichlet priors, at least 1; at 1 they are flat.
    lambdas_prior, lambdas_weight : float or array-like of shape (n_components, n_features), default=0
        Shape a and rate b of the Gamma prior of every rate: pseudo-counts in so many pseudo-rows. At 0 there is none.
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
    params, init_params : str, default='stl'
        Which of startprob, transmat and lambdas move, and which begin anew; one that does not begin anew begins as it is set.
    implementation : {'log', 'scaling'}, default='log'
        Accepted for hmmlearn's sake. The recursions are scaled, and done again in logarithms where that would underflow.
    n_init : int, optional
        How many starts to climb from, of which the one that ends highest is kept; by default six, fewer where a pass takes
        long.
    allow_missing : bool, default=False
        Whether X may hold NaN, for counts missing at random.

    Attributes
    ----------
    startprob_ : ndarray of shape (n_components,)
    transmat_ : ndarray of shape (n_components, n_components)
        Row j: probabilities of the states after state j.
    lambdas_ : ndarray of shape (n_components, n_features)
        Expected counts in every state.
    monitor_ : ConvergenceMonitor
        Its ``history`` is the objective after each step, in nats: log likelihood and log prior without its constants.
    n_collapsed_ : int
        How many starts were dropped because a state lost its rows.
    n_features : int
        D.

    Notes
    -----
    Differences from hmmlearn 0.3:

    - A prior weighs against the rows of its own state; hmmlearn holds it against the rows of all states together.
    - A state that loses its rows ends the start, which is dropped and counted. There are no NaN, and no rows of zeros in
      ``transmat_``.
    - There are several starts, from rows or from pieces of the sequences that are alike; hmmlearn draws rates at random.
    - The objective includes the prior, so that it rises in every step, and the history is taken after a step, not before.
      Running out of steps, or a fall, is not convergence.

    Examples
    --------
    >>> import numpy as np
    >>> from mixtures import PoissonHMM
    >>> X = np.array([1, 0, 2, 1, 9, 12, 8, 11, 1, 0, 1, 2])[:, None]
    >>> model = PoissonHMM(n_components=2, n_iter=100, random_state=0).fit(X)
    >>> np.sort(model.lambdas_[:, 0]).round()
    array([ 1., 10.])
    """

    _parameter_constraints: ClassVar[dict[str, list]] = {
        **LikelihoodHMM._parameter_constraints,
        "lambdas_prior": [Real, "array-like"],
        "lambdas_weight": [Real, "array-like"],
    }
    _letters: ClassVar[dict[str, tuple[str, ...]]] = {"s": ("startprob_",), "t": ("transmat_",), "l": ("lambdas_",)}
    _emitted = ("lambdas_",)

    def __init__(
        self,
        n_components: int = 1,
        startprob_prior: Any = 1.0,
        transmat_prior: Any = 1.0,
        lambdas_prior: Any = 0.0,
        lambdas_weight: Any = 0.0,
        algorithm: str = "viterbi",
        random_state: Any = None,
        n_iter: int = 10,
        tol: float = 1e-2,
        verbose: bool = False,
        params: str = "stl",
        init_params: str = "stl",
        implementation: str = "log",
        *,
        n_init: int | None = None,
        allow_missing: bool = False,
    ) -> None:
        self.n_components = n_components
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.lambdas_prior = lambdas_prior
        self.lambdas_weight = lambdas_weight
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

    def _check_data(self, x: Sequences) -> None:
        refuse_fractions(x.x, np.inf, COUNT, missing=self.allow_missing)
        self.n_features = x.shape[1]

    def _check_given(self, kept: frozenset[str]) -> None:
        super()._check_given(kept)
        if "l" in kept:
            self._rates((int(self.n_components), int(self.n_features or 0)))

    def _rates(self, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """The rates that are set, (K, D)."""
        rates = np.atleast_2d(np.asarray(self.lambdas_, dtype=float))
        expected = shape or (int(self.n_components), rates.shape[-1])
        if rates.shape != expected or rates.shape[1] == 0:
            raise ValueError(f"lambdas_ must have shape ({self.n_components}, n_features), and have {rates.shape}")
        if not np.all((rates >= 0) & np.isfinite(rates)):
            raise ValueError(f"lambdas_ hold {rates.min():g}; expected rates, at least 0")
        return rates

    def _n_parameters(self) -> dict[str, int]:
        K = int(self.n_components)
        D = len(np.atleast_2d(self.lambdas_)[0]) if self.n_features is None else self.n_features
        return {"s": K - 1, "t": K * (K - 1), "l": K * D}

    def _point(self) -> tuple[Family, Theta]:
        rates = self._rates()
        return self._counts(np.ones_like(rates), np.ones_like(rates)), {"rates": rates}

    def _counts(self, a: np.ndarray, b: np.ndarray) -> Poisson:
        return Poisson(Gamma(a, b), missing=self.allow_missing)

    def _family(self, x: Sequences) -> Family:
        shape = (int(self.n_components), x.shape[1])
        prior = []
        for name in ("lambdas_prior", "lambdas_weight"):
            values = as_numbers(name, getattr(self, name))
            if values.shape == shape[:1] and shape[0] != shape[1]:
                values = values[:, None]
            if not np.all(np.isfinite(values) & (values >= 0)):
                raise ValueError(f"{name} holds {values.min():g}; expected at least 0")
            if values.shape not in ((), shape, (shape[0], 1), shape[1:]):
                raise ValueError(f"{name} must be a number or have shape {shape}, and has {values.shape}")
            prior.append(np.broadcast_to(values, shape).copy())
        return self._counts(
            prior[0] + 1, prior[1]
        )  # the mode in log lambda under (a, b) is that in lambda under (a + 1, b)

    def _emissions(self, family: Family, s: np.ndarray, start: Theta | None) -> Theta:
        if start is not None and "l" not in self.params:
            return start
        if np.any(family.prior.b == 0):  # type: ignore[attr-defined]
            refuse_empty(s[..., family.count_of].min(-1))
        return family.mode(s)

    def _log_prior(self, family: Family, theta: Theta) -> np.ndarray:
        prior: Any = family.prior  # type: ignore[attr-defined]
        return (xlogy(prior.a - 1, theta["rates"]) - prior.b * theta["rates"]).sum((-2, -1))

    def _emission_attributes(self, family: Family, theta: Theta) -> Parameters:
        return {"lambdas_": theta["rates"].copy()}
