r"""A stationary start: z_1 ~ N(0, P0) with P0 = A P0 A^T + Q, which the transition leaves as it is.

What the first states say of A and Q has no conjugate form. With W the sum of z_1 z_1^T over S sequences,

    g(A, Q) = -(S log |2 pi P0| + tr P0^-1 W) / 2
    G = dg / dP0      Y = A^T Y A + G      dg / dQ = Y      dg / dA = 2 Y A P0

In the M-step it is added to the expected log likelihood of the transitions, and the sum is climbed from the peak of the latter
(Shumway & Stoffer 2017, *Time Series Analysis and Its Applications*, section 6.3, by numbers in the place of a closed form). In
Gibbs sampling the posterior without it proposes A and Q, and they are accepted with probability min(1, exp(g' - g)), zero where
there is no stationary distribution: Metropolis within Gibbs (Tierney 1994, *Annals of Statistics* 22:1701-1728).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import block_diag, solve_discrete_lyapunov

from mixtures.dynamics.regression import LOG_2PI, Moments, Regression
from mixtures.errors import CollapseError

# States up to which all equations of P0 are solved as one system.
SMALL = 8

# A start of the climb that has no stationary distribution is moved towards zero by this factor until its radius is below.
SHRINK, WITHIN = 0.95, 0.999

# Gradient, in units of the standard errors, at which the climb ends, and its steps at most.
FLAT, STEPS = 1e-8, 500

# What the climb takes for the value where there is no stationary distribution.
BARRED = 1e10


def covariance(A: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """P0 = A P0 A^T + Q, (H, H).

    Raises
    ------
    ValueError
        If there is none, for an eigenvalue of A is on the unit circle or outside.
    """
    radius = float(np.abs(np.linalg.eigvals(A)).max())
    if radius >= 1:
        raise ValueError(
            f"the transition has no stationary distribution: its largest eigenvalue is {radius:.6g} in modulus, not "
            "below 1; give a diffuse or a known start"
        )
    return _fixed(A, Q)


def within(part: Regression, A: np.ndarray) -> np.ndarray:
    """A, its free entries moved towards zero until it has a stationary distribution.

    Raises
    ------
    CollapseError
        If it has none even without them.
    """
    for _ in range(STEPS):
        if np.abs(np.linalg.eigvals(A)).max() < WITHIN:
            return A
        A = np.where(np.isnan(part.B), SHRINK * A, A)
    raise CollapseError("what is known of the transition leaves it without a stationary distribution")


def log_density(P: np.ndarray, W: np.ndarray, S: float) -> float:
    """g: log density of S first states, whose squares sum to W (H, H), under N(0, P), in nats.

    Raises
    ------
    LinAlgError
        If P is not positive definite.
    """
    L = np.linalg.cholesky(P)
    own = S * (len(P) * LOG_2PI + 2 * np.log(np.diag(L)).sum())
    return -float(own + np.trace(np.linalg.solve(P, W))) / 2


class Proposal(NamedTuple):
    """P0 (H, H) of the transition that a chain goes on with, and whether that is the one proposed."""

    P0: np.ndarray
    taken: bool


def metropolis(old: np.ndarray, A: np.ndarray, Q: np.ndarray, begun: Moments, rng: np.random.Generator) -> Proposal:
    """Whether a chain with the initial covariance ``old`` goes on to A and Q, given the moments of the first states."""
    u, S, W = rng.random(), float(begun.n.max()), begun.yy
    try:
        new = covariance(A, Q)
        gain = log_density(new, W, S) - log_density(old, W, S)
    except (ValueError, np.linalg.LinAlgError):
        return Proposal(old, False)
    taken = bool(np.log(u) < gain)
    return Proposal(new if taken else old, taken)


def peak(part: Regression, s: Moments, begun: Moments, prior: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A (H, H) and Q (H, H) that maximise the expected log likelihood of transitions and starts, or with it the log prior.

    Parameters
    ----------
    part : Regression
        That of z_t on z_(t-1).
    s, begun : Moments
        Of the transitions, and of the first states.
    prior : bool
        See `mixtures.dynamics.regression.Regression.peak`.
    """
    from scipy.optimize import minimize

    if part.settled:
        return part.B, part.Sigma
    A, Q = part.peak(s, prior)
    q = part.posterior(s) if prior else s
    climb = _Climb(part, q, begun, part.degrees(q, prior), within(part, A), Q)
    found = minimize(
        climb,
        np.zeros(climb.size),
        jac=True,
        method="L-BFGS-B",
        options={"gtol": FLAT, "ftol": 0, "maxiter": STEPS, "maxcor": 20},
    )
    return climb.whole(found.x)


