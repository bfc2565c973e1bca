r"""The model of a linear dynamical system (PRML section 13.3), and what of it is free, known or structured.

    z_1 ~ N(m0, P0)      z_t = A z_(t-1) + w_t, w_t ~ N(0, Q)      x_t = C z_t + v_t, v_t ~ N(0, R)

Parameters are a dict of arrays by name:

    transition A (state, state_)            state_covariance Q (state, state_)
    emission C (feature, state)             observation_covariance R (feature, feature_)
    initial_mean m0 (state,)                initial_covariance P0 (state, state_)

Each of the three lines is a regression with a conjugate prior; see `mixtures.dynamics.regression`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from mixtures.dynamics.joint import Entries, Joint
from mixtures.dynamics.regression import Expected, Prior, Regression
from mixtures.dynamics.rows import Rows
from mixtures.dynamics.stationary import covariance
from mixtures.engines.kalman import System, as_data
from mixtures.rows.reading import Rows as Given

Theta = dict[str, np.ndarray]

STRUCTURES = ("full", "diagonal", "isotropic")

# Eigenvalue of a covariance, over its largest, below which it is negative by more than rounding.
NEGATIVE = 1e-10

# Draws of a transition among which one must have a stationary distribution.
PRIOR_DRAWS = 10_000


@dataclass(frozen=True)
class LinearDynamics:
    """A linear dynamical system of H states and D features.

    Entries that are NaN are free, all others known.

    Parameters
    ----------
    transition : array_like, shape (H, H)
        A.
    emission : array_like, shape (D, H) or (N, D, H)
        C; one for every row is known, as regressors are.
    state_covariance : array_like, shape (H, H), or {"full", "diagonal", "isotropic"}
        Q. A state whose row is zero moves without noise; its row of the transition is known.
    observation_covariance : array_like, shape (D, D), or {"full", "diagonal", "isotropic"}
        R, positive definite.
    initial_mean : array_like, shape (H,)
        m0; zero by default.
    initial_covariance : array_like, shape (H, H), or {"full", "diagonal", "isotropic"}
        P0; the identity by default.
    diffuse : array_like of bool, shape (H,) or ()
        States that begin with an infinite variance (Durbin & Koopman 2012, chapter 5); what m0 and P0 say of them is not used.
    priors : dict of Prior
        Of the regressions "transition", "emission" and "initial"; maximum likelihood needs none.
    name : str
    stationary : bool
        Whether states begin in the distribution that the transition leaves as it is, N(0, P0) with P0 = A P0 A^T + Q; what m0
        and P0 say is then not used. See `mixtures.dynamics.stationary`.
    common : set of str
        Regressions, named as priors are, whose noises have one variance in common; "isotropic" says the same.

    Raises
    ------
    ValueError
        If shapes do not fit together, a covariance is none, or there is no stationary start.

    Examples
    --------
    >>> nan = np.nan
    >>> model = LinearDynamics([[1]], [[1]], "diagonal", "diagonal", diffuse=True)
    >>> model.H, model.D, model.n_free()
    (1, 1, 2)
    """

    transition: np.ndarray
    emission: np.ndarray
    state_covariance: Any = "full"
    observation_covariance: Any = "full"
    initial_mean: Any = None
    initial_covariance: Any = None
    diffuse: Any = False
    priors: Mapping[str, Prior] = field(default_factory=dict)
    name: str = "linear dynamics"
    common: frozenset[str] = frozenset()
    stationary: bool = False

    dims: ClassVar[dict[str, tuple[str, ...]]] = {
        "transition": ("state", "state_"),
        "emission": ("feature", "state"),
        "state_covariance": ("state", "state_"),
        "observation_covariance": ("feature", "feature_"),
        "initial_mean": ("state",),
        "initial_covariance": ("state", "state_"),
    }

    def __post_init__(self) -> None:
        A = _matrix("transition", self.transition)
        C = _matrix("emission", self.emission, (2, 3))
        H, D = len(A), C.shape[-2]
        if A.shape != (H, H) or C.shape[-1] != H or not H or not D:
            raise ValueError(
                f"transition has shape {A.shape} and emission {C.shape}; expected (states, states) and (features, states)"
            )
        if C.ndim == 3 and np.isnan(C).any():
            raise ValueError("an emission that differs from row to row is known; it holds NaN")
        diffuse = np.broadcast_to(np.asarray(self.diffuse, dtype=bool), H).copy()
        m0 = np.zeros(H) if self.initial_mean is None else _matrix("initial_mean", self.initial_mean, (1,))
        if m0.shape != (H,):
            raise ValueError(f"initial_mean has shape {m0.shape}; expected ({H},), one for each state")
        Q, Q_common = _covariance("state_covariance", self.state_covariance, H)
        R, R_common = _covariance("observation_covariance", self.observation_covariance, D)
        P0, P0_common = _covariance(
            "initial_covariance", np.eye(H) if self.initial_covariance is None else self.initial_covariance, H
        )
        if np.any(np.diag(R) == 0) or (not np.isnan(R).any() and np.linalg.eigvalsh(R)[0] <= 0):
            raise ValueError(
                "observation_covariance is singular; expected a positive definite matrix, in which every feature has a "
                "noise of its own, however small"
            )
        silent = np.diag(Q) == 0
        if np.isnan(A[silent]).any():
            state = int(np.flatnonzero(silent & np.isnan(A).any(1))[0])
            raise ValueError(f"state {state} moves without noise, so its row of transition must be known")
        m0[diffuse], P0[diffuse], P0[:, diffuse] = 0, 0, 0
        if self.stationary:
            m0, P0 = np.zeros(H), np.eye(H)
            _check_stationary(A, Q, diffuse)
        common = frozenset(self.common) | frozenset(
            name for name, own in (("transition", Q_common), ("emission", R_common), ("initial", P0_common)) if own
        )
        unknown = set(self.priors) - {"transition", "emission", "initial"}
        if unknown:
            raise ValueError(f"priors has {sorted(unknown)[0]!r}; expected transition, emission and initial")
        for name, value in (
            ("transition", A), ("emission", C), ("state_covariance", Q), ("observation_covariance", R),
            ("initial_mean", m0), ("initial_covariance", P0), ("diffuse", diffuse), ("common", common),
        ):  # fmt: skip
            object.__setattr__(self, name, value)
        for name, part in zip(("transition", "emission", "initial"), self.parts, strict=True):
            if part.prior is not None:
                _check_prior(name, part)

    @classmethod
    def latent(
        cls,
        H: int,
        D: int,
        *,
        state_covariance: Any = "full",
        observation_covariance: Any = "full",
        start: str = "free",
        **others: Any,
    ) -> LinearDynamics:
        """A system of which everything is free: H latent states, D features.

        Only what does not depend on the coordinates of the states is identified: predictive densities, eigenvalues of A,
        impulse responses C A^h, and C z.

        Parameters
        ----------
        H, D : int
        state_covariance, observation_covariance
            See `LinearDynamics`.
        start : {"free", "known", "diffuse", "stationary"}
            Whether m0 and P0 are free, zero and one, the start is diffuse, or it is the stationary distribution.
        **others
            Further arguments of `LinearDynamics`.
        """
        if H < 1 or D < 1:
            raise ValueError(f"H is {H} states and D {D} features; expected at least one state and one feature")
        if start not in ("free", "known", "diffuse", "stationary"):
            raise ValueError(f"start is {start!r}; expected free, known, diffuse or stationary")
        free = start == "free"
        given: dict[str, Any] = {
            "initial_mean": np.full(H, np.nan if free else 0.0),
            "initial_covariance": "full" if free else np.eye(H),
            "diffuse": start == "diffuse",
            "stationary": start == "stationary",
            "name": f"latent={H}",
        }
        return cls(
            np.full((H, H), np.nan), np.full((D, H), np.nan), state_covariance, observation_covariance, **given | others
        )

    @property
    def H(self) -> int:
        """Number of states."""
        return len(self.transition)

    @property
    def D(self) -> int:
        """Number of features."""
        return self.emission.shape[-2]

    @property
    def loadings(self) -> np.ndarray | None:
        """C at every row (N, D, H), where it differs."""
        return self.emission if self.emission.ndim == 3 else None

    @cached_property
    def moves(self) -> Regression:
        """The regression of z_t on z_(t-1)."""
        return self._regression("transition", self.transition, self.state_covariance)

    @cached_property
    def observes(self) -> Regression:
        """The regression of x_t on z_t, or of what a known C leaves of x_t on nothing where C differs from row to row."""
        B = self.emission if self.loadings is None else np.zeros((self.D, 0))
        return self._regression("emission", B, self.observation_covariance)

    @cached_property
    def begins(self) -> Regression:
        """The regression of z_1 on the constant 1, of which nothing is free where the start is stationary."""
        if self.stationary:
            return Joint(self.initial_mean[:, None], self.initial_covariance)
        return self._regression("initial", self.initial_mean[:, None], self.initial_covariance)

    @property
    def parts(self) -> tuple[Regression, Regression, Regression]:
        """The regressions: `moves`, `observes` and `begins`."""
        return self.moves, self.observes, self.begins

    @property
    def equations(self) -> tuple[str, ...]:
        """The generative model, line by line."""
        start = "z_1 diffuse" if self.diffuse.all() else "z_1 ~ N(m0, P0)"
        start = "z_1 ~ N(0, P0), P0 = A P0 A^T + Q" if self.stationary else start
        C = "C" if self.loadings is None else "C_t"
        return start, "z_t = A z_(t-1) + N(0, Q)", f"x_t = {C} z_t + N(0, R)"

    def n_free(self) -> int:
        """Number of free parameters."""
        return sum(part.n_free() for part in self.parts)

    def identified(self) -> int:
        """Number of free parameters that the likelihood tells apart.

        Where transition, emission and start are free, states may have any coordinates T z that leave the structure of Q
        as it is, and as many parameters fewer count as T has dimensions: H^2 of a full Q, H (H + 1) / 2 of a diagonal one, and
        H (H - 1) / 2 of a known one, one more if it is known but for its size. Where the start is known, and the same in all
        directions, turns of states are left, H (H - 1) / 2, unless Q is diagonal.
        """
        Q, H = self.state_covariance, self.H
        anywhere = self.stationary or (np.isnan(self.initial_mean).all() and np.isnan(self.initial_covariance).all())
        alike = np.isnan(Q).all() or "transition" in self.common or np.array_equal(Q, Q[0, 0] * np.eye(H))
        if alike and self._round() and np.isnan(self.transition).all() and np.isnan(self.emission).all():
            return self.n_free() - H * (H - 1) // 2
        if not (np.isnan(self.transition).all() and np.isnan(self.emission).all() and (self.diffuse.all() or anywhere)):
            return self.n_free()
        if np.isnan(Q).all():
            return self.n_free() - H**2
        if "transition" in self.common:
            return self.n_free() - H * (H - 1) // 2 - 1
        if np.isnan(np.diag(Q)).all():
            return self.n_free() - H * (H + 1) // 2
        return self.n_free() - (0 if np.isnan(Q).any() else H * (H - 1) // 2)

    def _round(self) -> bool:
        """Whether the states start at zero with a known covariance that is the same in all directions."""
        P0 = self.initial_covariance
        return bool(
            not (self.stationary or self.diffuse.any())
            and np.all(self.initial_mean == 0)
            and np.array_equal(P0, P0[0, 0] * np.eye(self.H))
        )

    def theta(self, at: tuple[Expected, Expected, Expected]) -> Theta:
        """Parameters by name, from what stands in the three regressions."""
        moves, observes, begins = at
        return {
            "transition": moves.B,
            "emission": observes.B if self.loadings is None else self.loadings,
            "state_covariance": moves.Sigma,
            "observation_covariance": observes.Sigma,
            "initial_mean": begins.B[:, 0],
            "initial_covariance": begins.Sigma,
        }

    def at(self, theta: Theta) -> tuple[Expected, Expected, Expected]:
        """The inverse of `theta`; a stationary start is found anew."""
        moves = Expected(theta["transition"], theta["state_covariance"])
        C = theta["emission"] if self.loadings is None else np.zeros((self.D, 0))
        begins = None if self.stationary else Expected(theta["initial_mean"][:, None], theta["initial_covariance"])
        return moves, Expected(C, theta["observation_covariance"]), begins or self.started(moves)

    def started(self, moves: Expected) -> Expected:
        """The stationary start of a transition."""
        return Expected(np.zeros((self.H, 1)), covariance(moves.B, moves.Sigma))

    def system(self, at: tuple[Expected, Expected, Expected]) -> System:
        """What a pass takes of parameters, or of a distribution over them."""
        moves, observes, begins = at
        theta = self.theta(at)
        return System(
            moves.B,
            moves.Sigma,
            theta["emission"],
            observes.Sigma,
            theta["initial_mean"],
            begins.Sigma,
            np.eye(self.H)[:, self.diffuse],
            _added(moves.extra),
            observes.extra if observes.extra is not None and observes.extra.any() else None,
            observes.log_scale,
        )

    def log_prior(self, theta: Theta) -> np.ndarray:
        """Log prior density of the free coefficients and of the precision matrices, shape (...), in nats.

        Of a stationary start it is that of all transitions: those without one have no likelihood.
        """
        pairs = (
            (theta["transition"], theta["state_covariance"]),
            (theta["emission"] if self.loadings is None else np.zeros((self.D, 0)), theta["observation_covariance"]),
            (theta["initial_mean"][..., None], theta["initial_covariance"]),
        )
        return sum(
            (part.log_prior(*pair) for part, pair in zip(self.parts, pairs, strict=True) if not part.settled),
            np.zeros(()),
        )

    def sample_prior(self, rng: np.random.Generator) -> Theta:
        """A draw of the parameters from the prior, of a stationary start from its part in which there is one.

        Raises
        ------
        ValueError
            If no draw of many has a stationary start.
        """
        for _ in range(PRIOR_DRAWS):
            moves, observes, begins = (
                self.known(part) if part.settled else Expected(*part.sample(part.prior_moments, rng))
                for part in self.parts
            )
            if not self.stationary:
                return self.theta((moves, observes, begins))
            if np.abs(np.linalg.eigvals(moves.B)).max() < 1:
                return self.theta((moves, observes, self.started(moves)))
        raise ValueError(f"none of {PRIOR_DRAWS} draws of the transition from its prior has a stationary distribution")

    @staticmethod
    def known(part: Regression) -> Expected:
        """What stands in a regression of which nothing is free."""
        return Expected(part.B, part.Sigma)

    def with_prior(self, x: Given) -> LinearDynamics:
        """The model with weak priors from the data, where it has none.

        Each precision matrix has D + 1 degrees of freedom and each single precision 2. Their prior means are those of a
        variance of a tenth of that of each feature, or of that of its first differences where that is less, for R; of a tenth
        of the latter for the noise of states with known emissions; and of 1 for that of latent states and for P0. A noise far
        below such a variance has little density, one far above it has not. Coefficients have mean zero and the precision of
        the noise. These are choices of this package: proper, and outweighed by a few dozen rows.

        Parameters
        ----------
        x : ndarray, shape (N, D), or Sequences
        """
        rows = as_data(x).x
        level = np.nanvar(rows.x, axis=0)
        gaps = np.concatenate([np.diff(part, axis=0) for part in rows])
        moved = np.nanvar(gaps, axis=0) if len(gaps) and not np.all(np.isnan(gaps)) else level
        level, moved = (np.where(v > 0, v, 1.0) for v in (level, moved))
        size = np.ones(self.H)
        if not np.isnan(self.emission).any():
            squares = (self.emission**2).reshape(-1, self.D, self.H).mean(0)
            weight = squares.sum(0)
            size = (
                np.where(
                    weight > 0, (squares * moved[:, None]).sum(0) / np.where(weight > 0, weight, 1) ** 2, moved.mean()
                )
                / 10
            )
            size = np.where(weight > 0, size, np.median(size[weight > 0]))
        started = np.where(np.isnan(self.emission).any(), 1.0, level.mean())
        made = {
            "transition": _weak(self.moves, size),
            "emission": _weak(self.observes, np.minimum(level, moved) / 10),
            "initial": _weak(self.begins, np.full(self.H, started)),
        }
        return replace(self, priors=made | dict(self.priors))

    def _regression(self, name: str, B: np.ndarray, Sigma: np.ndarray) -> Regression:
        noisy = np.diag(Sigma) != 0
        own, free = Sigma[np.ix_(noisy, noisy)], np.isnan(B[noisy])
        prior = self.priors.get(name)
        if np.all(own[~np.eye(len(own), dtype=bool)] == 0):
            return Rows(B, Sigma, prior, common=name in self.common)
        whole = np.isnan(own).all() or not np.isnan(own).any()
        return (Joint if whole and np.all(free == free.any(0)) else Entries)(B, Sigma, prior)


def _check_stationary(A: np.ndarray, Q: np.ndarray, diffuse: np.ndarray) -> None:
    """Refuse a stationary start where there is none, or that cannot be fitted."""
    if diffuse.any():
        raise ValueError("the start is both stationary and diffuse; give one of the two")
    if not np.isnan(A).any():
        covariance(A, np.zeros_like(A))
    noise = np.isnan(Q[np.ix_(np.diag(Q) != 0, np.diag(Q) != 0)])
    if noise.any() and not noise.all() and noise[~np.eye(len(noise), dtype=bool)].any():
        raise ValueError(
            "a stationary start needs a state_covariance that is full, diagonal or known, not known in part"
        )


def _check_prior(name: str, part: Regression) -> None:
    """Refuse a prior that has no density, or is not of the regression's shapes."""
    prior, (D, U), m = part.given, part.B.shape, len(part.noisy)
    if not isinstance(prior, Prior):
        raise ValueError(f"the prior of {name!r} is {prior!r:.40}; expected a mixtures.dynamics.Prior")
    for what, value, shape in (
        ("mean", prior.mean, (D, U)),
        ("precision", prior.precision, (U, U)),
        ("scale", prior.scale, (D, D)),
    ):
        if np.shape(value) != shape or not np.isfinite(value).all():
            raise ValueError(
                f"the prior of {name!r} has a {what} of shape {np.shape(value)}; expected finite numbers of shape {shape}"
            )
    own = np.diag(np.diag(prior.scale)) if isinstance(part, Rows) else prior.scale
    noises = own[:1, :1] if isinstance(part, Rows) and part.common else part.inner(own)
    for what, value in (("precision", prior.precision), ("scale", noises)):
        if len(value) and not np.linalg.eigvalsh(value)[0] > 0:
            raise ValueError(f"the prior of {name!r} has a {what} that is not positive definite")
    least = 0 if isinstance(part, Rows) else m - 1
    if not prior.dof > least:
        raise ValueError(f"the prior of {name!r} has {prior.dof:g} degrees of freedom; expected more than {least}")


