"""What the Gaussian families share: coordinates, the way back to the units of the data, and what they refuse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property
from math import isqrt, log, pi
from typing import Any, ClassVar, Self

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dtrtri
from scipy.special import digamma, gammaln, ndtr

from mixtures.errors import CollapseError, FeatureError
from mixtures.families.gaps import Conditional, one_gaussian, per_feature
from mixtures.model import Coords, Link, Theta
from mixtures.rows import NEARLY_DEPENDENT, Moments, Rows, root_of
from mixtures.seeds import Rng, generator

LOG_2, LOG_PI, LOG_2PI = log(2), log(pi), log(2 * pi)

# E[zz^T] - E[z]E[z]^T keeps about -log10(eps / v) digits, v a cluster's variance over its mean square about the origin: at
# 1e-9, six or seven.
SMALLEST_VARIANCE = 1e-9

# Stands for mean squares of zero, or less where a state was guessed.
FLOOR = 1e-200

# Beyond these a prior's hyperparameters leave no digits of the data; m0 is in units of their spread.
LARGEST_NU, FURTHEST = 1e100, 1e8

EPS = float(np.finfo(float).eps)

# Features found to follow from others beyond which no more are looked for.
MOST_DEPENDENT = 8

# Features from which triangular matrices are inverted one by one, in an eighth of the operations.
BY_ONE = 10


@dataclass(frozen=True)
class Normal(ABC):
    """A Gaussian family's coordinates.

    Second moments about a far origin cancel, so a family works in coordinates z with x = origin + unit z, fixed once from the
    data; it folds the Jacobian, -log|unit|, into the constant of eta, and every log density is in the units of x.

    Parameters
    ----------
    origin : ndarray, shape (D,)
    unit : ndarray, shape (D,) or (D, D)
        A scale for each feature where clusters know no correlations, else a lower triangular matrix.
    prior
        Hyperparameters in the coordinates z.
    least : float
        Smallest variance of a cluster over its mean square about the origin: below, too few digits are left.
    missing : bool
        Whether points may have missing values, NaN; see `mixtures.families.gaps`.
    """

    origin: np.ndarray
    unit: np.ndarray
    prior: Any
    least: float = SMALLEST_VARIANCE
    missing: bool = field(default=False, kw_only=True)

    gaussian: ClassVar[bool] = True
    n_levels: ClassVar[tuple[int, ...]] = ()
    affine: ClassVar[bool] = True
    has_base: ClassVar[bool] = False
    parameters: ClassVar[tuple[str, ...]] = ("means", "covariances")
    hyperparameters: ClassVar[tuple[str, ...]] = ("m0", "beta0", "W0", "nu0")
    dims: ClassVar[dict[str, tuple[str, ...]]] = {
        "means": ("cluster", "feature"),
        "covariances": ("cluster", "feature", "feature_"),
    }

    @cached_property
    def log_volume(self) -> float:
        """Log Jacobian of x with respect to z, log|unit|."""
        return float(np.log(self.unit).sum())

    def divided(self) -> None:
        """None: all columns are numbers."""
        return None

    def coords(self, features: Sequence[str], levels: Mapping[str, Sequence[str]] | None = None) -> Coords:
        """Labels of the axes in `dims`, of the features' names."""
        return {dim: ((dim,), np.array(features)) for dim in ("feature", "feature_")}

    def expand(self, v: np.ndarray) -> np.ndarray:
        """unit v of differences v (..., D) of points z."""
        return v * self.unit

    def reduce(self, v: np.ndarray) -> np.ndarray:
        """unit^-1 v of differences v (..., D) of points x."""
        return v / self.unit

    def expand_matrix(self, A: np.ndarray) -> np.ndarray:
        """unit A unit^T of symmetric matrices (..., D, D): covariances of x from those of z."""
        return symmetric(self.expand(self.expand(A).swapaxes(-1, -2)))

    def reduce_matrix(self, A: np.ndarray) -> np.ndarray:
        """unit^-1 A unit^-T of symmetric matrices (..., D, D): covariances of z from those of x."""
        return symmetric(self.reduce(self.reduce(A).swapaxes(-1, -2)))

    @cached_property
    def log_prior_normaliser(self) -> np.ndarray:
        """Log normaliser of the prior, which every step asks for."""
        return self.prior.log_normaliser()

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """The points in the family's coordinates, z = unit^-1 (x - origin), shape (N, D).

        Raises
        ------
        ValueError
            If x has another number of columns than the model has features.
        """
        if x.shape[-1] != len(self.unit):
            raise ValueError(f"x has {x.shape[-1]} columns; the model has {len(self.unit)} features")
        return self.reduce(x - self.origin)

    def near(self, x: np.ndarray) -> np.ndarray:
        """The points where distances tell which are near to each other, shape (N, D)."""
        return self.coordinates(x)

    def points(self, z: np.ndarray) -> np.ndarray:
        """The points x = origin + unit z."""
        return self.origin + self.expand(z)

    def log_base(self, x: np.ndarray) -> np.ndarray:
        """Log base measure of every point, which is constant and folded into eta: zeros, shape (N,)."""
        return np.zeros(x.shape[:-1])

    def impossible(self, theta: Theta) -> None:
        """None: every point has a positive density."""
        return None

    def offsets(self, x: np.ndarray, m: np.ndarray) -> np.ndarray:
        """z_n - m of every location m (..., K, D) and point, the points along the last axis, shape (..., K, D, N)."""
        return np.ascontiguousarray(self.coordinates(x).T) - m[..., None]

    def covariances(self, theta: Theta) -> np.ndarray:
        """The covariance matrices of theta in the coordinates z, shape (..., K, D, D)."""
        return theta["covariances"]

    @property
    @abstractmethod
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j), sorted by p: t_p(x) is the sum of z_i z_j over its rows, where z_0 = 1, shape (M, 3)."""

    @abstractmethod
    def log_density(self, theta: Theta, q: Any) -> np.ndarray:
        """Log density of theta under q, summed over clusters, in the coordinates z, shape (...)."""

    @abstractmethod
    def mean(self, q: Any) -> Theta:
        """E_q[theta] in the coordinates z."""

    def log_prior(self, theta: Theta) -> np.ndarray:
        """`log_density` of theta under the prior, shape (...)."""
        return self.log_density(theta, self.prior)

    @classmethod
    def stack(cls, families: Sequence[Self]) -> Self:
        """One family for several data sets that are given in their own coordinates z, their priors side by side."""
        unit = np.eye(*families[0].unit.shape) if families[0].unit.ndim == 2 else np.ones_like(families[0].unit)
        prior = type(families[0].prior).stack([family.prior for family in families])
        return cls(np.zeros(len(unit)), unit, prior, missing=families[0].missing)

    def take(self, places: np.ndarray) -> Self:
        """Of stacked data sets, those at some places."""
        return replace(self, prior=self.prior.take(places))

    def simulate(self, theta: Theta, labels: np.ndarray, rng: Rng) -> np.ndarray:
        """One point in the units of x for each label, shape (N, D); theta has no batch axes."""
        rng = generator(rng)
        F = np.linalg.cholesky(self.covariances(theta))[labels]
        z = theta["means"][labels] + times(F, rng.standard_normal((len(labels), len(self.unit))))
        return self.points(z)

    def to_data(self, theta: Theta) -> Theta:
        """Means and full covariances of x from parameters of z."""
        return {
            "means": self.points(theta["means"]),
            "covariances": self.expand_matrix(self.covariances(theta)),
        }

    def cluster_moments(self, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, D) and covariance (..., K, D, D) of a point of each cluster, in the units of x."""
        clusters = self.to_data(theta)
        return clusters["means"], clusters["covariances"]

    def moment_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """The names of the features."""
        return tuple(features)

    @property
    def free(self) -> np.ndarray:
        """All features."""
        return np.arange(len(self.origin))

    def at_boundary(self, theta: Theta, within: float) -> Theta:
        """Theta: where a variance is zero the likelihood has no maximum."""
        return theta

    def moments(self, q: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, D) and covariance (..., K, D, D) of each cluster's predictive density, in the units of x.

        The covariance is E[Sigma] + cov(mu) = E[Sigma] (1 + 1 / beta); not a number where E[Sigma] does not exist.
        """
        theta = self.to_data(self.mean(q))
        return theta["means"], theta["covariances"] * (1 + 1 / per_feature(q.beta, q.m))[..., None]

    def rescaled(self, factor: float) -> Self:
        """The family under the same prior but for a scale W0^-1 so many times as large."""
        name = "W_inv" if hasattr(self.prior, "W_inv") else "b"
        return replace(self, prior=replace(self.prior, **{name: factor * getattr(self.prior, name)}))

    def cumulative(self, theta: Theta, x: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray]:
        """P(X <= x_n) of one feature under each cluster of theta in the units of x, (..., K, N), twice."""
        mean, sd = theta["means"][..., feature], np.sqrt(theta["covariances"][..., feature, feature])
        p = ndtr((x[:, feature] - mean[..., None]) / sd[..., None])
        return p, p

    def from_data_units(self, theta: Theta) -> Theta:
        """Means and full covariances of z from those of x."""
        return {
            "means": self.coordinates(theta["means"]),
            "covariances": self.reduce_matrix(theta["covariances"]),
        }


@dataclass(frozen=True)
class Correlated(Normal):
    """The features and natural parameters of clusters whose features may be correlated.

    Their model is the same in all linear coordinates, and so is what a fit comes to: z is white, its covariance the identity.
    """

    @cached_property
    def log_volume(self) -> float:
        """Log Jacobian of x with respect to z, log|unit|."""
        return float(log_diagonal(self.unit))

    def expand(self, v: np.ndarray) -> np.ndarray:
        """unit v of differences v (..., D) of points z."""
        return v * self.unit.diagonal() if self.missing else v @ self.unit.T

    def reduce(self, v: np.ndarray) -> np.ndarray:
        """unit^-1 v of differences v (..., D) of points x, by substitution; where values may be missing, unit is diagonal."""
        if self.missing:
            return v / self.unit.diagonal()
        return substitute(self.unit, v.reshape(-1, len(self.unit)).T).T.reshape(v.shape)

    def near(self, x: np.ndarray) -> np.ndarray:
        """The points with each feature scaled by its own spread, or white where features are nearly dependent, shape (N, D).

        Distances in the features' own spreads lead to better starts, but know nothing of a narrow direction across features.
        """
        spread = np.linalg.norm(self.unit, axis=1)
        if (self.unit.diagonal() < NEARLY_DEPENDENT * spread).any():
            return self.coordinates(x)
        return (x - self.origin) / spread

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z_i, z_i z_j for i <= j), shape (N, P) with P = 1 + D + D (D + 1) / 2.

        Where values may be missing, those in which a missing one has part are zero; see `marginal` and `complete`.
        """
        return self.statistics(self.factors(x))

    def statistics(self, z: np.ndarray) -> np.ndarray:
        """t of points in the coordinates z, (N, P)."""
        z = np.moveaxis(z, -1, 0)  # features first: products and sums then run along memory
        i, j = triangle(len(z))
        return np.moveaxis(np.concatenate([np.ones_like(z[:1]), z, z[i] * z[j]]), 0, -1)

    @property
    def linked(self) -> tuple[Link, ...]:
        """All columns where values may be missing: they are integrated out together."""
        return (Link(self, np.arange(len(self.unit)), np.arange(1 + self.monomials[-1, 0])),) if self.missing else ()

    @property
    def count_of(self) -> np.ndarray:
        """0: once completed, every row has all features."""
        return np.zeros(len(self.unit), int)

    def factors(self, x: np.ndarray) -> np.ndarray:
        """The coordinates, zero where they are missing, (N, D)."""
        z = self.coordinates(x)
        return np.nan_to_num(z, nan=0.0, posinf=np.inf, neginf=-np.inf) if self.missing else z

    def rough(self, x: np.ndarray) -> np.ndarray:
        """The statistics with what is missing at the mean of the data, with their spread, (N, P)."""
        t = self.features(x)
        if self.missing:
            D = len(self.unit)
            t[..., places(D)[1].diagonal()] += np.isnan(x)
        return t

    def marginal(self, eta: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Natural parameters of what was seen, from eta (..., K, P) and patterns (G, D): shape (G, ..., K, P).

        ``features(x) @ marginal.T`` is the log integral of exp(t . eta) over what is missing of x.
        """
        o = seen.reshape(len(seen), *(1,) * (eta.ndim - 1), -1)
        h, Lambda = self._precision(eta)
        given = Conditional.of(h, Lambda, o)
        volume = np.log(self.unit.diagonal())
        gone = (~o * (LOG_2PI + 2 * volume)).sum(-1)
        constant = eta[..., 0] + (gone - given.log_det + (h * given.b).sum(-1)) / 2
        seen_Lambda = (Lambda @ given.A) * o[..., :, None] * o[..., None, :]
        return pack(constant, o * (h - times(Lambda, given.b)), seen_Lambda)

    def complete(self, eta: np.ndarray, seen: np.ndarray, s: np.ndarray) -> np.ndarray:
        """Expected statistics under eta (..., K, P) from those of what was seen, both of shape (G, ..., K, P)."""
        o = seen.reshape(len(seen), *(1,) * (eta.ndim - 1), -1)
        N, sum_z, sum_zz = unpack(s)
        sum_z, sum_zz = Conditional.of(*self._precision(eta), o).completed(N, sum_z, sum_zz)
        D = len(self.unit)
        products = sum_zz.reshape(*sum_zz.shape[:-2], D * D).take(places(D)[0], axis=-1)
        return np.concatenate([N[..., None], sum_z, products], axis=-1)

    def conditional(self, eta: np.ndarray, seen: np.ndarray) -> Conditional:
        """What is missing given what was seen, for patterns (G, D) under eta (..., K, P): parts of shape (G, ..., K, ...)."""
        return Conditional.of(*self._precision(eta), seen.reshape(len(seen), *(1,) * (eta.ndim - 1), -1))

    def second(self, s: np.ndarray) -> np.ndarray:
        """Sums of z z^T (..., D, D) in s (..., P)."""
        return unpack(s)[2]

    def _precision(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Lambda mu (..., D) and Lambda (..., D, D) in eta (..., P)."""
        D = len(self.unit)
        entries = eta[..., 1 + D :] / halves(D)
        return eta[..., 1 : 1 + D], entries.take(places(D)[1] - 1 - D, axis=-1)

    def impute(self, x: np.ndarray, theta: Theta, labels: np.ndarray, rng: Rng) -> np.ndarray:
        """Points (N, D) with what is missing drawn given what was seen, under the cluster of each label."""
        rows = np.flatnonzero(np.isnan(x).any(1))
        seen, pattern = np.unique(~np.isnan(x[rows]), axis=0, return_inverse=True)
        given, own = self.conditional(self.natural(theta), seen), (pattern.ravel(), labels[rows])
        e = generator(rng).standard_normal((len(rows), len(self.unit)))
        z = times(given.A[own], self.factors(x[rows])) + given.b[own] + times(given.F[own].swapaxes(-1, -2), e)
        full = x.copy()
        full[rows] = np.where(np.isnan(x[rows]), self.points(z), x[rows])
        return full

    def by_pattern(self, x: np.ndarray, log_p: Callable[[Any, np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Log densities (N, ..., K) of rows with gaps: of the features seen (D_o,), by their own family, at points (B, D_o)."""
        seen, pattern = np.unique(~np.isnan(x), axis=0, return_inverse=True)
        found: dict[int, np.ndarray] = {}
        for g, o in enumerate(seen):
            own = np.flatnonzero(o)
            part = replace(self, origin=self.origin[own], unit=self.unit[np.ix_(own, own)], missing=False)
            rows = np.flatnonzero(pattern.ravel() == g)
            found |= dict(zip(rows, log_p(part, own, x[np.ix_(rows, own)]), strict=True))
        return np.array([found[n] for n in range(len(x))])

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j) with t_p(x) = z_i z_j, where z_0 = 1, shape (P, 3)."""
        return products(len(self.unit))

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log N(x_n | mu_k, Sigma_k), in units of x."""
        mu, F = theta["means"], inverse_root(theta["covariances"])
        Lambda = F.swapaxes(-1, -2) @ F
        Lambda_mu = times(Lambda, mu)
        constant = (2 * log_diagonal(F) - (mu * Lambda_mu).sum(-1) - len(self.unit) * LOG_2PI) / 2 - self.log_volume
        return pack(constant, Lambda_mu, Lambda)


@dataclass(frozen=True)
class Stacked:
    """Hyperparameters whose fields can be joined along a new first axis, one place a data set."""

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """The priors of several data sets, to be used with states (R, K, P)."""
        return cls(*(np.stack([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def take(self, places: np.ndarray) -> Self:
        """Those at some places along the first axis."""
        return type(self)(*(getattr(self, field.name)[places] for field in fields(self)))


@dataclass(frozen=True)
class Batch(Stacked):
    """Hyperparameters of several clusters, each field with the clusters along its first axis."""

    @classmethod
    def stack(cls, parts: Sequence[Self]) -> Self:
        """The priors of several data sets, each the same for all clusters, to be used with states (R, K, P)."""
        stacked = super().stack(parts)
        return cls(*(getattr(stacked, field.name)[:, None] for field in fields(cls)))

    def permute(self, order: np.ndarray) -> Self:
        """The same with its clusters in another order."""
        return self.take(order)


def frame(data: Moments, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of every feature, each (D,)."""
    if n_components < 1:
        raise ValueError(f"n_components is {n_components}; a mixture needs at least 1")
    with np.errstate(invalid="ignore"):
        unit = np.sqrt(data.squares / data.n)
    lost = ~np.isfinite(unit) | ((unit == 0) & (data.high > data.low))
    if lost.any():
        raise FeatureError(
            "the variance of {0} is too large or too small for a number; rescale it", [int(np.argmax(lost))]
        )
    if not np.all(data.high > data.low):
        constant = int(np.argmin(data.high > data.low))
        raise FeatureError(f"{{0}} is constant over all {data.rows} rows; leave it out", [constant])
    return data.mean, unit


def location(m0: np.ndarray | None, origin: np.ndarray) -> np.ndarray:
    """How far the prior location of the means is from the origin, in the units of x, (D,); by default it is there."""
    if m0 is None:
        return np.zeros(len(origin))
    m0 = np.asarray(m0, dtype=float)
    if m0.shape not in ((), origin.shape) or not np.all(np.isfinite(m0)):
        raise ValueError(f"m0 must be {len(origin)} finite numbers, one a feature")
    return m0 - origin


def white(data: Moments, n_components: int, m0: np.ndarray | None, W0: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """Coordinates in which the data are white, and the prior in them: origin (D,), unit (D, D), m0 (D,) and W0^-1 (D, D).

    W0 is in inverse squared units of x; by default W0^-1 is the covariance over K^(2/D).
    """
    origin, _ = frame(data, n_components)
    D, root = len(origin), data.root
    assert root is not None
    singular = dependence(data)
    if W0 is None:
        if data.rows <= D:
            raise ValueError(
                f"the covariance of the {data.rows} rows in {D} features is singular, so that it cannot set the prior "
                "scale; leave out features, bring more rows, or give W0"
            )
        if singular is not None:
            raise FeatureError(
                f"{singular.text}: their covariance is singular, so that it cannot set the prior scale; leave one of them "
                "out, or give W0",
                singular.features,
            )
        scale = data.n * unbiased(data) / n_components ** (2 / D)
        return origin, root, substitute(root, location(m0, origin)), scale * np.eye(D)
    F, unit = factor(W0, D), settled(root)
    with np.errstate(all="ignore"):
        inverse = np.linalg.inv(unit.T @ F)
        W_inv = inverse.T @ inverse
    return origin, unit, substitute(unit, location(m0, origin)), W_inv


def standard(
    family: Callable[..., Any],
    x: Rows,
    weights: np.ndarray | None,
    data: Moments,
    n_components: int,
    m0: np.ndarray | None,
    W0: np.ndarray | None,
) -> tuple[np.ndarray, ...]:
    """`white` where values are missing: coordinates with a scale for each feature, so that a missing one hides no other.

    The mean and the covariance are the maximum-likelihood ones of one Gaussian; ``family`` makes a family of origin and unit.
    """
    origin, spread = frame(data, n_components)
    D = len(origin)
    if W0 is not None:
        unit = np.diag(spread)
        inverse = np.linalg.inv(unit @ factor(W0, D))
        return origin, unit, location(m0, origin) / spread, inverse.T @ inverse
    if data.rows <= D:
        raise ValueError(
            f"the covariance of the {data.rows} rows in {D} features is singular, so that it cannot set the prior scale; "
            "leave out features, bring more rows, or give W0"
        )
    first = family(origin, np.diag(spread))
    mean, covariance = one_gaussian(first, x, weights)
    sd = np.sqrt(covariance.diagonal())
    origin, unit = origin + spread * mean, spread * sd
    scale = data.n * unbiased(data) / n_components ** (2 / D)
    W_inv = scale * covariance / sd / sd[:, None]
    return origin, np.diag(unit), location(m0, origin) / unit, W_inv


def settled(root: np.ndarray) -> np.ndarray:
    """The root of a covariance as the unit of coordinates, (D, D).

    A feature that follows from those before it but for rounding is scaled by its own spread alone, so that the dependence
    stays to be seen.
    """
    spread = np.linalg.norm(root, axis=1)
    free = np.flatnonzero(root.diagonal() > 128 * EPS * spread)
    if len(free) == len(root):
        return root
    unit = np.diag(np.where(spread > 0, spread, 1))
    unit[np.ix_(free, free)] = root_of(root[free].T)[: len(free), : len(free)]
    return unit


def factor(W0: np.ndarray, D: int) -> np.ndarray:
    """The lower triangular F with F F^T = W0, which is checked."""
    W0 = np.asarray(W0, dtype=float)
    if W0.shape == (D, D) and np.all(np.isfinite(W0)) and np.all(W0.diagonal() > 0):
        scale = np.sqrt(W0.diagonal())
        C = W0 / scale / scale[:, None]
        if np.allclose(C, C.T):
            with suppress(np.linalg.LinAlgError):
                return scale[:, None] * np.linalg.cholesky(C)
    raise ValueError(f"W0 must be a symmetric positive definite matrix of shape ({D}, {D})")


def dependence(data: Moments) -> FeatureError | None:
    """That a feature follows from others but for rounding, with the combination: of several, the one of fewest features.

    A feature's residual on those before it is compared with what rounding leaves of it and of the terms of its combination.
    """
    assert data.root is not None
    L, left, j = data.root, np.arange(len(data.mean)), 0
    found: list[tuple[int, np.ndarray, np.ndarray, float]] = []
    rounding = 8 * data.eps * np.maximum(np.abs(data.low), np.abs(data.high))
    while j < len(left) and len(found) < MOST_DEPENDENT:
        spread = float(np.linalg.norm(L[j]))
        if L[j, j] <= NEARLY_DEPENDENT * spread:
            c = solve_triangular(L[:j, :j].T, L[j, :j]) if j else np.empty(0)
            noise = rounding[left[j]] + np.abs(c) @ rounding[left[:j]]
            if L[j, j] <= max(noise, 128 * EPS * spread):
                some = np.abs(c) * np.linalg.norm(L[:j], axis=1) > 1e-9 * spread
                found.append((left[j], left[:j][some], c[some], noise))
                left, L = np.delete(left, j), root_of(np.delete(L, j, axis=0).T)
                continue
        j += 1
    if not found:
        return None
    feature, others, c, noise = min(found, key=lambda each: len(each[1]))
    short = np.array([float(f"{value:.5g}") for value in c])
    if np.all(np.abs(c - short) <= 1e-8 * np.abs(c)):
        c = short
    else:
        noise *= 1 + float((np.abs(data.mean) / np.linalg.norm(data.root, axis=1))[others].sum())
    constant = data.mean[feature] - c @ data.mean[others]
    terms = [(value, f" {{{place}}}") for place, value in enumerate(c, 1)]
    if abs(constant) > noise:
        terms.append((constant, ""))
    return FeatureError(f"{{0}} = {_sum_of(terms)}", [int(feature), *map(int, others)])


def _sum_of(terms: Sequence[tuple[float, str]]) -> str:
    """Coefficients to five digits and what they multiply, as in "2 a - b + 7"."""
    words = ""
    for value, term in terms:
        size = f"{abs(value):.5g}"
        words += (" - " if value < 0 else " + ") + (term.strip() if size == "1" and term else size + term)
    return words.removeprefix(" + ") if words.startswith(" + ") else words.replace(" - ", "-", 1)


def each_unbiased(data: Moments) -> np.ndarray:
    """N_d / (N_d - 1), with N_d how often each feature was seen, which turns a mean square into a variance, (D,)."""
    if data.seen is None:
        return np.full(len(data.mean), data.n * unbiased(data))
    if not np.all(data.seen > 1):
        raise FeatureError(
            "{0} was seen once, which sets no prior scale; leave it out, or give W0", [int(np.argmin(data.seen))]
        )
    return data.seen / (data.seen - 1)


def unbiased(data: Moments) -> float:
    """1 / (N - 1), which turns a scatter into a covariance; N is the sum of the weights."""
    if not data.n > 1:
        raise ValueError(
            f"the weights sum to {data.n:g}; they count observations and set the prior scale, so that they must sum to "
            "more than 1 unless W0 is given"
        )
    return 1 / (data.n - 1)


def check_prior(beta0: float, nu0: float, smallest: float, m: np.ndarray, W_inv: np.ndarray) -> None:
    """Refuse hyperparameters under which the prior has no density, or of which numbers cannot hold what follows from them.

    m and W_inv, the variances among W0^-1, are in the coordinates z.
    """
    if not smallest < nu0 <= LARGEST_NU:
        raise ValueError(f"nu0 is {nu0:g}; this prior needs more than {smallest:g}, and at most {LARGEST_NU:g}")
    if not 0 < beta0 < np.inf:
        raise ValueError(f"beta0 is {beta0:g}; it must be positive and finite")
    if not np.abs(m).max() <= FURTHEST:
        raise ValueError(
            f"m0 is more than {FURTHEST:g} times their spread away from the data; rounding leaves nothing of these"
        )
    low, high = np.min(W_inv), np.max(W_inv)
    if not 1 / FLOOR >= high >= low >= FLOOR:
        raise ValueError(
            "W0 is too large or too small for the spread of the data; its order is that of an inverse variance"
        )


def refuse_empty(N: np.ndarray) -> None:
    """Refuse clusters without points, where maximum likelihood has no answer; N has shape (..., K)."""
    empty = N < 1e-8
    if empty.any():
        raise CollapseError(
            f"cluster {int(np.argmin(N)) % N.shape[-1]} is empty; use fewer components, other starts, or a prior "
            "(by MAP or variational Bayes)",
            empty.any(-1),
        )


def refuse_collapse(variance: np.ndarray, least: float) -> None:
    """Refuse clusters too tight for their digits; ``variance`` (..., K) is what `least_variance` or `over` gives."""
    tight = ~(variance > least)
    if tight.any():
        raise CollapseError(
            f"cluster {int(np.argmin(variance)) % variance.shape[-1]} collapsed: its smallest variance is zero to rounding; "
            "use fewer components, other starts, a positive reg_covar, or a prior (by MAP or variational Bayes)",
            tight.any(-1),
        )


def least_variance(A: np.ndarray, taken: np.ndarray, lowest: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The smallest eigenvalue of each A in units of the mean squares of the features about the origin, shape (...).

    Parameters
    ----------
    A : ndarray, shape (..., D, D)
        What is left of second moments once those of the means were taken off.
    taken : ndarray, shape (..., D)
        The diagonals of what was taken off.
    lowest : callable
        From A to a bound below the eigenvalues of each. Where over the largest square it is enough for all, that is returned.
    """
    with suppress(np.linalg.LinAlgError):
        bound = lowest(A) / (A.max() + taken.max())
        if (bound > SMALLEST_VARIANCE).all():
            return bound
    scale = np.sqrt(np.maximum(np.diagonal(A, axis1=-2, axis2=-1) + taken, FLOOR))
    return np.linalg.eigvalsh(A / scale[..., :, None] / scale[..., None, :])[..., 0]


def smallest_eigenvalue(A: np.ndarray) -> np.ndarray:
    """That of each symmetric matrix, or where it takes less time the bound 1 / tr(A^-1) below it."""
    if A.shape[-1] <= 4:
        return np.linalg.eigvalsh(A)[..., 0]
    return 1 / (inverse_root(A) ** 2).sum((-2, -1))


def over(variance: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Variances in units of the mean squares about the origin, from which the squared means ``taken`` were taken off."""
    return variance / np.maximum(variance + taken, FLOOR)


def symmetric(A: np.ndarray) -> np.ndarray:
    """(A + A^T) / 2 of each matrix, without the asymmetry of rounding."""
    return (A + A.swapaxes(-1, -2)) / 2


def existing(excess: np.ndarray) -> np.ndarray:
    """The divisor of an expectation that exists where it is positive; not a number elsewhere."""
    return np.where(excess > 0, excess, np.nan)


@cache
def triangle(D: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the entries i <= j of a (D, D) matrix."""
    return np.triu_indices(D)


@cache
def products(D: int) -> np.ndarray:
    """Rows (p, i, j) of the products z_i z_j for 0 <= i <= j <= D, shape (P, 3)."""
    first, second = np.triu_indices(D + 1)
    return np.column_stack([np.arange(len(first)), first, second])


@cache
def half_steps(D: int) -> np.ndarray:
    """0, 1/2, ..., (D - 1) / 2: by how much the arguments of the multivariate gamma function lie apart, shape (D,)."""
    return np.arange(D) / 2


@cache
def halves(D: int) -> np.ndarray:
    """What each product z_i z_j with i <= j stands for, -1/2 where i = j and twice as much elsewhere, shape (P - 1 - D,)."""
    i, j = triangle(D)
    return np.where(i == j, -0.5, -1.0)


@cache
def places(D: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the products i <= j, their places in a flattened (D, D) matrix; and for each entry of the matrix its place in s."""
    i, j = triangle(D)
    matrix = np.empty((D, D), int)
    matrix[i, j] = matrix[j, i] = 1 + D + np.arange(len(i))
    return D * i + j, matrix


def pack(constant: np.ndarray, linear: np.ndarray, Lambda: np.ndarray) -> np.ndarray:
    """Join the parts of eta; each product with i < j stands for two equal entries of -1/2 Lambda."""
    D = Lambda.shape[-1]
    quadratic = halves(D) * Lambda.reshape(*Lambda.shape[:-2], D * D).take(places(D)[0], axis=-1)
    return np.concatenate([constant[..., None], linear, quadratic], axis=-1)


def unpack(s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split s into counts (...), sums (..., D) and full second moments (..., D, D)."""
    D = (isqrt(8 * s.shape[-1] + 1) - 3) // 2
    return s[..., 0], s[..., 1 : 1 + D], s.take(places(D)[1], axis=-1)


def substitute(L: np.ndarray, b: np.ndarray) -> np.ndarray:
    """L^-1 b of a lower triangular matrix (D, D) and columns (D, ...), by substitution."""
    return solve_triangular(L, b, lower=True, check_finite=False)


def log_det(A: np.ndarray) -> np.ndarray:
    """Log of the absolute determinant of each matrix."""
    return np.linalg.slogdet(A)[1]


def inverse_root(A: np.ndarray) -> np.ndarray:
    """The lower triangular F with F^T F = A^-1 of each symmetric positive definite matrix: it keeps every digit there is."""
    L = np.linalg.cholesky(A)
    if A.shape[-1] < BY_ONE:
        return np.linalg.inv(L)
    for own in L.reshape(-1, *L.shape[-2:]):
        dtrtri(own.T, lower=0, overwrite_c=1)  # the transposed matrix is an upper triangle in Fortran's order: in place
    return L


def log_diagonal(F: np.ndarray) -> np.ndarray:
    """Log determinant of each triangular matrix with a positive diagonal."""
    return np.log(F.diagonal(axis1=-2, axis2=-1)).sum(-1)


def outer(a: np.ndarray) -> np.ndarray:
    """a a^T of each vector."""
    return a[..., :, None] * a[..., None, :]


def times(A: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A b of each matrix and vector."""
    return (A @ b[..., None])[..., 0]


class Wishart:
    """What densities with a Wishart factor share, (..., D, D) W_inv and (...) nu; one factor of W serves a whole step."""

    W_inv: np.ndarray
    nu: np.ndarray

    @cached_property
    def root(self) -> np.ndarray:
        """The lower triangular F with F^T F = W, shape (..., D, D)."""
        return inverse_root(self.W_inv)

    @cached_property
    def log_det_W_inv(self) -> np.ndarray:
        """log|W^-1|, shape (...)."""
        return -2 * log_diagonal(self.root)

    def mean_Lambda(self) -> np.ndarray:
        """E[Lambda] = nu W, shape (..., D, D) (PRML B.80)."""
        return self.nu[..., None, None] * (self.root.swapaxes(-1, -2) @ self.root)

    def least_variance(self, taken: np.ndarray) -> np.ndarray:
        """`least_variance` of W^-1, shape (...)."""
        return least_variance(self.W_inv, taken, lambda _: 1 / (self.root**2).sum((-2, -1)))

    def log_wishart_normaliser(self) -> np.ndarray:
        """-log B(W, nu): the log integral of |Lambda|^((nu-D-1)/2) exp(-tr(W^-1 Lambda)/2) (PRML B.79)."""
        D = self.W_inv.shape[-1]
        log_gamma = D * (D - 1) / 4 * LOG_PI + gammaln(self._halves).sum(-1)
        return self.nu / 2 * (D * LOG_2 - self.log_det_W_inv) + log_gamma

    def expected_log_det(self) -> np.ndarray:
        """E[log|Lambda|] under Wishart(W, nu) (PRML 10.65, B.81)."""
        return digamma(self._halves).sum(-1) + self.W_inv.shape[-1] * LOG_2 - self.log_det_W_inv

    @cached_property
    def _halves(self) -> np.ndarray:
        return self.nu[..., None] / 2 - half_steps(self.W_inv.shape[-1])


def wishart_root(W_inv: np.ndarray, nu: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of F with F F^T = Lambda^-1 and Lambda ~ Wishart(W, nu), by Bartlett's decomposition, shape (size, ..., D, D)."""
    shape = (size, *W_inv.shape)
    D = shape[-1]
    A = np.tril(rng.standard_normal(shape), -1)
    A[..., range(D), range(D)] = np.sqrt(rng.chisquare(nu[..., None] - np.arange(D), shape[:-1]))
    return np.linalg.cholesky(W_inv) @ np.linalg.inv(A).swapaxes(-1, -2)


def log_student_t(distance: np.ndarray, log_scale: np.ndarray, dof: np.ndarray, D: int | np.ndarray) -> np.ndarray:
    """Log Student-t density in D dimensions from the squared Mahalanobis distance and log|scale|/2 (PRML B.68)."""
    constant = gammaln((dof + D) / 2) - gammaln(dof / 2) - D / 2 * np.log(dof * np.pi) - log_scale
    return constant - (dof + D) / 2 * np.log1p(distance / dof)
