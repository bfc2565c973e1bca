"""What the families of whole numbers share: points that are their own coordinates, and what these families refuse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np

from mixtures.checks import as_numbers
from mixtures.errors import CollapseError, FeatureError
from mixtures.families.gaps import Separate, behind
from mixtures.model import Coords, Divided, Theta
from mixtures.rows.arrays import refuse_missing
from mixtures.rows.reading import Rows, as_rows, folded
from mixtures.rows.weights import as_weights

TOLERANCE = 1e-6
"""How far from one probabilities that are given may add up to."""

SMALLEST = 1e-300
"""Stands for a probability or a rate of zero: its logarithm is still a number, and zero times it is zero."""


@dataclass(frozen=True)
class Discrete(Separate, ABC):
    """A family whose statistics are the point itself, t(x) = (1, z), in units that nothing needs to change.

    Parameters
    ----------
    prior
        Hyperparameters of every cluster, unbatched.
    missing : bool
        Whether points may have missing values, NaN; t(x) is then (1, o, o z), see `mixtures.families.gaps`.
    """

    prior: Any
    missing: bool = field(default=False, kw_only=True)

    covariance: ClassVar[str] = "none"
    gaussian: ClassVar[bool] = False
    has_base: ClassVar[bool] = False

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of coordinates z."""

    def coords(self, features: Sequence[str], levels: Mapping[str, Sequence[str]] | None = None) -> Coords:
        """Labels of the axes in `dims`, of the features' names and, by feature, those of its levels."""
        return {"feature": (("feature",), np.array(features))}

    @property
    def affine(self) -> bool:
        """Whether z = (x - origin) / unit."""
        return True

    def divided(self) -> Divided | None:
        """None: z is x."""
        return None

    @property
    def origin(self) -> np.ndarray:
        """Zeros: z is x, or indicators of its levels."""
        return np.zeros(self.size)

    @property
    def unit(self) -> np.ndarray:  # type: ignore[override]
        """Ones."""
        return np.ones(self.size)

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, 0, p): t_p(x) = z_p, where z_0 = 1, shape (P, 3); with counts behind the constant for missing values."""
        p = np.arange(1 + self.size)
        plain = np.column_stack([p, 0 * p, p])
        return behind(plain, self.size) if self.missing else plain

    @property
    def log_volume(self) -> float:
        """0: z is x."""
        return 0.0

    def near(self, x: np.ndarray) -> np.ndarray:
        """The points where distances tell which are near to each other, (N, D)."""
        return self.coordinates(x)

    def points(self, z: np.ndarray) -> np.ndarray:
        """The inverse of `coordinates`."""
        return z

    def expand_matrix(self, A: np.ndarray) -> np.ndarray:
        """Second moments (..., D, D) in the units of x from those of z."""
        return A

    def reduce_matrix(self, A: np.ndarray) -> np.ndarray:
        """The inverse of `expand_matrix`."""
        return A

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """The points themselves, shape (N, D)."""
        if x.shape[-1] != self.size:
            raise ValueError(f"x has {x.shape[-1]} columns; the model has {self.size} features")
        return x.astype(np.float64, copy=False)

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x) = (1, z), shape (N, P)."""
        z = self.factors(x)
        if self.missing:
            z = np.roll(z, self.size, axis=-1)
        return np.concatenate([np.ones_like(z[..., :1]), z], axis=-1)

    def log_base(self, x: np.ndarray) -> np.ndarray:
        """Log base measure of every point, shape (N,)."""
        return np.zeros(x.shape[:-1])

    def moment_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """What the coordinates are: the features."""
        return tuple(features)

    @property
    def n_levels(self) -> tuple[int, ...]:
        """How many levels each feature has, (D,); empty where they are counts."""
        return ()

    @property
    def free(self) -> np.ndarray:
        """Places of the coordinates that no others determine."""
        return np.arange(self.size)

    @abstractmethod
    def log_density(self, theta: Theta, q: Any) -> np.ndarray:
        """Log density of theta under q, summed over clusters, shape (...)."""

    def log_prior(self, theta: Theta) -> np.ndarray:
        """`log_density` of theta under the prior, shape (...)."""
        return self.log_density(theta, self.prior)

    def log_jacobian(self, n_components: int) -> float:
        """0: theta has no units."""
        return 0.0

    def to_data(self, theta: Theta) -> Theta:
        """Theta as it is."""
        return dict(theta)

    def rescaled(self, factor: float) -> Self:
        """The family under a prior of so many times as many pseudo-observations, and of the same mean."""
        own = {field.name: factor * getattr(self.prior, field.name) for field in fields(self.prior)}
        return replace(self, prior=type(self.prior)(**own))

    def cumulative(self, theta: Theta, x: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray] | None:
        """None: levels have no order."""
        return None

    def from_data_units(self, theta: Theta) -> Theta:
        """Theta as it is."""
        return dict(theta)

    @classmethod
    def stack(cls, families: Sequence[Self]) -> Self:
        """One family for several data sets that are given in their own coordinates z, their priors side by side."""
        first = families[0]
        return replace(first, prior=type(first.prior).stack([family.prior for family in families]))

    def take(self, places: np.ndarray) -> Self:
        """Of stacked data sets, those at some places."""
        return replace(self, prior=self.prior.take(places))


