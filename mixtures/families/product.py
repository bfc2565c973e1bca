r"""Columns of several kinds that are independent within a cluster: a family made of families.

    theta_k = (theta_k1, ..., theta_kJ)      p(x_n | z_n = k) = prod_j p_j(x_n,(j) | theta_kj)

where x_(j) are the columns of part j, with the prior that part has by itself. The statistics share the constant, whose natural
parameters are added up:

    t(x)  = (1, t_1(x), ..., t_J(x))
    eta_k = (sum_j eta_kj0,  eta_k1, ..., eta_kJ)

With a part for each column this is the local independence of latent class analysis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from mixtures.chunks import Chunked
from mixtures.errors import FeatureError
from mixtures.families.numbering import numbered_apart, numbered_dims
from mixtures.families.side_by_side import (
    join_factors,
    join_moments,
    join_monomials,
    join_natural,
    join_statistics,
    join_units,
    places,
)
from mixtures.model import Coords, Divided, Link, Theta
from mixtures.rows.columns import columns_of
from mixtures.rows.reading import Rows, as_rows, blocks
from mixtures.rows.weights import as_weights
from mixtures.seeds import Rng, generator


@dataclass(frozen=True)
class Parts:
    """Hyperparameters of every part.

    Parameters
    ----------
    parts : tuple
    """

    parts: tuple[Any, ...]

    def permute(self, order: np.ndarray) -> Parts:
        """The same with their clusters in another order."""
        return Parts(tuple(part.permute(order) for part in self.parts))


@dataclass(frozen=True)
class Product:
    """Clusters whose columns belong to families of their own.

    Parameters
    ----------
    parts : tuple of Family
        Each with its prior.
    columns : tuple of ndarray of int
        The columns of x that belong to each part.

    Notes
    -----
    ``theta`` has what the parts have. A name that several parts would use is followed by the number of the part, counted from
    one, in all of them but the first.
    """

    parts: tuple[Any, ...]
    columns: tuple[np.ndarray, ...]

    name: ClassVar[str] = "product"
    gaussian: ClassVar[bool] = False

    def __post_init__(self) -> None:
        columns = tuple(np.atleast_1d(np.asarray(own, dtype=int)) for own in self.columns)
        if len(columns) != len(self.parts) or not self.parts:
            raise ValueError(f"{len(self.parts)} parts and {len(columns)} sets of columns; expected as many of each")
        every = np.concatenate(columns)
        if not np.array_equal(np.sort(every), np.arange(len(every))):
            raise ValueError(f"the parts have the columns {every.tolist()}; expected each of 0..{len(every) - 1} once")
        object.__setattr__(self, "columns", columns)
        if len({part.missing for part in self.parts}) > 1:
            raise ValueError("values may be missing in some parts only; make all of them with missing=True, or none")

    @classmethod
    def from_data(
        cls,
        x: Rows,
        n_components: int,
        *,
        families: Sequence[Any],
        columns: Sequence[Sequence[int]],
        hyperparameters: Sequence[dict[str, Any]] | None = None,
        weights: np.ndarray | None = None,
        missing: bool = False,
    ) -> Product:
        """The product of families in coordinates that suit ``x``, each part with its own default prior.

        Parameters
        ----------
        x : ndarray, shape (N, D), or blocks of rows
            See `mixtures.rows.reading.as_rows`.
        n_components : int
        families : sequence of classes
            The family of each part.
        columns : sequence of sequences of int
            The columns of each part; every column of x belongs to one.
        hyperparameters : sequence of dict, optional
            What each part's ``from_data`` is given beside.
        weights : ndarray, shape (N,), optional
            How many observations each row stands for.
        missing : bool
            Whether values may be missing at random (NaN).

        Raises
        ------
        ValueError
            If the columns are not those of x, or a part refuses its own.
        """
        x = as_rows(x)
        weights = as_weights(x, weights)
        own = [{} for _ in families] if hyperparameters is None else list(hyperparameters)
        if not len(families) == len(columns) == len(own):
            raise ValueError(
                f"{len(families)} families, {len(columns)} sets of columns and {len(own)} of hyperparameters; expected as "
                "many of each"
            )
        width = x.width if isinstance(x, Chunked) else next(blocks(x))[0].shape[1]
        if sorted(int(c) for part in columns for c in part) != list(range(width)):
            raise ValueError(f"x has {width} columns; each must belong to one part, and the parts have {list(columns)}")
        parts = []
        for family, part, options in zip(families, columns, own, strict=True):
            options = {"weights": weights, "missing": missing} | options
            try:
                parts.append(family.from_data(columns_of(x, np.asarray(part)), n_components, **options))
            except FeatureError as error:
                raise FeatureError(error.text, [part[j] for j in error.features]) from error
        return cls(tuple(parts), tuple(np.asarray(part) for part in columns))

    @property
    def covariance(self) -> str:
        """The covariance structure of the Gaussian part, "none" where there is none."""
        return next((part.covariance for part in self.parts if part.covariance != "none"), "none")

    @cached_property
    def names(self) -> tuple[dict[str, str], ...]:
        """What each part's parameters are called here."""
        return numbered_apart([sorted({*part.parameters, *part.dims}) for part in self.parts])

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of theta."""
        return tuple(
            names[name] for part, names in zip(self.parts, self.names, strict=True) for name in part.parameters
        )

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """The parts' dims; all but those of clusters are followed by the number of the part, for they differ in length."""
        return {
            names[name]: numbered_dims(dims, number)
            for number, (part, names) in enumerate(zip(self.parts, self.names, strict=True), 1)
            for name, dims in part.dims.items()
        }

    def coords(self, features: Sequence[str], levels: Mapping[str, Sequence[str]] | None = None) -> Coords:
        """Labels of the axes in `dims`: those of the parts, of the features that belong to them."""
        return {
            f"{name}_{number}": (numbered_dims(dims, number), labels)
            for number, (part, columns) in enumerate(zip(self.parts, self.columns, strict=True), 1)
            for name, (dims, labels) in part.coords([features[c] for c in columns], levels).items()
        }

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """The parts' hyperparameters; those of a part that shares a name with one before end in the number of the part."""
        each = numbered_apart([part.hyperparameters for part in self.parts])
        return tuple(name for own in each for name in own.values())

    @property
    def equations(self) -> tuple[str, ...]:
        """The parts' equations, in turn; beside Gaussian ones probabilities are p and rates theta, not mu and lambda again."""
        mixed = len({part.gaussian for part in self.parts}) > 1
        return tuple(
            equation.replace("mu_kd", "p_kd").replace("lambda_kd", "theta_kd")
            if mixed and not part.gaussian
            else equation
            for part in self.parts
            for equation in part.equations
        )

    @property
    def has_base(self) -> bool:
        """Whether a part has a base measure that is not constant."""
        return any(part.has_base for part in self.parts)

    @property
    def missing(self) -> bool:
        """Whether points may have missing values."""
        return self.parts[0].missing

    @property
    def linked(self) -> tuple[Link, ...]:
        """The parts whose missing values are integrated out."""
        return tuple(
            Link(link.family, columns[link.columns], places[link.places])
            for part, columns, places in zip(self.parts, self.columns, self.places, strict=True)
            for link in part.linked
        )

    @property
    def count_of(self) -> np.ndarray:
        """Place in t of what counts the rows in which each coordinate was seen, part by part."""
        return np.concatenate([places[part.count_of] for part, places in zip(self.parts, self.places, strict=True)])

    @property
    def affine(self) -> bool:
        """Whether z = (x - origin) / unit."""
        in_order = bool(np.all(np.diff(np.concatenate(self.columns)) == 1))
        return in_order and all(part.affine for part in self.parts)

    def divided(self) -> Divided | None:
        """The parts of numbers as a product of their own, and the columns of the others."""
        each = [
            (part, part.divided(), *where) for part, *where in zip(self.parts, self.columns, self.places, strict=True)
        ]
        numbers = [(part, columns, places) for part, own, columns, places in each if own is None]
        codes = [(own, columns, places) for _, own, columns, places in each if own is not None]
        if not codes and self.affine:
            return None
        family, none = None, np.empty(0, int)
        if numbers:
            ends = np.cumsum([len(columns) for _, columns, _ in numbers])
            family = Product(tuple(part for part, *_ in numbers), tuple(np.split(np.arange(ends[-1]), ends[:-1])))
        return Divided(
            family,
            np.concatenate([none, *(columns for _, columns, _ in numbers)]),
            np.concatenate([np.zeros(1, int), *(places[1:] for *_, places in numbers)]),
            np.concatenate([none, *(columns[own.coded] for own, columns, _ in codes)]),
            np.concatenate([none, *(own.levels for own, *_ in codes)]),
            np.concatenate(
                [none, *(np.where(own.indicators < 0, -1, places[own.indicators]) for own, _, places in codes)]
            ),
        )

    @property
    def prior(self) -> Parts:
        """The parts' priors."""
        return Parts(tuple(part.prior for part in self.parts))

    @property
    def origin(self) -> np.ndarray:
        """Where z is zero, part by part."""
        return np.concatenate([part.origin for part in self.parts])

    @property
    def unit(self) -> np.ndarray:
        """How much of x one unit of z is, part by part: scales, or a triangle where a part has one."""
        return join_units([part.unit for part in self.parts])

    @property
    def log_volume(self) -> float:
        """Log Jacobian of x with respect to z, summed over the parts."""
        return sum(part.log_volume for part in self.parts)

    def near(self, x: np.ndarray) -> np.ndarray:
        """The points where distances tell which are near to each other, part by part, (N, D)."""
        return np.concatenate([part.near(own) for part, own in self._split(x)], axis=-1)

    def points(self, z: np.ndarray) -> np.ndarray:
        """Points in the order of the parts, in the units of x, shape (N, size)."""
        return self.origin + z @ self._matrix.T

    def expand_matrix(self, A: np.ndarray) -> np.ndarray:
        """Covariances (..., size, size) in the units of x from those of z."""
        return self._matrix @ A @ self._matrix.T

    def reduce_matrix(self, A: np.ndarray) -> np.ndarray:
        """The inverse of `expand_matrix`."""
        half = np.linalg.solve(self._matrix, A)
        return np.linalg.solve(self._matrix, half.swapaxes(-1, -2))

    @property
    def _matrix(self) -> np.ndarray:
        return self.unit if self.unit.ndim == 2 else np.diag(self.unit)

    @cached_property
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j), sorted by p: t_p(x) is the sum of y_i y_j over its rows, y_0 = 1 and y = `factors`, shape (M, 3)."""
        return join_monomials(self.parts)

    @cached_property
    def places(self) -> tuple[np.ndarray, ...]:
        """Where in t each part's statistics are, the constant among them."""
        return places(self.parts)

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """The parts' coordinates side by side, shape (N, size)."""
        return np.concatenate([part.coordinates(own) for part, own in self._split(x)], axis=-1)

    def factors(self, x: np.ndarray) -> np.ndarray:
        """What `monomials` multiply: the parts' coordinates side by side, then what they have behind these, (N, W)."""
        return join_factors(
            [part.factors(own) for part, own in self._split(x)], [len(part.unit) for part in self.parts]
        )

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, t_1(x), ..., t_J(x)), shape (N, P)."""
        return join_statistics([part.features(own) for part, own in self._split(x)])

    def rough(self, x: np.ndarray) -> np.ndarray:
        """The parts' statistics to start from, (N, P)."""
        return join_statistics([part.rough(own) for part, own in self._split(x)])

    def impute(self, x: np.ndarray, theta: Theta, labels: np.ndarray, rng: Rng) -> np.ndarray:
        """Points (N, D) with what is missing drawn under the cluster of each label; theta has no batch axes."""
        rng = generator(rng)
        full = np.empty_like(x)
        for columns, (part, own) in zip(self.columns, self.parts_of(theta), strict=True):
            full[:, columns] = part.impute(x[:, columns], own, labels, rng)
        return full

    def log_base(self, x: np.ndarray) -> np.ndarray:
        """The sum of the parts' log base measures, shape (N,)."""
        return np.sum([part.log_base(own) for part, own in self._split(x)], axis=0)

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters eta, shape (..., K, P)."""
        return join_natural([part.natural(own) for part, own in self.parts_of(theta)])

    def impossible(self, theta: Theta) -> np.ndarray | None:
        """Counts c (..., K, P): t(x) . c is positive where x has probability zero; None where all is possible."""
        counts = [part.impossible(own) for part, own in self.parts_of(theta)]
        if all(c is None for c in counts):
            return None
        batch = next(c.shape[:-1] for c in counts if c is not None)
        empty = (np.zeros((*batch, len(place))) for place in self.places)
        return join_natural([nothing if c is None else c for c, nothing in zip(counts, empty, strict=True)])

    def expected_natural(self, q: Parts) -> np.ndarray:
        """E_q[eta], shape (..., K, P)."""
        return join_natural([part.expected_natural(own) for part, own in zip(self.parts, q.parts, strict=True)])

    def posterior(self, s: np.ndarray) -> Parts:
        """The parts' posteriors given expected sufficient statistics s, shape (..., K, P)."""
        return Parts(tuple(part.posterior(own) for part, own in self._statistics(s)))

    def log_marginal(self, s: np.ndarray, q: Parts | None = None) -> np.ndarray:
        """Log evidence of points with these statistics, clusters given, without their `log_base`, shape (...)."""
        known = (None,) * len(self.parts) if q is None else q.parts
        each = [part.log_marginal(own, own_q) for (part, own), own_q in zip(self._statistics(s), known, strict=True)]
        return np.sum(each, axis=0)

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """The parts' parameters that maximise sum(s * eta)."""
        return self._named(part.maximum_likelihood(own) for part, own in self._statistics(s))

    def mode(self, s: np.ndarray) -> Theta:
        """The modes of the parts' posteriors."""
        return self._named(part.mode(own) for part, own in self._statistics(s))

    def log_density(self, theta: Theta, q: Parts) -> np.ndarray:
        """Log density of theta under q, summed over parts and clusters, in the parts' coordinates, shape (...)."""
        each = [part.log_density(own, h) for (part, own), h in zip(self.parts_of(theta), q.parts, strict=True)]
        return np.sum(each, axis=0)

    def log_prior(self, theta: Theta) -> np.ndarray:
        """`log_density` of theta under the prior, shape (...)."""
        return np.sum([part.log_prior(own) for part, own in self.parts_of(theta)], axis=0)

    def log_jacobian(self, n_components: int) -> float:
        """What turns a log density of theta in the parts' coordinates into one in the units of x."""
        return sum(part.log_jacobian(n_components) for part in self.parts)

    def log_predictive(self, x: np.ndarray, q: Parts) -> np.ndarray:
        """Log predictive density of each cluster under q, shape (N, ..., K): the sum of the parts'."""
        return np.sum(
            [part.log_predictive(own, h) for (part, own), h in zip(self._split(x), q.parts, strict=True)], axis=0
        )

    def mean(self, q: Parts) -> Theta:
        """E_q[theta]."""
        return self._named(part.mean(own) for part, own in zip(self.parts, q.parts, strict=True))

    def moments(self, q: Parts) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of each cluster's predictive distribution, the parts side by side and uncorrelated."""
        return join_moments([part.moments(own) for part, own in zip(self.parts, q.parts, strict=True)])

    def cluster_moments(self, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
        """Mean and covariance of a point of each cluster, the parts side by side and uncorrelated."""
        return join_moments([part.cluster_moments(own) for part, own in self.parts_of(theta)])

    def moment_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """What the coordinates are, part by part."""
        named = (
            part.moment_names([features[c] for c in own]) for part, own in zip(self.parts, self.columns, strict=True)
        )
        return tuple(name for names in named for name in names)

    @property
    def free(self) -> np.ndarray:
        """Places of the coordinates that no others determine."""
        starts = np.cumsum([0, *(len(part.unit) for part in self.parts[:-1])])
        return np.concatenate([start + part.free for start, part in zip(starts, self.parts, strict=True)])

    def at_boundary(self, theta: Theta, within: float) -> Theta:
        """Theta with what lies so near to the boundary of its range at it."""
        return self._named(part.at_boundary(own, within) for part, own in self.parts_of(theta))

    def sample(self, q: Parts, size: int, rng: Rng) -> Theta:
        """Draws of theta from q, (size, ..., K, ...)."""
        rng = generator(rng)
        return self._named(part.sample(own, size, rng) for part, own in zip(self.parts, q.parts, strict=True))

    def simulate(self, theta: Theta, labels: np.ndarray, rng: Rng) -> np.ndarray:
        """One point for each label, shape (N, D); theta has no batch axes."""
        rng = generator(rng)
        x = np.empty((len(labels), sum(map(len, self.columns))))
        for columns, (part, own) in zip(self.columns, self.parts_of(theta), strict=True):
            x[:, columns] = part.simulate(own, labels, rng)
        return x

    def to_data(self, theta: Theta) -> Theta:
        """Parameters in the units of x."""
        return self._named(part.to_data(own) for part, own in self.parts_of(theta))

    def from_data_units(self, theta: Theta) -> Theta:
        """The inverse of `to_data`."""
        return self._named(part.from_data_units(own) for part, own in self.parts_of(theta))

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The parts' hyperparameters in the units of x; a name that several use ends in the number of the part."""
        each = [part.prior_in_data_units() for part in self.parts]
        return {
            names[name]: value
            for names, own in zip(numbered_apart([list(own) for own in each]), each, strict=True)
            for name, value in own.items()
        }

    def rescaled(self, factor: float) -> Self:
        """The product of the parts under priors whose scales are so many times as large."""
        return type(self)(tuple(part.rescaled(factor) for part in self.parts), self.columns)

    def cumulative(self, theta: Theta, x: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray] | None:
        """P(X < x_n) and P(X <= x_n) of one feature, as its part has them."""
        for columns, (part, own) in zip(self.columns, self.parts_of(theta), strict=True):
            if feature in columns:
                return part.cumulative(own, x[:, columns], int(np.flatnonzero(columns == feature)[0]))
        raise ValueError(f"there is no feature {feature}")

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""
        return sum(part.n_free(n_components) for part in self.parts)

    @classmethod
    def stack(cls, families: Sequence[Self]) -> Self:
        """One family for several data sets that are given in their own coordinates z, their priors side by side."""
        parts = tuple(type(each[0]).stack(each) for each in zip(*(family.parts for family in families), strict=True))
        ends = np.cumsum([len(part.unit) for part in parts])
        return cls(parts, tuple(np.split(np.arange(ends[-1]), ends[:-1])))

    def take(self, places: np.ndarray) -> Self:
        """Of stacked data sets, those at some places."""
        return type(self)(tuple(part.take(places) for part in self.parts), self.columns)

    def _split(self, x: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Each part with its own columns."""
        width = sum(map(len, self.columns))
        if x.shape[-1] != width:
            raise ValueError(f"x has {x.shape[-1]} columns; the model has {width} features")
        return ((part, x[..., own]) for part, own in zip(self.parts, self.columns, strict=True))

    def _statistics(self, s: np.ndarray) -> Iterator[tuple[Any, np.ndarray]]:
        """Each part with its own statistics (..., K, P_j)."""
        return ((part, s[..., own]) for part, own in zip(self.parts, self.places, strict=True))

    def parts_of(self, theta: Theta) -> Iterator[tuple[Any, Theta]]:
        """Each part with its own parameters, under its own names."""
        for part, names in zip(self.parts, self.names, strict=True):
            yield part, {name: theta[here] for name, here in names.items() if here in theta}

    def _named(self, thetas: Iterable[Theta]) -> Theta:
        """The parts' parameters under the names that they have here."""
        return {names[name]: v for names, own in zip(self.names, thetas, strict=True) for name, v in own.items()}


def apart(family: Any, x: Rows) -> Iterator[tuple[Any, np.ndarray, Rows]]:
    """Every part of a product, its columns and the rows of these; a family that is no product is its own only part."""
    if not isinstance(family, Product):
        yield family, np.arange(len(family.unit)), x
        return
    for part, columns in zip(family.parts, family.columns, strict=True):
        yield part, columns, columns_of(x, columns)
