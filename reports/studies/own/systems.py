"""Linear dynamical systems as a problem of calibration: priors that do not look at the data, and what is identified.

A structural form that starts diffuse has no proper prior of its first state. Data are drawn with that state at zero: a shift of
it changes neither the likelihood under the flat density nor what is ranked, so that ranks are uniform all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.regression import Prior, Regression
from mixtures.dynamics.rows import Rows
from mixtures.memory import check_memory
from reports.comparison.capacity import NUMBER
from reports.comparison.names import check_known
from reports.studies.own.ours import RANKS
from reports.studies.own.study import Problem
from reports.validation import identified
from reports.validation.dynamics import check_methods, named

if TYPE_CHECKING:
    import pymc as pm

METHODS = ("cavi", "gibbs", "advi", "advi-fullrank", "nuts")
DEFAULT = ("cavi", "gibbs")
STEPS = 100
"""Rows of a series, unless given."""

# Degrees of freedom of a noise; prior means of precisions, inverted; prior mean of the first entry of a free transition.
DOF, NOISE, MOVES, START, STAYS = 6.0, 1.0, 0.5, 1.0, 0.6

# Prior precision of coefficients in units of that of their noise, of the transition and of the emission.
FIRM, LOOSE = 20.0, 1.0

GIBBS: dict[str, Any] = {"chains": 4, "tune": 200, "draws": 250, "thin": 10}


class System(NamedTuple):
    """A system by its name, its number of features, and how its states start, as `reports.validation.dynamics.named` has it."""

    spec: str
    D: int
    start: str | None = None


def default_methods(start: str | None = None) -> tuple[str, ...]:
    """The methods that are calibrated where none is named."""
    return tuple(method for method in DEFAULT if start != "stationary" or method != "cavi")


def problem(spec: str, n: int, D: int, methods: Sequence[str], start: str | None = None) -> Problem:
    """What is calibrated: series of n rows and D features from the prior of a system, by its name.

    Parameters
    ----------
    spec : str
        As in `reports.validation.dynamics.named`: local-level, seasonal=12, latent=2.
    n, D : int
    methods : sequence of str
        Of `METHODS`; those of this package are the fits of the problem.
    start : str, optional
        As in `reports.validation.dynamics.named`; latent states cannot start diffuse.

    Raises
    ------
    ValueError
        If a name is not known, n or D is too small, or a method cannot fit the start.
    """
    if D < 1:
        raise ValueError(f"features is {D}; expected at least 1")
    check_memory(NUMBER * n * D, f"a series of {n:,} rows and {D:,} features", "ask for fewer")
    named(spec, D, rows=n, start=start)
    own = System(spec, D, start)
    model = posed(own)
    if model.diffuse.any() and np.isnan(model.emission).any():
        raise ValueError(
            f"{spec} cannot be calibrated with a diffuse start, from which no series can be drawn; choose free, known or "
            "stationary"
        )
    for method in methods:
        check_known("method", method, METHODS)
    check_methods(methods, model=model)
    if n <= max(model.H, model.identified()):
        raise ValueError(f"rows is {n}; expected more than {max(model.H, model.identified())} for {spec}")
    shown = identified.variables(model, tuple(f"x{j + 1}" for j in range(D)))
    scalars = {
        f"{name}{_label(variable.labels, place)}": partial(value, own, name, place)
        for name, variable in shown.items()
        if name != identified.LIKELIHOOD
        for place in np.ndindex(*variable.shape)
    }
    forecasts = {f"forecast of x{j + 1}" * (D > 1) or "forecast": partial(forecast, own, j) for j in range(D)}
    fits = {method: partial(fit, own, method) for method in ("cavi", "gibbs") if method in methods}
    facts = {
        "system": {"name": spec, "rows": n, "features": D, "equations": list(model.equations), "priors": priors(model)}
    }
    return Problem(partial(build, own, n), fits, scalars | forecasts, (), facts, begun if model.stationary else None)


def twin_methods(methods: Sequence[str]) -> list[str]:
    """Those that are fits of the twin."""
    return [method for method in methods if method == "nuts" or method in RANKS]


def priors(model: LinearDynamics) -> list[str]:
    """What is said of the priors, a line each."""
    found = []
    for name, part in zip(("of the states", "of x", "of the first state"), model.parts, strict=True):
        if part.settled:
            continue
        prior, D = part.given, len(part.noisy)
        if np.isnan(np.diag(part.noise)).any():
            law = (
                f"precisions ~ Gamma({prior.dof / 2:g}, {prior.scale[0, 0] / 2:g})"
                if isinstance(part, Rows)
                else f"precision matrix ~ Wishart(I / {prior.scale[0, 0]:g}, {prior.dof:g}), {D} x {D}"
            )
            found.append(f"noise {name}: {law}")
        if part.free.any():
            found.append(
                f"coefficients {name}: normal about {np.round(prior.mean[part.noisy][part.free], 3).tolist()}, with the "
                f"variance of their noise divided by {prior.precision[0, 0]:g}"
            )
    return found


@cache
def posed(own: System) -> LinearDynamics:
    """The system with priors that do not look at data."""
    model, D = named(own.spec, own.D, start=own.start), own.D
    A = np.diag(STAYS * 0.7 ** np.arange(model.H))
    if np.isnan(model.transition).any() and not np.isnan(model.emission).any():
        A = np.zeros((model.H, model.H))
        A[0, 0] = STAYS
    priors = {
        "transition": _prior(model.moves, A, FIRM, MOVES),
        "emission": _prior(model.observes, np.zeros((D, model.H)), LOOSE, NOISE),
        "initial": _prior(model.begins, np.zeros((model.H, 1)), LOOSE, START),
    }
    return replace(model, priors=priors)


def _prior(part: Regression, mean: np.ndarray, precision: float, variance: float) -> Prior:
    D, U = part.B.shape
    dof = DOF + len(part.noisy) - 1
    return Prior(mean[:, :U], precision * np.eye(U), dof, dof * variance * np.eye(D))


def build(own: System, n: int) -> pm.Model:
    """The twin, for n rows of which nothing matters but their shape."""
    from models.dynamics import build as twin

    return twin(posed(own), np.random.default_rng(0).standard_normal((n, own.D)))


def fit(own: System, method: str, data: Mapping[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draws of the twin's free variables (chain, draw, ...), by VB or Gibbs sampling."""
    from mixtures.dynamics import cavi, gibbs

    model, x = posed(own), data["x"]
    if method == "gibbs":
        posterior = gibbs.fit(x, model, rng=rng, **GIBBS).posterior
        assert isinstance(posterior, dict)
        return _free(model, posterior)
    theta = cavi.fit(x, model, rng=rng, restarts=3).parameters(GIBBS["chains"] * GIBBS["draws"], rng)
    return _free(model, {name: v[None] for name, v in theta.items()})


