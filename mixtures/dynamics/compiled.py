"""A chain of the Gibbs sampler whose sweeps are compiled; `mixtures.dynamics.gibbs.sweep` is one in the plain.

Both take the same numbers from a generator in the same order, so that their chains are the same but for rounding, until the
compiled one has learned to walk (`mixtures.dynamics.walk`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba.core import config

from mixtures.dynamics import generalised, stationary, sweeps
from mixtures.dynamics import walk as walks
from mixtures.dynamics.joint import Joint
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.regression import Moments, Regression
from mixtures.dynamics.sweeps import Part
from mixtures.engines import sampling
from mixtures.engines.kalman import Data
from mixtures.errors import CollapseError


class Chain:
    """A chain that stands at ``now``, parameters by name, without an emission that is known row by row.

    Parameters
    ----------
    model : LinearDynamics
        With priors.
    data : Data
    theta : dict of ndarray
        Where it begins.
    """

    def __init__(self, model: LinearDynamics, data: Data, theta: Theta) -> None:
        H, D = model.H, model.D
        self.seen = sampling.Seen(data.filled, data.x.edges.astype(np.int64), np.array(data.patterns), data.which)
        self.parts = [_part(part) for part in model.parts]
        self.loadings = np.zeros((0, D, H)) if model.loadings is None else np.array(model.loadings, order="C")
        self.stationary, self.group = model.stationary, generalised.group(model)
        self.E0 = np.array(np.eye(H)[:, model.diffuse], order="C")
        self.states = sampling.States(self.seen, self.loadings, self.E0)
        self.walk, self.root, self.made = walks.of(model, data.x.x), np.empty((0, 0)), 0
        self.places = sweeps.Places(*self.walk.places, self.walk.volume)
        self.halves = np.empty((H, H)), np.empty((D, D))
        self.gaps = int((~data.patterns.all(1))[data.which].sum()) if self.parts[1].joint else 0
        self.x, self.z = self.seen.x.copy(), np.empty((len(data.x), H))
        self.s = [tuple(np.empty_like(a) for a in part[-4:]) for part in self.parts]
        self.shapes = [
            self._shapes(part, rows) for part, rows in zip(self.parts, _rows_of(data, self.parts), strict=True)
        ]
        self.now = {name: np.array(value, dtype=float, order="C") for name, value in theta.items()}
        if model.loadings is not None:
            del self.now["emission"]

    @staticmethod
    def _shapes(part: Part, rows: int | np.ndarray) -> np.ndarray:
        """Degrees of freedom of the diagonal of Bartlett's triangle, or shapes of the gamma numbers of precisions."""
        n, free = part.n + np.broadcast_to(rows, part.n.shape), np.isnan(np.diag(part.noise))
        if part.joint:
            return n - np.arange(len(n))
        return np.where(free, n / 2, 1) if not part.common else np.where(free, n, 0).sum(keepdims=True) / 2

    def sweep(self, rng: np.random.Generator, asked: bool) -> float:
        """States and missing values given the parameters, then these given them; log p(x, z | theta) where it is ``asked``.

        Raises
        ------
        CollapseError
            If a matrix that is positive definite is not to rounding.
        """
        now, seen, loadings, z, s = self.now, self.seen, self.loadings, self.z, self.s
        A, Q, R = now["transition"], now["state_covariance"], now["observation_covariance"]
        m0, P0 = now["initial_mean"], now["initial_covariance"]
        C = now.get("emission", self.loadings[:0, :, 0].T)
        self.made += 1
        if len(self.root) and self.made % walks.EVERY == 0:
            self.step(rng, walks.STEPS)
        u, v = rng.standard_normal(z.shape), rng.standard_normal((len(seen.edges) - 1, self.E0.shape[1]))
        whole = self.states.draw(C, R, A, Q, m0, P0, u, v, z)
        if self.gaps:
            v = rng.standard_normal((self.gaps, len(R)))
            whole = whole and sweeps.complete(seen, C, loadings, R, z, self.x, v)
        moves, observes, begins = self.parts
        sweeps.moved(moves, seen.edges, z, *s[0])
        sweeps.observed(observes, seen, self.x, loadings, z, *s[1])
        sweeps.begun(begins, seen.edges, z, *s[2])
        points, log_z, old = ((A, Q), (C, R), (m0[:, None], P0)), 0.0, (A.copy(), Q.copy())
        data = [tuple(a.copy() for a in own) if asked else own for own in s]
        for part, point, own, shapes in zip(self.parts, points, s, self.shapes, strict=True):
            drawn = sweeps.joint if part.joint else sweeps.rows
            whole = whole and (part.settled or drawn(part, *_numbers(part, shapes, rng), *point, *own))
        if self.stationary and whole:
            self._metropolis(*old, rng)
        for part, point, own in zip(self.parts, points, data if asked else (), strict=False):
            log_z += sweeps.log_density(part, *point, *own)
        if not whole:
            raise CollapseError("a covariance became singular: a noise vanished beside the others")
        return log_z + self.move(rng)

    def step(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, int]:
        """Walk n steps with A, Q and R, the states integrated out: where it has been (n, d), and how many were taken.

        None is made where T is singular. See `mixtures.dynamics.walk`.
        """
        now, walk = self.now, self.walk
        A, Q, R = now["transition"], now["state_covariance"], now["observation_covariance"]
        m0, P0, C = now["initial_mean"], now["initial_covariance"], now.get("emission", self.loadings[:0, :, 0].T)
        path = np.empty((n + 1, walk.size))
        try:
            T, back = walk.frame(A, C)
            turned, roots, path[0] = walk.at(A, Q, R, T, back)
        except np.linalg.LinAlgError:
            return path[:0], 0
        path[1:] = rng.standard_normal((n, walk.size)) @ self.root.T
        frame, log_u = (T, back, np.eye(len(R)), turned), np.log(rng.random(n))
        given = *self.parts[:2], self.states.room, self.places, frame, roots, self.halves, path, log_u, C, m0, P0
        taken = sweeps.walk(*given, A, Q, R)  # type: ignore[call-arg]
        return path[1:], int(taken)

    def learn(self, rng: np.random.Generator, tell: Callable[[], None] = lambda: None) -> None:
        """Find the root of the covariance of steps, by sweeps with a walk before each; see `mixtures.dynamics.walk`.

        Raises
        ------
        CollapseError
            If a matrix that is positive definite is not to rounding.
        """
        d = self.walk.size
        if not d:
            return
        shape, wide = walks.FIRST * np.eye(d), walks.SCALE / np.sqrt(d)
        for number in range(walks.ROUNDS):
            size, places = wide, []
            for block in range(max(walks.BLOCKS, d * d * 2**number // walks.STEPS)):
                self.root = np.empty((0, 0))
                self.sweep(rng, False)
                self.root = size * shape
                path, taken = self.step(rng, walks.STEPS)
                places.append(path)
                size *= np.exp((taken / walks.STEPS - walks.TAKEN) / np.sqrt(block + 1))
                tell()
            shape = walks.shape(np.concatenate(places), size / wide * shape)
        self.root = wide * shape

    def move(self, rng: np.random.Generator) -> float:
        """Go on to other coordinates of the states; what log p(x, z | theta) gains. See `mixtures.dynamics.generalised`."""
        now, (generators, _, tied) = self.now, self.group
        if not len(generators):
            return 0.0
        proposals = generalised.proposals(generators, rng)
        at = now["transition"], now["state_covariance"], now["emission"], now["observation_covariance"]
        start = now["initial_mean"][:, None], now["initial_covariance"]
        arguments = *self.parts, generators, tied, *proposals, self.seen.edges, self.z, *at, *start
        return float(sweeps.move(*arguments))

    def _metropolis(self, A: np.ndarray, Q: np.ndarray, rng: np.random.Generator) -> None:
        """Go back to A and Q unless the stationary start accepts what was drawn; see `mixtures.dynamics.stationary`."""
        now = self.now
        begun = Moments(*self.s[2])
        proposed = now["transition"], now["state_covariance"]
        now["initial_covariance"][:], taken = stationary.metropolis(now["initial_covariance"], *proposed, begun, rng)
        if not taken:
            now["transition"][:], now["state_covariance"][:] = A, Q


def threads() -> int:
    """As many as numba was told to use."""
    return int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


def _rows_of(data: Data, parts: list[Part]) -> tuple[int | np.ndarray, ...]:
    """How many rows each regression has, that of x feature by feature unless gaps are drawn."""
    S, N = len(data.x.lengths), len(data.x)
    return N - S, N if parts[1].joint else data.patterns[data.which].sum(0), S


def _numbers(part: Part, shapes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers for `sweeps.rows` or `sweeps.joint`, in the order of `mixtures.dynamics.regression.Regression.sample`."""
    D, U = part.yu.shape
    if not part.joint:
        spread = np.zeros((D, D))
        spread[np.arange(len(shapes)), np.arange(len(shapes))] = rng.standard_gamma(shapes)
        return spread, rng.standard_normal((D, U))
    spread = np.empty((0, 0))
    if np.isnan(part.noise[0, 0]):
        spread = rng.standard_normal((D, D))
        spread[np.diag_indices(D)] = np.sqrt(rng.chisquare(shapes))
    return spread, np.ascontiguousarray(rng.standard_normal((U, D)).T)


def _part(part: Regression) -> Part:
    """A regression as the compiled sweeps take it."""
    joint, (D, U) = isinstance(part, Joint), part.free.shape
    n, yy, yu, uu = np.zeros(D), np.zeros((D, D)), np.zeros((D, U)), np.zeros((D, U, U))
    if not part.settled:
        prior = part.prior_moments
        n[:], yu[:], uu[:] = prior.n, prior.yu, prior.uu
        yy[:] = prior.yy if joint else np.diag(prior.yy)
    common, known = bool(getattr(part, "common", False)), np.array(part.known, order="C")
    noise, free = np.array(part.noise, order="C"), np.array(part.free, order="C")
    return Part(joint, common, part.settled, part.noisy, known, free, noise, n, yy, yu, uu)
