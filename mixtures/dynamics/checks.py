"""What data and a linear dynamical system must be for each other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mixtures.checks import brief
from mixtures.dynamics.model import NEGATIVE, LinearDynamics, Theta
from mixtures.engines.kalman import Data, as_data
from mixtures.rows.reading import Rows

# Values of which the squares still have squares, as those of their reciprocals do.
LARGEST = 1e70


def check_model(model: LinearDynamics) -> None:
    """Refuse what is no model.

    Raises
    ------
    ValueError
    """
    if not isinstance(model, LinearDynamics):
        raise ValueError(
            f"model is {brief(model)}; expected a LinearDynamics, such as mixtures.dynamics.structure('local-level')"
        )


UNBOUNDED = (
    "the likelihood of latent states that start diffuse grows without bound with their unit, for the flat density of the first "
    "ones is one of their coordinates; choose another start, or a method with priors"
)
"""Why maximum likelihood has no estimate; see `bounded`."""


def bounded(model: LinearDynamics) -> bool:
    """Whether the likelihood of states z / c does not grow by log c for each that starts diffuse: something known ties them."""
    own = model.diffuse
    free = np.isnan(model.emission).all(axis=tuple(range(model.emission.ndim - 1))) & np.isnan(
        np.diag(model.state_covariance)
    )
    return not (own & free).any()


def check_moving(data: Data, model: LinearDynamics) -> None:
    """Refuse features that never change, whose noise maximum likelihood would put at zero.

    Raises
    ------
    ValueError
    """
    x = data.x.x
    constant = (np.nanmax(x, axis=0) == np.nanmin(x, axis=0)) & np.isnan(np.diag(model.observation_covariance))
    if constant.any():
        feature = int(np.flatnonzero(constant)[0])
        raise ValueError(
            f"feature {feature} is {np.nanmax(x[:, feature]):g} in every row, which leaves no noise to estimate; leave it out, "
            "or use map or cavi, whose priors are proper"
        )


def check_theta(theta: Theta, model: LinearDynamics | None = None) -> None:
    """Refuse parameters that lack a name, do not fit together or into the model, or are no numbers or no covariances.

    Raises
    ------
    ValueError
    """
    if not isinstance(theta, Mapping):
        raise ValueError(f"theta is a {type(theta).__name__}; expected a dict of arrays by name")
    for name in ("transition", "emission", "state_covariance", "observation_covariance"):
        if name not in theta:
            raise ValueError(f"theta has no {name!r}; expected {', '.join(LinearDynamics.dims)}")
    H, D = (len(theta["transition"]), np.shape(theta["emission"])[-2]) if np.ndim(theta["emission"]) > 1 else (0, 0)
    H, D = (H, D) if model is None else (model.H, model.D)
    sizes = {"state": H, "state_": H, "feature": D, "feature_": D}
    for name, dims in LinearDynamics.dims.items():
        if name not in theta:
            continue
        value, expected = np.asarray(theta[name]), tuple(sizes[dim] for dim in dims)
        if value.shape[-len(expected) :] != expected or value.ndim > len(expected) + (name == "emission"):
            raise ValueError(f"theta has {name!r} of shape {value.shape}; expected {expected}")
        if not np.isfinite(value).all():
            raise ValueError(f"theta has {name!r} with entries that are no finite numbers")
        if name.endswith("covariance"):
            _check_covariance(name, value)


def _check_covariance(name: str, S: np.ndarray) -> None:
    values = np.linalg.eigvalsh(S)
    if name == "observation_covariance" and not values[0] > 0:
        raise ValueError(f"{name} is not positive definite: its smallest eigenvalue is {values[0]:.3g}")
    if values[0] < -NEGATIVE * max(values[-1], 0):
        raise ValueError(f"{name} is not positive semi-definite: its smallest eigenvalue is {values[0]:.3g}")


def finite(x: Rows) -> Data:
    """The sequences of x.

    Raises
    ------
    ValueError
        If x holds infinities.
    """
    data = as_data(x)
    if np.isinf(data.x.x).any():
        raise ValueError("x holds infinities; expected numbers, and NaN where a value is missing")
    return data


def check_states(lengths: np.ndarray, states: int) -> None:
    """Refuse more states than the longest sequence can tell; of their number alone, which may be too large for a model.

    Raises
    ------
    ValueError
    """
    longest = int(lengths.max())
    if longest <= states:
        raise ValueError(
            f"the longest sequence has {longest} {'row' if longest == 1 else 'rows'}, no more than the {states} "
            f"{'state' if states == 1 else 'states'}; give more rows, or fewer states"
        )


def checked(x: Rows, model: LinearDynamics, fitted: bool = True) -> Data:
    """The sequences, of which a fit has enough.

    Raises
    ------
    ValueError
        If x holds infinities or nothing at all, has another number of features than the model, or too few rows for its states.
    """
    check_model(model)
    data = finite(x)
    x = data.x
    if x.shape[1] != model.D:
        raise ValueError(f"x has {x.shape[1]} features; the model has {model.D}")
    size = float(np.nanmax(np.abs(x.x), initial=0))
    if size > LARGEST**2:
        raise ValueError(f"x holds values beyond {LARGEST**2:g} in size; give it in other units")
    if model.loadings is not None and len(model.loadings) != len(x):
        raise ValueError(f"emission is known at {len(model.loadings)} rows; x has {len(x)}")
    if not fitted:
        return data
    if size > LARGEST or 0 < size < 1 / LARGEST:
        side = "beyond" if size > LARGEST else "below"
        raise ValueError(f"x holds values of {size:g} at most, {side} what has fourth powers; give it in other units")
    if np.isnan(x.x).all(0).any():
        feature = int(np.flatnonzero(np.isnan(x.x).all(0))[0])
        raise ValueError(f"feature {feature} was never seen; leave it out")
    seen, n = int((~np.isnan(x.x)).sum()), model.identified()
    check_states(x.lengths, model.H)
    if seen <= n:
        raise ValueError(f"x holds {seen} values for {n} free parameters; give more rows, or a smaller model")
    return data
