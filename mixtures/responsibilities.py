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
    rho = np.exp(log_rho - top)
    z = rho.sum(-1, keepdims=True)
    return (np.log(z) + top)[..., 0], rho / z


def drawn(r: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Indicators (..., K) of labels drawn with the probabilities r (..., K), by inversion of the uniform numbers u (...)."""
    reached = u[..., None] < np.cumsum(r, axis=-1)
    reached[..., -1] = True
    return np.diff(reached.astype(float), axis=-1, prepend=0)