def _weak(part: Regression, variances: np.ndarray) -> Prior:
    """A prior of two degrees of freedom for each noise, or of D + 1 for noises that are correlated."""
    D, U = part.B.shape
    dof = 2.0 if isinstance(part, Rows) else len(part.noisy) + 1.0
    if isinstance(part, Rows) and part.common:
        variances = np.full(D, variances[part.noisy].mean() if len(part.noisy) else 1.0)
    return Prior(np.zeros((D, U)), np.eye(U), dof, dof * np.diag(variances))


def _added(extra: np.ndarray | None) -> np.ndarray | None:
    """The extra precision of all features together, None where there is none."""
    if extra is None or not extra.any():
        return None
    return extra.sum(0) if extra.ndim == 3 else extra


def _matrix(name: str, values: Any, ndims: tuple[int, ...] = (2,)) -> np.ndarray:
    """A copy as floats, without infinities."""
    try:
        a = np.array(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {values!r}; expected an array of numbers, NaN where they are free") from error
    if a.ndim not in ndims or np.isinf(a).any():
        raise ValueError(
            f"{name} has shape {a.shape} or holds infinities; expected finite numbers or NaN in {ndims[0]} dimensions"
        )
    return a


def _covariance(name: str, given: Any, n: int) -> tuple[np.ndarray, bool]:
    """A covariance matrix with NaN where it is free, and whether its variances are one number."""
    if isinstance(given, str):
        if given not in STRUCTURES:
            raise ValueError(f"{name} is {given!r}; expected {', '.join(STRUCTURES)} or a matrix")
        if given == "full":
            return np.full((n, n), np.nan), False
        return np.diag(np.full(n, np.nan)), given == "isotropic" and n > 1
    S = _matrix(name, given)
    if S.shape != (n, n):
        raise ValueError(f"{name} has shape {S.shape}; expected ({n}, {n})")
    if not np.array_equal(S, S.T, equal_nan=True):
        raise ValueError(f"{name} is not symmetric")
    known = np.flatnonzero(~np.isnan(S).any(1))
    values = np.linalg.eigvalsh(S[np.ix_(known, known)]) if len(known) else np.zeros(1)
    if np.any(np.diag(S) < 0) or values[0] < -NEGATIVE * max(values[-1], 0):
        raise ValueError(
            f"{name} is not positive semi-definite: its smallest eigenvalue is {min(values[0], np.nanmin(np.diag(S))):.3g}"
        )
    silent = np.diag(S) == 0
    if np.any(S[silent] != 0):
        raise ValueError(f"{name} has a variance of zero beside covariances that are not")
    return S, False
