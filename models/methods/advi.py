"""Automatic differentiation variational inference (Kucukelbir et al. 2017, *JMLR* 18:1-45) on the twin model.

PyMC states the problem: the Gaussian q over the unconstrained values v, the one-sample reparameterised ELBO

    ELBO = E_q[log p(x, v) - log q(v)]

with its gradient, and Adam. `models.vi` makes the same steps under JAX, in compiled loops and for all restarts at once, where
`pymc.fit` would return to Python between steps.

Convergence. At a constant rate the parameters of q wander about the optimum, and the one-sample estimates scatter by nats, so
that neither the last step nor the trace tells whether an ascent is over. Their average over many steps does not wander (Dhaka
et al. 2020, *NeurIPS* 33), and if the ascent was over, what is found at a lower rate is no better than it (Welandawe et al.
2022, arXiv:2203.15945, who compare the two in KL divergence). Here the ELBO of the average over the tenth of the steps in which
the rate begins to fall is held against the final one, by the same draws: the pairing takes away most of the noise. An ELBO that
is lower by d nats is a divergence KL(q || p) that is greater by d.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mixtures.ascent.states import state
from mixtures.checks import check_count, check_steps, check_whole
from mixtures.errors import ConvergenceWarning
from mixtures.fit import Fit
from mixtures.methods import cavi
from mixtures.model import Allocation, Family
from mixtures.rows.informed import informative
from mixtures.seeds import Rng, generator
from models import joint, vi
from models.flat import Flat, batched, flatten
from models.loops import Tell
from models.observed import observed

SMALLEST_SCALE = 1e-3


def fit(
    x: np.ndarray,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    rank: str = "meanfield",
    steps: int = 20_000,
    learning_rate: float | None = None,
    draws: int = 4000,
    restarts: int = 4,
    start: Fit | None = None,
    tell: Tell = None,
) -> Fit:
    """Fit a Gaussian over the model's unconstrained values by ADVI as PyMC has it.

    Every run starts from the mean and the spread, in the unconstrained space, of the conjugate posterior at the
    responsibilities of ``start``; all but the first move that mean by one draw of the spread. Adam's rate is constant over
    the first half of the steps, falls along a cosine to a hundredth, and stays there for the last tenth: at the first rate
    the parameters keep wandering, and the ELBO stays nats below what the family can reach.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    family, allocation : Family, Allocation
        The model with its priors.
    rng : numpy.random.Generator or int
    rank : {"meanfield", "fullrank"}
        Diagonal or full covariance of q.
    steps : int
        Gradient steps of each run.
    learning_rate : float, optional
        Adam's rate in the first half; by default 0.01 for the mean field and 0.001 for the full rank, whose P (P + 1) / 2
        entries would otherwise shake q out of its mode.
    draws : int
        Draws of q kept, which also estimate its ELBO.
    restarts : int
        Runs; the one with the highest final ELBO is kept.
    start : Fit, optional
        Where to begin; CAVI when omitted.
    tell : callable, optional
        Called now and then with how many steps have been made, of all runs together, and their total.

    Returns
    -------
    Fit
        Of kind "variational". ``bound`` holds means of the ELBO's one-sample estimates over stretches of
        ``info["steps_per_entry"]`` steps, then the final ELBO over ``draws`` draws, in nats and units of x; it bounds
        log p(x) around one labelling. ``info`` has its Monte Carlo error ``elbo_se``, and how many ``restarts`` ``reached``
        the best ELBO; ``sample_stats`` has ``log_ratio`` = log p(x, v) - log q(v) of every draw, in nats. ``info["rise"]`` is
        the final ELBO less that of the parameters' average over the sixth tenth of the steps, in nats, and ``rise_se`` its
        Monte Carlo error. The fit has ``converged`` if the rise is at most 0.1 nats in size, two errors included.

    Raises
    ------
    ValueError
        If the rank is unknown or a count is out of range.
    FloatingPointError
        If the loss of every run became NaN.

    Warns
    -----
    ConvergenceWarning
        If the ELBO had not settled.
    """
    rng, x = generator(rng), informative(joint.checked(x, family, allocation))
    _check(rank, steps, draws, restarts, allocation.n_components * (1 + len(family.count_of)))
    learning_rate = vi.RATES[rank] if learning_rate is None else learning_rate
    clock = [time.perf_counter()]
    if start is None:
        start = cavi.fit(x, family, allocation.conjugate, rng=rng)
    s = state(x, start)
    clock.append(time.perf_counter())
    model = joint.build(x, family, allocation, centred=True)
    flat = flatten(model, joint.parameters(family, allocation))
    init = _start(family, allocation, flat, s, restarts, rank, rng)
    descend = vi.Descent(flat, rank, steps, learning_rate, restarts)
    clock.append(time.perf_counter())
    ends = vi.ends(*descend(init, rng, tell=tell), rank, draws, rng)
    clock.append(time.perf_counter())
    log_joint, constrain = batched(flat.log_joint, ends.noise), batched(flat.constrain, ends.noise)
    clock.append(time.perf_counter())
    settings = {"rank": rank, "steps": steps, "learning_rate": learning_rate, "restarts": restarts}
    fit = _result(ends, log_joint, constrain, family, allocation, settings)
    clock.append(time.perf_counter())

    started, built, optimised, compiled, evaluated = np.diff(clock)
    seconds = {"compile": float(built + compiled), "run": float(started + optimised + evaluated)}
    return replace(fit, seconds=seconds)


class Compiled:
    """ADVI for all data of one shape under one model: built and compiled once, run as often as needed.

    Parameters
    ----------
    like : ndarray, shape (N, D), or Sequences
        Data of the shape of all, in sequences of the same lengths.
    family, allocation, rank, steps, learning_rate, draws, restarts
        See `fit`. The family's coordinates are the same for all data.

    Attributes
    ----------
    seconds : float
        What building and compiling took.
    """

    def __init__(
        self,
        like: Any,
        family: Family,
        allocation: Allocation,
        *,
        rank: str = "meanfield",
        steps: int = 20_000,
        learning_rate: float | None = None,
        draws: int = 4000,
        restarts: int = 4,
    ) -> None:
        import jax

        shape = like.shape
        _check(rank, steps, draws, restarts, allocation.n_components * (1 + len(family.count_of)))
        began = time.perf_counter()
        learning_rate = vi.RATES[rank] if learning_rate is None else learning_rate
        self.family, self.allocation, self.draws, self.restarts = family, allocation, draws, restarts
        self._rank = rank
        self._settings: dict[str, Any] = {
            "rank": rank,
            "steps": steps,
            "learning_rate": learning_rate,
            "restarts": restarts,
        }
        model = joint.build(like, family, allocation, centred=True)
        self._flat = flatten(model, joint.parameters(family, allocation), [observed(model)])
        some = [np.zeros((restarts, *shape))]
        self._descend = vi.Descent(self._flat, rank, steps, learning_rate, restarts, some)
        v = np.zeros((draws, self._flat.size))
        self._log_joint = jax.jit(jax.vmap(self._flat.log_joint, (0, None))).lower(v, np.zeros(shape)).compile()
        self._constrain = batched(self._flat.constrain, v)
        self.seconds = time.perf_counter() - began

    def fit(self, x: np.ndarray, *, rng: Rng, start: Fit | None = None) -> Fit:
        """Fit q to x (N, D); see `fit`."""
        rng, x = generator(rng), joint.checked(x, self.family, self.allocation)
        began = time.perf_counter()
        if start is None:
            start = cavi.fit(x, self.family, self.allocation.conjugate, rng=rng)
        s = state(x, start)
        init = _start(self.family, self.allocation, self._flat, s, self.restarts, self._rank, rng)
        found = self._descend(init, rng, [np.tile(np.asarray(x), (self.restarts, 1, 1))])
        fit = _result(
            vi.ends(*found, self._rank, self.draws, rng),
            lambda v: self._log_joint(v, np.asarray(x)),
            self._constrain,
            self.family,
            self.allocation,
            self._settings,
        )
        return replace(fit, seconds={"run": time.perf_counter() - began})


def _result(
    ends: vi.Ends,
    log_joint: Callable,
    constrain: Callable,
    family: Family,
    allocation: Allocation,
    settings: dict[str, Any],
) -> Fit:
    """The fit by the run with the highest ELBO, but for the seconds."""
    found = vi.best(ends, log_joint, settings["restarts"])
    values = {name: np.asarray(a)[None] for name, a in constrain(ends.draws(found.run)).items()}
    if not found.converged:
        warnings.warn(vi.unsettled(found.info["rise"]), ConvergenceWarning, stacklevel=3)
    return allocation.fits(
        method="advi" if settings["rank"] == "meanfield" else "advi-fullrank",
        kind="variational",
        family=family,
        allocation=allocation,
        posterior=joint.posterior(allocation, values),
        bound=found.trace,
        converged=found.converged,
        seconds={},
        info=settings | found.info,
        sample_stats={"log_ratio": found.log_ratio[None]},
    )


def _check(rank: str, steps: int, draws: int, restarts: int, size: int) -> None:
    """Refuse numbers of a fit of a model with so many free values, ``size``, that are none or too many."""
    if rank not in vi.PARAMETERS:
        raise ValueError(f"rank is {rank!r}; expected one of {', '.join(vi.PARAMETERS)}")
    for name, n in (("steps", steps), ("draws", draws), ("restarts", restarts)):
        check_whole(name, n)
    if steps < 200 or draws < 100 or restarts < 1:
        raise ValueError(
            f"steps is {steps}, draws {draws} and restarts {restarts}; expected at least 200 steps, 100 draws and one run"
        )
    check_steps("steps", steps)
    check_count("draws", draws, size)
    check_count("restarts", restarts, size, "run")


def _start(
    family: Family,
    allocation: Allocation,
    flat: Flat,
    s: np.ndarray,
    restarts: int,
    rank: str,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """PyMC's parameters of q for every run, each with a leading axis (restarts,)."""
    size = max(1000, 10 * flat.size)
    labels, points = allocation.split(s)
    weights = allocation.conjugate.sample(allocation.conjugate.posterior(labels), size, rng)
    theta = family.sample(family.posterior(points), size, rng)
    v = flat.join(joint.unconstrain(family, allocation, weights, theta, centred=True))
    mean, covariance = v.mean(0), np.cov(v, rowvar=False).reshape(flat.size, flat.size)
    covariance += SMALLEST_SCALE**2 * np.eye(flat.size)
    mu = np.stack([mean, *rng.multivariate_normal(mean, covariance, restarts - 1)])
    if rank == "meanfield":
        return {"mu": mu, "rho": np.tile(vi.inverse_softplus(np.sqrt(np.diag(covariance))), (restarts, 1))}
    L = np.linalg.cholesky(covariance)
    np.fill_diagonal(L, vi.inverse_softplus(np.diag(L)))
    return {"mu": mu, "L_tril": np.tile(L[np.tril_indices(flat.size)], (restarts, 1))}
