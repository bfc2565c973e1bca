"""What data and a linear dynamical system must be for each other."""

from __future__ import annotations

import numpy as np

from mixtures.dynamics.model import LinearDynamics
from mixtures.engines.kalman import Data, as_data
from mixtures.rows import Rows


def checked(x: Rows, model: LinearDynamics, fitted: bool = True) -> Data:
    """The sequences, of which a fit has enough.

    Raises
    ------
    ValueError
        If x holds infinities or nothing at all, has another number of features than the model, or too few rows for its states.
    """
    data = as_data(x)
    x = data.x
    if x.shape[1] != model.D:
        raise ValueError(f"x has {x.shape[1]} features; the model has {model.D}")
    if np.isinf(x.x).any():
        raise ValueError("x holds infinities; expected numbers, and NaN where a value is missing")
    if model.loadings is not None and len(model.loadings) != len(x):
        raise ValueError(f"emission is known at {len(model.loadings)} rows; x has {len(x)}")
    if not fitted:
        return data
    if np.isnan(x.x).all(0).any():
        feature = int(np.flatnonzero(np.isnan(x.x).all(0))[0])
        raise ValueError(f"feature {feature} was never seen; leave it out")
    seen, n = int((~np.isnan(x.x)).sum()), model.identified()
    longest = int(x.lengths.max())
    if longest <= model.H:
        raise ValueError(
            f"the longest sequence has {longest} rows, no more than the {model.H} states; give more rows, or fewer states"
        )
    if seen <= n:
        raise ValueError(f"x holds {seen} values for {n} free parameters; give more rows, or a smaller model")
    return data
