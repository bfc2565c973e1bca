"""What the hidden Markov models with hmmlearn's interface share: the course of a fit, states, scores and samples."""

from __future__ import annotations

import string
import warnings
from abc import ABCMeta, abstractmethod
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from mixtures.allocations.markov import Markov
from mixtures.allocations.stationary import stationary
from mixtures.ascent.candidates import candidates
from mixtures.ascent.climb import Runs, climb
from mixtures.ascent.states import absorbing
from mixtures.ascent.whole import Whole
from mixtures.checks import check_count
from mixtures.engines import sequences
from mixtures.engines.passes import Pass, log_base, one_pass
from mixtures.errors import stamped, unstamped
from mixtures.estimators.hmm.monitor import ConvergenceMonitor
from mixtures.estimators.hmm.starting import Followed, Update, beginnings, follow, usable
from mixtures.estimators.randomness import generator
from mixtures.model import Family, Theta
from mixtures.rows.arrays import refuse_unseen, unmasked
from mixtures.rows.sequences import Sequences
from mixtures.sequences import SequenceFit, chain, given

# How far from 1 probabilities that a user sets may add up to, as hmmlearn has it.
SUM = 1e-5

NOT_CONVERGED = "the ascent had not converged after n_iter={} steps; raise n_iter or tol"

Parameters = dict[str, Any]


class Problem(NamedTuple):
    """What a fit climbs: the data, the model with its priors, the letters of parameters that are given, random numbers."""

    x: Sequences
    family: Family
    allocation: Markov
    kept: frozenset[str]
    rng: np.random.Generator


