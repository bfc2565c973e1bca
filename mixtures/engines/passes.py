"""One pass over the data, wherever they are and whoever computes it: eta -> (sum_n w_n log_z_n, s).

A pass over an array also takes uniform random numbers as a second argument, to draw labels in the place of responsibilities.
What a base measure adds to log_z whatever eta is, `log_base`, is left out of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mixtures.engines import plain, sequences
from mixtures.model import Family
from mixtures.rows import Rows, Sequences, blocks

Pass = Callable[..., tuple[np.ndarray, np.ndarray]]

# Terms r_nk t_p of a pass above which compiled loops repay the second that it takes to load the compiler.
FUSED_FROM = 100_000


def one_pass(
    x: Rows,
    weights: np.ndarray | None,
    family: Family,
    points: int,
    reg_covar: float | np.ndarray = 0.0,
    engine: str = "auto",
) -> Pass:
    """The pass over these data, as a function of natural parameters (..., K, P).

    Parameters
    ----------
    x : ndarray, shape (N, D), or (R, N, D) for R data sets with a run each, Sequences, or blocks of rows
    weights : ndarray, shape (N,) or (R, N), or None
    family : Family
    points : int
        N times K, by which the engine is chosen.
    reg_covar : float or ndarray, shape (..., D, D)
        Variance, in squared units of x, of independent noise about every feature of every row, or the noise's covariance:
        t(x_n) is replaced by its mean over that noise. The covariances of a maximum-likelihood fit then have ``reg_covar``
        added to their diagonal.
    engine : {"auto", "plain", "fused"}
    """
    if np.ndim(reg_covar) == 0 and not 0 <= reg_covar < np.inf:
        raise ValueError(f"reg_covar is {reg_covar}; expected at least 0")
    if engine not in ("auto", "plain", "fused"):
        raise ValueError(f"engine is {engine!r}; expected auto, plain or fused")
    if np.any(reg_covar) and not np.any(noise(family, 1.0)):
        raise ValueError(f"reg_covar is {reg_covar}, a variance; no feature of the {family.name} family has one")
    if engine == "fused" and not family.affine:
        raise ValueError(f"the fused engine takes columns of numbers; use the plain one for this {family.name} family")
    compute = plain.pass_
    large = points * (1 + family.monomials[-1, 0]) >= FUSED_FROM
    if engine == "fused" or (engine == "auto" and large and family.affine):
        from mixtures.engines import fused

        compute = fused.pass_
    if isinstance(x, Sequences):
        pass_ = sequences.one_pass(family, x, weights, engine)
    elif isinstance(x, np.ndarray):
        pass_ = partial(compute, family, x, weights)
        if compute is plain.pass_ and x.shape[-2] <= plain.BLOCK:  # one block: its features serve every pass
            pass_ = partial(plain.over, family.features(x), weights)
    else:
        pass_ = partial(_over_blocks, partial(compute, family), x)
    return partial(_blurred, pass_, noise(family, reg_covar)) if np.any(reg_covar) else pass_


def noise(family: Family, covariance: float | np.ndarray) -> np.ndarray:
    """What noise of a covariance (..., D, D), or a variance for all features, adds to the mean of t(x), shape (..., P)."""
    own = covariance * np.eye(len(family.origin)) if np.ndim(covariance) == 0 else np.asarray(covariance)
    relative = family.reduce_matrix(own)
    extra = np.zeros((*relative.shape[:-2], 1 + family.monomials[-1, 0]))
    for p, i, j in family.monomials:
        if i > 0:
            extra[..., p] += relative[..., i - 1, j - 1]
    return extra


def blur(s: np.ndarray, extra: np.ndarray) -> np.ndarray:
    """Statistics (..., K, P), or states with more columns, of t(x) + extra in the place of t(x); extra_0 = 0 and t_0 = 1."""
    return s + s[..., :1] * _widened(extra, s.shape[-1])


def _widened(extra: np.ndarray, columns: int) -> np.ndarray:
    """The numbers (..., P) with zeros behind."""
    return np.concatenate([extra, np.zeros((*extra.shape[:-1], columns - extra.shape[-1]))], axis=-1)


def log_base(x: Rows, weights: np.ndarray | None, family: Family) -> float:
    """sum_n w_n log h(x_n): what the base measure adds to sum_n w_n log_z_n whatever eta is."""
    if not family.has_base:
        return 0.0
    each = ((family.log_base(block), w) for block, w in blocks(x, weights))
    return float(sum(base.sum() if w is None else base @ w for base, w in each))


def entropy(eta: np.ndarray, log_z: np.ndarray, s: np.ndarray) -> np.ndarray:
    """Entropy of the responsibilities, -sum_nk w_n r_nk log r_nk, in nats, from a pass: sum log_z - sum(s * eta), (...)."""
    return np.maximum(log_z - (s * eta).sum((-2, -1)), 0)


def _over_blocks(
    compute: Callable[..., tuple[np.ndarray, np.ndarray]], x: Rows, eta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    total, s = np.zeros(eta.shape[:-2]), np.zeros_like(eta)
    for block, weights in blocks(x):
        own_log_z, own_s = compute(block, weights, eta)
        total += own_log_z
        s += own_s
    return total, s


def _blurred(pass_: Pass, extra: np.ndarray, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The pass with t(x) + extra in the place of t(x); extra_0 = 0 and t_0 = 1."""
    constant = eta.copy()
    constant[..., 0] += (eta * _widened(extra, eta.shape[-1])[..., None, :]).sum(-1)
    log_z, s = pass_(constant)
    return log_z, blur(s, extra[..., None, :])
