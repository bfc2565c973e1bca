"""Scalars of a hidden Markov model that need no labels, and that a mixture does not have.

The likelihood is that of the sequences, by the forward recursion; with it come quantities that see the start, the transitions
and the states in time.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from mixtures.engines import sequences
from mixtures.engines.responsibilities import log_sum
from mixtures.rows.sequences import Sequences

SMALLEST = 1e-300


def quantities(
    x: Sequences, weights: np.ndarray, log_p: np.ndarray, base: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Log likelihood (S,), smoothed probabilities (S, N, K) and further quantities (S,) at S draws.

    - log density of the first rows: sum over sequences of log p(x_1 | pi, theta)
    - forecast density at the centre: sum over sequences of log p(x_(T+1) = x* | x_1 .. x_T), where x* is zero
    - largest start probability: max_k pi_k
    - highest and lowest probability to stay: max_k A_kk, min_k A_kk
    - changes of state: expected number of steps that lead to another state, given x
    - entropy of the transitions: -sum_k A_jk log A_jk from the state of a row, averaged over rows given x

    What a model of one or of two states has for all its draws, or twice, is left out.

    Parameters
    ----------
    x : Sequences
    weights : ndarray, shape (S, K, 1 + K)
        Start beside transitions.
    log_p : ndarray, shape (S, N + 1, K)
        Log density of every row, and of the centre, under every state, less ``base``.
    base : ndarray, shape (N + 1,)
        What of these depends on no state.
    """
    log_p, centre = log_p[:, :-1], log_p[:, -1]
    pi, A = weights[..., 0], weights[..., 1:]
    log_pi, log_A = np.log(np.maximum(pi, SMALLEST)), np.log(np.maximum(A, SMALLEST))
    alpha, scales = sequences.filtered(log_p, log_pi, log_A, x.edges)
    r = sequences.smoothed(log_p, log_pi, log_A, x.edges)
    first, last = x.edges[:-1], x.edges[1:] - 1
    ahead = np.log(np.maximum(alpha[:, last] @ A, SMALLEST)) + centre[:, None]  # (S, sequences, K)
    found = {
        "log density of the first rows": (scales[:, first] + base[first]).sum(1),
        "forecast density at the centre": (log_sum(ahead) + base[-1]).sum(1),
    }
    if A.shape[-1] > 1:
        stay = np.diagonal(A, axis1=-2, axis2=-1)
        found |= {
            "largest start probability": pi.max(1),
            "highest probability to stay": stay.max(1),
            "lowest probability to stay": stay.min(1),
            "changes of state": _changes(alpha, r, A, first),
        }
    if A.shape[-1] > 2:
        found["entropy of the transitions"] = -(r.mean(1) * xlogy(A, A).sum(-1)).sum(-1)
    return (scales + base[:-1]).sum(1), r, found


def _changes(alpha: np.ndarray, r: np.ndarray, A: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Expected number of steps to another state (S,): one for each step, less p(z_(t+1) = z_t | x) (PRML 13.43)."""
    before = alpha[:, :-1] @ A
    with np.errstate(divide="ignore", invalid="ignore"):
        kept = np.where(before > 0, alpha[:, :-1] * r[:, 1:] / before, 0)
    stays = np.einsum("stk,skk->st", kept, A)
    within = np.ones(r.shape[1] - 1, dtype=bool)
    within[first[1:] - 1] = False
    return (1 - stays[:, within]).sum(1)