def _fixed(A: np.ndarray, Q: np.ndarray) -> np.ndarray:
    """The solution of P = A P A^T + Q, (H, H), symmetric as Q is."""
    H = len(A)
    small = H <= SMALL
    P = np.linalg.solve(np.eye(H * H) - np.kron(A, A), Q.ravel()) if small else solve_discrete_lyapunov(A, Q)
    P = P.reshape(H, H)
    return (P + P.T) / 2


class _Climb:
    """Minus the expected log likelihood, as a function of changes of A and Q in units of about their standard errors."""

    def __init__(
        self, part: Regression, s: Moments, begun: Moments, n: np.ndarray, A: np.ndarray, Q: np.ndarray
    ) -> None:
        self.part, (self.B, Sigma), self.W, self.S = part, part.part(A, Q), begun.yy, float(begun.n.max())
        self.yy, self.uu = np.diag(s.yy) if s.yy.ndim == 1 else s.yy, s.uu[0] if s.uu.ndim == 3 else s.uu
        self.yu, self.n, self.root = s.yu, n, np.linalg.cholesky(Sigma)
        rows = [
            np.linalg.inv(np.linalg.cholesky(self.uu[np.ix_(free, free)])).T * np.sqrt(own)
            for free, own in zip(part.free, np.diag(Sigma), strict=True)
            if free.any()
        ]
        self.units, noise = block_diag(*rows) if rows else np.zeros((0, 0)), np.isnan(part.noise)
        self.places = np.tril_indices(len(noise))
        if not noise[self.places].all():
            self.places = np.diag_indices(len(noise))
        diagonal = self.places[0] == self.places[1]
        places = np.zeros((len(diagonal), 0))
        if getattr(part, "common", False):
            places = np.ones((len(diagonal), 1))
        elif noise.any():
            places = np.eye(len(diagonal))[:, noise[self.places]]
        self.spread = places / np.sqrt(np.where(diagonal, 2, 1) * n.mean())[:, None]
        self.coefficients = int(part.free.sum())
        self.size, self.level = self.coefficients + self.spread.shape[1], 0.0
        self.level = self(np.zeros(self.size))[0]

    def _at(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """B (D', U), and T (D', D') in Sigma = (root T) (root T)^T, for changes v."""
        B, T = self.B.copy(), np.eye(len(self.root))
        B[self.part.free] += self.units @ v[: self.coefficients]
        T[self.places] = self.spread @ v[self.coefficients :]
        T[np.diag_indices(len(T))] = np.exp(np.diag(T))
        return B, T

    def whole(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A and Q for changes v."""
        B, T = self._at(v)
        return self.part.whole(B, self.root @ T @ T.T @ self.root.T)

    def __call__(self, v: np.ndarray) -> tuple[float, np.ndarray]:
        (B, T), nothing = self._at(v), np.zeros(self.size)
        half = self.root @ T
        Sigma = half @ half.T
        A, Q = self.part.whole(B, Sigma)
        if not np.abs(np.linalg.eigvals(A)).max() < 1:
            return BARRED, nothing
        P = _fixed(A, Q)
        try:
            value = log_density(P, self.W, self.S)
        except np.linalg.LinAlgError:
            return BARRED, nothing
        inverse, Lambda, noisy = np.linalg.inv(P), np.linalg.inv(Sigma), self.part.noisy
        Y = _fixed(A.T, inverse @ self.W @ inverse - self.S * inverse) / 2
        R = self.yy - B @ self.yu.T - self.yu @ B.T + B @ self.uu @ B.T
        value -= float(self.n @ np.log(np.diag(half)) + np.trace(Lambda @ R) / 2)
        by_B = Lambda @ (self.yu - B @ self.uu) + 2 * (Y @ A @ P)[noisy]
        by_Sigma = Lambda @ R @ Lambda / 2 + Y[np.ix_(noisy, noisy)]
        by_T = 2 * self.root.T @ by_Sigma @ half
        by_T[np.diag_indices(len(T))] = np.diag(by_T) * np.diag(T) - self.n
        slope = np.concatenate([self.units.T @ by_B[self.part.free], self.spread.T @ by_T[self.places]])
        return -value - self.level, -slope
