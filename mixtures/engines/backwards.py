"""Backwards through filtered sequences: the smoother (PRML 13.100-13.104), and states drawn given all of x."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixtures.engines.kalman import Data, System, Track, collapse, track
from mixtures.engines.window import Window, through


class Sums(NamedTuple):
    """What is added up of the smoothed covariances of all sequences.

    Attributes
    ----------
    within : ndarray, shape (patterns, H, H) or (N, H, H)
        Of z_t by what was seen there, or of each where C differs from row to row.
    steps : ndarray, shape (3, H, H)
        Of z_t before another, of z_t after another, and of cov(z_(t+1), z_t).
    first : ndarray, shape (S, H, H)
        Those of the first states, one by one.
    """

    within: np.ndarray
    steps: np.ndarray
    first: np.ndarray


class Smoothed(NamedTuple):
    """Moments of the states given all of x.

    Attributes
    ----------
    log_z : ndarray, shape (N,)
        log p(x_t | x_1 .. x_(t-1)) in nats; see `Track`.
    mean : ndarray, shape (N, H)
    sums : Sums
    V : ndarray, shape (N, H, H), or (0, H, H)
        Covariances, where they were asked for.
    pairs : ndarray, shape (N, H, H), or (0, H, H)
        cov(z_(t+1), z_t) likewise; zero at the last row of a sequence.
    """

    log_z: np.ndarray
    mean: np.ndarray
    sums: Sums
    V: np.ndarray
    pairs: np.ndarray


def smooth(data: Data, system: System, each: bool = False) -> Smoothed:
    """Filter and smooth all sequences; ``each`` keeps the covariances of every step."""
    steps, N, H = collapse(data, system), len(data.x), len(system.A)
    label = steps.kind if system.C.ndim == 3 else data.which
    within = np.zeros((N if system.C.ndim == 3 else len(data.patterns), H, H))
    V, pairs = (np.zeros((N if each else 0, H, H)) for _ in range(2))
    log_z, mean, sums = np.empty(N), np.empty((N, H)), np.zeros((3, H, H))
    first = np.empty((len(data.x.lengths), H, H))
    for i, rows in enumerate(data.x.slices()):
        part = track(steps, rows, system)
        log_z[rows] = part.log_z
        own = rows if each else slice(0, 0)
        first[i] = _back(part, system, label[rows], mean[rows], within, sums, V[own], pairs[own])
    return Smoothed(log_z, mean, Sums(within, sums, first), V, pairs)


def _back(
    part: Track,
    system: System,
    label: np.ndarray,
    mean: np.ndarray,
    within: np.ndarray,
    sums: np.ndarray,
    each: np.ndarray,
    pairs: np.ndarray,
) -> np.ndarray:
    """Smooth one sequence, and return the covariance of its first state; see `mixtures.engines.recursions.backward`."""
    from mixtures.engines import recursions

    A, Q = np.ascontiguousarray(system.A), np.ascontiguousarray(system.Q)
    d = 0 if part.window is None else len(part.window.m) - 1
    mean[-1], V = part.mean[-1], part.covs[part.place[-1]].copy()
    recursions.backward(
        part.mean[d:], part.covs, part.place[d:], A, Q, label[d:], mean[d:], V, within, sums, each[d:], pairs[d:]
    )
    if part.window is None:
        return V
    first = V
    for t, now, after, first, cross in through(part.window, system.A, system.Q, mean[d], V):
        mean[t] = now
        within[label[t]] += first
        sums += np.array([first, after, cross])
        if len(each):
            each[t], pairs[t] = first, cross
    return first


def draw(data: Data, system: System, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """States (N, H) given all of x, the last one first (Carter & Kohn 1994).

    Standard normal numbers u (N, H) serve for them, and v (S, q) for the diffuse directions of each sequence.
    """
    from mixtures.engines import diffuse

    steps, z, (H, q) = collapse(data, system), np.empty_like(u), system.E.shape
    A, Q = np.ascontiguousarray(system.A), np.ascontiguousarray(system.Q)
    none = Window(np.empty((0, H)), np.empty((0, H, q)), np.empty((0, H, H)), np.empty(q), np.empty((q, q)))
    for i, rows in enumerate(data.x.slices()):
        part = track(steps, rows, system)
        window = none if part.window is None else part.window
        diffuse.draw(part.mean, part.covs, part.place, len(window.m), *window, A, Q, u[rows], v[i], z[rows])
    return z
