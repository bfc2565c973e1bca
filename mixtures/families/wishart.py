"""The Wishart distribution and what follows from it, for all Gaussian families with full matrices."""

from __future__ import annotations

from functools import cache, cached_property
from math import log, pi

import numpy as np
from scipy.special import digamma, gammaln

from mixtures.families.collapse import least_variance
from mixtures.families.symmetric import inverse_root, log_diagonal

LOG_2, LOG_PI, LOG_2PI = log(2), log(pi), log(2 * pi)


@cache
def half_steps(D: int) -> np.ndarray:
    """0, 1/2, ..., (D - 1) / 2: by how much the arguments of the multivariate gamma function lie apart, shape (D,)."""
    return np.arange(D) / 2


class Wishart:
    """What densities with a Wishart factor share, (..., D, D) W_inv and (...) nu; one factor of W serves a whole step."""

    W_inv: np.ndarray
    nu: np.ndarray

    @cached_property
    def root(self) -> np.ndarray:
        """The lower triangular F with F^T F = W, shape (..., D, D)."""
        return inverse_root(self.W_inv)

    @cached_property
    def log_det_W_inv(self) -> np.ndarray:
        """log|W^-1|, shape (...)."""
        return -2 * log_diagonal(self.root)

    def mean_Lambda(self) -> np.ndarray:
        """E[Lambda] = nu W, shape (..., D, D) (PRML B.80)."""
        return self.nu[..., None, None] * (self.root.swapaxes(-1, -2) @ self.root)

    def least_variance(self, taken: np.ndarray) -> np.ndarray:
        """`least_variance` of W^-1, shape (...)."""
        return least_variance(self.W_inv, taken, lambda _: 1 / np.einsum("...ij,...ij->...", self.root, self.root))

    def log_wishart_normaliser(self) -> np.ndarray:
        """-log B(W, nu): the log integral of |Lambda|^((nu-D-1)/2) exp(-tr(W^-1 Lambda)/2) (PRML B.79)."""
        D = self.W_inv.shape[-1]
        log_gamma = D * (D - 1) / 4 * LOG_PI + gammaln(self._halves).sum(-1)
        return self.nu / 2 * (D * LOG_2 - self.log_det_W_inv) + log_gamma

    def expected_log_det(self) -> np.ndarray:
        """E[log|Lambda|] under Wishart(W, nu) (PRML 10.65, B.81)."""
        return digamma(self._halves).sum(-1) + self.W_inv.shape[-1] * LOG_2 - self.log_det_W_inv

    @cached_property
    def _halves(self) -> np.ndarray:
        return self.nu[..., None] / 2 - half_steps(self.W_inv.shape[-1])


def wishart_root(W_inv: np.ndarray, nu: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of F with F F^T = Lambda^-1 and Lambda ~ Wishart(W, nu), by Bartlett's decomposition, shape (size, ..., D, D)."""
    shape = (size, *W_inv.shape)
    D = shape[-1]
    A = np.tril(rng.standard_normal(shape), -1)
    A[..., range(D), range(D)] = np.sqrt(rng.chisquare(nu[..., None] - np.arange(D), shape[:-1]))
    return np.linalg.cholesky(W_inv) @ np.linalg.inv(A).swapaxes(-1, -2)


def log_student_t(distance: np.ndarray, log_scale: np.ndarray, dof: np.ndarray, D: int | np.ndarray) -> np.ndarray:
    """Log Student-t density in D dimensions from the squared Mahalanobis distance and log|scale|/2 (PRML B.68)."""
    constant = gammaln((dof + D) / 2) - gammaln(dof / 2) - D / 2 * np.log(dof * np.pi) - log_scale
    return constant - (dof + D) / 2 * np.log1p(distance / dof)
