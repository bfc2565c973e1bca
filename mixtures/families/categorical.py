r"""Categories that are independent within a cluster, and their Dirichlet priors: latent class analysis (Goodman 1974).

    mu_kd ~ Dirichlet(a0_d)      x_nd | z_n = k ~ Categorical(mu_kd),  x_nd in 0..C_d - 1

As an exponential family, with an indicator for every level c of every feature d (Bishop, PRML, section 2.2),

    t(x)  = (1, [x_d = c])
    eta_k = (0,  log mu_kdc)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from operator import add
from typing import ClassVar, Self

import numpy as np
from scipy.special import digamma, gammaln, xlogy

from mixtures.checks import as_number, as_numbers, check_components
from mixtures.errors import FeatureError
from mixtures.families.collapse import refuse_empty
from mixtures.families.discrete import (
    SMALLEST,
    Discrete,
    positive,
    read,
    refuse_fractions,
    refuse_outside,
    refuse_probabilities,
)
from mixtures.families.hyperparameters import Batch
from mixtures.model import Coords, Divided, Theta
from mixtures.rows.reading import Rows, as_rows, folded
from mixtures.rows.weights import as_weights
from mixtures.seeds import Rng, generator
from mixtures.special import log_rising

# Levels of a feature at most, where they are not given.
MOST_LEVELS = 1_000_000


@dataclass(frozen=True)
class DirichletProduct(Batch):
    """Dirichlet density of every feature's probabilities, the levels of all features side by side.

    Parameters
    ----------
    alpha : ndarray, shape (..., L)
        Pseudo-observations of every level, L = sum_d C_d of them.
    """

    alpha: np.ndarray


@dataclass(frozen=True)
class Categorical(Discrete):
    """Clusters of categories under Dirichlet priors.

    Parameters
    ----------
    prior : DirichletProduct
        The prior of every cluster, unbatched.
    levels : tuple of int
        Number of levels C_d of every feature.
    coded : bool
        Whether points are codes (N, D), rather than the indicators (N, L) that are the coordinates.

    Notes
    -----
    ``theta`` is ``{"probabilities": (..., K, D, C)}`` with C the most levels of a feature; a feature with fewer has zeros
    behind them.
    """

    prior: DirichletProduct
    levels: tuple[int, ...]
    coded: bool = True

    name: ClassVar[str] = "categorical"
    parameters: ClassVar[tuple[str, ...]] = ("probabilities",)
    hyperparameters: ClassVar[tuple[str, ...]] = ("a0",)
    dims: ClassVar[dict[str, tuple[str, ...]]] = {"probabilities": ("cluster", "feature", "level")}
    equations: ClassVar[tuple[str, ...]] = ("mu_kd ~ Dirichlet(a0_d)", "x_nd | z_n = k ~ Categorical(mu_kd)")

    @classmethod
    def from_data(
        cls,
        x: Rows,
        n_components: int,
        *,
        levels: Sequence[int] | None = None,
        a0: float | Sequence[np.ndarray] | None = None,
        weights: np.ndarray | None = None,
        missing: bool = False,
    ) -> Categorical:
        """The family of categorical data, under a weak prior wherever none is given.

        The default adds to a flat density 1/K of an observation that is spread as the data are: a0_dc = 1 + m_dc / K with m_dc
        the share of level c (Clogg et al. 1991, *JASA* 86:68-78; for latent classes Galindo-Garre & Vermunt 2006,
        *Behaviormetrika* 33:43-59). Its mode is not at 0 for a level that occurs.

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            Codes 0..C_d - 1; see `mixtures.rows.reading.as_rows`.
        n_components : int
            K, which sets the weight of the default.
        levels : sequence of int, optional
            C_d of every feature; by default one more than its largest code.
        a0 : float or sequence of ndarray, each of shape (C_d,), optional
            Positive pseudo-observations: of every level, or of the levels of each feature; 1 is the uniform density.
        weights : ndarray, shape (N,), optional
            How many observations each row stands for.
        missing : bool
            Whether values may be missing (NaN): m_dc is then a share of those that are not, and 1 / C_d if all are.

        Raises
        ------
        ValueError
            If x holds anything but such codes, or a hyperparameter is not positive.
        """
        check_components(n_components)
        x = as_rows(x)
        n, mean, high = read(x, weights, np.inf, "a code, a whole number of at least 0", missing)
        if levels is None and not np.all(high < MOST_LEVELS):
            raise FeatureError(
                f"{{0}} has a code of {high.max():.3g}, which would be as many levels; number its levels from 0",
                [int(np.argmax(high))],
            )
        if levels is None:
            levels = [max(2, int(c) + 1) for c in high]
        given = np.atleast_1d(as_numbers("levels", levels))
        if given.shape != mean.shape or not np.all((given >= 1) & (given == np.floor(given))):
            raise ValueError(
                f"levels is {np.asarray(levels).tolist()}; expected {len(mean)} positive numbers, whole and one a feature"
            )
        C = tuple(int(c) for c in given)
        flat = cls(DirichletProduct(np.ones(sum(C))), C, missing=missing)
        counts = folded(x, as_weights(x, weights), partial(_counted, flat), add, "moments")
        assert counts is not None
        if a0 is None:
            n = flat.spread(n)
            alpha = 1 + np.where(n > 0, counts, 1 / flat.spread(np.array(C))) / np.where(n > 0, n, 1) / n_components
        elif not isinstance(a0, list | tuple | np.ndarray) or (isinstance(a0, np.ndarray) and a0.ndim == 0):
            alpha = np.full(sum(C), as_number("a0", a0))
        else:
            parts = [np.atleast_1d(as_numbers("a0", a)) for a in a0]
            if [len(part) for part in parts] != list(C):
                raise ValueError(f"a0 has {[len(part) for part in parts]} numbers; expected {list(C)}, one a level")
            alpha = np.concatenate(parts)
        if not np.all(np.isfinite(alpha) & (alpha > 0)):
            raise ValueError(f"a0 is {a0}; expected positive numbers")
        positive("a0", alpha, len(alpha))
        return replace(flat, prior=DirichletProduct(alpha))

    @property
    def n_levels(self) -> tuple[int, ...]:
        """How many levels each feature has, (D,)."""
        return self.levels

    def of_levels(self, theta: Theta) -> np.ndarray:
        """The probabilities of all levels side by side, (..., K, L), feature by feature."""
        return self.flat(theta)

    @property
    def size(self) -> int:
        """L, the number of levels of all features."""
        return sum(self.levels)

    def coords(self, features: Sequence[str], levels: Mapping[str, Sequence[str]] | None = None) -> Coords:
        """Labels of the axes in `dims`: of the features, and of levels by their codes.

        ``level_name`` (feature, level) has the levels' own names, by default their codes, and is empty behind the last.
        """
        given, codes = levels or {}, np.arange(max(self.levels))
        names = np.full(self.filled.shape, "", dtype=object)
        for d, (feature, C) in enumerate(zip(features, self.levels, strict=True)):
            own = [str(level) for level in given.get(feature, codes[:C])]
            if len(own) != C or len(set(own)) != C or not all(own):
                raise ValueError(f"{feature!r} has the levels {own}; expected {C} distinct names, none of them empty")
            names[d, :C] = own
        return super().coords(features) | {
            "level": (("level",), codes),
            "level_name": (("feature", "level"), names.astype(str)),
        }

    @property
    def affine(self) -> bool:
        """Whether points are the indicators themselves."""
        return not self.coded

    def divided(self) -> Divided | None:
        """All columns are codes, unless they are indicators already."""
        if not self.coded:
            return None
        columns, one = np.arange(len(self.levels)), np.zeros(1, int)
        return Divided(None, columns[:0], one, columns, np.array(self.levels), 1 + np.arange(self.size))

    @cached_property
    def first(self) -> np.ndarray:
        """Place of the first level of every feature, (D,)."""
        return np.cumsum([0, *self.levels[:-1]])

    @cached_property
    def filled(self) -> np.ndarray:
        """Where the padded (D, C) probabilities stand for a level."""
        return np.arange(max(self.levels)) < np.array(self.levels)[:, None]

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """Indicators of the levels, shape (N, L).

        Raises
        ------
        ValueError
            If x holds a code of no level, or has another number of columns than the model has features.
        """
        if not self.coded:
            return super().coordinates(x)
        if x.shape[-1] != len(self.levels):
            raise ValueError(f"x has {x.shape[-1]} columns; the model has {len(self.levels)} features")
        what = f"a code below the number of levels, which are {list(self.levels)}"
        refuse_fractions(x, np.array(self.levels) - 1, what, missing=self.missing)
        codes = x.reshape(-1, x.shape[-1])
        seen = ~np.isnan(codes)
        place = np.where(seen, codes, 0).astype(np.intp) + self.first
        z = np.zeros((len(place), self.size))
        z.ravel()[place + self.size * np.arange(len(place))[:, None]] = seen
        return z.reshape(*x.shape[:-1], self.size)

    def near(self, x: np.ndarray) -> np.ndarray:
        """The indicators, missing where the code is, (N, L)."""
        z = self.coordinates(x)
        return np.where(self.spread(np.isnan(x)), np.nan, z) if self.missing and self.coded else z

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, 0, p): t_p(x) = z_p, where z_0 = 1, shape (P, 3)."""
        p = np.arange(1 + self.size)
        return np.column_stack([p, 0 * p, p])

    @property
    def count_of(self) -> np.ndarray:
        """Place in t of what counts rows: the levels of a feature that was seen sum to one, and need no count of their own."""
        return np.zeros(self.size, int)

    def factors(self, x: np.ndarray) -> np.ndarray:
        """The indicators, zero where the code is missing."""
        return self.coordinates(x)

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z), shape (N, 1 + L)."""
        z = self.coordinates(x)
        return np.concatenate([np.ones_like(z[..., :1]), z], axis=-1)

    def flat(self, theta: Theta) -> np.ndarray:
        """The probabilities of all levels side by side, (..., K, L)."""
        return theta["probabilities"][..., self.filled]

    def padded(self, flat: np.ndarray) -> Theta:
        """Theta from probabilities side by side (..., K, L)."""
        probabilities = np.zeros((*flat.shape[:-1], *self.filled.shape))
        probabilities[..., self.filled] = flat
        return {"probabilities": probabilities}

    def totals(self, flat: np.ndarray) -> np.ndarray:
        """Sums over the levels of each feature, (..., D)."""
        return np.add.reduceat(flat, self.first, axis=-1)

    def spread(self, totals: np.ndarray) -> np.ndarray:
        """A number of each feature (..., D) in the place of each of its levels, (..., L)."""
        return np.repeat(totals, self.levels, axis=-1)

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P): ``features(x) @ eta.T`` is log p(x_n | mu_k) (PRML 2.26)."""
        return _behind_zero(np.log(np.maximum(self.flat(theta), SMALLEST)))

    def impossible(self, theta: Theta) -> np.ndarray | None:
        """Counts c (..., K, P): t(x) . c is how many values of x have probability zero; None where all are possible."""
        never = self.flat(theta) <= 0
        return _behind_zero(never.astype(float)) if never.any() else None

    def expected_natural(self, q: DirichletProduct) -> np.ndarray:
        """E_q[eta], shape (..., K, P) (PRML B.21)."""
        return _behind_zero(digamma(q.alpha) - self.spread(digamma(self.totals(q.alpha))))

    def posterior(self, s: np.ndarray) -> DirichletProduct:
        """The Dirichlet posterior given expected sufficient statistics s, shape (..., K, P) (PRML 2.41)."""
        q = DirichletProduct(self.prior.alpha + s[..., 1:])
        refuse_outside(q.alpha)
        return q

    def log_normaliser(self, q: DirichletProduct) -> np.ndarray:
        """Log integral of prod_c mu_c^(alpha_c - 1), summed over features, shape (...) (PRML B.16, B.23)."""
        return gammaln(q.alpha).sum(-1) - gammaln(self.totals(q.alpha)).sum(-1)

    def log_marginal(self, s: np.ndarray, q: DirichletProduct | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, shape (...); see `mixtures.Gaussian.log_marginal`."""
        counts, alpha = s[..., 1:], self.prior.alpha
        levels = log_rising(alpha, counts).sum((-2, -1))
        return levels - log_rising(self.totals(alpha), self.totals(counts)).sum((-2, -1))

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """The shares of the levels in each cluster (PRML 2.33).

        Raises
        ------
        CollapseError
            If a cluster is empty.
        """
        refuse_empty(s[..., 0])
        return self.padded(self._shares(s[..., 1:]))

    def mode(self, s: np.ndarray) -> Theta:
        """Mode of the posterior density of mu, (alpha_c - 1) / sum (alpha - 1) (PRML B.20); equal shares where it is flat.

        Raises
        ------
        ValueError
            If an a0 is below 1, where the density is unbounded at 0.
        """
        if self.prior.alpha.min() < 1:
            raise ValueError("MAP needs a0 of at least 1: below it the posterior is unbounded at 0")
        return self.padded(self._shares(self.posterior(s).alpha - 1))

    def _shares(self, counts: np.ndarray) -> np.ndarray:
        """Counts (..., L) over their totals; equal shares where these are zero."""
        counts = np.maximum(counts, 0)
        total = self.spread(self.totals(counts))
        return np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / self.spread(np.array(self.levels)))

    def log_density(self, theta: Theta, q: DirichletProduct) -> np.ndarray:
        """sum_kd log Dirichlet(mu_kd) with respect to its first C_d - 1 probabilities, shape (...) (PRML B.16)."""
        return (xlogy(q.alpha - 1, self.flat(theta)).sum(-1) - self.log_normaliser(q)).sum(-1)

    def log_predictive(self, x: np.ndarray, q: DirichletProduct) -> np.ndarray:
        """Log predictive probability under each cluster, shape (N, ..., K): a Categorical with the mean of mu."""
        return np.tensordot(self.features(x), self.natural(self.mean(q)), (1, -1))

    def mean(self, q: DirichletProduct) -> Theta:
        """E_q[mu] = alpha_c / sum alpha (PRML B.17)."""
        return self.padded(q.alpha / self.spread(self.totals(q.alpha)))

    def moments(self, q: DirichletProduct) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, L) and covariance (..., K, L, L) of the indicators under each cluster's predictive distribution."""
        return self.cluster_moments(self.mean(q))

    def cluster_moments(self, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, L) and covariance (..., K, L, L) of the indicators of a point of each cluster."""
        mu = self.flat(theta)
        feature = np.repeat(np.arange(len(self.levels)), self.levels)
        same = feature[:, None] == feature
        return mu, mu[..., None] * np.eye(self.size) - same * mu[..., :, None] * mu[..., None, :]

    def moment_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """The levels of every feature, such as "x1 = 0"."""
        return tuple(f"{name} = {c}" for name, C in zip(features, self.levels, strict=True) for c in range(C))

    @property
    def free(self) -> np.ndarray:
        """Places of all levels but the first of each feature."""
        return np.delete(np.arange(self.size), self.first)

    def at_boundary(self, theta: Theta, within: float) -> Theta:
        """Theta with the probabilities that are below ``within`` at 0."""
        mu = self.flat(theta)
        return self.padded(self._shares(np.where(mu < within, 0.0, mu)))

    def sample(self, q: DirichletProduct, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, (size, ..., K, D, C): Gamma variates over their totals, in logarithms so that none is lost."""
        rng = generator(rng)
        shape = (size, *q.alpha.shape)
        log_gamma = np.log(rng.standard_gamma(q.alpha + 1, shape)) + np.log1p(-rng.random(shape)) / q.alpha
        rest = np.exp(log_gamma - self.spread(np.maximum.reduceat(log_gamma, self.first, axis=-1)))
        return self.padded(rest / self.spread(self.totals(rest)))

    def simulate(self, theta: Theta, labels: np.ndarray, rng: Rng) -> np.ndarray:
        """One point of codes for each label, shape (N, D); theta has no batch axes.

        Raises
        ------
        ValueError
            If probabilities are negative, or those of a feature do not sum to one.
        """
        refuse_probabilities(theta["probabilities"], sums=True)
        reached = np.cumsum(theta["probabilities"][labels], axis=-1)
        u = generator(rng).random((*reached.shape[:-1], 1))
        return np.minimum((u >= reached).sum(-1), np.array(self.levels) - 1).astype(float)

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameter a0, shape (D, C), with zeros behind the levels of a feature that has fewer."""
        return {"a0": self.padded(self.prior.alpha)["probabilities"]}

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        return n_components * (self.size - len(self.levels))

    @classmethod
    def stack(cls, families: Sequence[Self]) -> Self:
        """One family for several data sets that are given as indicators, their priors side by side.

        Raises
        ------
        ValueError
            If the data sets differ in their levels.
        """
        if len({family.levels for family in families}) > 1:
            raise ValueError("the data sets differ in their levels; give the same levels to from_data")
        return replace(super().stack(families), coded=False)


def _counted(family: Categorical, block: np.ndarray, w: np.ndarray | None, start: int) -> np.ndarray:
    """How often each level of each feature was seen in a block, (L,)."""
    indicators = family.coordinates(block)
    return indicators.sum(0) if w is None else w @ indicators


def _behind_zero(linear: np.ndarray) -> np.ndarray:
    """Parameters of the indicators behind the constant's, which is 0."""
    return np.concatenate([np.zeros_like(linear[..., :1]), linear], axis=-1)
