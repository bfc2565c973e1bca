"""The one pass over the data in NumPy: the readable reference for every other engine."""

from __future__ import annotations

import numpy as np

from mixtures.engines.responsibilities import drawn, normalise
from mixtures.model import Family

BLOCK = 4096


def pass_(
    family: Family, x: np.ndarray, weights: np.ndarray | None, eta: np.ndarray, u: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of log_z and the expected sufficient statistics, or those of labels drawn at random, in blocks of rows.

    Parameters
    ----------
    family : Family
        Its ``features`` are t, from (..., B, D) points to (..., B, P) sufficient statistics.
    x : ndarray, shape (N, D), or (R, N, D) for R data sets with a run each
    weights : ndarray, shape (N,) or (R, N), or None
        How often each row counts; None for once.
    eta : ndarray, shape (..., K, P)
        Natural parameters of one run or several, with the log weight in the first entry.
    u : ndarray, shape (..., N), optional
        Uniform random numbers: each label is then drawn with the probabilities r_n, and r_nk below is 1 where z_n = k.

    Returns
    -------
    log_z : ndarray, shape (...)
        sum_n w_n log sum_k exp(t(x_n) . eta_k), in nats.
    s : ndarray, shape (..., K, P)
        sum_n w_n r_nk t(x_n) (PRML 10.46, 10.49, 10.51-10.53).
    """
    total, s = np.zeros(eta.shape[:-2]), np.zeros_like(eta)
    for start in range(0, x.shape[-2], BLOCK):
        rows = slice(start, start + BLOCK)
        w, uniform = (None if v is None else v[..., rows] for v in (weights, u))
        own = over(family.features(x[..., rows, :]), w, eta, uniform)
        total, s = total + own[0], s + own[1]
    return total, s


def over(
    t: np.ndarray, weights: np.ndarray | None, eta: np.ndarray, u: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The pass over points whose features t (..., B, P) are at hand."""
    log_z, r = normalise((eta @ t.swapaxes(-1, -2)).swapaxes(-1, -2))
    if u is not None:
        r = drawn(r, u)
    if weights is not None:
        log_z, r = log_z * weights, r * weights[..., None]
    return log_z.sum(-1), r.swapaxes(-1, -2) @ t
