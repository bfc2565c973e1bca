"""What priors must be for a posterior to exist that can be drawn from."""

from __future__ import annotations

import numpy as np

from mixtures.model import Family


def check_proper(family: Family, P: int) -> None:
    """Refuse a prior that is no probability density, and so cannot be drawn from."""
    try:
        with np.errstate(all="ignore"):
            draw = family.sample(family.posterior(np.zeros((1, P))), 1, np.random.default_rng(0))
        proper = all(np.isfinite(v).all() for v in draw.values())
    except ValueError:
        proper = False
    if not proper:
        raise ValueError(
            "the prior of the clusters is improper, or too nearly so for its normaliser to be a number, and under it a "
            "mixture has neither a posterior nor an evidence; give it positive pseudo-observations, enough degrees of "
            "freedom and a positive definite scale (the defaults of from_data are proper)"
        )
