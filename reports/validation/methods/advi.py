"""Automatic differentiation variational inference (Kucukelbir et al. 2017, *JMLR* 18:1-45) on any model; see `models.vi`."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace

import numpy as np

from mixtures.errors import ConvergenceWarning
from models import vi
from models.loops import Tell
from reports.validation.methods.starts import jittered
from reports.validation.results import Joined, from_unconstrained
from reports.validation.target import Target

WHERE_NAN = "bring data and priors to scales near 1, or give initval= to the free variables"

# Standard deviation of every unconstrained value where the runs start.
FIRST_SD = 0.1


def fit(
    target: Target,
    *,
    rng: np.random.Generator,
    draws: int = 1000,
    chains: int = 4,
    rank: str = "meanfield",
    steps: int = 20_000,
    restarts: int = 4,
    tell: Tell = None,
) -> Joined:
    """Fit a Gaussian over the unconstrained values by PyMC's ADVI, and draw from it.

    Runs start about PyMC's start; the one with the highest ELBO is kept. Adam's rate and how convergence is judged are those of
    `models.methods.advi`.

    Parameters
    ----------
    target : Target
    rng : numpy.random.Generator
    draws, chains : int
        Independent draws, as so many chains of so many.
    rank : {"meanfield", "fullrank"}
        Diagonal or full covariance of q.
    steps, restarts : int
        Gradient steps of each run, and runs.
    tell : callable, optional
        Called now and then with how many steps have been made, of all runs together, and their total.

    Raises
    ------
    ValueError
        If no normal q has an ELBO.
    FloatingPointError
        If the loss of every run became NaN.

    Warns
    -----
    ConvergenceWarning
        If the ELBO had not settled.
    """
    if target.edge:
        raise ValueError(target.edge)
    clock = [time.perf_counter()]
    P = target.size
    init = {"mu": jittered(target, restarts, rng)}
    rho = vi.inverse_softplus(np.array(FIRST_SD))
    if rank == "meanfield":
        init["rho"] = np.full((restarts, P), rho)
    else:
        L = np.zeros((P, P))
        np.fill_diagonal(L, rho)
        init["L_tril"] = np.tile(L[np.tril_indices(P)], (restarts, 1))
    descend = vi.Descent(target.flat, rank, steps, vi.RATES[rank], restarts)
    clock.append(time.perf_counter())
    ends = vi.ends(*descend(init, rng, tell=tell), rank, chains * draws, rng, advice=WHERE_NAN)
    found = vi.best(ends, target.log_density, restarts)
    u = ends.draws(found.run)
    log_q = target.log_density(u) - found.log_ratio
    clock.append(time.perf_counter())
    if not found.converged:
        warnings.warn(vi.unsettled(found.info["rise"]), ConvergenceWarning, stacklevel=2)
    joined = from_unconstrained(
        target,
        u.reshape(chains, draws, P),
        "variational",
        log_q=log_q.reshape(chains, draws),
        bound=found.trace,
        converged=found.converged,
        info={"restarts": restarts, "learning_rate": vi.RATES[rank]} | found.info,
    )
    compiled, ran = np.diff(clock)
    return replace(joined, seconds={"compile": float(compiled), "run": float(ran)})
