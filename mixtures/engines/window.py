"""The window of a sequence whose first state is diffuse: its steps until the data have determined every direction.

Moments are held as functions of the diffuse directions, z_t = m_t + E_t delta + N(0, P_t), and then delta is integrated out
(Durbin & Koopman 2012, section 5.7); the loops are in `mixtures.engines.diffuse`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """The first d steps of each of S sequences, by whose end its q diffuse directions delta are determined.

    Attributes
    ----------
    m, E, P : ndarray, shapes (N, H), (N, H, q) and (N, H, H)
        Filtered: z_t = m_t + E_t delta + N(0, P_t), written at the first d steps of a sequence alone.
    delta, cov : ndarray, shapes (S, q) and (S, q, q)
        Moments of delta given x_1 .. x_d.
    """

    m: np.ndarray
    E: np.ndarray
    P: np.ndarray
    delta: np.ndarray
    cov: np.ndarray

    def of(self, s: int, begin: int, d: int) -> Window:
        """That of one sequence: m (d, H), E (d, H, q), P (d, H, H), delta (q,) and cov (q, q)."""
        rows = slice(begin, begin + d)
        return Window(self.m[rows], self.E[rows], self.P[rows], self.delta[s], self.cov[s])


def integrated(window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Filtered mean and covariance at the window's last step, delta integrated out."""
    E = window.E[-1]
    return window.m[-1] + E @ window.delta, window.P[-1] + E @ window.cov @ E.T


Backward = Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]


def through(window: Window, A: np.ndarray, Q: np.ndarray, mean: np.ndarray, V: np.ndarray) -> Backward:
    """From the smoothed moments at the window's last step to the first: t, mean, V_(t+1), V_t and cov(z_(t+1), z_t).

    Given delta the smoother is the usual one. delta itself has, given z at the last step, the regression L on it.
    """
    E, (m, P) = window.E[-1], integrated(window)
    L = np.linalg.lstsq(P, E @ window.cov, rcond=None)[0].T
    rest = np.eye(len(L)) - L @ E
    delta = window.delta + L @ (mean - m)
    cov = rest @ window.cov @ rest.T + L @ window.P[-1] @ L.T + L @ V @ L.T
    cross = L @ V  # cov(delta, z_t)
    for t in range(len(window.m) - 2, -1, -1):
        P, after = window.P[t], V
        J = np.linalg.lstsq(A @ P @ A.T + Q, A @ P, rcond=None)[0].T
        F, N = window.E[t] - J @ A @ window.E[t], np.eye(len(A)) - J @ A
        mean = N @ window.m[t] + J @ mean + F @ delta
        pair = after @ J.T + cross.T @ F.T
        V = N @ P @ N.T + J @ Q @ J.T
        V = V + np.hstack([J, F]) @ np.block([[after, cross.T], [cross, cov]]) @ np.hstack([J, F]).T
        cross = cross @ J.T + cov @ F.T
        yield t, mean, after, V, pair
