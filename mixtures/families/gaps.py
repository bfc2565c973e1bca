"""What families share where values may be missing (at random): what was seen of a row, and what was not.

Features that are independent within a cluster only leave terms out: each feature has a count of its own among the statistics,
and its share of the constant beside it in eta. Features that may be correlated are integrated out. With Lambda and
h = Lambda mu from eta, o what was seen of a row and m the rest (Bishop, PRML, 2.73, 2.75, 2.98),

    V = Lambda_mm^-1      z_m | z_o ~ N(b + B z_o, V)      b = V h_m      B = -V Lambda_mo
    Lambda' = Lambda_oo + Lambda_om B      h' = h_o - Lambda_om b      c' = c + (|m| log 2 pi - log|Lambda_mm| + h_m . b) / 2

Matrices keep their size (D, D), with zeros for what is left out, so that one array operation serves all patterns of gaps.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mixtures.errors import FeatureError
from mixtures.model import Link, Theta
from mixtures.rows.reading import Rows, as_rows, folded
from mixtures.rows.weights import as_weights

# The one Gaussian that sets a default prior has settled once nothing moves by more than this, in units of the spread.
SETTLED, MOST_STEPS = 1e-9, 500

# Share of a feature in a direction without spread from which it belongs there.
ALONG = 1e-3


class Separate:
    """Features that are independent within a cluster.

    Where values may be missing, t(x) = (1, o, o z, ...) with o_d = 1 where feature d was seen.
    """

    unit: np.ndarray
    missing: bool

    @property
    def linked(self) -> tuple[Link, ...]:
        """None: a missing value leaves terms out, and nothing is integrated."""
        return ()

    @property
    def count_of(self) -> np.ndarray:
        """Place in t of what counts the rows in which each coordinate was seen, (D,)."""
        D = len(self.unit)
        return np.arange(1, 1 + D) if self.missing else np.zeros(D, int)

    def factors(self, x: np.ndarray) -> np.ndarray:
        """What `monomials` multiply: z, zero where it is missing, and o behind it where values may be missing, (N, W)."""
        z = self.coordinates(x)  # type: ignore[attr-defined]
        if not self.missing:
            return z
        seen = ~np.isnan(z)
        return np.concatenate([np.where(seen, z, 0.0), seen], axis=-1)

    def rough(self, x: np.ndarray) -> np.ndarray:
        """The statistics: what is missing needs no guess, (N, P)."""
        return self.features(x)  # type: ignore[attr-defined]

    def join(self, constant: np.ndarray, *others: np.ndarray) -> np.ndarray:
        """Natural parameters (..., K, P) from the features' shares of the constant (..., K, D) and what follows it."""
        if self.missing:
            return np.concatenate([np.zeros_like(constant[..., :1]), constant, *others], axis=-1)
        return np.concatenate([constant.sum(-1, keepdims=True), *others], axis=-1)

    def split(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Counts (..., K, D) of the rows in which a feature was seen, or (..., K, 1) of all rows; and the other statistics."""
        if self.missing:
            D = len(self.unit)
            return s[..., 1 : 1 + D], s[..., 1 + D :]
        return s[..., :1], s[..., 1:]

    def impute(self, x: np.ndarray, theta: Theta, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Points (N, D) with what is missing drawn under the cluster of each label; theta has no batch axes."""
        return np.where(np.isnan(x), self.simulate(theta, labels, rng), x)  # type: ignore[attr-defined]


def behind(monomials: np.ndarray, D: int) -> np.ndarray:
    """Rows (p, i, j) of statistics of D coordinates, led by p = 0, with the counts of each coordinate put behind the constant.

    Coordinates D + 1..2 D are the indicators o of `Separate.factors`.
    """
    d = np.arange(1, 1 + D)
    rest = monomials[1:] + np.array([D, 0, 0])
    return np.concatenate([monomials[:1], np.column_stack([d, 0 * d, D + d]), rest])


def per_feature(v: np.ndarray, m: np.ndarray) -> np.ndarray:
    """A number of each cluster (...), or of each of its features (..., D), in a shape that goes with m (..., D)."""
    return v if v.ndim == m.ndim else v[..., None]


def total(v: np.ndarray, m: np.ndarray) -> np.ndarray:
    """The sum over features of what `per_feature` spreads, (...)."""
    return v.sum(-1) if v.ndim == m.ndim else v * m.shape[-1]


class Conditional(NamedTuple):
    """What is missing given what was seen, z = A z_o + b + F^T e with e ~ N(0, I), zero where seen.

    Attributes
    ----------
    A : ndarray, shape (..., D, D)
        Takes z_o, zero where missing, to itself and the slope of z_m.
    b : ndarray, shape (..., D)
    F : ndarray, shape (..., D, D)
        Lower triangular, with F^T F = V; zero where seen.
    log_det : ndarray, shape (...)
        log|Lambda_mm|.
    """

    A: np.ndarray
    b: np.ndarray
    F: np.ndarray
    log_det: np.ndarray

    @classmethod
    def of(cls, h: np.ndarray, Lambda: np.ndarray, seen: np.ndarray) -> Conditional:
        """From h (..., D), Lambda (..., D, D) and what was seen (..., D), which are broadcast."""
        o = seen.astype(float)
        m, D = 1 - o, h.shape[-1]
        missing = Lambda * m[..., :, None] * m[..., None, :]
        missing[..., range(D), range(D)] += o
        F = np.linalg.inv(np.linalg.cholesky(missing))
        log_det = -2 * np.log(F.diagonal(axis1=-2, axis2=-1)).sum(-1)
        F = F * m[..., None, :]
        V = F.swapaxes(-1, -2) @ F
        A = -(V @ Lambda) * o[..., None, :]
        A[..., range(D), range(D)] += o
        return cls(A, (V @ h[..., None])[..., 0], F, log_det)

    def completed(self, N: np.ndarray, z: np.ndarray, zz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Expected sums of z (..., D) and z z^T (..., D, D) from the counts (...) and sums of what was seen."""
        own = (self.A @ z[..., None])[..., 0]
        shift = N[..., None] * self.b
        cross = own[..., :, None] * self.b[..., None, :]
        V = self.F.swapaxes(-1, -2) @ self.F
        second = self.A @ zz @ self.A.swapaxes(-1, -2) + cross + cross.swapaxes(-1, -2)
        return own + shift, second + N[..., None, None] * V + shift[..., :, None] * self.b[..., None, :]


def _by_patterns(family: Any, block: np.ndarray, w: np.ndarray | None, start: int) -> dict[bytes, np.ndarray]:
    """The statistics (P,) of the rows of each pattern of gaps in a block."""
    t = family.features(block)
    if w is not None:
        t = t * w[:, None]
    keys, number = np.unique(np.isnan(block), axis=0, return_inverse=True)
    return {key.tobytes(): t[number.ravel() == g].sum(0) for g, key in enumerate(keys)}


def _both(a: dict[bytes, np.ndarray], b: dict[bytes, np.ndarray]) -> dict[bytes, np.ndarray]:
    return a | {key: a.get(key, 0.0) + t for key, t in b.items()}


def one_gaussian(
    family: Any, x: Rows, weights: np.ndarray | None, ridge: float | np.ndarray = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and covariance (D, D) of one Gaussian at its maximum likelihood, in the family's coordinates, by EM.

    Little & Rubin 2019, *Statistical Analysis with Missing Data*, section 11.2: the moments of complete rows, if all are.

    Parameters
    ----------
    family : Gaussian or TiedGaussian
        In whose coordinates the features have mean 0 and variance 1; of its prior nothing is used.
    x, weights
        What its coordinates were taken from.
    ridge : float or ndarray, shape (D,)
        Variance of noise about the features.

    Raises
    ------
    FeatureError
        If the covariance is singular, with the features that depend on each other.
    """
    x = as_rows(x)
    patterns = folded(x, as_weights(x, weights), partial(_by_patterns, family), _both, "moments") or {}
    D = len(family.unit)
    seen = np.array([~np.frombuffer(key, bool) for key in patterns])
    s_o = np.array(list(patterns.values()))[seen.any(1), None]
    seen = seen[seen.any(1)]
    mean, covariance = np.zeros(D), np.eye(D)
    for _ in range(MOST_STEPS):
        eta = family.natural({"means": mean[None], "covariances": covariance[None]})
        s = family.complete(eta, seen, s_o).sum((0, 1))
        N, sum_z, sum_zz = s[0], s[1 : 1 + D], family.second(s)
        before, mean = mean, sum_z / N
        moved, covariance = covariance, sum_zz / N - np.outer(mean, mean) + ridge * np.eye(D)
        lowest, directions = np.linalg.eigh(covariance)
        if not lowest[0] > family.least:
            features = np.flatnonzero(np.abs(directions[:, 0]) > ALONG).tolist()
            *others, last = (f"{{{place}}}" for place in range(len(features)))
            what = f"{', '.join(others)} and {last} depend on each other where they were seen"
            raise FeatureError(
                f"{what if others else f'{last} is constant where it was seen'}: the covariance is singular, so that it cannot "
                "set the prior scale; leave out features, bring more rows, or give W0",
                features,
            )
        if max(np.abs(mean - before).max(), np.abs(covariance - moved).max()) <= SETTLED:
            break
    return mean, covariance
