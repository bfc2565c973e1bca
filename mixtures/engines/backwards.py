"""Backwards through filtered sequences: the smoother (PRML 13.100-13.104), and states drawn given all of x."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mixtures.engines.kalman import Data, System, collapse, compiled, track
from mixtures.engines.window import through


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
    from mixtures.engines import recursions

    steps, N, H, edges = collapse(data, system), len(data.x), len(system.A), data.x.edges
    label = steps.kind if system.C.ndim == 3 else data.which
    within = np.zeros((N if system.C.ndim == 3 else len(data.patterns), H, H))
    V, pairs = (np.zeros((N if each else 0, H, H)) for _ in range(2))
    mean, sums, first = np.empty((N, H)), np.zeros((3, H, H)), np.empty((len(edges) - 1, H, H))
    part = track(steps, edges, system)
    A, Q = compiled(system.A, system.Q)
    recursions.backward(*part[:3], edges, part.opened, A, Q, label, mean, first, within, sums, V, pairs)
    for s, (begin, d) in enumerate(zip(edges, part.opened, strict=False)):
        if part.window is None or d < 2:
            continue
        window = part.window.of(s, begin, d)
        for t, now, after, here, cross in through(window, system.A, system.Q, mean[begin + d - 1], first[s].copy()):
            mean[begin + t], first[s] = now, here
            within[label[begin + t]] += here
            sums += np.array([here, after, cross])
            if each:
                V[begin + t], pairs[begin + t] = here, cross
    return Smoothed(part.log_z, mean, Sums(within, sums, first), V, pairs)


def draw(data: Data, system: System, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """States (N, H) given all of x, the last one first (Carter & Kohn 1994).

    Standard normal numbers u (N, H) serve for them, and v (S, q) for the diffuse directions of each sequence.
    """
    from mixtures.engines import diffuse, recursions

    A, Q, u, v = compiled(system.A, system.Q, u, v)
    z, edges = np.empty_like(u), data.x.edges
    part = track(collapse(data, system), edges, system)
    recursions.draw(*part[:3], edges, part.opened, A, Q, u, z)
    if part.window is not None and part.opened.max() > 1:
        last = edges[:-1] + part.opened - 1
        V0 = part.covs[part.place[last]]
        diffuse.through(edges, part.opened, *part.window, A, Q, part.mean, V0, u, v, z)
    return z
