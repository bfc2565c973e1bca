"""What a method may ask of an emission family and of an allocation: a model is one of each.

A conjugate family is two functions of the sufficient statistics, `log_marginal` and its gradient `expected_natural`, beside
the point estimates. Hyperparameters ``q`` are the family's own type, parameters ``theta`` a dict of arrays; both may carry
batch axes before that of the clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np

Theta = dict[str, np.ndarray]
Coords = dict[str, tuple[tuple[str, ...], np.ndarray]]
"""By the name of a coordinate, the axes that it is along and its labels."""


class Link(NamedTuple):
    """Columns whose missing values are integrated out together.

    Attributes
    ----------
    family : Family
        Their own family, with ``marginal``, ``complete`` and ``conditional``.
    columns : ndarray of int, shape (D_j,)
    places : ndarray of int, shape (P_j,)
        Where its statistics are, the constant's place among them.
    """

    family: Any
    columns: np.ndarray
    places: np.ndarray


class Divided(NamedTuple):
    """The columns of a family that are numbers, and those that are codes, whose statistics are indicators of their levels.

    Attributes
    ----------
    numbers : Family or None
        The family of the numbers alone, in this order; None where all columns are codes.
    columns : ndarray of int
        The columns of x that are numbers.
    places : ndarray of int
        The places in t of the statistics of ``numbers``, the constant first.
    coded : ndarray of int, shape (D,)
        The columns of x that are codes.
    levels : ndarray of int, shape (D,)
        How many levels each of these has.
    indicators : ndarray of int, shape (L,)
        The places in t of the indicators of these levels, column by column; -1 for a level that has none.
    """

    numbers: Any
    columns: np.ndarray
    places: np.ndarray
    coded: np.ndarray
    levels: np.ndarray
    indicators: np.ndarray


class Family(Protocol):
    """An emission family: p(x | theta_k) with a conjugate prior on theta_k, in coordinates z of its own."""

    name: ClassVar[str]
    gaussian: ClassVar[bool]

    @property
    def covariance(self) -> str:
        """The structure of the clusters' covariances, "none" where there are none."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of theta."""

    @property
    def dims(self) -> dict[str, tuple[str, ...]]:
        """The axes of every parameter in the units of x."""

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """The names under which the prior's hyperparameters can be given."""

    def coords(self, features: Sequence[str], levels: Mapping[str, Sequence[str]] | None = None) -> Coords:
        """Labels of the axes in `dims`, of the features' names and, by feature, those of its levels."""

    @property
    def equations(self) -> tuple[str, ...]:
        """The generative model, line by line."""

    @property
    def affine(self) -> bool:
        """Whether z = (x - origin) / unit; elsewhere `coordinates` alone knows what z is."""

    def divided(self) -> Divided | None:
        """Which columns are numbers and which are codes; None where all are numbers, in their order."""

    @property
    def has_base(self) -> bool:
        """Whether `log_base` is more than zeros."""

    @property
    def missing(self) -> bool:
        """Whether points may have missing values, NaN, which are integrated out."""

    @property
    def linked(self) -> tuple[Link, ...]:
        """Columns whose missing values are integrated out together; those of other columns only leave terms out."""

    @property
    def count_of(self) -> np.ndarray:
        """Place in t of what counts the rows in which each coordinate was seen, (D,)."""

    @property
    def origin(self) -> np.ndarray:
        """Where z is zero, in the units of x, (D,)."""

    @property
    def unit(self) -> np.ndarray:
        """How much of x one unit of z is: a scale for each feature (D,), or a lower triangular matrix (D, D)."""

    @property
    def log_volume(self) -> float:
        """Log Jacobian of x with respect to z, log|unit|."""

    @property
    def monomials(self) -> np.ndarray:
        """Rows (p, i, j), sorted by p: t_p(x) is the sum of y_i y_j over its rows, y_0 = 1 and y = `factors`, (M, 3)."""

    def factors(self, x: np.ndarray) -> np.ndarray:
        """The coordinates, and where values may be missing zeros in their places and indicators behind them, (N, W)."""

    def rough(self, x: np.ndarray) -> np.ndarray:
        """Statistics to start from, in which a guess stands for what is missing, (N, P)."""

    def impute(self, x: np.ndarray, theta: Theta, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Points (N, D) with what is missing drawn under the cluster of each label; theta has no batch axes."""

    def coordinates(self, x: np.ndarray) -> np.ndarray:
        """Points in the family's coordinates, (N, D)."""

    def near(self, x: np.ndarray) -> np.ndarray:
        """Points in coordinates whose distances tell which are near to each other, (N, D)."""

    def points(self, z: np.ndarray) -> np.ndarray:
        """The inverse of `coordinates`."""

    def expand_matrix(self, A: np.ndarray) -> np.ndarray:
        """Covariances (..., D, D) in the units of x from those of z."""

    def reduce_matrix(self, A: np.ndarray) -> np.ndarray:
        """The inverse of `expand_matrix`."""

    def features(self, x: np.ndarray) -> np.ndarray:
        """Sufficient statistics t(x), led by a constant 1, (N, P); of what was seen, where values may be missing."""

    def log_base(self, x: np.ndarray) -> np.ndarray:
        """What log p(x | theta) has whatever theta is, and eta cannot hold, (N,)."""

    def natural(self, theta: Theta) -> np.ndarray:
        """Natural parameters with t(x) . eta + log_base(x) = log p(x | theta_k) in the units of x, (..., K, P)."""

    def impossible(self, theta: Theta) -> np.ndarray | None:
        """Counts c (..., K, P) with t(x) . c > 0 where p(x | theta_k) is zero, which `natural` replaces by a tiny number."""

    def posterior(self, s: np.ndarray) -> Any:
        """Hyperparameters q given statistics s (..., K, P)."""

    def expected_natural(self, q: Any) -> np.ndarray:
        """E_q[eta], (..., K, P)."""

    def log_marginal(self, s: np.ndarray, q: Any = None) -> np.ndarray:
        """Log evidence of the points behind s, clusters given, less log_base, (...); q is posterior(s), if at hand."""

    def maximum_likelihood(self, s: np.ndarray) -> Theta:
        """Parameters that maximise sum(s * eta)."""

    def mode(self, s: np.ndarray) -> Theta:
        """Parameters that maximise sum(s * eta) + log prior."""

    def log_density(self, theta: Theta, q: Any) -> np.ndarray:
        """Log density of theta under q, summed over clusters, in the coordinates z, (...)."""

    def log_prior(self, theta: Theta) -> np.ndarray:
        """`log_density` under the prior, (...)."""

    def log_jacobian(self, n_components: int) -> float:
        """What turns a log density of theta in the coordinates z into one in the units of x."""

    def log_predictive(self, x: np.ndarray, q: Any) -> np.ndarray:
        """Log predictive density of each cluster under q, (N, ..., K)."""

    def mean(self, q: Any) -> Theta:
        """E_q[theta], (..., K, ...); not a number where the expectation does not exist."""

    def moments(self, q: Any) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, D) and covariance (..., K, D, D) of each cluster's predictive density, in the units of x."""

    def cluster_moments(self, theta: Theta) -> tuple[np.ndarray, np.ndarray]:
        """Mean (..., K, M) and covariance (..., K, M, M) of a point of each cluster, in the units of x."""

    def moment_names(self, features: Sequence[str]) -> tuple[str, ...]:
        """What the M coordinates of `cluster_moments` are, given the names of the features."""

    @property
    def free(self) -> np.ndarray:
        """Places of the coordinates of `cluster_moments` that no others determine."""

    def at_boundary(self, theta: Theta, within: float) -> Theta:
        """Theta with what lies so near to the boundary of its range, in the units of x, at it; theta itself if nothing does."""

    def sample(self, q: Any, size: int, rng: np.random.Generator) -> Theta:
        """Draws of theta from q, (size, ..., K, ...)."""

    def simulate(self, theta: Theta, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One point for each label, (N, D)."""

    def to_data(self, theta: Theta) -> Theta:
        """Parameters in the units of x."""

    def from_data_units(self, theta: Theta) -> Theta:
        """The inverse of `to_data`."""

    def prior_in_data_units(self) -> dict[str, np.ndarray]:
        """The hyperparameters by name, in the units of x."""

    def rescaled(self, factor: float) -> Self:
        """The family under a prior whose scale is so many times as large: of covariances, or of pseudo-observations."""

    def cumulative(self, theta: Theta, x: np.ndarray, feature: int) -> tuple[np.ndarray, np.ndarray] | None:
        """P(X < x_n) and P(X <= x_n) of one feature under each cluster of theta in the units of x, each (..., K, N).

        None where its values have no order, or no more than two of them.
        """

    def n_free(self, n_components: int) -> int:
        """Number of free cluster parameters."""

    @classmethod
    def stack(cls, families: Sequence[Self]) -> Self:
        """One family for several data sets given in their own coordinates z, for states (R, K, P)."""

    def take(self, places: np.ndarray) -> Self:
        """Of stacked data sets, those at some places."""


class Allocation(Protocol):
    """How the labels arise: weights with a conjugate prior, whose sufficient statistics are counts of the labels.

    Of independent labels the counts are those of the clusters (..., K), which the statistics of the points hold. Labels that
    depend on each other have counts and weights (..., K, C), in columns of their own behind those of the points.
    """

    independent: ClassVar[bool]
    fits: ClassVar[Any]
    """The class of a fit."""
    dims: ClassVar[dict[str, tuple[str, ...]]]
    """The axes of what `named` gives."""

    @property
    def equations(self) -> tuple[str, ...]:
        """The generative model, line by line."""

    @property
    def n_components(self) -> int:
        """K."""

    @property
    def conjugate(self) -> Self:
        """The allocation itself, or the nearest one whose prior is conjugate."""

    def rows(self, x: Any) -> Any:
        """The rows as this allocation takes them."""

    def split(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The counts of the labels, and the statistics of the clusters' points (..., K, P), in a state s."""

    def begin(self, s: np.ndarray, x: Any, weights: np.ndarray | None) -> np.ndarray:
        """The states that an ascent begins with from the statistics of the points (..., K, P)."""

    def labelled(self, z: np.ndarray, x: Any, k: int) -> np.ndarray:
        """Counts of labels z (..., N) in 0..k-1 of these rows."""

    def ahead(self, weights: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Weights (..., K) of the label after the last, which is ``last`` (...)."""

    def long_run(self, weights: np.ndarray) -> np.ndarray:
        """How probable each label is in the long run, (..., K)."""

    def permute(self, s: np.ndarray, order: np.ndarray) -> np.ndarray:
        """States s with their clusters in the order (..., K)."""

    def named(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """The weights by name."""

    def weights_of(self, named: dict[str, np.ndarray]) -> np.ndarray:
        """The inverse of `named`."""

    def unlabelled(self, weights: np.ndarray) -> np.ndarray:
        """Some numbers that follow from the weights whatever the clusters are called, (..., M)."""

    def natural(self, weights: np.ndarray) -> np.ndarray:
        """Log weights, in the shape of the counts."""

    def posterior(self, counts: np.ndarray) -> Any:
        """Hyperparameters given counts."""

    def expected_natural(self, q: Any) -> np.ndarray:
        """Expected log weights, in the shape of the counts."""

    def log_marginal(self, counts: np.ndarray) -> np.ndarray:
        """Log probability of one labelling with these counts, (...)."""

    def first(self, k: int) -> Any:
        """The same prior for the first k clusters alone."""

    def maximum_likelihood(self, counts: np.ndarray) -> np.ndarray:
        """Weights that maximise sum(counts * log weights)."""

    def mode(self, counts: np.ndarray) -> np.ndarray:
        """Weights that maximise sum(counts * log weights) + log prior."""

    def log_density(self, weights: np.ndarray, q: Any) -> np.ndarray:
        """Log density of the weights under q, (...)."""

    def log_prior(self, weights: np.ndarray) -> np.ndarray:
        """`log_density` under the prior, (...)."""

    def mean(self, q: Any) -> np.ndarray:
        """Expected weights under q."""

    def sample(self, q: Any, size: int, rng: np.random.Generator) -> np.ndarray:
        """Draws of the weights from q, (size, ...)."""

    def n_free(self) -> int:
        """Number of free weights."""
