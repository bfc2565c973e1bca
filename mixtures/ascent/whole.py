"""The compiled ascent of small data: what of a problem it needs, and when it is used in the place of the loop.

Linking compiled loops takes 40 ms, and compiling them half a minute, once for a machine; the plain loop fits 50 rows in a few
milliseconds. So the plain loop runs until as much work has been done by it as the other needs to begin.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from mixtures.allocations.dirichlet import Dirichlet
from mixtures.allocations.markov import Markov
from mixtures.allocations.stick_breaking import StickBreaking
from mixtures.ascent.acceleration import MEMORY
from mixtures.ascent.climb import DIFFERENCE, FOLLOWED, SHORTER, SLOW, Natural, Runs, attempt
from mixtures.ascent.starts import ENOUGH
from mixtures.engines import loading
from mixtures.engines.matrices import parts_of_features
from mixtures.engines.passes import FUSED_FROM, Pass, noise
from mixtures.errors import CollapseError
from mixtures.families.diagonal import DiagonalGaussian
from mixtures.families.gaussian import Gaussian
from mixtures.families.spherical import SphericalGaussian
from mixtures.families.tied import TiedGaussian
from mixtures.model import Allocation, Family
from mixtures.rows.sequences import Sequences

# Terms r_nk t_p of a pass up to which one thread does, and features up to which the steps take no library's linear algebra.
TERMS, FEATURES = 1_000_000, 24

# The same for sequences, of which long ones are divided among threads.
TERMS_OF_SEQUENCES = 50_000

# Sum of concentrations above which log Gamma, of which the compiled steps take differences, has lost too many digits.
CONCENTRATED = 1e6

# Milliseconds that the compiled ascent saves of a fit to few points, and of every step of it; points r_nk for which it is as
# much again; and what compiled loops save of seeds, for each point.
FIT, STEP, POINTS, SEED = 0.25, 0.12, 2_000, 5e-4

# The same of a fit to sequences, and of the description of a state.
SEQUENCES, DESCRIBED = 15.0, 0.08

ENGINE, ATTRIBUTES, SEEDING = (f"mixtures.engines.{name}" for name in ("whole", "attributes", "seeding"))

STRUCTURES = ("full", "tied", "diag", "spherical")
FAMILIES = (Gaussian, TiedGaussian, DiagonalGaussian, SphericalGaussian)
METHODS = {("mixtures.methods.em", "step"): False, ("mixtures.methods.cavi", "step"): True}


class Described(NamedTuple):
    """Clusters at a state, in the units of the data.

    Attributes
    ----------
    means : ndarray, shape (K, D)
    beta, dof : ndarray, shape (K,)
        Of the posterior; of Gammas, twice their shape. Of 'tied', the last degrees of freedom are those of all.
    covariances, roots, precisions : ndarray, shape (K, D, D), (D, D), (K, D) or (K,)
        W^-1 / dof, of maximum likelihood the covariance; the root U of its inverse U U^T; the inverse.
    """

    means: np.ndarray
    beta: np.ndarray
    dof: np.ndarray
    covariances: np.ndarray
    roots: np.ndarray
    precisions: np.ndarray


@dataclass(frozen=True)
class Whole:
    """The steps, passes and loop of one model, compiled.

    Parameters
    ----------
    plain : callable
        The method's own step for some runs, from their states, which says how a cluster collapsed.
    rows, affine, prior : tuple
        See `mixtures.engines.whole.climb`.
    edges : ndarray of int, shape (S + 1,)
        Of sequences; empty for rows.
    """

    plain: Natural
    rows: tuple[Any, ...]
    affine: tuple[Any, ...]
    prior: tuple[Any, ...]
    edges: np.ndarray

    @property
    def noise(self) -> tuple[np.ndarray, np.ndarray]:
        """What noise adds to the mean of t(x); see `mixtures.engines.passes.noise`."""
        return self.rows[2], np.zeros(1, int)

    def natural(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The step from states (..., K, P) of one data set to their natural parameters, and the extras (...)."""
        from mixtures.engines import whole

        states = _own(s).reshape(-1, *s.shape[-2:])
        eta, extra = whole.steps(self._problem, states)
        if not np.isfinite(extra).all():
            return self.plain(s)
        return eta.reshape(s.shape), extra.reshape(s.shape[:-2])

    def pass_(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The one pass for natural parameters (..., K, P); see `mixtures.engines.plain.pass_`."""
        from mixtures.engines import whole

        own = _own(eta).reshape(-1, *eta.shape[-2:])
        log_z, s = whole.passes(self._problem.rows, self._problem.affine, own)
        return log_z.reshape(eta.shape[:-2]), s.reshape(eta.shape)

    def __call__(self, eta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `pass_`."""
        return self.pass_(eta)

    def without_noise(self) -> Pass:
        """The pass over the data as they are."""
        x, w, extra, total = self.rows
        return replace(self, rows=(x, w, np.zeros_like(extra), total)).pass_

    def over(self, x: np.ndarray, weights: np.ndarray | None) -> Whole:
        """The same model of other rows (N, D)."""
        return replace(self, rows=_rows(_own(x), weights, self.rows[2], self.affine, self.prior[0]))

    def describe(self, s: np.ndarray) -> Described | None:
        """What the state (K, P) says of the clusters; None where one is empty or too tight for its digits, or where it does not
        repay to compile what says it.
        """
        if not (ATTRIBUTES in sys.modules or loading.kept(ATTRIBUTES) or loading.repaid(ATTRIBUTES, DESCRIBED)):
            return None
        from mixtures.engines import attributes

        structure, bayes, m0, beta0, dof0, scale0, _, _, least, _ = self.prior
        (origin, unit, *_), (K, D) = self.affine, (len(s), m0.shape[1])
        kind = STRUCTURES[structure]
        shape = {"full": (K, D, D), "tied": (1, D, D), "diag": (K, 1, D), "spherical": (K, 1, 1)}[kind]
        found = Described(np.empty((K, D)), np.empty(K), np.empty(K), *(np.empty(shape) for _ in range(3)))
        prior = m0[0], beta0[0], dof0[0], scale0[0], least
        if not attributes.describe(_own(s), structure, bayes, *prior, origin, unit, *found):
            return None
        own = {"full": (K, D, D), "tied": (D, D), "diag": (K, D), "spherical": (K,)}[kind]
        return found._replace(**{name: getattr(found, name).reshape(own) for name in Described._fields[3:]})

    def climb(
        self, s: np.ndarray, n: float | np.ndarray, tol: float, max_iter: int, accelerate: bool, each: int = 0
    ) -> Runs:
        """`mixtures.ascent.climb.climb`; it ends too once each ``each`` runs have one that has converged, if any."""
        from mixtures.engines import whole

        states, counts = _own(s), np.empty(len(s))
        counts[:] = n
        rules = accelerate, each, SLOW, SHORTER, MEMORY, DIFFERENCE
        fault, found = whole.climb(self._problem, states, counts, tol, max_iter, *rules)
        if fault:
            run, amount = int(found.said[1]), found.said[2]
            if fault == whole.NO_NUMBER:
                raise ArithmeticError(f"the bound is {amount} after {found.passes[run]} passes")
            raise ArithmeticError(
                f"the bound fell by {amount:.3g} nats in pass {found.passes[run] + 1}: the step is wrong"
            )
        errors: list[CollapseError] = []
        if found.collapsed.any():
            attempt(self.plain, found.lost[found.collapsed], errors)
        return Runs(
            found.s,
            found.following if s[0].size <= FOLLOWED else found.following[:, :0, :0],
            list(found.trace),
            found.converged,
            found.collapsed,
            found.passes,
            found.end,
            errors,
        )

    @cached_property
    def _problem(self) -> Any:
        from mixtures.engines import whole

        return whole.Problem((*self.rows, self.edges), self.affine, self.prior)


def whole(
    method: Callable[..., Any],
    x: Any,
    weights: np.ndarray | None,
    family: Family,
    allocation: Allocation,
    reg_covar: float = 0.0,
    engine: str = "auto",
    least: int = 0,
    saved: float = FIT,
) -> Whole | None:
    """The compiled ascent where it serves this problem; None elsewhere.

    Of fewer than ``least`` terms r_nk t_p, none. Where that is none, it must also repay its loading; that depends on what the
    process has done before, and the last digits of an answer then do too. It saves so many
    milliseconds over few points, and those of the steps that `count_steps` is told of where there is none.
    """
    bayes = METHODS.get((getattr(method, "__module__", ""), getattr(method, "__name__", "")))
    if bayes is None or engine not in ("auto", "fused") or not 0 <= reg_covar < np.inf:
        return None
    if not _suits(x, family, allocation, least):
        return None
    points = len(x) * allocation.n_components
    if not (_ready_or_repaid(x) if least else loading.repaid(ENGINE, saved * (1 + points / POINTS))):
        return None
    plain, D = _Plain(method, family, allocation), x.shape[1]
    numbers = _prior(family, allocation.n_components) if bayes else (np.zeros(D), 0.0, 0.0, np.zeros((D, D)), 0.0)
    labels = _labels(allocation) if bayes else _without_prior(allocation)
    return Whole(plain, *_arrays(x, weights, family, reg_covar, bayes, numbers, labels), _edges(x))


def count_steps(steps: int, x: Any, family: Family, allocation: Allocation) -> None:
    """Count so many steps of the plain loop, if the compiled ascent would serve this problem."""
    if _suits(x, family, allocation, 0):
        loading.count(steps * STEP * (1 + len(x) * allocation.n_components / POINTS))


def seeded(rows: int, family: Family, K: int) -> bool:
    """Whether compiled loops find the seeds among so many rows where there is no compiled ascent, which must repay too."""
    P = 1 + int(family.monomials[-1, 0])
    return rows * K * P >= FUSED_FROM and loading.repaid(SEEDING, min(rows, ENOUGH) * K * SEED)


def whole_chain(
    plain: Natural, x: Sequences, family: Family, allocation: Markov, bayes: bool, numbers: tuple[Any, ...]
) -> Whole | None:
    """The compiled ascent of a hidden Markov model under a prior of its own, where it serves and repays its loading.

    Parameters
    ----------
    plain, x, family, allocation
        See `Whole` and `whole`.
    bayes : bool
        Whether the steps are those of CAVI, or lead to the posterior mode.
    numbers : tuple
        The prior of every state: m0 (D,), beta0, dof0, scale0 and the log normaliser; see `mixtures.engines.steps.step`.
    """
    if not (_suits(x, family, allocation, 1) and _ready_or_repaid(x)):
        return None
    return Whole(plain, *_arrays(x, None, family, 0.0, bayes, numbers, _labels(allocation)), _edges(x))


def _edges(x: Any) -> np.ndarray:
    return x.edges if isinstance(x, Sequences) else np.empty(0, np.int64)


@dataclass(frozen=True)
class _Plain:
    """The readable step."""

    method: Callable[..., Any]
    family: Family
    allocation: Allocation

    def __call__(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.method(self.family, self.allocation, s)


def _suits(x: Any, family: Any, allocation: Any, least: int) -> bool:
    """Whether the data are small enough and the model is one of those that are compiled."""
    if isinstance(x, Sequences):
        if type(allocation) is not Markov or allocation.start != "free":
            return False
        K = allocation.n_components
        return _gaussian(x.x, family) and len(x) * K * (1 + family.monomials[-1, 0] + K) <= TERMS_OF_SEQUENCES
    if not _gaussian(x, family) or type(allocation) not in (Dirichlet, StickBreaking):
        return False
    if isinstance(allocation, Dirichlet) and allocation.alpha0.sum() > CONCENTRATED:
        return False
    return least <= len(x) * allocation.n_components * (1 + int(family.monomials[-1, 0])) <= TERMS


def _ready() -> bool:
    """Whether the compiled loops need not be compiled first."""
    return ENGINE in sys.modules or loading.compiled(ENGINE)


def _ready_or_repaid(x: Any) -> bool:
    """Whether they need not be compiled, or sequences were fitted so often without them that this repays."""
    return _ready() or (isinstance(x, Sequences) and loading.repaid(ENGINE, SEQUENCES))


def _gaussian(x: Any, family: Any) -> bool:
    """Whether x is one matrix of few features, none of them missing, and the family Gaussian."""
    if not (isinstance(x, np.ndarray) and x.ndim == 2 and x.dtype.kind == "f" and x.shape[1] <= FEATURES):
        return False
    return type(family) in FAMILIES and not family.missing


def _arrays(
    x: Any,
    weights: np.ndarray | None,
    family: Any,
    reg_covar: float,
    bayes: bool,
    numbers: tuple[Any, ...],
    labels: tuple[Any, ...],
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Rows, affine map and prior as the compiled loops take them; see `mixtures.engines.whole.climb`."""
    monomials, D = family.monomials, x.shape[1]
    P = 1 + int(monomials[-1, 0])
    extra = noise(family, reg_covar)[0][:1] if reg_covar else np.zeros((1, P))
    affine = _own(family.origin), _own(np.atleast_2d(family.unit)), monomials, parts_of_features(D, P, False)
    if isinstance(x, Sequences):
        from mixtures.engines.short import features

        points = features(_own(x.x), *affine[:3])
    else:
        points = _own(x)
    structure = STRUCTURES.index(family.covariance)
    rows = _rows(points, weights, _own(extra), affine, -1 if isinstance(x, Sequences) else structure)
    prior = structure, bayes, *(np.array([value], dtype=np.float64) for value in numbers)
    return rows, affine, (*prior, float(family.log_volume), float(family.least), labels)


def _rows(
    x: np.ndarray, weights: np.ndarray | None, extra: np.ndarray, affine: tuple[Any, ...], structure: int
) -> tuple[np.ndarray, ...]:
    """Rows, weights, what noise adds, and where clusters share coefficients of t(x) its sums."""
    from mixtures.engines import whole

    w, total = (np.empty((1, 0)) if weights is None else _own(weights)[None]), np.empty((1, 0))
    if structure == STRUCTURES.index("tied"):
        data = x[None], w, np.zeros_like(extra), total, np.empty(0, np.int64)
        total = whole.passes(data, affine, np.zeros((1, *extra.shape)))[1][0]
    return x[None], w, extra, total


def _labels(allocation: Any) -> tuple[Any, ...]:
    """The prior of the labels: their kind, concentrations, and log normaliser."""
    if isinstance(allocation, Markov):
        concentration = np.concatenate([allocation.alpha0, allocation.a0.ravel()])
        return 2, concentration, float(allocation.log_prior_normaliser)
    if isinstance(allocation, StickBreaking):
        gamma0 = float(allocation.gamma0)
        return 1, np.array([gamma0]), (1 - allocation.n_components) * float(np.log(gamma0))
    return 0, allocation.alpha0, float(allocation.log_prior_normaliser)


def _without_prior(allocation: Allocation) -> tuple[Any, ...]:
    """The same for maximum likelihood, where the concentrations of a chain leave its counts as they are."""
    K = allocation.n_components
    return (2, np.ones(K + K * K), 0.0) if isinstance(allocation, Markov) else (0, np.zeros(1), 0.0)


def _prior(family: Any, K: int) -> tuple[Any, ...]:
    """m0 (D,), beta0, dof0, scale0 (D, D), (1, D) or (1, 1), and the log normaliser of the priors of K clusters."""
    p = family.prior
    if family.covariance == "tied":
        each = replace(p, m=np.repeat(p.m, K, axis=0), beta=np.repeat(p.beta, K))
        return p.m[0], p.beta[0], p.nu, p.W_inv, each.log_normaliser()
    normaliser = K * family.log_prior_normaliser
    if family.covariance == "full":
        return p.m, p.beta, p.nu, p.W_inv, normaliser
    return p.m, p.beta, p.a, np.atleast_2d(p.b), normaliser


def _own(values: Any) -> np.ndarray:
    """The values as compiled loops read them."""
    if type(values) is np.ndarray and values.dtype == np.float64 and values.flags.carray:
        return values
    return np.require(values, np.float64, ("C", "A"))
