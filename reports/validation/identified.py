"""What the likelihood tells of a linear dynamical system, whatever coordinates its states have.

A latent system is the same after any invertible change of its states, so that of A, C, Q, m0 and P0 nothing can be compared
number by number. The same in all coordinates are the eigenvalues of A, the responses C A^j Q C^T (the covariance of x_(t+j) and
the shock that the states bring to x_t), R, C z, forecasts, innovations and the log likelihood. Structural forms have known
emissions: their variances and coefficients are identified as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

from mixtures.dynamics import states
from mixtures.dynamics.model import LinearDynamics, Theta
from mixtures.rows.sequences import Sequences

if TYPE_CHECKING:
    import xarray as xr

    from reports.validation.target import Variable

LIKELIHOOD = "log likelihood"

# Steps of the responses that are compared; steps of the forecasts, and lags of the innovations' autocorrelations, at most.
RESPONSES, HORIZON, LAGS = 3, 20, 20

# Draws over which states, forecasts and innovations are averaged, and quantiles of a normal that stand for a forecast's noise.
DRAWS, NOISE = 60, ndtri((np.arange(101) + 0.5) / 101)

STATES = {
    "local-level": ("level",),
    "local-linear-trend": ("level", "slope"),
    "smooth-trend": ("level", "slope"),
    "seasonal": ("level", "seasonal"),
    "autoregression": ("series",),
}
"""What the first states of a structure are, by its name without its number."""

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


def variables(model: LinearDynamics, features: tuple[str, ...]) -> dict[str, Variable]:
    """What is compared, by name: shapes, labels and scales."""
    from reports.validation.target import Variable  # which loads PyMC, and pages take this file's constants

    every = {own.name: own for own in _every(model, features)}
    return every | {LIKELIHOOD: Variable(LIKELIHOOD, (), (), (), False)}


def values(model: LinearDynamics, theta: Theta) -> dict[str, np.ndarray]:
    """The same but for the log likelihood, from draws (chain, draw, ...) of theta."""
    found = {}
    R = theta["observation_covariance"]
    if np.isnan(model.observation_covariance).any():
        found["observation variance"] = np.diagonal(R, axis1=-2, axis2=-1)
        if _correlated(model):
            sd = np.sqrt(np.diagonal(R, axis1=-2, axis2=-1))
            places = np.tril_indices(model.D, -1)
            found["observation correlation"] = (R / sd[..., :, None] / sd[..., None, :])[..., *places]
    if _latent(model):
        eigenvalues = states.eigenvalues(theta)
        found["eigenvalue modulus"] = np.abs(eigenvalues)
        if model.H > 1:
            found["eigenvalue angle"] = np.abs(np.angle(eigenvalues))
        found["response"] = states.responses(theta, RESPONSES - 1)[..., *np.transpose(_responses(model.D))]
    else:
        Q, A = theta["state_covariance"], theta["transition"]
        if len(noises := _noises(model)):
            found["state variance"] = Q[..., noises, noises]
        if np.isnan(model.transition).any():
            found["coefficient"] = A[..., np.isnan(model.transition)]
    return found


def _every(model: LinearDynamics, features: tuple[str, ...]) -> Iterator[Variable]:
    from reports.validation.target import Variable

    D, H = model.D, model.H
    numbers = tuple(map(str, range(H)))
    if np.isnan(model.observation_covariance).any():
        yield Variable("observation variance", (D,), ("feature",), (features,), False, "log", 0.0)
        if _correlated(model):
            pairs = tuple(f"{features[i]} ~ {features[j]}" for i, j in zip(*np.tril_indices(D, -1), strict=True))
            yield Variable("observation correlation", (len(pairs),), ("pair",), (pairs,), False)
    if _latent(model):
        yield Variable("eigenvalue modulus", (H,), ("eigenvalue",), (numbers,), False, "log", 0.0)
        if H > 1:
            yield Variable("eigenvalue angle", (H,), ("eigenvalue",), (numbers,), False)
        places = [f"{j}, {features[i]}, {features[k]}" if D > 1 else str(j) for j, i, k in _responses(D)]
        yield Variable("response", (len(places),), ("entry",), (tuple(places),), False)
        return
    if len(noises := _noises(model)):
        named = STATES.get(model.name.partition("(")[0], ())
        states_ = (tuple(named[h] if h < len(named) else str(h) for h in noises),)
        yield Variable("state variance", (len(noises),), ("state",), states_, False, "log", 0.0)
    if np.isnan(model.transition).any():
        free = np.argwhere(np.isnan(model.transition))
        lags = model.name.startswith("autoregression")
        entries = (tuple(f"lag {j + 1}" if lags else f"{i}, {j}" for i, j in free),)
        yield Variable("coefficient", (len(entries[0]),), ("entry",), entries, False)


def _responses(D: int) -> list[tuple[int, int, int]]:
    """Steps and features (j, i, k) of the responses that differ: C Q C^T, of no step, is symmetric."""
    return [(j, i, k) for j, i, k in np.ndindex(RESPONSES, D, D) if j > 0 or i >= k]


def _latent(model: LinearDynamics) -> bool:
    return bool(np.isnan(model.emission).any())


def _noises(model: LinearDynamics) -> np.ndarray:
    """Numbers of the states with a free variance."""
    return np.flatnonzero(np.isnan(np.diag(model.state_covariance)))


def _correlated(model: LinearDynamics) -> bool:
    return bool(np.isnan(model.observation_covariance[np.tril_indices(model.D, -1)]).any())


def in_time(model: LinearDynamics, x: Sequences, theta: Mapping[str, np.ndarray]) -> xr.Dataset:
    """States, forecasts and innovations by draws (n, ...) of theta.

    Returns
    -------
    xarray.Dataset
        ``signal`` and ``signal_sd`` (obs, feature), mean and sd of C z given all of x; ``forecast`` (quantile, sequence, step,
        feature), and ``innovation`` (obs, feature) and its ``autocorrelation`` (lag, feature), means over draws.
    """
    import xarray as xr

    n = len(theta["transition"])
    each = [{name: v[i] for name, v in theta.items()} for i in range(n)]
    smooth = [states.smooth(x, own, model.diffuse) for own in each]
    signal = np.array([own.signal for own in smooth])
    spread = np.array([np.diagonal(own.spread, axis1=-2, axis2=-1) for own in smooth])
    errors = np.array([states.innovations(x, own, model.diffuse) for own in each])
    found: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "signal": (("obs", "feature"), signal.mean(0)),
        "signal_sd": (("obs", "feature"), np.sqrt(spread.mean(0) + signal.var(0))),
        "innovation": (("obs", "feature"), errors.mean(0)),
        "autocorrelation": (("lag", "feature"), np.mean([autocorrelations(x, own) for own in errors], axis=0)),
    }
    if model.loadings is None:
        ahead = [states.forecast(x, own, HORIZON, model.diffuse) for own in each]
        mean, covs = (np.array([own[part] for own in ahead]) for part in (0, 1))
        sd = np.sqrt(np.diagonal(covs, axis1=-2, axis2=-1))
        drawn = (mean + sd * NOISE.reshape(-1, 1, 1, 1, 1)).reshape(-1, *mean.shape[1:])
        found["forecast"] = (("quantile", "sequence", "step", "feature"), np.quantile(drawn, QUANTILES, axis=0))
    return xr.Dataset(
        found, coords={"quantile": list(QUANTILES), "lag": range(1, 1 + len(found["autocorrelation"][1]))}
    )


def autocorrelations(x: Sequences, errors: np.ndarray) -> np.ndarray:
    """Autocorrelations (lags, D) of standardised errors (N, D) within sequences; NaN where nothing is to be paired."""
    lags = int(min(LAGS, max(1, x.lengths.max() // 4)))
    squares = np.nanmean(errors**2, axis=0)
    found = np.full((lags, errors.shape[1]), np.nan)
    for lag in range(1, lags + 1):
        products = [errors[rows][lag:] * errors[rows][:-lag] for rows in x.slices() if rows.stop - rows.start > lag]
        pairs = np.concatenate(products)
        number = (~np.isnan(pairs)).sum(0)
        total = np.nansum(pairs, axis=0) / np.maximum(number, 1)
        found[lag - 1] = np.where(number > 0, total / squares, np.nan)
    return found
