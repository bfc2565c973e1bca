r"""The free variables of a regression y = B u + e, e ~ N(0, Sigma), of a linear dynamical system under its conjugate prior.

Noises of their own have precisions lambda_d ~ Gamma(nu0 / 2, S0_d / 2), or one in common. Correlated ones have a Wishart matrix
that is made of variables independent under the prior (Bartlett's factor, as in `models.wishart`):

    c_i ~ chi-square(nu0 - i), i = 0..D-1     a_ij ~ N(0, 1), i > j
    T = lower triangle of a with diagonal sqrt(c)     S0^-1 = L L^T     Lambda = (L T) (L T)^T

The free coefficients b of B are normal about their prior means with precision matrix (Lambda x K0), rows and columns of known
ones left out, where x is Kronecker's product.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.tensor.variable import TensorVariable

from mixtures.dynamics.regression import LOG_2PI, Regression
from mixtures.dynamics.rows import Rows


def variables(name: str, part: Regression) -> tuple[TensorVariable, TensorVariable]:
    """Coefficients B (D, U) and noise covariance Sigma (D, D), of free variables whose names begin with ``name``.

    Raises
    ------
    ValueError
        If the regression has no conjugate prior.
    """
    Lambda, Sigma, log_det = _rows(name, part) if isinstance(part, Rows) else _joint(name, part)
    noisy = part.noisy
    scattered = pt.zeros(part.Sigma.shape)
    if len(noisy):
        scattered = pt.set_subtensor(scattered[noisy[:, None], noisy], Sigma)
    return _coefficients(name, part, Lambda, log_det), scattered


def unconstrain(name: str, part: Regression, B: np.ndarray, Sigma: np.ndarray) -> dict[str, np.ndarray]:
    """The unconstrained values at B (..., D, U) and Sigma (..., D, D), by name."""
    b, own = part.part(B, Sigma)
    values = {}
    if isinstance(part, Rows):
        free = np.isnan(part.variances)
        if free.any():
            chosen = np.flatnonzero(free)[: 1 if part.common else None]
            values[f"{name}_precision_log__"] = -np.log(np.diagonal(own, axis1=-2, axis2=-1)[..., chosen])
    elif np.isnan(part.noise).any():
        T = np.linalg.solve(_root(part), np.linalg.cholesky(np.linalg.inv(own)))
        values[f"{name}_c_log__"] = 2 * np.log(np.diagonal(T, axis1=-2, axis2=-1))
        if T.shape[-1] > 1:
            values[f"{name}_a"] = T[..., *np.tril_indices(T.shape[-1], -1)]
    if part.free.any():
        values[f"{name}_free"] = b[..., part.free]
    return values


def _rows(name: str, part: Rows) -> tuple[Any, Any, Any]:
    """Lambda (D', D'), its inverse, and for each row the log of its precision."""
    free = np.isnan(part.variances)
    precision = pt.as_tensor_variable(1 / np.where(free, 1.0, part.variances))
    if free.any():
        prior = part.given
        rate = np.full(1, prior.scale[0, 0]) if part.common else np.diag(prior.scale)[part.noisy][free]
        own = pm.Gamma(f"{name}_precision", prior.dof / 2, rate / 2, shape=rate.shape)
        precision = pt.set_subtensor(precision[np.flatnonzero(free)], own)
    return pt.diag(precision), pt.diag(1 / precision), pt.log(precision)


def _joint(name: str, part: Regression) -> tuple[Any, Any, Any]:
    """Lambda (D', D'), its inverse, and for each row its share of log |Lambda|."""
    if not np.isnan(part.noise).any():
        Lambda = np.linalg.inv(part.noise)
        share = np.full(len(Lambda), np.linalg.slogdet(Lambda)[1] / len(Lambda))
        return pt.as_tensor_variable(Lambda), pt.as_tensor_variable(part.noise), pt.as_tensor_variable(share)
    part.posterior(part.prior_moments)  # which says where there is none
    D, L = len(part.noisy), _root(part)
    c = pm.ChiSquared(f"{name}_c", part.given.dof - np.arange(D), shape=D)
    T = pt.diag(pt.sqrt(c))
    if D > 1:
        a = pm.Normal(f"{name}_a", shape=D * (D - 1) // 2)
        T = pt.set_subtensor(T[np.tril_indices(D, -1)], a)
    F = pt.dot(L, T)
    inverse = pt.linalg.solve_triangular(F, pt.eye(D), lower=True)
    return F @ F.T, inverse.T @ inverse, pt.log(c) + 2 * np.log(np.diagonal(L))


def _root(part: Regression) -> np.ndarray:
    """L with L L^T = S0^-1."""
    return np.linalg.cholesky(np.linalg.inv(part.given.scale[np.ix_(part.noisy, part.noisy)]))


def _coefficients(name: str, part: Regression, Lambda: TensorVariable, log_det: TensorVariable) -> TensorVariable:
    """B (D, U), with a free variable of all its free entries."""
    if not part.free.any():
        return pt.as_tensor_variable(part.known)
    rows, columns = np.nonzero(part.free)
    K = part.given.precision
    K_own, mean = K[columns[:, None], columns], part.given.mean[part.noisy][part.free]
    counts = np.bincount(rows, minlength=len(part.noisy))
    blocks = [K[np.ix_(own, own)] for own in part.free if own.any()]
    constant = (sum(np.linalg.slogdet(block)[1] for block in blocks) - len(rows) * LOG_2PI) / 2

    def logp(b: TensorVariable, mean: TensorVariable, Lambda: TensorVariable, log_det: TensorVariable) -> Any:
        gap = b - mean
        precision = Lambda[rows[:, None], rows] * K_own
        return constant + ((counts * log_det).sum() - (gap * (precision @ gap)).sum()) / 2

    def random(mean: np.ndarray, Lambda: np.ndarray, log_det: np.ndarray, rng: np.random.Generator, size: Any) -> Any:
        root = np.linalg.cholesky(Lambda[..., rows[:, None], rows] * K_own)
        noise = rng.standard_normal((*mean.shape, 1))
        return mean + np.linalg.solve(np.swapaxes(root, -1, -2), noise)[..., 0]

    b = pm.CustomDist(f"{name}_free", mean, Lambda, log_det, logp=logp, random=random, signature="(p),(d,d),(d)->(p)")
    return pt.set_subtensor(pt.as_tensor_variable(part.known)[part.noisy[rows], columns], b)
