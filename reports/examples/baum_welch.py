"""EM for a hidden Markov model from scratch (Baum-Welch; PRML section 13.2), and a mistake that was published.

A notebook on the web (tsmatz/hmm-lds-em-algorithm on GitHub) states the recursions as PRML does. But its backward one goes from
the last row to the first while it takes the densities of the rows from the first to the last. It runs, it settles, and it
prints parameters that look like results: they are 490 nats below the maximum, with two of three states blurred. With
``mistaken=True`` this one does the same. Both results can join a comparison:

    x = datasets.load_series("tsmatz-hmm").data.x
    added = {"mine": fit(x), "mistaken": fit(x, mistaken=True)}
    reports.compare(x, 3, sequences=True, methods=("em", "gibbs"), extra=added, rng=0)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import multivariate_normal

__all__ = ["Fitted", "em", "fit"]

START = (0.2, 0.3, 0.5)


class Fitted(NamedTuple):
    """Parameters of the states, and log p(x) of the parameters that each iteration began with, in nats."""

    initial: np.ndarray
    transitions: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    log_likelihood: np.ndarray


def fit(x: np.ndarray, *, mistaken: bool = False, iterations: int = 100) -> dict[str, np.ndarray]:
    """Parameters by name, as a comparison of sequences takes them; see `em`."""
    found = em(x, mistaken=mistaken, iterations=iterations)._asdict()
    return {name: value for name, value in found.items() if name != "log_likelihood"}


def em(x: np.ndarray, *, mistaken: bool = False, iterations: int = 100, start: tuple[float, ...] = START) -> Fitted:
    """Baum-Welch for three Gaussian states that begin as one but for their probabilities at the first row.

    Parameters
    ----------
    x : ndarray, shape (N, 2)
        One sequence.
    mistaken : bool
        Whether the backward recursion makes the mistake.
    iterations : int
    start : tuple of float
        The probabilities of the states at the first row.
    """
    pi, A = np.array(start), 0.3 + 0.1 * np.eye(3)
    mu, Sigma = np.ones((3, 2)), np.tile([[1.0, 0.5], [0.5, 1.0]], (3, 1, 1))
    trace = []
    for _ in range(iterations):
        log_b = np.column_stack([multivariate_normal.logpdf(x, m, S) for m, S in zip(mu, Sigma, strict=True)])
        top = log_b.max(1, keepdims=True)
        b = np.exp(log_b - top)
        alpha, c = forward(b, pi, A)
        beta = backward(b, A, mistaken)
        trace.append((np.log(c) + top[:, 0]).sum())  # 13.63
        gamma = alpha * beta  # 13.64
        gamma /= gamma.sum(1, keepdims=True)
        xi = alpha[:-1, :, None] * A * (b * beta)[1:, None]  # 13.65
        xi /= xi.sum((1, 2), keepdims=True)
        N = gamma.sum(0)
        pi, A = gamma[0], xi.sum(0) / xi.sum((0, 2))[:, None]  # 13.18, 13.19
        mu = gamma.T @ x / N[:, None]  # 13.20
        offset = x[:, None] - mu
        Sigma = np.einsum("nk,nki,nkj->kij", gamma, offset, offset) / N[:, None, None]  # 13.21
    return Fitted(pi, A, mu, Sigma, np.array(trace))


def forward(b: np.ndarray, pi: np.ndarray, A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scaled alpha(z_t) = p(z_t | x_1 .. x_t), (N, K), and the scales c_t = p(x_t | x_1 .. x_(t-1)), (N,) (13.55, 13.59)."""
    alpha, c = np.empty_like(b), np.empty(len(b))
    ahead = pi
    for t, own in enumerate(b):
        alpha[t] = own * ahead
        c[t] = alpha[t].sum()
        alpha[t] /= c[t]
        ahead = alpha[t] @ A
    return alpha, c


def backward(b: np.ndarray, A: np.ndarray, mistaken: bool) -> np.ndarray:
    """beta(z_t), p(x_(t+1) .. x_N | z_t) to a factor, (N, K) (13.38); with the mistake other rows stand for these."""
    beta = np.ones_like(b)
    for t in range(len(b) - 2, -1, -1):
        seen = b[len(b) - 2 - t] if mistaken else b[t + 1]
        beta[t] = A @ (seen * beta[t + 1])
        beta[t] /= beta[t].sum()
    return beta
