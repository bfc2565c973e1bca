"""What follows from the transition matrix of a hidden Markov model: where the chain is in the long run, and how long it stays.

    pi = pi A                                       the stationary distribution
    P(d steps in state k) = A_kk^(d - 1) (1 - A_kk)     with mean 1 / (1 - A_kk), the expected dwell time

(Zucchini, MacDonald & Langrock 2016, *Hidden Markov Models for Time Series*, sections 1.3 and 12.1.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.allocations.stationary import stationary
from mixtures.errors import CollapseError
from mixtures.rows.sequences import Sequences
from reports.metrics import Row

if TYPE_CHECKING:
    import xarray as xr

STATIONARY, DWELL, LOG_DWELL = "stationary", "dwell", "log dwell time"


def long_run(A: np.ndarray) -> np.ndarray:
    """Stationary distributions (..., K) of transition matrices (..., K, K); not a number where there are several."""
    try:
        return stationary(A)
    except CollapseError as error:
        apart = error.runs
        safe = np.where(apart[..., None, None], 1 / A.shape[-1], A)
        return np.where(apart[..., None], np.nan, stationary(safe))


def derived(posterior: xr.Dataset) -> xr.Dataset:
    """The stationary distribution and the expected dwell times of every draw.

    Parameters
    ----------
    posterior : Dataset
        ``transitions`` (chain, draw, cluster, cluster_).

    Returns
    -------
    Dataset
        ``stationary`` and ``dwell``, in steps, each (chain, draw, cluster); a state that is never left has an infinite one.
    """
    import xarray as xr

    A = posterior["transitions"].transpose("chain", "draw", "cluster", "cluster_").values
    with np.errstate(divide="ignore"):
        dwell = 1 / (1 - np.minimum(np.diagonal(A, axis1=-2, axis2=-1), 1.0))
    dims = ("chain", "draw", "cluster")
    return xr.Dataset(
        {STATIONARY: (dims, long_run(A)), DWELL: (dims, dwell)},
        coords={dim: posterior[dim] for dim in dims if dim in posterior.coords},
    )


def compared(found: xr.Dataset) -> xr.Dataset:
    """What `derived` gives on the scales on which it is compared: dwell times by their logarithms; what is no number left out.

    Of two states' shares one says all.
    """
    if found.sizes["cluster"] == 1:
        return found.drop_vars([STATIONARY, DWELL])
    shares = found[STATIONARY].isel(cluster=slice(1)) if found.sizes["cluster"] == 2 else found[STATIONARY]
    parts: dict[str, Any] = {STATIONARY: shares.rename(cluster="state"), LOG_DWELL: np.log(found[DWELL])}
    return found.drop_vars([STATIONARY, DWELL]).assign(
        {name: part for name, part in parts.items() if np.isfinite(part.values).all()}
    )


def dwell_times(states: np.ndarray, edges: np.ndarray) -> list[tuple[int, int]]:
    """State and length of every visit of a path (N,); a visit ends with its sequence.

    >>> dwell_times(np.array([0, 0, 1, 1, 1, 0]), np.array([0, 6]))
    [(0, 2), (1, 3), (0, 1)]
    """
    starts = np.unique(np.concatenate([edges[:-1], 1 + np.flatnonzero(np.diff(states))]))
    lengths = np.diff(np.append(starts, edges[-1]))
    return [(int(states[start]), int(length)) for start, length in zip(starts, lengths, strict=True)]


def path(states: np.ndarray) -> xr.Dataset:
    """A path (N,) as it is saved."""
    import xarray as xr

    return xr.Dataset({"states": ("obs", states)})


def visits(method: str, states: np.ndarray, x: Sequences, n_components: int) -> list[Row]:
    """``visits`` of each state on a path (N,), and ``dwell_observed``, their mean length in steps with its standard error."""
    rows = []
    found = dwell_times(states, x.edges)
    for k in range(n_components):
        own = np.array([length for state, length in found if state == k], dtype=float)
        rows.append(Row(method, "visits", f"cluster {k}", float(len(own))))
        if len(own):
            se = float(own.std(ddof=1) / np.sqrt(len(own))) if len(own) > 1 else np.nan
            rows.append(Row(method, "dwell_observed", f"cluster {k}", float(own.mean()), se))
    return rows
