"""What the Gaussian families share: coordinates, monomials and the way back to the units of the data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from scipy.special import ndtr

from mixtures import substitution
from mixtures.families.collapse import SMALLEST_VARIANCE
from mixtures.families.gaps import Conditional, per_feature
from mixtures.families.symmetric import (
    halves,
    log_diagonal,
    pack,
    places,
    precision,
    products,
    substitute,
    symmetric,
    times,
    unpack,
)
from mixtures.families.wishart import LOG_2PI
from mixtures.model import Coords, Link, Theta
from mixtures.seeds import Rng, generator


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

    def in_coordinates(self, origin: np.ndarray, unit: np.ndarray) -> Self:
        """The same model in the coordinates z with x = origin + unit z, its prior carried over."""
        own, p = replace(self, origin=origin, unit=unit), self.prior
        if hasattr(p, "W_inv"):
            scale = {"W_inv": own.reduce_matrix(self.expand_matrix(p.W_inv))}
        else:
            scale = {"b": p.b * ((self.unit / unit) ** 2)[: p.b.size].reshape(p.b.shape)}
        return replace(own, prior=replace(p, m=own.coordinates(self.points(p.m)), **scale))

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
    Of nearly dependent columns z has the digits that the rows have, so that a map of condition up to 1e12 changes a bound by
    log |det| of every row alone. Of `mixtures.ascent.starts.few` rows, the starts look at the columns as they are, too, and
    their map may lead to another optimum.
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

    @cached_property
    def nearly_dependent(self) -> bool:
        """Whether columns are so nearly dependent that their coordinates are found as if in twice the digits."""
        return not self.missing and substitution.loses(self.unit)

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """The points in the family's coordinates; see `Normal.coordinates`."""
        if not self.nearly_dependent or x.shape[-1] != len(self.unit):
            return super().coordinates(x)
        return substitution.coordinates(x, self.origin, self.unit)

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z_i, z_i z_j for i <= j), shape (N, P) with P = 1 + D + D (D + 1) / 2.

        Where values may be missing, those in which a missing one has part are zero; see `marginal` and `complete`.
        """
        return self.statistics(self.factors(x))

    def statistics(self, z: np.ndarray) -> np.ndarray:
        """t of points in the coordinates z, (N, P)."""
        z = np.moveaxis(z, -1, 0)  # features first: products and sums then run along memory
        D = len(z)
        t = np.empty((1 + D + D * (D + 1) // 2, *z.shape[1:]))
        t[0], t[1 : D + 1] = 1, z
        z, first = t[1 : D + 1], D + 1
        for i in range(D):
            np.multiply(z[i], z[i:], out=t[first : first + D - i])
            first += D - i
        return np.moveaxis(t, 0, -1)

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

    def turned(self, eta: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Lambda v of the precisions in eta (..., P), and vectors v (..., D)."""
        return times(self._precision(eta)[1], v)

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

    def _precisions(self, Sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The inverses of Sigma (..., K, D, D) and their log determinants (..., K)."""
        return precision(Sigma)

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log N(x_n | mu_k, Sigma_k), in units of x."""
        mu, (Lambda, log_det) = theta["means"], self._precisions(theta["covariances"])
        Lambda_mu = times(Lambda, mu)
        constant = (log_det - (mu * Lambda_mu).sum(-1) - len(self.unit) * LOG_2PI) / 2 - self.log_volume
        return pack(constant, Lambda_mu, Lambda)
