"""The no-U-turn sampler (Hoffman & Gelman 2014, *JMLR* 15:1593-1623) on any model; see `models.methods.nuts`."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from models.flat import can_run_in_parallel
from models.loops import Tell
from models.methods import nuts
from reports.validation.methods.starts import jittered
from reports.validation.results import Joined, from_unconstrained
from reports.validation.target import Target


def fit(
    target: Target,
    *,
    rng: np.random.Generator,
    draws: int = 1000,
    chains: int = 4,
    tune: int = 1000,
    sampler: str = "numpyro",
    target_accept: float = 0.9,
    tell: Tell = None,
) -> Joined:
    """Sample the posterior by NUTS, each chain from a start of its own about PyMC's; see `models.methods.nuts.fit`."""
    began = time.perf_counter()
    seed = int(rng.integers(2**31))
    init = jittered(target, chains, rng)
    flat = replace(target.flat, constrain=lambda u: {"u": u})
    run = nuts.SAMPLERS[sampler](target.model, flat, init, draws, tune, target_accept, seed, tell)
    divergences = int(run.stats["diverging"].sum())
    joined = from_unconstrained(
        target,
        run.values["u"],
        "mcmc",
        stats=run.stats,
        converged=divergences == 0,
        info={"divergences": divergences, "max_tree_depth": nuts.MAX_DEPTH, "parallel": can_run_in_parallel(chains)},
    )
    whole = time.perf_counter() - began
    return replace(joined, seconds={"compile": whole - run.seconds["run"], "run": run.seconds["run"]})
