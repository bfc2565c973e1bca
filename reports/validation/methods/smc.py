"""Sequential Monte Carlo (Del Moral, Doucet & Jasra 2006, *JRSS B* 68:411-436) on any model; see `models.methods.smc`."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import numpy as np

from mixtures.errors import ConvergenceWarning
from models.methods.smc import disagreement, temper
from reports.validation.results import Joined, from_unconstrained
from reports.validation.target import Target

THRESHOLD = 0.8


def fit(target: Target, *, rng: np.random.Generator, draws: int = 1000, chains: int = 4, moves: int = 50) -> Joined:
    """Temper ``draws`` particles of each of ``chains`` runs from the prior to the posterior.

    Raises
    ------
    ValueError
        If the prior is improper.

    Warns
    -----
    ConvergenceWarning
        If the runs' estimates of the evidence do not agree.
    """
    began = time.perf_counter()
    particles = target.draw_prior(chains * draws, rng).reshape(chains, draws, -1)
    ends = np.cumsum([int(np.prod(shape)) for shape in target.flat.shapes.values()])[:-1]
    starts = [
        {
            name: part.reshape(draws, *shape)
            for (name, shape), part in zip(target.flat.shapes.items(), np.split(own, ends, axis=1), strict=True)
        }
        for own in particles
    ]
    run = temper(target.model, target.flat, starts, draws=draws, moves=moves, threshold=THRESHOLD, rng=rng)
    if not run.agree:
        warnings.warn(disagreement(run.log_evidence), ConvergenceWarning, stacklevel=2)
    joined = from_unconstrained(
        target,
        run.v.reshape(chains, draws, -1),
        "mcmc",
        converged=run.agree,
        info={"moves": moves, "threshold": THRESHOLD} | run.info,
    )
    whole = time.perf_counter() - began
    return replace(joined, seconds={"compile": whole - run.seconds, "run": run.seconds})
