"""Where runs start: about the point at which PyMC starts."""

from __future__ import annotations

import numpy as np

from reports.validation.target import Target

# Half the width of the uniform jitter on unconstrained scales, as in PyMC and Stan's early tries, and how often it is drawn.
JITTER = 1.0
TRIES = 100


def jittered(target: Target, n: int, rng: np.random.Generator) -> np.ndarray:
    """Unconstrained values (n, P) of finite log density, drawn uniformly within 1 of PyMC's start.

    Raises
    ------
    ValueError
        If hardly any such point has a finite log density.
    """
    tried = target.start + rng.uniform(-JITTER, JITTER, (TRIES * n, target.size))
    good = tried[np.isfinite(target.log_density(tried))]
    if len(good) < n:
        raise ValueError(
            f"of {len(tried)} points about PyMC's start {len(good)} have a finite log density; give initval= to the free "
            "variables"
        )
    return good[:n]
