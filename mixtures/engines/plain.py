"""The one pass over the data in NumPy: the readable reference for every other engine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mixtures.responsibilities import normalise

BLOCK = 4096


def pass_(features: Callable[[np.ndarray], np.ndarray], x: np.ndarray, eta: np.ndarray) -> tuple[float, np.ndarray]:
    """Sum of log_z and the expected sufficient statistics, in blocks of rows.

    Parameters
    ----------
    features : callable
        t, from (B, D) points to (B, P) sufficient statistics.
    x : ndarray, shape (N, D)
    eta : ndarray, shape (K, P)
        Natural parameters with the log weight in the first entry.

    Returns
    -------
    log_z : float
        sum_n log sum_k exp(t(x_n) . eta_k), in nats.
    s : ndarray, shape (K, P)
        sum_n r_nk t(x_n) (PRML 10.46, 10.49, 10.51-10.53).
    """
    total, s = 0.0, np.zeros_like(eta)
    for start in range(0, len(x), BLOCK):
        t = features(x[start : start + BLOCK])
        log_z, r = normalise((eta @ t.T).T)
        total += log_z.sum()
        s += r.T @ t
    return float(total), s
