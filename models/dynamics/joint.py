"""The PyMC twin of a linear dynamical system: its free parameters under the same priors, its states integrated out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.link.jax.dispatch  # noqa: F401  (which has JAX keep float64)
import pytensor.tensor as pt
from pytensor.link.jax.ops import JAXOp
from pytensor.tensor.type import TensorType

from mixtures.dynamics.checks import checked
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.dynamics.states import simulate
from mixtures.engines.kalman import Data
from mixtures.rows.reading import Rows
from mixtures.rows.sequences import Sequences
from models.dynamics import regressions
from models.dynamics.kalman import log_likelihood
from models.observed import shown

NAMES = {
    "transition": ("transition", "state_covariance"),
    "emission": ("emission", "observation_covariance"),
    "initial": ("initial_mean", "initial_covariance"),
}
"""The regressions of a model, and what their coefficients and their noise covariances are called."""


def build(model: LinearDynamics, x: Rows) -> pm.Model:
    """The model of ``x`` with its states integrated out.

    Parameters
    ----------
    model : LinearDynamics
        Under its priors or, where it has none, those of `LinearDynamics.with_prior`.
    x : ndarray, shape (T, D), or Sequences
        NaN where a value is missing.

    Returns
    -------
    pymc.Model
        With theta by name, as far as anything of it is free, and the observed ``x`` (N, D), which has one log density: of a
        diffuse start without the constant of its diffuse directions.

    Raises
    ------
    ValueError
        If x or the model is not what the other needs, or the model has no conjugate prior.
    """
    data, model = checked(x, model), model.with_prior(x)
    with pm.Model(coords=_coords(model)) as twin:
        found: dict[str, Any] = {}
        for (name, own), part in zip(NAMES.items(), model.parts, strict=True):
            B, Sigma = regressions.variables(name, part)
            found |= dict(zip(own, (B, Sigma), strict=True))
        found["initial_mean"] = found["initial_mean"][:, 0]
        if model.loadings is not None:
            found["emission"] = pt.as_tensor_variable(model.loadings)
        if model.stationary:
            found["initial_covariance"] = _stationary(found["transition"], found["state_covariance"])
        free = {name: np.isnan(getattr(model, name)).any() for name in model.dims}
        free["initial_covariance"] |= model.stationary
        theta = {
            name: pm.Deterministic(name, found[name], dims=model.dims[name]) if free[name] else found[name]
            for name in model.dims
        }
        _observe(data, model, theta)
    return twin


def unconstrain(model: LinearDynamics, theta: Theta) -> dict[str, np.ndarray]:
    """The model's unconstrained values at theta, each (..., *shape), by name; the model has its priors."""
    theta = theta | {"initial_mean": theta["initial_mean"][..., None]}
    if model.loadings is not None:
        theta["emission"] = np.zeros((*theta["transition"].shape[:-2], model.D, 0))
    values: dict[str, np.ndarray] = {}
    for (name, own), part in zip(NAMES.items(), model.parts, strict=True):
        values |= regressions.unconstrain(name, part, *(theta[each] for each in own))
    return values


def _stationary(A: Any, Q: Any) -> Any:
    """P0 = A P0 A^T + Q (H, H), positive definite where A has a stationary distribution and nowhere else."""
    H = A.type.shape[0]
    doubled = (A[:, None, :, None] * A[None, :, None, :]).reshape((H * H, H * H))
    P = pt.linalg.solve(pt.eye(H * H) - doubled, Q.reshape((H * H,))).reshape((H, H))
    return pt.specify_shape((P + P.T) / 2, (H, H))


def _coords(model: LinearDynamics) -> dict[str, range]:
    return dict.fromkeys(("state", "state_"), range(model.H)) | dict.fromkeys(("feature", "feature_"), range(model.D))


def _observe(data: Data, model: LinearDynamics, theta: dict[str, Any]) -> None:
    """Add the observed x."""
    rows, gaps = data.x, np.isnan(data.x.x)
    names = tuple(theta)
    order = (
        "transition",
        "emission",
        "state_covariance",
        "observation_covariance",
        "initial_mean",
        "initial_covariance",
    )
    E = np.eye(model.H)[:, model.diffuse]
    function = log_likelihood(~gaps, rows.edges, E, _offset(rows, model), model.stationary)
    inputs = [TensorType("float64", shape=rows.shape)] + [
        TensorType("float64", shape=tuple(pt.as_tensor_variable(theta[name]).type.shape)) for name in order
    ]
    op = JAXOp(inputs, [TensorType("float64", shape=())], lambda *values: (function(*values),), name="kalman")

    def logp(value: Any, *parameters: Any) -> Any:
        by_name = dict(zip(names, parameters, strict=True))
        return op(value, *(by_name[name] for name in order))

    def random(*parameters: np.ndarray, rng: np.random.Generator, size: Any) -> np.ndarray:
        own = dict(zip(names, parameters, strict=True))
        drawn = np.full(rows.shape, np.nan)
        if model.stationary and np.abs(np.linalg.eigvals(own["transition"])).max() >= 1:
            return drawn  # there is no start to draw from
        for part in rows.slices():
            each = own | {"emission": own["emission"][part]} if own["emission"].ndim == 3 else own
            drawn[part] = simulate(each, part.stop - part.start, rng, model.diffuse)[0]
        return drawn

    axes = {
        "transition": "(h,h)",
        "emission": "(n,d,h)" if model.loadings is not None else "(d,h)",
        "state_covariance": "(h,h)",
        "observation_covariance": "(d,d)",
        "initial_mean": "(h)",
        "initial_covariance": "(h,h)",
    }
    sizes = (np.zeros(n) for n in rows.shape)  # which tell their numbers
    pm.CustomDist(
        "x",
        *theta.values(),
        *sizes,
        logp=lambda value, *given: logp(value, *given[: len(names)]),
        random=lambda *given, rng, size: random(*given[: len(names)], rng=rng, size=size),
        signature=",".join([*(axes[name] for name in names), "(n)", "(d)"]) + "->(n,d)",
        observed=shown(rows.x, gaps),
    )


def _offset(rows: Sequences, model: LinearDynamics) -> np.ndarray:
    """About where the diffuse states of each sequence begin, by the first row of it that was seen whole, (S, H)."""
    found = np.zeros((len(rows.lengths), model.H))
    C = model.emission[:, model.diffuse] if model.loadings is None else np.zeros((model.D, 0))
    if not C.shape[1] or np.isnan(C).any():
        return found
    for own, x in zip(found, rows, strict=True):
        whole = np.flatnonzero(~np.isnan(x).any(1))
        if len(whole):
            own[model.diffuse] = np.linalg.lstsq(C, x[whole[0]])[0]
    return found
