"""What a fit of a hidden Markov model tells beyond that of a mixture: states in time, paths, forecasts, and new sequences.

Every function of x takes one sequence as an array (N, D), or several as `mixtures.rows.sequences.Sequences`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from mixtures.checks import check_count
from mixtures.engines import sequences
from mixtures.engines.responsibilities import fold, log_sum
from mixtures.fit import BLOCK_ELEMENTS, Conjugate, Draws, Fit
from mixtures.model import Family, Theta
from mixtures.rows.arrays import check_matrix, refuse_missing
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences
from mixtures.seeds import Rng, generator

# A start or a row of transitions may miss 1 by this.
SUM = 1e-6

Logs = tuple[np.ndarray, np.ndarray, np.ndarray]


class Path(NamedTuple):
    """The most probable path.

    Attributes
    ----------
    states : ndarray of int, shape (N,)
    log_joint : ndarray, shape (S,)
        log p(x, z) of each sequence along it, in nats.
    """

    states: np.ndarray
    log_joint: np.ndarray


class Estimate(NamedTuple):
    """A number for each sequence, and the standard error of its Monte Carlo average, each (S,)."""

    value: np.ndarray
    error: np.ndarray


def given(
    family: Family, allocation: Any, initial: np.ndarray | None, transitions: np.ndarray, theta: Theta
) -> SequenceFit:
    """A hidden Markov model with given parameters, as a fit of kind "point".

    Parameters
    ----------
    family : Family
    allocation : Markov
    initial : ndarray, shape (K,), or None
        Probabilities of the start; None for the stationary distribution of the transitions.
    transitions : ndarray, shape (K, K)
        Row j: probabilities of the states after state j.
    theta : dict of ndarray, shape (K, ...)
        The family's parameters in the units of x.

    Raises
    ------
    ValueError
        If the probabilities are not of these shapes, are negative, or do not sum to one.
    """
    K = allocation.n_components
    A = probabilities("transitions", transitions, (K, K))
    initial = allocation.stationary(A) if initial is None else initial
    weights = np.column_stack([probabilities("initial", initial, (K,)), A])
    own = family.from_data_units({name: np.asarray(value, dtype=float) for name, value in theta.items()})
    return SequenceFit(
        method="given",
        kind="point",
        family=family,
        allocation=allocation,
        posterior=Draws(weights[None, None], {name: value[None, None] for name, value in own.items()}),
        bound=np.empty(0),
        converged=True,
        seconds={},
    )


def probabilities(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities of this shape whose sums are one, exactly.

    Raises
    ------
    ValueError
        If they are not of the shape, are negative, or do not sum to one.
    """
    p = np.asarray(values, dtype=float)
    if p.shape != shape:
        raise ValueError(f"{name} has shape {p.shape}; expected {shape}")
    if not np.all(p >= 0):
        raise ValueError(f"{name} holds {p.min():g}; expected probabilities, at least 0")
    totals = p.sum(-1)
    if not np.all(np.abs(totals - 1) <= SUM):
        worst = np.atleast_1d(totals)[np.argmax(np.abs(totals - 1))]
        row = f"row {int(np.argmax(np.abs(totals - 1)))} of {name}" if p.ndim > 1 else f"the sum of {name}"
        raise ValueError(f"{row} {'sums to' if p.ndim > 1 else 'is'} {worst:.6g}; expected 1")
    return p / totals[..., None]


