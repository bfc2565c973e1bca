r"""Labels that form a Markov chain: the states of a hidden Markov model (Rabiner 1989; PRML section 13.2).

    pi ~ Dirichlet(alpha0)      A_j ~ Dirichlet(a0_j)      z_1 ~ Categorical(pi)      z_t | z_(t-1) = j ~ Categorical(A_j)

The statistics of the labels are how many sequences start in each state, and how many transitions go from each state to each;
their natural parameters are log pi and log A. Both are held side by side, (..., K, 1 + K): starts in the first column,
transitions from state j in the others of row j; and so are the weights, pi beside A.

With ``start="stationary"`` pi is no parameter but the stationary distribution of A, pi = pi A.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np
from scipy.special import digamma, gammaln, xlogy

from mixtures.allocations.stationary import stationary, stationary_peak
from mixtures.checks import as_number, as_numbers, check_components, check_count
from mixtures.errors import CollapseError
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator
from mixtures.sequences import SequenceFit
from mixtures.special import log_rising

SMALLEST, LARGEST = 1e-300, 1e300
"""A concentration, and the sum of all: log Gamma of less or more is no number."""

# 2^40 steps of a chain.
DOUBLINGS = 40

# How much more probable than by chance the state of a run begins to stay where it is, run by run.
STICKY = (0.0, 0.0, 0.8, 0.8)


@dataclass(frozen=True)
class Markov:
    """A chain of K states under Dirichlet priors.

    Parameters
    ----------
    alpha0 : ndarray, shape (K,)
        Positive concentrations of the start.
    a0 : ndarray, shape (K, K)
        Positive concentrations of the transitions from each state.
    start : {"free", "stationary"}
        A stationary start has no prior of its own and leaves no conjugate posterior: it is fitted by EM and by Gibbs sampling,
        and the twin has it.

    Raises
    ------
    ValueError
        If a concentration is not a positive number within the reach of the logarithm of a Gamma function.
    """

    alpha0: np.ndarray
    a0: np.ndarray
    start: Literal["free", "stationary"] = "free"

    independent: ClassVar[bool] = False
    fits: ClassVar[type[SequenceFit]] = SequenceFit
    dims: ClassVar[dict[str, tuple[str, ...]]] = {"initial": ("cluster",), "transitions": ("cluster", "cluster_")}

    def __post_init__(self) -> None:
        alpha0, a0 = as_numbers("alpha0", self.alpha0), as_numbers("a0", self.a0)
        K = alpha0.size
        if alpha0.shape != (K,) or K == 0 or a0.shape != (K, K):
            raise ValueError(
                f"alpha0 has shape {alpha0.shape} and a0 {a0.shape}; expected (K,) and (K, K), K being at least 1"
            )
        for name, given in (("alpha0", alpha0), ("a0", a0)):
            if not np.all((given >= SMALLEST) & (given <= LARGEST / given.size)):
                raise ValueError(
                    f"{name} is {given.tolist()}; expected positive numbers, at least {SMALLEST:g} each and a sum of at most "
                    f"{LARGEST:g}"
                )
        if self.start not in ("free", "stationary"):
            raise ValueError(f"start is {self.start!r}; expected free or stationary")
        object.__setattr__(self, "alpha0", alpha0)
        object.__setattr__(self, "a0", a0)

    @classmethod
    def symmetric(
        cls,
        n_components: int,
        alpha0: float = 1.0,
        a0: float = 1.0,
        *,
        sticky: float = 0.0,
        start: Literal["free", "stationary"] = "free",
    ) -> Markov:
        """The same prior for each of K states; 1 is the uniform density on the simplex.

        Parameters
        ----------
        n_components : int
        alpha0, a0 : float
            Concentrations of the start and of every transition.
        sticky : float
            What is added to a0 for a state to stay (Fox et al. 2011, *Annals of Applied Statistics* 5:1020-1056).
        start
            See `Markov`.
        """
        K = check_components(n_components)
        check_count("n_components", K, K)
        alpha0, a0, sticky = as_number("alpha0", alpha0), as_number("a0", a0), as_number("sticky", sticky)
        return cls(np.full(K, alpha0), np.full((K, K), a0) + sticky * np.eye(K), start)

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.alpha0)

    @property
    def equations(self) -> tuple[str, ...]:
        """The generative model, line by line."""
        first = "pi ~ Dirichlet(alpha0)" if self.start == "free" else "pi = pi A"
        return first, "A_j ~ Dirichlet(a0_j)", "z_1 ~ Categorical(pi)", "z_t | z_(t-1) = j ~ Categorical(A_j)"

    @cached_property
    def prior(self) -> np.ndarray:
        """Concentrations of starts and transitions side by side, (K, 1 + K)."""
        return np.column_stack([self.alpha0, self.a0])

    @cached_property
    def log_prior_normaliser(self) -> np.ndarray:
        """Log normaliser of the prior, which every step asks for."""
        return self._log_normaliser(self.prior)

    @property
    def conjugate(self) -> Markov:
        """The same chain with a free start, which has a conjugate prior."""
        return replace(self, start="free")

    def rows(self, x: Rows) -> Sequences:
        """The rows in the order of time: one sequence unless they come as several."""
        return x if isinstance(x, Sequences) else Sequences(x)

    def split(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Starts and transitions (..., K, 1 + K), and the statistics of the states' points (..., K, P)."""
        return s[..., -1 - self.n_components :], s[..., : -1 - self.n_components]

    def begin(self, s: np.ndarray, x: Sequences, weights: np.ndarray | None) -> np.ndarray:
        """States (..., R, K, P + 1 + K) from the statistics of the points (..., R, K, P).

        A sequence starts in each state by its share N_k / N of the points, and goes on to each by that share or, in every
        other pair of runs, stays where it is with a probability of 0.8 more.
        """
        K = self.n_components
        share = s[..., 0] / s[..., 0].sum(-1, keepdims=True)
        first = x.edges[:-1]
        starts = len(first) if weights is None else weights[first].sum()
        stay = np.resize(STICKY, s.shape[-3] if s.ndim > 2 else 1)[:, None, None]
        A = (1 - stay) * share[..., None, :] + stay * np.eye(K)
        left = np.maximum(s[..., 0].sum(-1) - starts, 0)[..., None, None] * share[..., None]
        return np.concatenate([s, starts * share[..., None], left * A.reshape(*left.shape[:-1], K)], axis=-1)

    def labelled(self, z: np.ndarray, x: Rows, k: int) -> np.ndarray:
        """Starts and transitions (..., k, 1 + k) of labels (..., N)."""
        edges = self.rows(x).edges
        one_hot = (z[..., None] == np.arange(k)).astype(float)
        starts = one_hot[..., edges[:-1], :].sum(-2)
        within = np.ones(z.shape[-1], bool)
        within[edges[:-1]] = False
        after = one_hot[..., within, :]
        before = one_hot[..., np.flatnonzero(within) - 1, :]
        return np.concatenate([starts[..., None], before.swapaxes(-1, -2) @ after], axis=-1)

    def ahead(self, weights: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Probabilities (..., K) of the label after the last (...), from start beside transitions (..., K, 1 + K)."""
        return np.take_along_axis(weights[..., 1:], last[..., None, None], axis=-2)[..., 0, :]

    @property
    def exchangeable(self) -> bool:
        """Whether the prior is the same whatever the states are called."""
        own = np.eye(self.n_components, dtype=bool)
        return all(np.ptp(a) == 0 for a in (self.alpha0, self.a0[own], self.a0[~own]) if a.size)

    def permute(self, s: np.ndarray, order: np.ndarray) -> np.ndarray:
        """States or weights (..., K, C), the last K columns of which are those of states, in the order (..., K)."""
        columns = np.broadcast_to(np.arange(s.shape[-1]), (*order.shape[:-1], s.shape[-1])).copy()
        columns[..., -self.n_components :] = order + s.shape[-1] - self.n_components
        return np.take_along_axis(np.take_along_axis(s, order[..., None], axis=-2), columns[..., None, :], axis=-1)

    def named(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Start (..., K) and transition matrix (..., K, K) by name."""
        return {"initial": weights[..., 0], "transitions": weights[..., 1:]}

    def weights_of(self, named: dict[str, np.ndarray]) -> np.ndarray:
        """The inverse of `named`."""
        return np.concatenate([named["initial"][..., None], named["transitions"]], axis=-1)

    def long_run(self, weights: np.ndarray) -> np.ndarray:
        """How probable each state is in the long run, (..., K), from start beside transitions (..., K, 1 + K).

        That is the stationary distribution. Of chains that fall apart into several, where there are many, it is the one that
        the chain tends to from its start.
        """
        try:
            return stationary(weights[..., 1:])
        except CollapseError as error:
            found, apart = np.empty(weights.shape[:-1]), error.runs
            found[~apart] = stationary(weights[~apart][..., 1:])
            found[apart] = _limit(weights[apart])
            return found

    def stationary(self, A: np.ndarray) -> np.ndarray:
        """The distribution (..., K) that transition matrices A (..., K, K) leave as it is."""
        return stationary(A)

    def unlabelled(self, weights: np.ndarray) -> np.ndarray:
        """What of the weights (..., K, 1 + K) needs no labels: how probable states are to stay, in order of size."""
        return np.sort(np.diagonal(weights[..., 1:], axis1=-2, axis2=-1), axis=-1)

    def natural(self, weights: np.ndarray) -> np.ndarray:
        """log pi beside log A, (..., K, 1 + K); a probability of zero counts as 1e-300, whose logarithm is still a number."""
        return np.log(np.maximum(weights, SMALLEST))

    def expected_natural(self, alpha: np.ndarray) -> np.ndarray:
        """E[log pi] beside E[log A], (..., K, 1 + K) (MacKay 1997; Beal 2003, equation 3.69)."""
        return digamma(alpha) - digamma(_totals(alpha))

    def posterior(self, counts: np.ndarray) -> np.ndarray:
        """Concentrations given starts and transitions, prior + counts, (..., K, 1 + K) (Beal 2003, equation 3.68).

        Raises
        ------
        CollapseError
            If one is not positive: the counts are those of no data.
        ValueError
            If the start is stationary.
        """
        if self.start == "stationary":
            raise ValueError(
                "a stationary start leaves no conjugate posterior: the bound of CAVI would need E[log pi(A)], and exact "
                "enumeration the integral of pi(A), which have no closed form; fit it by em or gibbs, or by advi, nuts or smc "
                "with the evidence by bridge sampling, or give start='free'"
            )
        alpha = self.prior + counts
        outside = ~(alpha > 0).all((-2, -1))
        if outside.any():
            raise CollapseError("the statistics are those of no data: a concentration is not positive", outside)
        return alpha

    def log_marginal(self, counts: np.ndarray) -> np.ndarray:
        """Log probability of one path with these starts and transitions, shape (...)."""
        self.posterior(counts)  # which refuses counts and starts that leave no closed form
        alpha0, starts = self.prior[:, 0], counts[..., 0]
        return (
            self.log_transitions(counts) + log_rising(alpha0, starts).sum(-1) - log_rising(alpha0.sum(), starts.sum(-1))
        )

    def log_transitions(self, counts: np.ndarray) -> np.ndarray:
        """Log probability of the steps of one path with these transitions after its start, A integrated out, shape (...)."""
        prior, steps = self.prior[:, 1:], counts[..., 1:]
        return (log_rising(prior, steps).sum(-1) - log_rising(prior.sum(-1), steps.sum(-1))).sum(-1)

    def first(self, k: int) -> Markov:
        """The prior of a chain of the first k states, with their concentrations."""
        return Markov(self.alpha0[:k], self.a0[:k, :k], self.start)

    def maximum_likelihood(self, counts: np.ndarray) -> np.ndarray:
        """pi and A that maximise sum(counts * log weights), (..., K, 1 + K) (PRML 13.18, 13.19).

        Equal probabilities where nothing was counted, as for the transitions from a state that occurs in last steps alone.
        """
        return self._peak(np.maximum(counts, 0))

    def mode(self, counts: np.ndarray) -> np.ndarray:
        """Mode of the posterior density of pi and A, (..., K, 1 + K) (PRML B.20).

        Raises
        ------
        ValueError
            If a concentration is below 1, where the density is unbounded at the faces of the simplex.
        """
        prior = self.prior if self.start == "free" else self.prior[:, 1:]
        if np.any(prior < 1):
            raise ValueError(
                f"MAP needs concentrations of at least 1, not {prior.min():g}: below it the posterior is unbounded"
            )
        extra = self.prior - 1
        extra[:, 0] *= self.start == "free"
        return self._peak(np.maximum(counts + extra, 0))

    def log_density(self, weights: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        """Log density of pi and A, or of A alone with a stationary start, with respect to all but the last of each, (...)."""
        log_p = xlogy(alpha - 1, weights) if self.start == "free" else xlogy(alpha - 1, weights)[..., 1:]
        return log_p.sum((-2, -1)) - self._log_normaliser(alpha)

    def log_prior(self, weights: np.ndarray) -> np.ndarray:
        """`log_density` under the prior, shape (...)."""
        return self.log_density(weights, self.prior)

    def mean(self, alpha: np.ndarray) -> np.ndarray:
        """E[pi] beside E[A], (..., K, 1 + K)."""
        return alpha / _totals(alpha)

    def sample(self, alpha: np.ndarray, size: int, rng: Rng) -> np.ndarray:
        """Draws of pi beside A, (size, ..., K, 1 + K): Gamma variates over their totals, in logarithms so that none is lost."""
        rng = generator(rng)
        shape = (size, *alpha.shape)
        log_gamma = np.log(rng.standard_gamma(alpha + 1, shape)) + np.log1p(-rng.random(shape)) / alpha
        top = np.maximum(log_gamma[..., :1].max(-2, keepdims=True), -np.inf)
        rest = np.concatenate(
            [np.exp(log_gamma[..., :1] - top), np.exp(log_gamma[..., 1:] - log_gamma[..., 1:].max(-1, keepdims=True))],
            axis=-1,
        )
        return rest / _totals(rest)

    def n_free(self) -> int:
        """Number of free probabilities."""
        K = self.n_components
        return (K - 1) * (K + (self.start == "free"))

    def _log_normaliser(self, alpha: np.ndarray) -> np.ndarray:
        """Sum of log Beta functions of the start, unless it is stationary, and of each row, shape (...)."""
        own = gammaln(alpha[..., 1:]).sum(-1) - gammaln(alpha[..., 1:].sum(-1))
        if self.start == "stationary":
            return own.sum(-1)
        return own.sum(-1) + gammaln(alpha[..., 0]).sum(-1) - gammaln(alpha[..., 0].sum(-1))

    def _peak(self, counts: np.ndarray) -> np.ndarray:
        """Counts over their totals, equal shares where these are zero; with a stationary start the peak is searched for."""
        weights = np.concatenate([_shares(counts[..., 0])[..., None], _shares(counts[..., 1:])], axis=-1)
        return weights if self.start == "free" else stationary_peak(counts, weights[..., 1:])


def _limit(weights: np.ndarray) -> np.ndarray:
    """Where chains (R, K, 1 + K) tend to from their starts, (R, K); each may rest at every step, which makes none alternate."""
    K = weights.shape[-2]
    A = (weights[..., 1:] + np.eye(K)) / 2
    for _ in range(DOUBLINGS):
        A = A @ A
        A /= A.sum(-1, keepdims=True)
    return (weights[..., None, :, 0] @ A)[..., 0, :]


def _shares(counts: np.ndarray) -> np.ndarray:
    """Counts over their totals along the last axis, equal shares where these are zero."""
    totals = counts.sum(-1, keepdims=True)
    if (totals > 0).all():
        return counts / totals
    return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), 1 / counts.shape[-1])


def _totals(a: np.ndarray) -> np.ndarray:
    """Sums of the first column, and of each row of the others, in the shape of a (..., K, 1 + K)."""
    K = a.shape[-2]
    first = np.broadcast_to(a[..., :1].sum(-2, keepdims=True), (*a.shape[:-1], 1))
    rows = np.broadcast_to(a[..., 1:].sum(-1, keepdims=True), (*a.shape[:-1], K))
    return np.concatenate([first, rows], axis=-1)
