"""The prior from which calibration draws parameters and data, and the settings of a study.

    pi ~ Dirichlet(alpha0)      theta_k ~ p(theta_k)      z_n ~ pi      x_n ~ p(x | theta_(z_n))

The clusters' prior does not look at the data: its location m0 is 0 and the mean of the precision is 1 for every feature.
Neither loses anything, for they only set the origin and the units of x. What is left is how far apart clusters are
(``beta0``), how much they differ in shape (``nu0``) and in size (``alpha0``).

The states of a hidden Markov model have the same prior. Its start and each row of its transitions are Dirichlet, with the
concentration that weights have.

Probabilities of binary and categorical features are Beta(a, a) and Dirichlet(a, ..., a), rates of counts Gamma with shape a and
mean 2, where a is the ``concentration``: how alike clusters are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixtures import COVARIANCES, Bernoulli, Categorical, Dirichlet, Markov, Poisson, Product
from mixtures.memory import check_memory
from mixtures.model import Allocation, Family, Theta
from mixtures.rows.sequences import Sequences
from mixtures.sequences import chain
from mixtures.tables import KINDS, merged
from reports.comparison.capacity import NUMBER
from reports.comparison.names import check_known

METHODS = ("em", "cavi", "advi", "advi-fullrank", "gibbs", "nuts", "exact")
DEFAULT = ("em", "cavi", "gibbs")

# The intervals looked at; their ends are draws where L + 1 is a multiple of DIVISIBLE.
LEVELS = (0.5, 0.8, 0.95)

POINTS, STEPS = 50, 100
"""Of a data set of a mixture, and of a sequence, unless given."""

# Of counts, over the prior of their rates.
MEAN = 2.0
DIVISIBLE = 40


def points(n: int | None, sequences: int) -> int:
    """How many points a data set has, or each of its sequences: those asked for, or by default."""
    return n if n is not None else STEPS if sequences else POINTS


@dataclass(frozen=True)
class Settings:
    """What a calibration is about: where these are equal, the simulations are the same, whatever the methods.

    Parameters
    ----------
    n_components, n, dimension : int
        K, N and D.
    covariance : str
        Of numbers.
    methods : tuple of str
        Of `METHODS`.
    seed : int
    draws : int
        L, the number of draws among which a prior draw is ranked; one less than a multiple of 40.
    alpha0, beta0 : float
    nu0 : float, optional
        By default two more than there are numbers in a row.
    kinds : tuple of str
        What each feature holds, of `mixtures.tables.KINDS`, one for all or one each; by default numbers. As in a table, binary
        features beside categorical ones are categorical.
    concentration : float
        Of the prior of probabilities and rates.
    levels : int
        Of a categorical feature.
    sequences : int
        How many sequences of n rows a data set of a hidden Markov model has; 0 is a mixture.

    Raises
    ------
    ValueError
        If a setting is out of range, a name unknown, or the exact posterior too dear.
    """

    n_components: int = 2
    n: int = POINTS
    dimension: int = 2
    covariance: str = "full"
    methods: tuple[str, ...] = field(default=DEFAULT, compare=False)
    seed: int = 0
    draws: int = 199
    alpha0: float = 1.0
    beta0: float = 0.1
    nu0: float | None = None
    kinds: tuple[str, ...] = ("gaussian",)
    concentration: float = 1.0
    levels: int = 3
    sequences: int = 0

    def __post_init__(self) -> None:
        for name, least in (("n_components", 1), ("dimension", 1), ("levels", 2), ("sequences", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        kinds = tuple(self.kinds)
        for kind in kinds:
            check_known("kind of feature", kind, KINDS)
        alike = len(set(kinds)) == 1
        if not alike and len(kinds) != self.dimension:
            raise ValueError(f"{len(kinds)} kinds for {self.dimension} features; expected one for all, or one each")
        if self.n < max(2, self.n_components):
            raise ValueError(f"n is {self.n}; expected at least 2 rows, and as many as there are clusters")
        for name in ("alpha0", "beta0", "nu0", "concentration"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{name} is {value}; expected a positive number")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected at least 0")
        if self.draws < 1 or (self.draws + 1) % DIVISIBLE:
            raise ValueError(f"draws is {self.draws}; expected one less than a multiple of {DIVISIBLE}, such as 199")
        check_known("covariance structure", self.covariance, COVARIANCES)
        n, k, d = self.rows, self.n_components, self.dimension
        levels = d * self.levels if "categorical" in kinds else 0
        one = k * (1 + d + d * d + levels + (3 * n + k if self.sequences else 0))
        many = f" of {self.levels:,} levels" if levels else ""
        check_memory(
            NUMBER * (2 * n * d + (self.draws + 1) * one),
            f"a simulation of {n:,} rows, {d:,} features{many} and {self.draws:,} draws (K = {k:,})",
            "ask for fewer",
        )
        object.__setattr__(self, "kinds", kinds[:1] * d if alike else kinds)
        object.__setattr__(self, "methods", tuple(dict.fromkeys(self.methods)))
        for method in self.methods:
            check_known("method", method, METHODS)
        if not self.methods:
            raise ValueError(f"no method given; choose from {', '.join(METHODS)}")
        if self.nu0 is None:
            object.__setattr__(self, "nu0", float(self.kinds.count("gaussian") + 2))
        family, allocation = model(self)
        if "exact" in self.methods:
            from mixtures.methods.exact_cost import cost

            if not cost(self.rows, family, allocation).affordable:
                raise ValueError(
                    f"the exact posterior of {self.rows} rows takes too long; leave it out, or take fewer rows"
                )

    @property
    def rows(self) -> int:
        """How many rows a data set has."""
        return self.n * max(1, self.sequences)

    @property
    def lengths(self) -> list[int] | None:
        """Of the sequences of a data set; None of a mixture."""
        return [self.n] * self.sequences or None


def model(settings: Settings) -> tuple[Family, Allocation]:
    """The family, in coordinates that are those of x, and the allocation."""
    K, a, kinds = settings.n_components, settings.concentration, merged(settings.kinds)
    columns = {kind: np.flatnonzero(np.array(kinds) == kind) for kind in KINDS if kind in kinds}
    levels = [settings.levels if own == "categorical" else 2 for own in settings.kinds]
    made: dict[str, Any] = {
        "gaussian": lambda own: _gaussian(settings, len(own)),
        "poisson": lambda own: Poisson.from_data(np.ones((1, len(own))), K, a0=a, b0=a / MEAN),
        "categorical": lambda own: Categorical.from_data(
            np.zeros((1, len(own))), K, levels=[levels[j] for j in own], a0=float(a)
        ),
        "bernoulli": lambda own: Bernoulli.from_data(np.zeros((1, len(own))), K, a0=a, b0=a),
    }
    parts = tuple(made[kind](own) for kind, own in columns.items())
    family = parts[0] if len(parts) == 1 else Product(parts, tuple(columns.values()))
    labels = Markov.symmetric(K, settings.alpha0, settings.alpha0) if settings.sequences else None
    return family, labels or Dirichlet.symmetric(K, settings.alpha0)


def _gaussian(settings: Settings, D: int) -> Family:
    """The family of D features that are numbers."""
    nu0 = settings.nu0
    assert nu0 is not None
    W0: Any = {"diag": np.ones(D) / nu0, "spherical": 1 / nu0}.get(settings.covariance, np.eye(D) / nu0)
    half = next(4**power for power in range(D) if 4**power >= D)
    frame = np.sqrt(half) * np.concatenate([np.eye(half, D), -np.eye(half, D)])  # mean 0, covariance the identity
    return COVARIANCES[settings.covariance].from_data(
        frame, settings.n_components, m0=np.zeros(D), beta0=settings.beta0, W0=W0, nu0=nu0
    )


@dataclass(frozen=True)
class Problem:
    """A data set drawn from the prior, and the parameters that made it.

    Parameters
    ----------
    settings : Settings
    family, allocation : Family, Allocation
    x : ndarray, shape (N, D), or Sequences
    weights : ndarray, shape (K,), or as the allocation has them
    theta : dict of ndarray, shape (K, ...)
    """

    settings: Settings
    family: Family
    allocation: Allocation
    x: Any
    weights: np.ndarray
    theta: Theta

    @property
    def posed(self) -> tuple[Any, Family, Allocation]:
        """What a method sees: the data and the model."""
        return self.x, self.family, self.allocation


def draw(settings: Settings, rng: np.random.Generator) -> Problem:
    """One data set with its parameters."""
    family, allocation = model(settings)
    K = settings.n_components
    prior = family.posterior(np.zeros((K, 1 + family.monomials[-1, 0])))
    nothing = np.zeros((K, 1 + K) if settings.sequences else K)
    weights = allocation.sample(allocation.posterior(nothing), 1, rng)[0]
    theta = {name: v[0] for name, v in family.sample(prior, 1, rng).items()}
    x = as_posed(family.simulate(theta, labels(weights, settings, rng), rng), settings)
    return Problem(settings, family, allocation, x, weights, theta)


def labels(weights: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """Labels (N,) of the rows of a data set under these weights."""
    if settings.sequences:
        return np.concatenate([chain(weights, settings.n, rng) for _ in range(settings.sequences)])
    return rng.choice(settings.n_components, settings.n, p=weights)


def as_posed(x: np.ndarray, settings: Settings) -> Any:
    """The rows (N, D) as a method is given them: those of a hidden Markov model in their sequences."""
    return Sequences(x, settings.lengths) if settings.sequences else x
