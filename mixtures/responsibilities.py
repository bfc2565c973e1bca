"""From log weights and natural parameters to responsibilities."""

from __future__ import annotations

import numpy as np


def fold(log_pi: np.ndarray, eta: np.ndarray) -> np.ndarray:
    """Natural parameters (..., K, P) with the log weights (..., K) folded into their constant."""
    eta = eta.copy()
    eta[..., 0] += log_pi
    return eta


def normalise(log_rho: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log_z = logsumexp over the last axis, and responsibilities exp(log_rho - log_z).

    Quickest where the last axis has the largest stride, so that the sums run along memory.
    """
    top = log_rho.max(-1, keepdims=True)
    rho = log_rho - top
    z = np.exp(rho, out=rho).sum(-1, keepdims=True)
    rho /= z
    return (np.log(z) + top)[..., 0], rho


def log_sum(log_rho: np.ndarray) -> np.ndarray:
    """log_z alone, in less time."""
    top = log_rho.max(-1, keepdims=True)
    rho = log_rho - top
    return np.log(np.exp(rho, out=rho).sum(-1)) + top[..., 0]


def drawn(r: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Indicators (..., K) of labels drawn with the probabilities r (..., K), by inversion of the uniform numbers u (...)."""
    reached = u[..., None] < np.cumsum(r, axis=-1)
    reached[..., -1] = True
    return np.diff(reached.astype(float), axis=-1, prepend=0)
