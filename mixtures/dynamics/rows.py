"""Regressions whose features have noises of their own, or one variance in common (Beal 2003, section 5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import digamma, gammaln

from mixtures.dynamics.regression import LOG_2PI, Expected, Moments, Regression
from mixtures.errors import CollapseError

# Residual variance, over that of y~, below which the regression leaves nothing but rounding.
NOTHING = 1e-14


@dataclass(frozen=True)
class Rows(Regression):
    """lambda_d ~ Gamma(nu0 / 2, S0_d / 2), b_d | lambda_d ~ N(m0_d, (lambda_d K0)^-1) for each feature d.

    Parameters
    ----------
    common : bool
        Whether all features share one lambda ~ Gamma(nu0 / 2, S0 / 2).
    """

    common: bool = False

    @cached_property
    def variances(self) -> np.ndarray:
        """Variances of the noises, NaN where they are free, (D',)."""
        return np.diag(self.noise).copy()

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the moments."""
        D, U = self.free.shape
        return (D,), (D,), (D, U), (D, U, U)

    def moments(self, n: Any, yy: np.ndarray, yu: np.ndarray, uu: np.ndarray) -> Moments:
        """See `Regression.moments`."""
        D = len(yy)
        return Moments(np.full(D, float(n)), np.diag(yy).copy(), yu.copy(), np.repeat(uu[None], D, axis=0))

    def peak(self, s: Moments, prior: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See `Regression.peak`."""
        q = self.posterior(s) if prior else s
        _, B, S = self._solved(q)  # PRML 13.113, 13.115
        n = self.degrees(q, prior)
        if self.common:
            S = np.full_like(S, S.mean())
        variances = S / np.maximum(n, 1e-300)  # PRML 13.114, 13.116
        free = np.isnan(self.variances)
        if np.any(free & ~((n > 0) & (NOTHING * q.yy < S))):
            raise CollapseError("a noise vanished: a feature, or a state, is a combination of others without error")
        return self.whole(B, np.diag(np.where(free, variances, self.variances)))

    def degrees(self, q: Moments, prior: bool) -> np.ndarray:
        """See `Regression.degrees`."""
        n = np.where(np.isnan(self.variances), q.n + (self.free.sum(1) if prior else 0), 1 + 2 * prior)
        return np.full_like(n, (n.sum() - 2 * prior) / len(n)) if self.common else n - 2.0 * prior

    def posterior(self, s: Moments) -> Moments:
        """See `Regression.posterior`."""
        return self.prior_moments.plus(s)

    def expected(self, q: Moments) -> Expected:
        """See `Regression.expected`."""
        K, B, _ = self._solved(q)
        halves, rates, free = *self._gamma(q), np.isnan(self.variances)
        mean = np.where(free, halves / rates, 1 / self.variances)
        scale = np.where(free, digamma(halves) - np.log(halves), 0) / 2
        inside = self.free[:, :, None] & self.free[:, None]
        return Expected(*self.whole(B, np.diag(1 / mean)), np.where(inside, np.linalg.inv(K), 0), scale)

    def natural(self, at: Expected) -> Moments:
        """See `Regression.natural`."""
        B, Sigma = self.part(at.B, at.Sigma)
        precision = 1 / np.diag(Sigma)
        second = precision[:, None, None] * B[:, :, None] * B[:, None] + (0 if at.extra is None else at.extra)
        log_norm = np.log(precision) / 2 + at.log_scale - LOG_2PI / 2
        return Moments(log_norm, -precision / 2, precision[:, None] * B, -second / 2)

    def log_marginal(self, s: Moments) -> float:
        """See `Regression.log_marginal`."""
        free = np.isnan(self.variances)
        known = np.where(free, 0, s.n * np.log(1 / np.where(free, 1, self.variances))) / 2
        return float(
            self._log_z(self.posterior(s)) - self._log_z(self.prior_moments) + (known - s.n * LOG_2PI / 2).sum()
        )

    def log_prior(self, B: np.ndarray, Sigma: np.ndarray) -> np.ndarray:
        """See `Regression.log_prior`."""
        prior, (B, Sigma) = self.given, self.part(B, Sigma)
        precision = 1 / np.diagonal(Sigma, axis1=-2, axis2=-1)
        K = self._masked(self.prior_moments.uu)
        gap = np.where(self.free, B - prior.mean[self.noisy], 0)
        quad = (np.einsum("...du,duv,...dv->...d", gap, K, gap) * precision).sum(-1)
        log_det = np.linalg.slogdet(K)[1].sum() + (self.free.sum(1) * (np.log(precision) - LOG_2PI)).sum(-1)
        half, rate = self._gamma(self.prior_moments)
        log_gamma = half * np.log(rate) - gammaln(half) + (half - 1) * np.log(precision) - rate * precision
        counted = np.isnan(self.variances) & (np.arange(len(half)) < (1 if self.common else len(half)))
        return (log_det - quad) / 2 + np.where(counted, log_gamma, 0).sum(-1)

    def sample(self, q: Moments, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Regression.sample`."""
        K, B, _ = self._solved(q)
        halves, rates = self._gamma(q)
        halves, rates = (halves[:1], rates[:1]) if self.common else (halves, rates)
        drawn = np.broadcast_to(rng.standard_gamma(halves) / rates, self.variances.shape)
        precision = np.where(np.isnan(self.variances), drawn, 1 / self.variances)
        root = np.linalg.cholesky(K)
        u = np.linalg.solve(root.swapaxes(-1, -2), rng.standard_normal((*B.shape, 1)))[..., 0]
        return self.whole(np.where(self.free, B + u / np.sqrt(precision)[:, None], 0), np.diag(1 / precision))

    @cached_property
    def prior_moments(self) -> Moments:
        """The prior as moments; of noises in common, each feature has its share of nu0 and S0."""
        prior, free = self.given, np.isnan(self.variances)
        share = len(free) if self.common else 1
        K = prior.precision * self.free[:, :, None] * self.free[:, None]
        mean = np.where(self.free, prior.mean[self.noisy], 0)
        yu = np.einsum("duv,dv->du", K, mean)
        S = np.full(len(free), prior.scale[0, 0]) if self.common else np.diag(prior.scale)[self.noisy]
        return Moments(np.where(free, prior.dof / share, 0), np.where(free, S / share, 0) + (mean * yu).sum(1), yu, K)

    def _masked(self, uu: np.ndarray) -> np.ndarray:
        """uu (D', U, U) with the rows and columns of known coefficients replaced by those of the identity."""
        return np.where(self.free[:, :, None] & self.free[:, None], uu, np.eye(self.free.shape[1]))

    def _solved(self, q: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """K (D', U, U), the means of b (D', U), and residual sums of squares (D',)."""
        K, yu = self._masked(q.uu), np.where(self.free, q.yu, 0)
        try:
            B = np.linalg.solve(K, yu[..., None])[..., 0]
        except np.linalg.LinAlgError:
            raise CollapseError("the states do not tell apart the coefficients of a regression on them") from None
        return K, B, q.yy - (B * yu).sum(1)

    def _gamma(self, q: Moments) -> tuple[np.ndarray, np.ndarray]:
        """Shapes and rates of the gamma distributions of the precisions, (D',) each."""
        S, n = self._solved(q)[2], q.n
        if self.common:
            S, n = np.full_like(S, S.sum()), np.full_like(n, n.sum())
        free = np.isnan(self.variances)
        return np.where(free, n / 2, 1), np.where(free, S / 2, 1)

    def _log_z(self, q: Moments) -> float:
        """Log normaliser of a matrix-normal-gamma density, in nats."""
        K, _, S = self._solved(q)
        half, rate = self._gamma(q)
        free = np.isnan(self.variances)
        gammas = (gammaln(half) - half * np.log(rate))[free]
        own = gammas[:1].sum() if self.common else gammas.sum()
        return float(
            self.free.sum() * LOG_2PI / 2
            - np.linalg.slogdet(K)[1].sum() / 2
            + own
            - (S / self.variances)[~free].sum() / 2
        )

    def _free_noises(self) -> int:
        free = int(np.isnan(self.variances).sum())
        return min(free, 1) if self.common else free
