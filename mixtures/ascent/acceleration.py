"""Quasi-Newton steps in the state s, for ascents that close in slowly because clusters overlap.

With natural parameters eta(s) and f = F(s) - s the step of EM or CAVI, the gradient of the bound in s is

    g = (d eta / d s) f

so that f itself is a Newton step under the approximation -d eta / d s of the Hessian. L-BFGS starts from that approximation
and improves it by the changes of g over the last steps: the quasi-Newton acceleration of EM of Jamshidian & Jennrich (1997,
*JRSS B* 59:569-587, section 4) in the two loops of Nocedal & Wright (*Numerical Optimization*, 2006, algorithm 7.4).
"""

from __future__ import annotations

import numpy as np

# Changes that are remembered, and fewer where they hold more numbers than this.
MEMORY = 10
NUMBERS = 8_000_000


class QuasiNewton:
    """Directions for R runs side by side; every array has the runs along its first axis, s flattened along its second."""

    def __init__(self, runs: int) -> None:
        self.pairs: list[tuple[np.ndarray, ...]] = []
        self.last: tuple[np.ndarray, ...] | None = None
        self.known = np.zeros(runs, bool)

    def direction(
        self, s: np.ndarray, f: np.ndarray, g: np.ndarray, asked: np.ndarray, known: np.ndarray
    ) -> np.ndarray:
        """The step from s (R, K, P) that the Newton approximation proposes, (R, K, P); f where nothing is known yet.

        Parameters
        ----------
        s, f, g : ndarray, shape (R, K, P)
            The state, the plain step, and the gradient of the bound.
        asked, known : ndarray of bool, shape (R,)
            Runs that want a step, others being as if they were not here; and those whose gradient is known.
        """
        shape = s.shape
        s, f, g = (a.reshape(len(a), -1) for a in (s, f, g))
        if self.last is not None:
            ds, df, dg = (new - old for new, old in zip((s, f, g), self.last, strict=True))
            curvature = -(ds * dg).sum(1)
            use = (
                asked
                & known
                & self.known
                & (curvature > 1e-12 * np.linalg.norm(ds, axis=1) * np.linalg.norm(dg, axis=1))
            )
            rho = np.where(use, 1 / np.where(use, curvature, 1), 0)[:, None]
            memory = min(MEMORY, 1 + NUMBERS // (3 * s.size))
            self.pairs = [*self.pairs, (ds, df, dg, rho)][-memory:]
            others = ~asked[:, None]
            self.last = tuple(np.where(others, old, new) for new, old in zip((s, f, g), self.last, strict=True))
        else:
            self.last = s, f, g
        self.known = np.where(asked, known, self.known)
        slope, step, alphas = g, f, []
        for ds, df, dg, rho in reversed(self.pairs):
            alpha = rho * (ds * slope).sum(1, keepdims=True)
            slope, step = slope + alpha * dg, step + alpha * df
            alphas.append(alpha)
        for (ds, _, dg, rho), alpha in zip(self.pairs, reversed(alphas), strict=True):
            step = step + (alpha + rho * (dg * step).sum(1, keepdims=True)) * ds
        return step.reshape(shape)

    def forget(self, runs: np.ndarray) -> None:
        """Drop what was learned of these runs (R,)."""
        if runs.any():
            self.pairs = [(ds, df, dg, np.where(runs[:, None], 0, rho)) for ds, df, dg, rho in self.pairs]

    def take(self, runs: np.ndarray) -> None:
        """Go on with these runs alone."""
        self.pairs = [tuple(a[runs] for a in pair) for pair in self.pairs]
        self.last = None if self.last is None else tuple(a[runs] for a in self.last)
        self.known = self.known[runs]
