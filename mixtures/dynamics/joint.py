"""Regressions whose noises are correlated: matrix-normal-Wishart priors, and maximum likelihood where entries are known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import digamma, multigammaln

from mixtures.dynamics.regression import LOG_2PI, Expected, Moments, Regression
from mixtures.errors import CollapseError

# Relative change at which the alternating steps of `Entries` have settled, and how many there may be.
SETTLED, STEPS = 1e-13, 1000


@dataclass(frozen=True)
class Joint(Regression):
    """Lambda ~ Wishart(S0^-1, nu0), B | Lambda ~ MN(M0, Lambda^-1, K0^-1); free coefficients are whole columns of B."""

    @cached_property
    def columns(self) -> np.ndarray:
        """Regressors with free coefficients, (U,) of bool."""
        return self.free.any(0)

    @cached_property
    def every(self) -> bool:
        """Whether all coefficients are free."""
        return bool(self.columns.all())

    @cached_property
    def noise_known(self) -> bool:
        """Whether the noise covariance is known."""
        return not np.isnan(self.noise).any()

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the moments."""
        D, U = self.free.shape
        return (), (D, D), (D, U), (U, U)

    def moments(self, n: Any, yy: np.ndarray, yu: np.ndarray, uu: np.ndarray) -> Moments:
        """See `Regression.moments`."""
        return Moments(np.asarray(float(n)), yy, yu, uu)

    def peak(self, s: Moments, prior: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """See `Regression.peak`."""
        q = self.posterior(s) if prior else s
        _, B, S = self._solved(q)  # PRML 13.113, 13.115
        n = self.degrees(q, prior)[:1]
        return self.whole(B, self.noise if self.noise_known else S / n)  # PRML 13.114, 13.116

    def degrees(self, q: Moments, prior: bool) -> np.ndarray:
        """See `Regression.degrees`."""
        D = len(self.noisy)
        return np.full(D, float(q.n + (self.columns.sum() - D - 1 if prior else 0)))

    def posterior(self, s: Moments) -> Moments:
        """See `Regression.posterior`."""
        return self.prior_moments.plus(s)

    def expected(self, q: Moments) -> Expected:
        """See `Regression.expected`."""
        K, B, S = self._solved(q)
        extra = np.where(self.columns[:, None] & self.columns, len(B) * np.linalg.inv(K), 0)
        if self.noise_known:
            return Expected(*self.whole(B, self.noise), extra, np.zeros(()))
        halves = (q.n - np.arange(len(B))) / 2
        scale = np.asarray((digamma(halves) - np.log(q.n / 2)).sum() / 2)
        return Expected(*self.whole(B, S / q.n), extra, scale)

    def natural(self, at: Expected) -> Moments:
        """See `Regression.natural`."""
        B, Sigma = self.part(at.B, at.Sigma)
        Lambda = np.linalg.inv(Sigma)
        second = B.T @ Lambda @ B + (0 if at.extra is None else at.extra)
        log_norm = (np.linalg.slogdet(Lambda)[1] - len(B) * LOG_2PI) / 2 + at.log_scale
        return Moments(np.asarray(log_norm), -Lambda / 2, Lambda @ B, -second / 2)

    def log_marginal(self, s: Moments) -> float:
        """See `Regression.log_marginal`."""
        known = -s.n * np.linalg.slogdet(self.noise)[1] / 2 if self.noise_known else 0.0
        own = self._log_z(self.posterior(s)) - self._log_z(self.prior_moments)
        return float(own + known - s.n * len(self.noisy) * LOG_2PI / 2)

    def log_prior(self, B: np.ndarray, Sigma: np.ndarray) -> np.ndarray:
        """See `Regression.log_prior`."""
        prior, (B, Sigma), D = self.given, self.part(B, Sigma), len(self.noisy)
        Lambda, log_det = np.linalg.inv(Sigma), -np.linalg.slogdet(Sigma)[1]
        K, U = self._masked(self.prior_moments.uu), self.columns.sum()
        gap = np.where(self.free, B - prior.mean[self.noisy], 0)
        quad = np.einsum("...du,uv,...ev,...de->...", gap, K, gap, Lambda)
        log_p = (D * np.linalg.slogdet(K)[1] + U * log_det - U * D * LOG_2PI - quad) / 2
        if self.noise_known:
            return log_p
        S = prior.scale[np.ix_(self.noisy, self.noisy)]
        log_z = prior.dof * (D * np.log(2) - np.linalg.slogdet(S)[1]) / 2 + multigammaln(prior.dof / 2, D)
        return log_p + ((prior.dof - D - 1) * log_det - np.einsum("de,...de->...", S, Lambda)) / 2 - log_z

    def sample(self, q: Moments, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """See `Regression.sample`."""
        K, B, S = self._solved(q)
        D, U = B.shape
        if self.noise_known:
            root = np.linalg.cholesky(self.noise)
        else:  # Sigma = L L^T with L = chol(S) T^-T, T T^T ~ Wishart(I, nu) (Bartlett 1933)
            T = np.tril(rng.standard_normal((D, D)), -1)
            T[np.diag_indices(D)] = np.sqrt(rng.chisquare(q.n - np.arange(D)))
            root = solve_triangular(T, np.linalg.cholesky(S).T, lower=True).T
        u = solve_triangular(np.linalg.cholesky(K), rng.standard_normal((U, D)), lower=True, trans=1).T
        return self.whole(np.where(self.free, B + root @ u, 0), root @ root.T)

    @cached_property
    def prior_moments(self) -> Moments:
        """The prior as moments."""
        prior, D = self.given, len(self.noisy)
        K = prior.precision * self.columns[:, None] * self.columns
        mean = np.where(self.free, prior.mean[self.noisy], 0)
        S = np.zeros((D, D)) if self.noise_known else prior.scale[np.ix_(self.noisy, self.noisy)]
        return Moments(np.asarray(0.0 if self.noise_known else prior.dof), S + mean @ K @ mean.T, mean @ K, K)

    def _masked(self, uu: np.ndarray) -> np.ndarray:
        """uu (U, U) with the rows and columns of known coefficients replaced by those of the identity."""
        return uu if self.every else np.where(self.columns[:, None] & self.columns, uu, np.eye(len(uu)))

    def _solved(self, q: Moments) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """K (U, U), the mean of B (D', U), and the residual sum of squares (D', D')."""
        K, yu = self._masked(q.uu), q.yu if self.every else np.where(self.columns, q.yu, 0)
        try:
            B = np.linalg.solve(K, yu.T).T
        except np.linalg.LinAlgError:
            raise CollapseError("the states do not tell apart the coefficients of a regression on them") from None
        S = q.yy - B @ yu.T
        return K, B, self._definite((S + S.T) / 2)

    def _definite(self, S: np.ndarray) -> np.ndarray:
        """S as it is, where it is positive definite."""
        if not self.noise_known:
            try:
                np.linalg.cholesky(S)
            except np.linalg.LinAlgError:
                raise CollapseError("the noises depend on each other: their covariance is singular") from None
        return S

    def _log_z(self, q: Moments) -> float:
        """Log normaliser of a matrix-normal-Wishart density, in nats."""
        K, _, S = self._solved(q)
        D, U = len(S), self.columns.sum()
        own = D * (U * LOG_2PI - np.linalg.slogdet(K)[1]) / 2
        if self.noise_known:
            return float(own - np.trace(np.linalg.solve(self.noise, S)) / 2)
        return float(own + q.n * (D * np.log(2) - np.linalg.slogdet(S)[1]) / 2 + multigammaln(q.n / 2, D))

    def _free_noises(self) -> int:
        D = len(self.noisy)
        return 0 if self.noise_known else D * (D + 1) // 2


@dataclass(frozen=True)
class Entries(Joint):
    """Correlated noises, with single coefficients or single covariances known: maximum likelihood alone has a way."""

    def peak(self, s: Moments, prior: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """B given Sigma by generalised least squares and Sigma given B, in turn until they have settled."""
        if prior:
            return self.whole(*self.posterior(s)[:2])
        B, Sigma = np.zeros(self.free.shape), np.diag(np.where(np.isnan(self.noise), s.yy / s.n, self.noise).diagonal())
        for _ in range(STEPS):
            old = B, Sigma
            B = self._coefficients(s, np.linalg.inv(Sigma))
            S = s.yy - B @ s.yu.T - s.yu @ B.T + B @ s.uu @ B.T
            Sigma = self._noises((S + S.T) / (2 * s.n), Sigma)
            if all(np.abs(a - b).max() <= SETTLED * np.abs(a).max() for a, b in zip((B, Sigma), old, strict=True)):
                break
        return self.whole(B, self._definite(Sigma))

    def posterior(self, s: Moments) -> Moments:
        """None is conjugate."""
        raise ValueError(
            "a full covariance with single known entries, or beside single known coefficients, has no conjugate prior; fit it "
            "by em, or make the covariance diagonal"
        )

    def _coefficients(self, s: Moments, Lambda: np.ndarray) -> np.ndarray:
        """The free coefficients at their best under a precision matrix, (D', U)."""
        B, free = np.zeros(self.free.shape), self.free.ravel()
        A = np.kron(Lambda, s.uu)[np.ix_(free, free)]
        try:
            B[self.free] = np.linalg.solve(A, (Lambda @ s.yu).ravel()[free])
        except np.linalg.LinAlgError:
            raise CollapseError("the states do not tell apart the coefficients of a regression on them") from None
        return B

    def _noises(self, S: np.ndarray, Sigma: np.ndarray) -> np.ndarray:
        """The free covariances after a scoring step from Sigma towards their best for residuals S (Anderson 1973)."""
        free = np.isnan(self.noise)
        if free.all():
            return S
        places = [(i, j) for i, j in zip(*np.triu_indices(len(S)), strict=True) if free[i, j]]
        if not places:
            return self.noise
        basis = np.zeros((len(places), *S.shape))
        for G, (i, j) in zip(basis, places, strict=True):
            G[i, j] = G[j, i] = 1
        start = np.where(free, Sigma, self.noise)
        Lambda = np.linalg.inv(start)
        weighted = Lambda @ basis @ Lambda
        information = np.einsum("kij,lji->kl", weighted, basis)
        score = np.einsum("kij,ji->k", weighted, S - start)
        move = np.einsum("k,kij->ij", np.linalg.solve(information, score), basis)
        for size in 0.5 ** np.arange(40):
            there = start + size * move
            if _divergence(there, S) <= _divergence(start, S):
                return there
        return start

    def _free_noises(self) -> int:
        return int(np.isnan(self.noise[np.triu_indices(len(self.noise))]).sum())


def _divergence(Sigma: np.ndarray, S: np.ndarray) -> float:
    """log |Sigma| + tr(Sigma^-1 S), infinite where Sigma is not positive definite."""
    if np.linalg.eigvalsh(Sigma)[0] <= 0:
        return np.inf
    return float(np.linalg.slogdet(Sigma)[1] + np.trace(np.linalg.solve(Sigma, S)))
