r"""Free parameters of a linear dynamical system as one real vector, in which the coordinates of latent states are fixed.

Where everything is free, the states may be turned by any orthogonal T without a change of likelihood or prior: the posterior is
a ridge, and no Gaussian is near it. Every turn is undone here by one rule: the first row of C gets the form (r, 0, ..., 0) with
r > 0, the next (., r, 0, ..., 0), and so on; where C has fewer rows than there are states, rows of A follow. Integrating over
turns gives

    p(x) = int p(x, theta') prod_i vol(S^(H-i)) r_i^(H-i) dtheta',     i = 1 .. H, vol(S^k) = 2 pi^((k+1)/2) / Gamma((k+1)/2)

over parameters theta' of that form (polar coordinates, row by row; Muirhead 1982, *Aspects of Multivariate Statistical Theory*,
section 2.1). Precision matrices are given by their Cholesky factors with logarithms of the diagonal, single precisions by their
logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln

from mixtures.dynamics import states
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.regression import Expected, Regression
from mixtures.dynamics.rows import Rows as OwnNoises
from mixtures.dynamics.stationary import covariance
from mixtures.engines import kalman
from mixtures.engines.kalman import Data, as_data
from mixtures.rows.sequences import Sequences

NAMES = (
    ("transition", "state_covariance"),
    ("emission", "observation_covariance"),
    ("initial_mean", "initial_covariance"),
)
"""The coefficients and the noises of the regressions of a model."""

# Difference of log prior densities, in nats, up to which a turn of the states has changed nothing.
SAME = 1e-6


@dataclass(frozen=True)
class Coordinates:
    """The vector of a system's free parameters, and the density of that vector.

    Parameters
    ----------
    model : LinearDynamics
        With its priors.
    x : Sequences
    """

    model: LinearDynamics
    x: Sequences

    @cached_property
    def latent(self) -> bool:
        """Whether the states may have any coordinates."""
        return bool(np.isnan(self.model.emission).any())

    def check(self) -> None:
        """Refuse a latent system whose prior is another after a turn of the states.

        Raises
        ------
        ValueError
        """
        if not self.latent:
            return
        rng = np.random.default_rng(0)
        theta = {name: v[None] for name, v in self.model.sample_prior(rng).items()}
        T = np.linalg.qr(rng.standard_normal((self.model.H, self.model.H)))[0]
        free = all(np.isnan(getattr(self.model, name)).all() for name in ("transition", "emission"))
        before, after = (float(self.model.log_prior(own)[0]) for own in (theta, turned(theta, T[None])))
        if not free or not abs(before - after) < SAME:
            raise ValueError("the prior, or what is known, is another after a turn of the states")

    def vector(self, theta: Theta) -> np.ndarray:
        """The vectors (n, P) of draws (n, ...) of theta, those of a latent system turned to the form above."""
        if self.latent:
            theta = fixed(theta)
        return np.concatenate([self._part(i, theta) for i in range(3)], axis=-1)

    def _part(self, number: int, theta: Theta) -> np.ndarray:
        part, (B, Sigma) = self.model.parts[number], self._pair(number, theta)
        b, own = part.part(B, Sigma)
        found = []
        places, pivots = self._places[number]
        if len(places[0]):
            values = b[..., *places]
            found.append(np.where(pivots, np.log(np.where(pivots, values, 1)), values))
        if (kept := _free_noises(part)).any():
            if isinstance(part, OwnNoises):
                found.append(-np.log(np.diagonal(own, axis1=-2, axis2=-1)[..., kept]))
            else:
                L = np.linalg.cholesky(np.linalg.inv(own))
                found += [np.log(np.diagonal(L, axis1=-2, axis2=-1)), L[..., *np.tril_indices(len(kept), -1)]]
        return np.concatenate([np.zeros((len(B), 0)), *found], axis=-1)

    def _pair(self, number: int, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
        B, Sigma = (theta[name] for name in NAMES[number])
        if number == 1 and self.model.loadings is not None:
            B = np.zeros((len(Sigma), self.model.D, 0))
        return (B[..., None] if number == 2 else B), Sigma

    @cached_property
    def _places(self) -> list[tuple[tuple[np.ndarray, np.ndarray], np.ndarray]]:
        """Of each regression the entries of B that are in the vector, and which of them are an r above."""
        found = []
        for number, part in enumerate(self.model.parts):
            kind = np.where(part.free, 1, 0)  # 1 for an entry in the vector, 2 for an r
            for i in range(self.model.H if self.latent else 0):
                own, row = (1, i) if i < self.model.D else (0, i - self.model.D)
                if own == number:
                    kind[row, i], kind[row, i + 1 :] = 2, 0
            places = np.nonzero(kind)
            found.append(((places[0], places[1]), kind[places] == 2))
        return found

    def theta(self, v: np.ndarray) -> tuple[Theta, np.ndarray]:
        """The inverse of `vector`: parameters (n, ...), and the log density of theta' that turns and logarithms bring, (n,)."""
        n, log_volume, at, start = len(v), np.zeros(len(v)), [], 0
        H = self.model.H
        for part, (places, pivots) in zip(self.model.parts, self._places, strict=True):
            b = np.zeros((n, *part.free.shape))
            count = len(pivots)
            own = v[:, start : start + count]
            b[:, *places] = np.where(pivots, np.exp(np.where(pivots, own, 0)), own)
            left = H - 1 - places[1]  # directions of a row that a turn can still change
            log_volume += (own[:, pivots] * (left[pivots] + 1)).sum(-1) + _log_sphere(left[pivots]).sum()
            start += count
            kept = _free_noises(part)
            D = len(kept)
            Sigma = np.broadcast_to(part.noise, (n, D, D)).copy()
            if kept.any() and isinstance(part, OwnNoises):
                logs = v[:, start : start + kept.sum()]
                start += kept.sum()
                every = np.isnan(part.variances)
                Sigma[:, every, every] = np.exp(-logs)
                log_volume += logs.sum(-1)
            elif kept.any():
                logs, lower = v[:, start : start + D], v[:, start + D : start + D * (D + 1) // 2]
                start += D * (D + 1) // 2
                L = np.zeros((n, D, D))
                L[:, *np.tril_indices(D, -1)] = lower
                L[:, *np.diag_indices(D)] = np.exp(logs)
                root = np.linalg.inv(L)
                Sigma = root.swapaxes(-1, -2) @ root
                log_volume += D * np.log(2) + (logs * np.arange(D + 1, 1, -1)).sum(-1)
            at.append([part.whole(*pair) for pair in zip(b, Sigma, strict=True)])
        thetas = [self.model.theta((Expected(*a), Expected(*c), Expected(*m))) for a, c, m in zip(*at, strict=True)]
        return {name: np.stack([own[name] for own in thetas]) for name in thetas[0]}, log_volume

    def log_density(self, v: np.ndarray) -> np.ndarray:
        """log p(x, v), (n,), the states and their turns integrated out, in nats; minus infinity where it cannot be computed."""
        with np.errstate(all="ignore"):
            theta, log_volume = self.theta(v)
            log_p = np.full(len(v), -np.inf)
            for i in range(len(v)):
                own = {name: value[i] for name, value in theta.items()}
                try:
                    log_p[i] = self.log_likelihood(own)
                except ValueError:  # singular to rounding, or without a stationary start
                    continue
            total = log_p + self.model.log_prior(theta) + log_volume
        return np.where(np.isfinite(total), total, -np.inf)

    @cached_property
    def _data(self) -> Data:
        return as_data(self.x)

    def log_likelihood(self, theta: Theta) -> float:
        """log p(x | theta) in nats.

        Raises
        ------
        ValueError
            If the start is stationary and the transition leaves no distribution as it is.
        """
        if self.model.stationary:
            theta = theta | {"initial_covariance": covariance(theta["transition"], theta["state_covariance"])}
        system = states.system(theta, self.model.diffuse)
        return float(kalman.track(kalman.collapse(self._data, system), self.x.edges, system).log_z.sum())


def turned(theta: Theta, T: np.ndarray) -> Theta:
    """Parameters (n, ...) with states z' = T^T z, for orthogonal T (n, H, H)."""
    U = T.swapaxes(-1, -2)
    return theta | {
        "transition": U @ theta["transition"] @ T,
        "emission": theta["emission"] @ T,
        "state_covariance": U @ theta["state_covariance"] @ T,
        "initial_mean": (U @ theta["initial_mean"][..., None])[..., 0],
        "initial_covariance": U @ theta["initial_covariance"] @ T,
    }


def fixed(theta: Theta) -> Theta:
    """Parameters (n, ...) of latent systems, turned so that C, or C and then A, has the form of this module's docstring."""
    D, H = theta["emission"].shape[-2:]
    for i in range(H):
        row = theta["emission"][:, i] if i < D else theta["transition"][:, i - D]
        v = row[:, i:]
        length, sign = np.linalg.norm(v, axis=-1), np.where(v[:, 0] < 0, -1.0, 1.0)
        w = v.copy()
        w[:, 0] += sign * length  # a reflection that maps v to (-sign |v|, 0, ..., 0)
        T = np.broadcast_to(np.eye(H), (len(v), H, H)).copy()
        T[:, i:, i:] -= 2 * w[:, :, None] * w[:, None] / (w**2).sum(-1)[:, None, None]
        T[:, :, i] *= -sign[:, None]
        theta = turned(theta, T)
    return theta


def _free_noises(part: Regression) -> np.ndarray:
    """Which noises of a regression are in the vector, (D',); of one in common the first."""
    free = np.isnan(np.diag(part.noise)).copy() if len(part.noisy) else np.zeros(0, bool)
    if isinstance(part, OwnNoises) and part.common:
        free[1:] = False
    return free


def _log_sphere(k: np.ndarray) -> np.ndarray:
    """log vol(S^k)."""
    return np.log(2) + (k + 1) / 2 * np.log(np.pi) - gammaln((k + 1) / 2)