def _free(model: LinearDynamics, theta: Theta) -> dict[str, np.ndarray]:
    """The twin's free variables on their own scales."""
    from models.dynamics import unconstrain

    logs = unconstrain(model, theta)
    return {name.removesuffix("_log__"): np.exp(v) if name.endswith("_log__") else v for name, v in logs.items()}


def begun(values: Mapping[str, np.ndarray]) -> bool:
    """Whether a draw of the prior has a stationary start."""
    return bool(np.abs(np.linalg.eigvals(values["transition"])).max() < 1)


def theta_of(model: LinearDynamics, values: Mapping[str, np.ndarray]) -> Theta:
    """Parameters by name from the twin's variables at one draw."""
    return {name: np.asarray(values.get(name, getattr(model, name))) for name in model.dims}


def value(
    own: System,
    name: str,
    place: tuple[int, ...],
    values: Mapping[str, np.ndarray],
    data: Mapping[str, np.ndarray],
) -> float:
    """One entry of what is identified; see `reports.validation.identified.values`."""
    model = posed(own)
    theta = {key: v[None, None] for key, v in theta_of(model, values).items()}
    return float(identified.values(model, theta)[name][0, 0][place])


def forecast(own: System, feature: int, values: Mapping[str, np.ndarray], data: Mapping[str, np.ndarray]) -> float:
    """Mean of the row after the last given all rows, which sees the states."""
    from mixtures.dynamics import states

    model = posed(own)
    return float(states.forecast(data["x"], theta_of(model, values), 1, model.diffuse)[0][0, 0, feature])


def _label(labels: Sequence[Sequence[str]], place: tuple[int, ...]) -> str:
    """Where an entry stands, "" of one that is alone."""
    if all(len(own) == 1 for own in labels):
        return ""
    return f"[{', '.join(own[i] for own, i in zip(labels, place, strict=True))}]"
