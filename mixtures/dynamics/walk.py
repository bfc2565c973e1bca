r"""A random walk of A, Q and R with the states integrated out, before the states of every fifth sweep are drawn.

Where the signal is large beside the noise, the states tie A and Q closely, and draws given them follow each other slowly.
Metropolis' rule with the filter's p(x | theta) has no states in its way, and drawing them afterwards keeps p(theta, z | x) as
it is (van Dyk & Park 2008, *JASA* 103:790-796).

Of a latent system the data know the signal, but not the coordinates of the states. With S standard deviations of x,

    T = the first H rows of [S^-1 C; S^-1 C A; S^-1 C A^2; ..]      A' = T A T^-1      Q' = T Q T^T = L L^T

the first H - D rows of A' are those of the identity from row D + 1 on, whatever the system. The walk is among the entries of
the last min(D, H) rows, those of L, and those of the root of R, diagonal ones by their logarithms; T, C, m0 and P0 stay. From
(A, C, Q) to (T, C T^-1, A', Q') the volume changes by a power of |det T| alone, which stays too. Structures whose emission is
known walk with T = I.

Steps are normal, with the covariance that the chain has had in a round before its warm-up, each round twice as long as the one
before (Haario, Saksman & Tamminen 2001, *Bernoulli* 7:223-242). Within a round they are made longer where more than `TAKEN` of
them are taken, and shorter where fewer are (Roberts & Rosenthal 2009, *Journal of Computational and Graphical Statistics*
18:349-367). After the last round nothing is adapted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixtures.dynamics.joint import Joint
from mixtures.dynamics.model import LinearDynamics
from mixtures.dynamics.regression import Regression

# Sweeps from one walk to the next, and steps of a walk, which take about as long as the sweeps.
EVERY, STEPS = 5, 20

# Share of steps that should be taken, and how long steps are, times the root of d and over the posterior's standard deviation,
# of which that share is taken if it is normal (Roberts, Gelman & Gilks 1997, *Annals of Applied Probability* 7:110-120).
TAKEN, SCALE = 0.234, 2.38

# Rounds; steps of the first are d^2, in walks of which each round has so many at least; standard deviation of the first steps.
ROUNDS, BLOCKS, FIRST = 5, 10, 0.1

# Places of a round that count as much as the covariance before it, for each coordinate.
PLACES = 10

# Coordinates at most: among more a walk is slower than sweeps.
MOST = 30

# Condition number of T, by norms, from which on its inverse has few digits.
SINGULAR = 1e9


@dataclass(frozen=True)
class Walk:
    """Where a model's walk goes.

    Attributes
    ----------
    scale : ndarray, shape (D,), or None
        S, of a latent system.
    parts : tuple of Regression
        Those of the states and of x.
    places : tuple of ndarray of int, shape (., 3)
        Row, column and number of the coordinate, of the free entries of A', of L and of the root of R.
    volume : ndarray, shape (d,)
        What minus phi is multiplied with, to be added to log densities of the prior for those of phi, which
        `mixtures.dynamics.sweeps.log_density` has without their powers of |Q| and |R|.
    """

    scale: np.ndarray | None
    parts: tuple[Regression, Regression]
    places: tuple[np.ndarray, np.ndarray, np.ndarray]
    volume: np.ndarray

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.volume)

    def frame(self, A: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """T (H, H) and its inverse.

        Raises
        ------
        LinAlgError
            If T is singular, or nearly so.
        """
        if self.scale is None:
            return np.eye(len(A)), np.eye(len(A))
        rows = [C / self.scale[:, None]]
        while len(rows) * len(C) < len(A):
            rows.append(rows[-1] @ A)
        T = np.concatenate(rows)[: len(A)]
        back = np.linalg.inv(T)
        if not np.linalg.norm(T) * np.linalg.norm(back) < SINGULAR:
            raise np.linalg.LinAlgError("the first rows do not tell all states")
        return T, back

    def at(
        self, A: np.ndarray, Q: np.ndarray, R: np.ndarray, T: np.ndarray, back: np.ndarray
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
        """A', the roots of Q' and R, and phi (d,)."""
        turned, phi = T @ A @ back, np.empty(self.size)
        roots = _root(self.parts[0], T @ Q @ T.T), _root(self.parts[1], R)
        for places, own in zip(self.places, (turned, *roots), strict=True):
            phi[places[:, 2]] = own[places[:, 0], places[:, 1]]
        for places in self.places[1:]:
            logs = places[places[:, 0] == places[:, 1], 2]
            phi[logs] = np.log(phi[logs])
        return turned, roots, phi


def of(model: LinearDynamics, x: np.ndarray) -> Walk:
    """The walk of a model with priors and rows x (N, D).

    Latent systems have one whose transition, emission and Q are free, and structures whose emission is known; others, and
    systems that start stationary, have one of no coordinates.
    """
    moves, observes, _ = model.parts
    known = not np.isnan(model.emission).any()
    latent = all(np.isnan(own).all() for own in (model.transition, model.emission, model.state_covariance))
    latent = latent and (isinstance(moves, Joint) or model.H == 1)
    A = np.argwhere(np.isnan(model.transition))
    if latent:
        A = A[A[:, 0] >= model.H - model.D]
    A = np.ascontiguousarray(np.column_stack([A, np.arange(len(A))]))
    Q, by_Q = _noises(moves, len(A))
    R, by_R = _noises(observes, len(A) + len(by_Q))
    volume = np.concatenate([np.zeros(len(A)), by_Q, by_R])
    if not (latent or known) or model.stationary or len(volume) > MOST:
        A, Q, R, volume = A[:0], Q[:0], R[:0], volume[:0]
    spread = np.nanstd(x, axis=0)
    return Walk(np.where(spread > 0, spread, 1.0) if latent else None, (moves, observes), (A, Q, R), volume)


def shape(path: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The root of the covariance of places (n, d), and of that with the root ``before`` for as much as they do not tell."""
    n, d = path.shape
    weight = n / (n + PLACES * d)
    own = np.cov(path.T).reshape(d, d) if n else np.zeros((d, d))
    return np.linalg.cholesky(weight * own + (1 - weight) * before @ before.T)


def _root(part: Regression, S: np.ndarray) -> np.ndarray:
    """The lower triangular root of a covariance, zero where there are no noises."""
    root = np.zeros_like(S)
    root[np.ix_(part.noisy, part.noisy)] = np.linalg.cholesky(part.inner(S))
    return root


def _noises(part: Regression, first: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the coordinates of a covariance, numbered from ``first``, and their `Walk.volume`."""
    joint, free, D = isinstance(part, Joint), np.isnan(np.diag(part.noise)), len(part.noisy)
    i, j = np.tril_indices(D) if joint else np.diag_indices(D)
    i, j = i[free[i]], j[free[i]]
    own = np.zeros(len(i), int) if getattr(part, "common", False) else np.arange(len(i))
    regressors = part.free.any(0).sum() if joint else part.free.sum(1)[i]
    volume = np.zeros(own.max(initial=-1) + 1)
    np.add.at(volume, own, np.where(i == j, regressors + (i if joint else 0), 0))
    return np.column_stack([part.noisy[i], part.noisy[j], first + own]), volume
