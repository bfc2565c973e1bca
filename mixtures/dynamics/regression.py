r"""The linear regression of which a linear dynamical system is made: y = B u + e, e ~ N(0, Sigma).

It stands three times in the model: z_t on z_(t-1), x_t on z_t, and z_1 on the constant 1. Its prior is conjugate,

    Lambda = Sigma^-1 ~ Wishart(S0^-1, nu0)          B | Lambda ~ MN(M0, Lambda^-1, K0^-1)

(Beal 2003, section 5.2), or row by row with gamma precisions. Entries of B and Sigma may be known. What a method needs of the
data are second moments of y~ = y - (known part of B) u and of u, and the prior is moments too, so that a posterior is a sum.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

LOG_2PI = float(np.log(2 * np.pi))


class Moments(NamedTuple):
    """Second moments of D noisy features y~ and U regressors u: sums over rows, of each feature or of all together.

    Attributes
    ----------
    n : ndarray, shape (D,) or ()
        Number of rows.
    yy : ndarray, shape (D,) or (D, D)
        Sums of y~ y~^T, of which features with noises of their own need the diagonal alone.
    yu : ndarray, shape (D, U)
    uu : ndarray, shape (D, U, U) or (U, U)
    """

    n: np.ndarray
    yy: np.ndarray
    yu: np.ndarray
    uu: np.ndarray

    def plus(self, other: Moments) -> Moments:
        """The moments of both."""
        return Moments(*(a + b for a, b in zip(self, other, strict=True)))

    def flat(self) -> np.ndarray:
        """All numbers in a row."""
        return np.concatenate([np.ravel(a) for a in self])


class Expected(NamedTuple):
    """What the smoother takes of a regression: a point (B, Sigma), and what a distribution about it adds.

    Attributes
    ----------
    B : ndarray, shape (D, U)
        Coefficients, or E[Lambda]^-1 E[Lambda B].
    Sigma : ndarray, shape (D, D)
        Noise covariance, or E[Lambda]^-1.
    extra : ndarray, shape (D, U, U) or (U, U), or None
        E[B^T Lambda B] - B^T E[Lambda] B, of each feature or of all together; None at a point.
    log_scale : ndarray, shape (D,) or ()
        Half of E[log |Lambda|] - log |E[Lambda]|, in nats.
    """

    B: np.ndarray
    Sigma: np.ndarray
    extra: np.ndarray | None = None
    log_scale: np.ndarray = np.zeros(())


@dataclass(frozen=True)
class Prior:
    """A matrix-normal-Wishart prior.

    Parameters
    ----------
    mean : ndarray, shape (D, U)
        M0, of which entries that are known in the model are not used.
    precision : ndarray, shape (U, U)
        K0, positive definite: precision of a row of B in units of that of its noise.
    dof : float
        nu0, positive, and above D - 1 for a full covariance.
    scale : ndarray, shape (D, D)
        S0, positive definite; the prior mean of Lambda is nu0 S0^-1. Noises of their own use its diagonal, a common one its
        first entry.
    """

    mean: np.ndarray
    precision: np.ndarray
    dof: float
    scale: np.ndarray


@dataclass(frozen=True)
class Regression(ABC):
    """A regression, some of whose entries are known.

    Parameters
    ----------
    B : ndarray, shape (D, U)
        Known coefficients; NaN where they are free.
    Sigma : ndarray, shape (D, D)
        Known entries of the noise covariance; NaN where they are free. A row of zeros has no noise.
    prior : Prior, optional
        What maximum likelihood has no need of.
    """

    B: np.ndarray
    Sigma: np.ndarray
    prior: Prior | None = field(default=None, compare=False)

    @cached_property
    def noisy(self) -> np.ndarray:
        """Numbers of the features with noise, (D',)."""
        return np.flatnonzero(np.diag(self.Sigma) != 0)

    @cached_property
    def free(self) -> np.ndarray:
        """Which coefficients of the features with noise are free, (D', U)."""
        return np.isnan(self.B[self.noisy])

    @cached_property
    def known(self) -> np.ndarray:
        """Coefficients with zero in place of those that are free, (D, U)."""
        return np.where(np.isnan(self.B), 0.0, self.B)

    @cached_property
    def offset(self) -> bool:
        """Whether the known coefficients explain anything."""
        return bool(self.known.any())

    @cached_property
    def noise(self) -> np.ndarray:
        """Covariance of the noises that there are, NaN where it is free, (D', D')."""
        return self.Sigma[np.ix_(self.noisy, self.noisy)]

    @cached_property
    def settled(self) -> bool:
        """Whether nothing is free."""
        return not (self.free.any() or np.isnan(self.noise).any())

    @property
    def given(self) -> Prior:
        """The prior.

        Raises
        ------
        ValueError
            If there is none.
        """
        if self.prior is None:
            raise ValueError("the model has no prior; give one, or take model.with_prior(x) for a weak one of the data")
        return self.prior

    def inner(self, S: np.ndarray) -> np.ndarray:
        """The rows and columns of the features with noise, (D', D')."""
        return S if len(self.noisy) == len(S) else S[np.ix_(self.noisy, self.noisy)]

    def whole(self, B: np.ndarray, Sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """B (D, U) and Sigma (D, D) from the free part of B (D', U) and the covariance of the noises (D', D')."""
        if len(self.noisy) == len(self.Sigma):
            return self.known + B, Sigma
        full, cov = self.known.copy(), np.zeros_like(self.Sigma)
        full[self.noisy] += B
        cov[np.ix_(self.noisy, self.noisy)] = Sigma
        return full, cov

    def part(self, B: np.ndarray, Sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverse of `whole`."""
        if len(self.noisy) == len(self.Sigma):
            return B - self.known, Sigma
        return (B - self.known)[..., self.noisy, :], Sigma[..., self.noisy[:, None], self.noisy]

    def n_free(self) -> int:
        """Number of free parameters."""
        return int(self.free.sum()) + self._free_noises()

    @abstractmethod
    def _free_noises(self) -> int: ...

    @property
    @abstractmethod
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the moments."""

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many numbers each of the moments holds."""
        return tuple(math.prod(shape) for shape in self.sizes)

    @abstractmethod
    def moments(self, n: Any, yy: np.ndarray, yu: np.ndarray, uu: np.ndarray) -> Moments:
        """Moments from sums over rows of which all features were seen: n (), yy (D', D'), yu (D', U), uu (U, U)."""

    @abstractmethod
    def peak(self, s: Moments, prior: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """B and Sigma that maximise the expected log likelihood, or with it the log prior density of (B, Lambda)."""

    @abstractmethod
    def degrees(self, q: Moments, prior: bool) -> np.ndarray:
        """Twice the factor of each log precision in what `peak` maximises, (D',); of known noises it has no meaning."""

    @property
    @abstractmethod
    def prior_moments(self) -> Moments:
        """The prior, as moments."""

    @abstractmethod
    def posterior(self, s: Moments) -> Moments:
        """The hyperparameters of q(B, Lambda), as the moments prior + s."""

    @abstractmethod
    def expected(self, q: Moments) -> Expected:
        """What the smoother takes of q(B, Lambda)."""

    @abstractmethod
    def natural(self, at: Expected) -> Moments:
        """(Expected) natural parameters: the expected log likelihood is the sum of their products with the moments."""

    @abstractmethod
    def log_marginal(self, s: Moments) -> float:
        """Log of the expected likelihood exp(s . eta) integrated over the prior, in nats."""

    @abstractmethod
    def log_prior(self, B: np.ndarray, Sigma: np.ndarray) -> np.ndarray:
        """Log prior density of the free entries of B and of Lambda, shape (...)."""

    @abstractmethod
    def sample(self, q: Moments, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A draw of B (D, U) and Sigma (D, D) from q(B, Lambda), or, of the prior's moments, from the prior."""

    def unflat(self, flat: np.ndarray) -> Moments:
        """The inverse of `Moments.flat`."""
        ends = np.cumsum(self.counts)
        parts = (
            flat[end - n : end].reshape(shape) for n, end, shape in zip(self.counts, ends, self.sizes, strict=True)
        )
        return Moments(*parts)