def positive(name: str, value: float | np.ndarray, D: int, least: float = SMALLEST) -> np.ndarray:
    """A hyperparameter as (D,) positive numbers of at least ``least``; one number stands for all features."""
    value = as_numbers(name, value)
    if value.shape not in ((), (D,)) or not np.all(np.isfinite(value) & (value > 0)):
        raise ValueError(f"{name} is {value.tolist()}; expected one positive number, or {D}, one a feature")
    if value.min() < least or value.max() > LARGEST:
        raise ValueError(
            f"{name} is {value.tolist()}; expected {least:g} to {LARGEST:g}, outside which sums lose their digits"
        )
    return np.broadcast_to(value, (D,)).copy()


def refuse_outside(*hyperparameters: np.ndarray) -> None:
    """Refuse states that no data give: hyperparameters (..., K, size) of a posterior must be positive."""
    outside = np.any([~(h > 0).all(-1) for h in hyperparameters], axis=0)
    if outside.any():
        raise CollapseError(
            "the statistics are those of no data: a posterior's parameter is not positive", outside.any(-1)
        )


def refuse_probabilities(p: np.ndarray, *, sums: bool) -> None:
    """Refuse parameters (K, D), or (K, D, C) whose last axis ``sums`` to one, that are no probabilities."""
    if not np.all((p >= 0) & (p <= 1 + TOLERANCE)):
        raise ValueError(f"probabilities reach from {p.min():g} to {p.max():g}; expected numbers from 0 to 1")
    if sums and (off := np.abs(p.sum(-1) - 1)).max(initial=0) > TOLERANCE:
        k, feature = np.unravel_index(off.argmax(), off.shape)
        raise ValueError(
            f"the probabilities of cluster {k}, feature {feature} sum to {p[k, feature].sum():g}; expected 1, to within "
            f"{TOLERANCE:g}: divide them by their sum"
        )


def read(
    x: Rows, weights: np.ndarray | None, most: float | np.ndarray, what: str, missing: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often a feature was seen, and its mean and largest value, in one reading, each (D,).

    Where values may be ``missing`` and all of a feature are, its mean is not a number and its largest value 0.

    Raises
    ------
    ValueError
        If a value is missing where none may be, or is no whole number from 0 to ``most``, or there is no row.
    """
    x = as_rows(x)
    found = folded(x, as_weights(x, weights), partial(_read, most, what, missing), _both, "moments")
    n, total, high = found or (np.zeros(()),) * 3
    if not np.any(n > 0):
        raise ValueError("x has no rows that count: each is missing or has weight zero")
    return n, np.divide(total, n, out=np.full(np.shape(n), np.nan), where=n > 0), high


def _read(
    most: float | np.ndarray, what: str, missing: bool, block: np.ndarray, w: np.ndarray | None, start: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often each feature was seen in a block, and its sum and largest value."""
    refuse_missing(block, start, missing)
    refuse_fractions(block, most, what, start, missing)
    seen = ~np.isnan(block)
    known = np.where(seen, block, 0) if missing else block
    n = seen.sum(0) if w is None else w @ seen
    return n, known.sum(0, dtype=np.float64) if w is None else w @ known, known.max(0)


# Hyperparameters within these keep the logarithms of Gamma functions of them and of their sums numbers.
SMALLEST, LARGEST = 1e-300, 1e290


def _both(
    a: tuple[np.ndarray, np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return a[0] + b[0], a[1] + b[1], np.maximum(a[2], b[2])


def refuse_fractions(x: np.ndarray, most: float | np.ndarray, what: str, start: int = 0, missing: bool = False) -> None:
    """Refuse points that are not whole numbers from 0 to ``most``, or (D,) of these; ``what`` says what they should be.

    NaN is refused too unless values may be ``missing``.
    """
    bad = ~((x >= 0) & (x <= most) & (x == np.floor(x)))
    if missing:
        bad &= ~np.isnan(x)
    if bad.any():
        row, column = np.argwhere(bad.reshape(-1, x.shape[-1]))[0]
        value = x.reshape(-1, x.shape[-1])[row, column]
        raise FeatureError(f"x is {value:g} in row {start + row}, {{0}}; expected {what}", [int(column)])