@dataclass(frozen=True)
class SequenceFit(Fit):
    """A fit of a hidden Markov model; see `mixtures.fit.Fit`.

    ``Draws.weights`` are the start beside the transitions, (chain, draw, K, 1 + K).
    """

    def state(self, x: Rows, weights: np.ndarray | None = None, pass_: Any = None) -> np.ndarray:
        """The expected statistics s under a point estimate or q, shape (K, P + 1 + K): where an ascent from this fit begins.

        ``pass_`` is the one pass over these data for this fit's family, if it is at hand.
        """
        if isinstance(self.posterior, Conjugate):
            eta = self._expected()
        else:
            pi, theta = self.held.flat()
            eta = fold(self.allocation.natural(pi[0]), self.family.natural({name: v[0] for name, v in theta.items()}))
        return (pass_ or sequences.one_pass(self.family, Sequences(x), weights, "auto"))(eta)[1]

    def log_likelihood(self, x: Rows) -> np.ndarray:
        """log p(sequence | pi, A, theta) under every held draw, shape (chain, draw, S).

        Raises
        ------
        TypeError
            If the posterior is held in closed form; draw from it first.
        """
        rows, shape = _checked(x, self.family), self.held.weights.shape[:2]
        each = np.concatenate([_sums(sequences.filtered(*logs, rows.edges)[1], rows) for logs in self._logs(rows)])
        return each.reshape(*shape, -1)

    def total_log_likelihood(self, x: Rows) -> np.ndarray:
        """log p(all sequences | pi, A, theta) under every held draw, shape (chain, draw)."""
        return self.log_likelihood(x).sum(-1)

    def log_steps(self, x: Rows) -> np.ndarray:
        """log p(x_t | x_1 .. x_(t-1), pi, A, theta) under every held draw, shape (chain, draw, N)."""
        rows = _checked(x, self.family)
        each = np.concatenate([sequences.filtered(*logs, rows.edges)[1] for logs in self._logs(rows)])
        return each.reshape(*self.held.weights.shape[:2], -1)

    def log_evidence(self, x: Rows, draws: int, rng: Rng) -> Estimate:
        """log p(new sequence | data): the mean of the likelihood over posterior draws, with its standard error.

        Held draws are taken all, others made in that number; those of a Markov chain are not independent, and their error is
        larger than what is given here.
        """
        rows = _checked(x, self.family)
        fit: Any = self if isinstance(self.posterior, Draws) else self.as_draws(1, draws, rng)
        log_p = fit.log_likelihood(rows).reshape(-1, len(rows.lengths))
        value = log_sum(log_p.T) - np.log(len(log_p))
        return Estimate(value, np.exp(log_p - value).std(0) / np.sqrt(len(log_p)))

    def log_predictive(self, x: Rows) -> np.ndarray:
        """log p(x_t | x_1 .. x_(t-1)) of new sequences in nats, shape (N,): over a sequence they sum to its log probability.

        Over held draws that is the log of the mean likelihood of the sequence. From a closed form it is the plug-in density,
        with E[pi], E[A] and the predictive density of each state; `log_evidence` averages over draws from it.

        Raises
        ------
        TypeError
            For an exact posterior; draw from it first.
        """
        rows = _checked(x, self.family)
        if isinstance(self.posterior, Conjugate):
            return sequences.filtered(*self._plug_in(rows), rows.edges)[1][0]
        parts = []
        for logs in self._logs(rows):
            scales = sequences.filtered(*logs, rows.edges)[1]
            parts.append(log_sum(np.concatenate([np.cumsum(scales[:, own], axis=1) for own in rows.slices()], 1).T))
        total = np.logaddexp.reduce(parts) - np.log(self.held.weights[..., 0, 0].size)
        with np.errstate(invalid="ignore"):  # after a row that none of the draws allows
            log_p = np.concatenate([np.diff(total[own], prepend=0.0) for own in rows.slices()])
        return np.where(np.isnan(log_p), -np.inf, log_p)

    def filtered(self, x: Rows) -> np.ndarray:
        """P(z_t = k | x_1 .. x_t), shape (N, K): under q for a closed form, the mean over aligned draws otherwise."""
        rows = _checked(x, self.family)
        return _mean(sequences.filtered(*logs, rows.edges)[0] for logs in self._logs(rows))

    def responsibilities(self, x: Rows) -> np.ndarray:
        """P(z_t = k | x_1 .. x_T), shape (N, K), the smoothed probabilities; see `filtered`."""
        return _mean(r for _, _, r in self.each_responsibilities(x))

    def each_responsibilities(self, x: Rows, every: int = 1) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Smoothed probabilities (S, rows, K) in blocks of draws, of each ``every``-th row; see `Fit.each_responsibilities`."""
        rows, start = _checked(x, self.family), 0
        for log_rho, log_pi, log_A in self._logs(rows):
            r = sequences.smoothed(log_rho, log_pi, log_A, rows.edges)[:, ::every]
            yield slice(start, start + len(r)), slice(None), r
            start += len(r)

    def each_predicted(self, x: Rows) -> Iterator[tuple[slice, np.ndarray]]:
        """P(z_t = k | x_1 .. x_(t-1)) in blocks (S, N, K) of held draws, and which draws these are."""
        rows, start = _checked(x, self.family), 0
        for log_rho, log_pi, log_A in self._logs(rows):
            before = sequences.filtered(log_rho, log_pi, log_A, rows.edges)[0] @ np.exp(log_A)
            p = np.roll(before, 1, axis=1)
            p[:, rows.edges[:-1]] = np.exp(log_pi)[:, None]
            yield slice(start, start + len(p)), p
            start += len(p)

    def paths(self, x: Rows, rng: Rng) -> np.ndarray:
        """States of every row, drawn from p(z | x, pi, A, theta) once under every held draw, shape (S, N) of int."""
        rng, rows = generator(rng), _checked(x, self.family)
        return np.concatenate(
            [sequences.path(*logs, rows.edges, rng.random(logs[0].shape[:2])) for logs in self._logs(rows)]
        )

    def viterbi(self, x: Rows) -> Path:
        """The path of largest E[log p(x, z | pi, A, theta)]: under q for a closed form, the mean over aligned draws otherwise.

        For a point estimate it is the most probable path (Viterbi 1967; PRML 13.68).
        """
        rows = _checked(x, self.family)
        log_rho, log_pi, log_A = (_mean(parts) for parts in zip(*self._logs(rows), strict=True))
        return Path(*sequences.viterbi(log_rho, log_pi, log_A, rows.edges))

    def forecast(self, x: Rows, steps: int = 1) -> np.ndarray:
        """P(z_(T+steps) = k | x_1 .. x_T) after the end of each sequence, shape (S, K): with E[pi] and E[A], or over draws."""
        rows = _checked(x, self.family)
        return _mean(p for p in self._ahead(rows, steps))

    def log_forecast(self, y: np.ndarray, x: Rows, steps: int = 1) -> np.ndarray:
        """log p(x_(T+steps) = y | x_1 .. x_T) of points y (M, D) after the end of each sequence, shape (S, M), in nats.

        See `log_predictive` for what it is from a closed form.
        """
        y, rows = check_matrix(y, self.family.missing), _checked(x, self.family)
        log_p = np.concatenate(list(self._ahead(rows, steps, logs=True)))
        if isinstance(self.posterior, Conjugate):
            density = self.family.log_predictive(y, self.posterior.theta)[None]
        else:
            density = np.concatenate([block for _, block in self.log_density(y)], axis=1)
        joint = log_sum(log_p[:, :, None] + density[:, None])
        return log_sum(np.moveaxis(joint, 0, -1)) - np.log(len(joint))

    def sample(self, n: int | Sequence[int], rng: Rng) -> tuple[np.ndarray, np.ndarray]:
        """A sequence of n points, or one of each of several lengths, from the posterior predictive: x (N, D) and states (N,).

        Each sequence has parameters drawn for itself.
        """
        rng = generator(rng)
        lengths = list(n) if isinstance(n, Sequence | np.ndarray) else [n]
        if not all(isinstance(length, Integral) and not isinstance(length, bool) and length >= 0 for length in lengths):
            raise ValueError(f"n is {n}; expected a number of points, or one for each sequence")
        check_count("n", max(1, sum(lengths)), 1 + len(self.family.count_of), "point")
        weights, theta = self.parameters(len(lengths), rng)
        states = [chain(w, length, rng) for w, length in zip(weights, lengths, strict=True)]
        owner = np.repeat(np.arange(len(lengths)), lengths)
        z = np.concatenate(states)
        own = {name: value[owner, z] for name, value in theta.items()}
        return self.family.simulate(own, np.arange(len(z)), rng), z

    def _expected(self) -> np.ndarray:
        """E_q[eta], (K, P + 1 + K)."""
        q = self.posterior
        assert isinstance(q, Conjugate)
        return fold(self.allocation.expected_natural(q.alpha), self.family.expected_natural(q.theta))

    def _logs(self, rows: Sequences) -> Iterator[Logs]:
        """log rho (S, N, K), log pi (S, K) and log A (S, K, K) in blocks of held draws, or their expectations under q."""
        if isinstance(self.posterior, Conjugate):
            eta, log_pi, log_A = sequences.split(self._expected()[None])
            base = self.family.log_base(rows.x)[:, None]
            yield self._log_densities(eta[0], rows.x)[None] + base, log_pi, log_A
            return
        weights, theta = self.held.flat()
        step = max(1, BLOCK_ELEMENTS // (len(rows) * self.n_components))
        for start in range(0, len(weights), step):
            some = slice(start, start + step)
            own = Draws(weights[None, some], {name: v[None, some] for name, v in theta.items()})
            log_rho = np.concatenate([block for _, block in replace(self, posterior=own).log_density(rows.x)], axis=1)
            natural = self.allocation.natural(weights[some])
            yield log_rho, natural[..., 0], natural[..., 1:]

    def _plug_in(self, rows: Sequences) -> Logs:
        """log rho, log pi and log A of the plug-in density of a closed form."""
        q = self.posterior
        assert isinstance(q, Conjugate)
        natural = self.allocation.natural(self.allocation.mean(q.alpha))[None]
        return self.family.log_predictive(rows.x, q.theta)[None], natural[..., 0], natural[..., 1:]

    def _ahead(self, rows: Sequences, steps: int, logs: bool = False) -> Iterator[np.ndarray]:
        """Probabilities (draws, S, K) of the states so many steps after the end of each sequence, or their logarithms.

        All draws weigh the same, as they should where the sequences are among the data of the fit.
        """
        if not isinstance(steps, int | np.integer) or steps < 1:
            raise ValueError(f"steps is {steps}; expected a whole number of at least 1")
        closed = isinstance(self.posterior, Conjugate)
        for log_rho, log_pi, log_A in [self._plug_in(rows)] if closed else self._logs(rows):
            last = sequences.filtered(log_rho, log_pi, log_A, rows.edges)[0][:, rows.edges[1:] - 1]
            p = last @ np.linalg.matrix_power(np.exp(log_A), steps)
            yield np.log(np.maximum(p, 1e-300)) if logs else p


def _checked(x: Rows, family: Family) -> Sequences:
    rows = Sequences(x)
    refuse_missing(rows.x, missing=family.missing)
    return Sequences(rows.x.astype(np.float64, copy=False), rows.lengths)


def _mean(parts: Iterable[np.ndarray]) -> np.ndarray:
    """The mean over draws, which come in blocks (S, ...)."""
    total, n = zip(*((part.sum(0), len(part)) for part in parts), strict=True)
    return np.sum(total, axis=0) / sum(n)


def _sums(scales: np.ndarray, rows: Sequences) -> np.ndarray:
    """Sums over each sequence, (draws, S)."""
    return np.add.reduceat(scales, rows.edges[:-1], axis=1)


def chain(weights: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """States (n,) of a chain with the start beside the transitions (K, 1 + K)."""
    reached = np.cumsum(np.vstack([weights[:, 0], weights[:, 1:]]), axis=1)  # for the start, and after each state
    z = np.empty(n, dtype=int)
    place = 0
    for t, u in enumerate(rng.random(n)):
        z[t] = np.searchsorted(reached[place][:-1], u, side="right")
        place = 1 + z[t]
    return z