class HiddenMarkov(BaseEstimator, metaclass=ABCMeta):
    """What the hidden Markov models share; see the classes."""

    _parameter_constraints: ClassVar[dict[str, list]] = {
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "algorithm": [StrOptions({"viterbi", "map"})],
        "random_state": ["random_state"],
        "n_iter": [Interval(Integral, 0, None, closed="left")],
        "tol": [Interval(Real, None, None, closed="neither")],
        "verbose": ["verbose"],
        "params": [str],
        "init_params": [str],
        "implementation": [StrOptions({"log", "scaling"})],
        "n_init": [None, Interval(Integral, 1, None, closed="left")],
        "allow_missing": ["boolean"],
    }
    _letters: ClassVar[dict[str, tuple[str, ...]]]
    """By the letter of ``params``, the attributes that hold the parameter."""
    _emitted: ClassVar[tuple[str, ...]]
    """The attributes that the densities of the states follow from."""
    _method: ClassVar[str]

    n_components: int
    n_features: int | None
    startprob_: np.ndarray
    transmat_: np.ndarray

    def _set(self, parameters: Parameters) -> None:
        """Set parameters as attributes, and remember that no user did."""
        own = self.__dict__.setdefault("_own", {})
        for name, value in parameters.items():
            setattr(self, name, value)
            own[name] = self.__dict__.get(name)

    @property
    def monitor_(self) -> ConvergenceMonitor:
        """The objective of the last fit, step by step; one that a user sets decides when the next fit ends."""
        if "_monitor" not in self.__dict__:
            self._monitor = ConvergenceMonitor(self.tol, self.n_iter, self.verbose)
        return self._monitor

    @monitor_.setter
    def monitor_(self, monitor: ConvergenceMonitor) -> None:
        self._monitor = monitor

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, lengths: Any = None) -> Self:
        """Fit the model to one sequence, or to several.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The sequences one after another.
        lengths : array-like of shape (n_sequences,), optional
            Number of rows of each sequence; by default there is one.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If X, the lengths or a parameter are not usable, or every start lost a state (`mixtures.CollapseError`).

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If the ascent was still climbing after ``n_iter`` steps.
        UserWarning
            If a parameter that the user has set is overwritten, or there are fewer values than parameters.
        """
        self._check_letters()
        x = self._rows(X, lengths, reset=True)
        refuse_unseen(x.x)
        self._check_data(x)
        kept = self._kept()
        self._prepare(x, kept)
        self._check_given(kept)
        self._warn_of_few(x)
        rng = generator(check_random_state(self.random_state))
        problem = Problem(x, self._family(x), self._allocation(), kept, rng)
        compiled = self._compiled(problem) if type(self.monitor_) is ConvergenceMonitor else None
        update, self.n_collapsed_ = self._begin(problem, compiled)
        if self.n_iter == 0:
            self._set(self._attributes(problem, update.first))
            self._monitored([])
            return self
        pass_ = compiled or self._pass(problem)
        _, s = pass_(update.eta())
        found = self._follow(problem, update, pass_, s, compiled)
        self.n_collapsed_ += found.lost
        self._set(self._attributes(problem, update.of(found.number).parameters(found.runs.s)))
        self._monitored(found.runs.bounds(0).tolist())
        if not (self.monitor_.converged or found.runs.converged[0]):
            warnings.warn(NOT_CONVERGED.format(self.n_iter), ConvergenceWarning, stacklevel=3)
        return self

    def score_samples(self, X: Any, lengths: Any = None) -> tuple[float, np.ndarray]:
        """The log likelihood of X in nats, and the smoothed probability of every state in every row.

        Parameters
        ----------
        X, lengths
            See `fit`.

        Returns
        -------
        log_prob : float
            Minus infinity where X is impossible.
        posteriors : ndarray of shape (n_samples, n_components)
        """
        logs, edges = self._logs(X, lengths)
        return float(sequences.filtered(*logs, edges)[1].sum()), sequences.smoothed(*logs, edges)[0]

    def score(self, X: Any, lengths: Any = None) -> float:
        """The log likelihood of X in nats; see `score_samples`."""
        logs, edges = self._logs(X, lengths)
        return float(sequences.filtered(*logs, edges)[1].sum())

    def predict_proba(self, X: Any, lengths: Any = None) -> np.ndarray:
        """The smoothed probability of every state in every row, shape (n_samples, n_components)."""
        logs, edges = self._logs(X, lengths)
        return sequences.smoothed(*logs, edges)[0]

    def decode(self, X: Any, lengths: Any = None, algorithm: str | None = None) -> tuple[float, np.ndarray]:
        """A state for every row.

        Parameters
        ----------
        X, lengths
            See `fit`.
        algorithm : {'viterbi', 'map'}, optional
            The most probable path, or the most probable state of each row; by default that of the constructor.

        Returns
        -------
        log_prob : float
            Log joint density of X and these states in nats, summed over the sequences. Unlike in hmmlearn it is that for 'map'
            too, and minus infinity where the states form a path that has probability zero.
        state_sequence : ndarray of shape (n_samples,)
        """
        algorithm = self.algorithm if algorithm is None else algorithm
        if not isinstance(algorithm, str) or algorithm not in ("viterbi", "map"):
            raise ValueError(f"Unknown decoder {algorithm!r}; expected viterbi or map")
        logs, edges = self._logs(X, lengths)
        (log_rho,), (log_pi,), (log_A,) = logs
        if algorithm == "viterbi":
            states, log_joint = sequences.viterbi(log_rho, log_pi, log_A, edges)
            return float(log_joint.sum()), states
        states = sequences.smoothed(*logs, edges)[0].argmax(1)
        steps = log_A[np.roll(states, 1), states]
        steps[edges[:-1]] = log_pi[states[edges[:-1]]]
        return float((steps + log_rho[np.arange(len(states)), states]).sum()), states

    def predict(self, X: Any, lengths: Any = None) -> np.ndarray:
        """The states that `decode` finds, shape (n_samples,)."""
        return self.decode(X, lengths)[1]

    def sample(
        self, n_samples: int = 1, random_state: Any = None, currstate: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """A random sequence of the model at its parameters.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState instance or None, default=None
            By default that of the estimator.
        currstate : int, optional
            State of the first row; by default it is drawn.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
        state_sequence : ndarray of shape (n_samples,)
        """
        check_count("n_samples", n_samples, 2, "row")  # a state and a value at least
        rng = generator(check_random_state(self.random_state if random_state is None else random_state))
        fit = self._at_parameters()
        weights = fit.held.weights[0, 0].copy()
        if currstate is not None:
            weights[:, 0] = np.arange(self.n_components) == currstate if np.ndim(currstate) == 0 else False
            if not weights[:, 0].any():
                raise ValueError(f"currstate is {currstate}; expected a state, 0 to {self.n_components - 1}")
        z = chain(weights, n_samples, rng)
        x = fit.family.simulate({name: value[0, 0] for name, value in fit.held.theta.items()}, z, rng)
        return x if fit.family.gaussian else x.astype(int), z

    def get_stationary_distribution(self) -> np.ndarray:
        """The distribution of states that ``transmat_`` leaves as it is, shape (n_components,).

        Raises
        ------
        ValueError
            If the states fall apart into several groups that never meet, and so have many.
        """
        check_is_fitted(self, "transmat_")
        return stationary(self._probabilities("transmat_", (self.n_components, self.n_components)))

    def aic(self, X: Any, lengths: Any = None) -> float:
        """Akaike's information criterion, -2 L + 2 p in nats; the smaller, the better (Akaike 1974)."""
        return -2 * self.score(X, lengths) + 2 * sum(self._n_parameters().values())

    def bic(self, X: Any, lengths: Any = None) -> float:
        """The Bayesian information criterion, -2 L + p log(n_samples); the smaller, the better (Schwarz 1978)."""
        return -2 * self.score(X, lengths) + sum(self._n_parameters().values()) * float(np.log(len(X)))

    def as_fit(self) -> SequenceFit:
        """The fitted model as `mixtures.sequences.SequenceFit`: filtered probabilities, forecasts, evidence, simulation."""
        fit = self._as_fit()
        return replace(fit, bound=np.array(self.monitor_.history), converged=self.monitor_.converged)

    def __getstate__(self) -> dict[str, Any]:
        """What is saved: every attribute, and the version of this package."""
        return stamped(super().__getstate__())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take what was saved, with a warning where another version saved it."""
        super().__setstate__(unstamped(state, type(self).__name__))

    def __sklearn_tags__(self) -> Any:
        """Of the input: NaN is taken where ``allow_missing`` is set."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = bool(self.allow_missing)
        return tags

    def _check_letters(self) -> None:
        """Refuse letters that stand for no parameter; hmmlearn's default of all letters stands for all."""
        for name in ("params", "init_params"):
            letters = getattr(self, name)
            unknown = set(letters) - set(self._letters)
            if unknown and letters != string.ascii_letters:
                raise ValueError(f"{name} is {letters!r}; expected letters among {''.join(self._letters)!r}")

    def _kept(self) -> frozenset[str]:
        """Letters of the parameters that begin as they are set; warns of those that a user has set, and that are not kept."""
        kept = set()
        for letter, names in self._letters.items():
            if letter not in self.init_params and all(hasattr(self, name) for name in names):
                kept.add(letter)
            own = self.__dict__.get("_own", {})
            for name in names:
                mine = self.__dict__.get(name)
                if letter in self.init_params and mine is not None and own.get(name) is not mine:
                    warnings.warn(
                        f"{name.strip('_')}_ is set, but will be overwritten, for init_params contains {letter!r}",
                        UserWarning,
                        stacklevel=4,
                    )
        return frozenset(kept)

    def _warn_of_few(self, x: Sequences) -> None:
        wanted = sum(count for letter, count in self._n_parameters().items() if letter in self.params)
        if x.x.size < wanted:
            warnings.warn(
                f"{wanted} free parameters are fitted to {x.x.size} values: expect a degenerate solution",
                UserWarning,
                stacklevel=4,
            )

    def _rows(self, X: Any, lengths: Any, *, reset: bool) -> Sequences:
        """The sequences in float64."""
        finite: bool | str = "allow-nan" if self.allow_missing else True
        try:
            rows = validate_data(
                self, unmasked(X), dtype=[np.float64, np.float32], ensure_all_finite=finite, reset=reset
            )
        except ValueError as error:
            if str(error).startswith("could not convert string"):
                raise ValueError(
                    "X holds text; expected numbers (categories as whole numbers from 0, which "
                    "sklearn.preprocessing.OrdinalEncoder gives)"
                ) from error
            if not str(error).startswith("Input X contains NaN"):
                raise
            raise ValueError(
                "Input X contains NaN: give allow_missing=True, which integrates over missing values"
            ) from error
        return Sequences(rows.astype(np.float64, copy=False), lengths)

    def _begin(self, problem: Problem, compiled: Whole | None) -> tuple[Any, int]:
        """The step with the parameters that each run begins from, and how many starts were lost."""
        init, number = self._guess(problem)
        s = beginnings(problem.x, problem.family, problem.allocation, init, number, problem.rng, compiled is not None)
        anew = self._update(problem, None)
        natural = compiled.natural if compiled else anew
        s, lost = usable(natural, s, lambda s: self._blurred(problem.family, s), absorbing(problem.family, init))
        return self._update(problem, anew.parameters(s)), lost

    def _closed(self, kept: frozenset[str]) -> np.ndarray:
        """Starts and transitions (K, 1 + K) that stay at zero."""
        return np.zeros((int(self.n_components), 1 + int(self.n_components)), bool)

    def _compiled(self, problem: Problem) -> Whole | None:
        """The whole ascent in one compiled call, where there is one for this problem."""
        return None

    def _guess(self, problem: Problem) -> tuple[object, int]:
        """``init`` of the starts, and how many there are."""
        emissions = set(self._letters) - {"s", "t"}
        if emissions <= problem.kept:
            N, K = len(problem.x), int(self.n_components)
            return np.full((N, K), 1 / K), 1
        means = self._given_means(problem.kept)
        if means is not None:
            return means, 1
        if self.n_init is not None:
            check_count(
                "n_init", int(self.n_init), int(self.n_components) * (1 + len(problem.family.count_of)), "start"
            )
        number = int(self.n_init or 0) or candidates(len(problem.x) * int(self.n_components), problem.family)
        return ("k-means" if problem.family.gaussian else "k-means++"), number

    def _given_means(self, kept: frozenset[str]) -> np.ndarray | None:
        """Means that a user gives, near which the states begin."""
        return None

    def _blurred(self, family: Family, s: np.ndarray) -> np.ndarray:
        """States from which no step could be taken, made usable where the class has a way."""
        return s

    def _pass(self, problem: Problem) -> Pass:
        """The pass over the data."""
        return one_pass(problem.x, None, problem.family, len(problem.x) * int(self.n_components))

    def _base(self, problem: Problem) -> float:
        """What the base measure adds to the objective."""
        return log_base(problem.x, None, problem.family)

    def _follow(
        self, problem: Problem, update: Any, pass_: Pass, s: np.ndarray, compiled: Whole | None = None
    ) -> Followed:
        """Climb from the states s (R, K, C)."""
        n, tol = float(len(problem.x)), max(self.tol, 0.0) / len(problem.x)
        if type(self.monitor_) is ConvergenceMonitor:
            return follow(update, pass_, s, n, tol, self.n_iter, compiled)
        monitor = self.monitor_
        monitor._reset()

        def tell(runs: Runs) -> None:
            monitor.report(float(runs.end[0]))
            if monitor.converged:
                raise StopIteration

        one: Update = update.of(0)
        runs = climb(lambda runs: (one.take(runs), pass_), s[:1], n, 0.0, self.n_iter, False, tell)
        if runs.collapsed[0]:
            raise runs.errors[-1]
        return Followed(runs, 0, 0)

    def _monitored(self, bounds: list[float]) -> None:
        """Tell the monitor of a fit that has ended, unless it was told on the way."""
        monitor = self.monitor_
        if type(monitor) is not ConvergenceMonitor:
            return
        monitor.tol, monitor.n_iter, monitor.verbose = self.tol, self.n_iter, bool(self.verbose)
        monitor._reset()
        for bound in bounds:
            monitor.report(bound)

    def _logs(self, X: Any, lengths: Any) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
        """log rho (1, N, K), log pi (1, K) and log A (1, K, K) at the parameters, and the edges of the sequences."""
        fit = self._at_parameters()
        x = self._rows(X, lengths, reset=False)
        log_rho = np.concatenate([block for _, block in fit.log_density(x.x)], axis=1)
        with np.errstate(divide="ignore"):
            log_p = np.log(fit.held.weights[0])
        return (log_rho, log_p[..., 0], log_p[..., 1:]), x.edges

    def _at_parameters(self) -> SequenceFit:
        """The model at the parameters that are set."""
        self._check()
        K = int(self.n_components)
        family, theta = self._point()
        initial, transitions = self._probabilities("startprob_", (K,)), self._probabilities("transmat_", (K, K))
        return given(family, Markov.symmetric(K), initial, transitions, theta)

    def _probabilities(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Probabilities that are set, their sums being 1 exactly.

        Raises
        ------
        ValueError
            If the shape is another, one is negative, or they do not sum to one.
        """
        p = np.asarray(getattr(self, name), dtype=float)
        if p.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, and has {p.shape}")
        if not np.all(p >= 0):
            raise ValueError(f"{name} must hold probabilities, and holds {p.min():g}")
        totals = p.sum(-1, keepdims=True)
        if not np.all(np.abs(totals - 1) <= SUM):
            where = "rows must sum to 1 (got row sums of {})" if p.ndim > 1 else "must sum to 1 (got {})"
            raise ValueError(f"{name} {where.format(np.round(totals[..., 0], 6))}")
        return p / totals

    def _check(self) -> None:
        """Refuse parameters that are not set, or make no model."""
        K = int(self.n_components)
        check_is_fitted(self, ["startprob_", "transmat_", *self._emitted])
        self._probabilities("startprob_", (K,))
        self._probabilities("transmat_", (K, K))
        self._point()

    @abstractmethod
    def _check_data(self, x: Sequences) -> None:
        """Refuse data that the emissions cannot be of, and set ``n_features``."""

    def _prepare(self, x: Sequences, kept: frozenset[str]) -> None:
        """Set what follows from the data before the fit begins."""

    @abstractmethod
    def _check_given(self, kept: frozenset[str]) -> None:
        """Refuse parameters to begin from that make no model."""

    @abstractmethod
    def _n_parameters(self) -> dict[str, int]:
        """Number of free parameters by letter."""

    @abstractmethod
    def _family(self, x: Sequences) -> Family:
        """The family with its priors, in coordinates that suit the data."""

    @abstractmethod
    def _allocation(self) -> Markov:
        """The chain with its priors."""

    @abstractmethod
    def _point(self) -> tuple[Family, Theta]:
        """The family, and the emissions' parameters that are set, in the units of x."""

    @abstractmethod
    def _update(self, problem: Problem, start: Any) -> Any:
        """The step of runs that begin from ``start``, with what is given in its place; from None, of which nothing is held."""

    @abstractmethod
    def _attributes(self, problem: Problem, parameters: Any) -> Parameters:
        """The fitted parameters of the first run by attribute."""

    @abstractmethod
    def _as_fit(self) -> SequenceFit:
        """The fitted model."""
