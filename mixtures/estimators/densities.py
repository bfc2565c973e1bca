"""Log weights and densities of a mixture's components as five arrays, for NumPy and for one compiled call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln

from mixtures.engines import loading
from mixtures.engines.responsibilities import log_sum, normalise
from mixtures.estimators.structures import MATRICES
from mixtures.estimators.student import student
from mixtures.families.wishart import LOG_2PI

ENGINE = "mixtures.engines.answers"

# Stands for a log density below the range of numbers.
LOWEST = -1e308

# Numbers in the largest array that a prediction holds beside its answer.
BLOCK_ELEMENTS = 200_000

# Answers that were not asked for: labels, probabilities and log densities.
NOTHING: tuple[np.ndarray, np.ndarray, np.ndarray] = np.empty(0, np.int64), np.empty((0, 0)), np.empty(0)

# Milliseconds that compiled loops save a prediction, for the call and for each number of its rows.
CALL, NUMBER = 0.015, 1.5e-5


def labels(log_rho: np.ndarray) -> np.ndarray:
    """The most probable component, from log densities (B, K) to (B,)."""
    return log_rho.argmax(1)


def probabilities(log_rho: np.ndarray) -> np.ndarray:
    """The probability of every component, from log densities (B, K) to (B, K)."""
    return normalise(log_rho)[1]


def log_densities(log_rho: np.ndarray) -> np.ndarray:
    """The log density of the mixture, from those of the components (B, K) to (B,); minus infinity below all numbers."""
    log_p = log_sum(log_rho)
    return np.where(log_p > LOWEST, log_p, -np.inf)


@dataclass(frozen=True)
class Densities:
    """From rows (B, D) to the log weight and density of each component, (B, K).

    Of z = U_k^T (x - m_k) they are c_k - |z|^2 / 2, or of Student's t densities c_k - a_k log(1 + |z|^2); see
    `mixtures.engines.answers`.

    Parameters
    ----------
    constant : ndarray, shape (K,)
    means : ndarray, shape (K, D)
    roots : ndarray, shape (K, D, D), or (K, 1, D) where they are diagonal
        U_k.
    power : ndarray, shape (K,)
        a_k; empty for Gaussian densities.
    each : bool
        Whether the features have a Student's t density each.
    """

    constant: np.ndarray
    means: np.ndarray
    roots: np.ndarray
    power: np.ndarray = field(default_factory=partial(np.empty, 0))
    each: bool = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The log densities in NumPy."""
        roots = self.roots.swapaxes(1, 2)
        with np.errstate(over="ignore"):
            z = np.ascontiguousarray(x.T) - self.means[..., None]  # features first: sums then run along memory
            z = roots * z if roots.shape[2] == 1 else roots @ z
            z *= z
            if self.each:
                taken = self.power[:, None] * np.log1p(z, out=z).sum(1)
            else:
                distance = z.sum(1)
                taken = self.power[:, None] * np.log1p(distance) if self.power.size else distance / 2
        return np.maximum(self.constant[:, None] - taken, LOWEST).T

    def answers(self, x: np.ndarray, answer: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """What `labels`, `probabilities` or `log_densities` say of rows (N, D) of finite numbers."""
        if not loading.repaid(ENGINE, CALL + NUMBER * x.size):
            return in_blocks(x, len(self.means), self, answer)
        from mixtures.engines import answers

        if not (x.dtype == np.float64 and x.flags.carray):
            x = np.require(x, np.float64, ("C", "A"))
        own, r, log_p = NOTHING
        found: np.ndarray
        if answer is labels:
            found = own = np.empty(len(x), np.int64)
        elif answer is probabilities:
            found = r = np.empty((len(x), len(self.means)))
        else:
            found = log_p = np.empty(len(x))
        answers.answer(x, self._arrays, own, r, log_p)
        return found

    @cached_property
    def _arrays(self) -> tuple[Any, ...]:
        arrays = (self.constant, self.means, self.roots, self.power)
        return *(np.require(array, np.float64, ("C", "A")) for array in arrays), bool(self.each)


def in_blocks(
    x: np.ndarray,
    K: int,
    log_density: Callable[[np.ndarray], np.ndarray],
    answer: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Answers from log densities (B, K) of rows (N, D) in blocks."""
    D = x.shape[1]
    step = max(1, BLOCK_ELEMENTS // (D * max(K, D)))
    blocks = (np.asarray(x[start : start + step], dtype=np.float64) for start in range(0, len(x), step))
    parts = [answer(log_density(block)) for block in blocks]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def roots_of(roots: Any, structure: str, K: int, D: int) -> np.ndarray:
    """``precisions_cholesky_`` as `Densities` has them."""
    roots = np.asarray(roots, dtype=np.float64)
    if structure in MATRICES:
        return np.broadcast_to(roots, (K, D, D))
    return np.broadcast_to(roots.reshape(K, 1, -1), (K, 1, D))


def log_volumes(roots: np.ndarray) -> np.ndarray:
    """log|U_k|, (K,)."""
    diagonal = roots[:, 0] if roots.shape[1] == 1 else np.diagonal(roots, axis1=1, axis2=2)
    return np.log(diagonal).sum(1)


def gaussian(log_pi: np.ndarray, means: Any, roots: np.ndarray) -> Densities:
    """Log weights and Gaussian densities with means (K, D) and roots of the precisions."""
    means = np.asarray(means, dtype=np.float64)
    return Densities(log_pi + log_volumes(roots) - means.shape[1] / 2 * LOG_2PI, means, roots)


def predictive(
    log_pi: np.ndarray, means: np.ndarray, roots: np.ndarray, beta: np.ndarray, nu: Any, structure: str
) -> Densities:
    """Log weights and predictive densities under a conjugate posterior (PRML 10.81, 10.82, 2.158-2.162 and B.68).

    Parameters
    ----------
    log_pi, means, beta : ndarray, shape (K,), (K, D) and (K,)
    roots : ndarray
        Of the mean precisions, nu W or what stands for it, as in `Densities`.
    nu : float or ndarray, shape (K,)
    structure : str
    """
    D, nu = means.shape[1], np.broadcast_to(nu, beta.shape)
    dof = nu + 1 - D if structure in MATRICES else nu
    own = 1 if structure == "diag" else D  # features of one density
    with np.errstate(over="ignore"):
        widened = nu * (1 + 1 / beta)
    gammas = gammaln((dof + own) / 2) - gammaln(dof / 2)
    constant = log_pi + D // own * gammas - D / 2 * np.log(np.pi * widened) + log_volumes(roots)
    return Densities(constant, means, roots / np.sqrt(widened)[:, None, None], (dof + own) / 2, structure == "diag")


def draw_predictive(
    counts: np.ndarray,
    means: np.ndarray,
    roots: np.ndarray,
    beta: np.ndarray,
    nu: np.ndarray,
    structure: str,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rows with the densities of `predictive`, so many of every component (K,), sorted by component, shape (N, D).

    A row is one of `student`'s, or has one for each feature where these have a density each.
    """
    K, D = means.shape
    nu = nu if nu.shape else np.full(K, nu)
    dof, each = nu + 1 - D if structure in MATRICES else nu, D if structure == "diag" else 1
    widths = np.sqrt(nu / dof * (1 + 1 / beta))
    drawn = student(each * counts, D // each, dof, rng).reshape(-1, D)
    if structure in MATRICES and D > 1:
        ends = counts.cumsum()
        for k in counts.nonzero()[0]:
            own = drawn[ends[k] - counts[k] : ends[k]]
            own[:] = own @ (widths[k] * solve_triangular(roots[k], np.eye(D), check_finite=False))
    else:
        drawn *= (widths[:, None] / roots[:, 0]).repeat(counts, axis=0)
    drawn += means.repeat(counts, axis=0)
    return drawn
