"""The stationary distribution of a chain, and transitions that maximise a likelihood in which it is the start."""

from __future__ import annotations

import numpy as np

from mixtures.errors import CollapseError

# Steps at most, the change of a probability at which they end, and how often a step that leads down is halved.
STEPS, STILL, HALVINGS = 500, 1e-13, 40


def stationary(A: np.ndarray) -> np.ndarray:
    """The distribution pi (..., K) with pi = pi A of transition matrices A (..., K, K).

    pi = 1^T (I - A + U)^-1 with U all ones (Zucchini, MacDonald & Langrock 2016, section 1.3.2).

    Raises
    ------
    CollapseError
        If a chain falls apart into several that never meet, and so has many.
    """
    return _inverse(A).sum(-2)


def stationary_peak(counts: np.ndarray, A: np.ndarray) -> np.ndarray:
    """The peak of sum_k c_k log pi_k(A) + sum_jk N_jk log A_jk, pi being stationary, as pi beside A (..., K, 1 + K).

    Its gradient in A_ij is N_ij / A_ij + g_ij with g_ij = pi_i sum_k c_k W_jk / pi_k, W = (I - A + U)^-1. Each step makes A_ij
    proportional to N_ij + A_ij (g_ij - min_j g_ij), of which the peak is a fixed point, and is halved while it leads down.

    Parameters
    ----------
    counts : ndarray, shape (..., K, 1 + K)
        Starts c beside transitions N.
    A : ndarray, shape (..., K, K)
        Where to begin: the peak of the second sum.
    """
    c, N = counts[..., 0], counts[..., 1:]
    value = _value(c, N, A)
    for _ in range(STEPS):
        W = _inverse(A)
        pi = W.sum(-2)
        g = pi[..., None] * (W @ (c / pi)[..., None]).swapaxes(-1, -2)
        new = N + A * (g - g.min(-1, keepdims=True))
        total = new.sum(-1, keepdims=True)
        new = np.where(total > 0, new / np.where(total > 0, total, 1), A)
        step, following = new - A, _value(c, N, new)
        for _ in range(HALVINGS):
            down = ~(following >= value)
            if not down.any():
                break
            step = np.where(down[..., None, None], step / 2, step)
            following = _value(c, N, A + step)
        step = np.where((following >= value)[..., None, None], step, 0)
        A, value = A + step, np.maximum(value, following)
        if np.abs(step).max() < STILL:
            break
    return np.concatenate([stationary(A)[..., None], A], axis=-1)


def _value(c: np.ndarray, N: np.ndarray, A: np.ndarray) -> np.ndarray:
    logs = [np.log(np.maximum(p, 1e-300)) for p in (stationary(A), A)]
    return (c * logs[0]).sum(-1) + (N * logs[1]).sum((-2, -1))


def _inverse(A: np.ndarray) -> np.ndarray:
    """(I - A + U)^-1."""
    W = np.eye(A.shape[-1]) - A + 1
    try:
        return np.linalg.inv(W)
    except np.linalg.LinAlgError:
        apart = np.linalg.matrix_rank(W) < W.shape[-1]
        raise CollapseError("the chain falls apart: it has several stationary distributions", apart) from None
