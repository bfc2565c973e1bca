"""From log weights and natural parameters to responsibilities."""

from __future__ import annotations

import numpy as np

# Numbers above which compiled loops repay the second that it takes to load the compiler.
COMPILED_FROM = 100_000


def fold(log_pi: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Natural parameters (..., K, P) with the log weights (..., K) folded into their constant.

    Those of labels that depend on each other have columns of their own (..., K, C), and stand behind.
    """
    if log_pi.ndim == eta.ndim:
        return np.concatenate([eta, log_pi], axis=-1)
    eta = eta.copy()
    eta[..., 0] += log_pi
    return eta


def normalise(log_rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log_z = logsumexp over the last axis, and responsibilities exp(log_rho - log_z).

    Where all of log_rho is minus infinity, log_z is too, and the responsibilities are equal.

    Quickest where the last axis has the largest stride, so that the sums run along memory.
    """
    top = log_rho.max(-1, keepdims=True)
    rho = _below(log_rho, top)
    z = np.exp(rho, out=rho).sum(-1, keepdims=True)
    rho /= z
    return (np.log(z) + top)[..., 0], rho


def _below(log_rho: np.ndarray, top: np.ndarray) -> np.ndarray:
    """log_rho - top; zero where both are minus infinity."""
    nowhere = np.isneginf(top)
    return np.where(nowhere, 0.0, log_rho - np.where(nowhere, 0.0, top)) if nowhere.any() else log_rho - top


def log_sum(log_rho: np.ndarray) -> np.ndarray:
    """log_z alone, in less time."""
    top = log_rho.max(-1, keepdims=True)
    rho = _below(log_rho, top)
    return np.log(np.exp(rho, out=rho).sum(-1)) + top[..., 0]


def normalise_draws(log_rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`normalise` of (S, N, K), under every draw; in compiled loops where there are many numbers."""
    if log_rho.size < COMPILED_FROM:
        return normalise(log_rho)
    from mixtures.engines import softmax

    return softmax.normalise(log_rho)


def log_sum_draws(log_rho: np.ndarray) -> np.ndarray:
    """`log_sum` of (S, N, K), under every draw; in compiled loops where there are many numbers."""
    if log_rho.size < COMPILED_FROM:
        return log_sum(log_rho)
    from mixtures.engines import softmax

    return softmax.log_sum(log_rho)


def drawn(r: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Indicators (..., K) of labels drawn with the probabilities r (..., K), by inversion of the uniform numbers u (...)."""
    reached = u[..., None] < np.cumsum(r, axis=-1)
    reached[..., -1] = True
    return np.diff(reached.astype(float), axis=-1, prepend=0)
