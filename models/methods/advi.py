"""Automatic differentiation variational inference (Kucukelbir et al. 2017, *JMLR* 18:1-45) on the twin model.

PyMC states the problem: the Gaussian q over the unconstrained values v, the one-sample reparameterised ELBO

    ELBO = E_q[log p(x, v) - log q(v)]

with its gradient, and Adam. Its step, a PyTensor graph, is run under JAX in one compiled loop and for all restarts at once,
where `pymc.fit` would return to Python between steps.

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
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pymc.sampling.jax
import pytensor.tensor as pt
from pytensor.compile import SharedVariable
from pytensor.graph.replace import clone_replace
from pytensor.tensor.variable import TensorVariable

from mixtures.ascent.starts import state
from mixtures.errors import ConvergenceWarning
from mixtures.fit import Fit
from mixtures.methods import cavi
from mixtures.model import Allocation, Family
from mixtures.rows import informative
from mixtures.seeds import Rng, generator
from models import joint
from models.flat import Flat, batched, by_jax, counting, flatten, parallel
from models.observed import observed

INFERENCES = {"meanfield": pm.ADVI, "fullrank": pm.FullRankADVI}
PARAMETERS = {"meanfield": ("mu", "rho"), "fullrank": ("mu", "L_tril")}
RATES = {"meanfield": 0.01, "fullrank": 0.001}
LAST_RATE = 0.01
SMALLEST_SCALE = 1e-3
TRACE = 500

# The part of the steps whose average is compared with the end, and by how many nats their ELBOs may differ: a normal q that is
# off by d nats is off by sqrt(2 d) standard deviations in one direction, or by less in each of several.
AVERAGED = (0.5, 0.6)
SETTLED = 0.1


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
    tell: Callable[[int, int], None] | None = None,
) -> Fit:
    """Fit a Gaussian over the model's unconstrained values by PyMC's ADVI.

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
        Called now and then with how many steps have been made, of all runs together, and their total; see
        `models.flat.counting`.

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
    _check(rank, steps, draws, restarts)
    learning_rate = RATES[rank] if learning_rate is None else learning_rate
    clock = [time.perf_counter()]
    if start is None:
        start = cavi.fit(x, family, allocation.conjugate, rng=rng)
    s = state(x, start)
    clock.append(time.perf_counter())
    model = joint.build(x, family, allocation, centred=True)
    flat = flatten(model, joint.parameters(family, allocation))
    init = _start(family, allocation, flat, s, restarts, rank, rng)
    loop, shared = _loop(model, rank, steps, learning_rate, count=counting(tell, restarts, steps))
    arguments = _arguments(shared, init, rng)
    optimise = parallel(loop, *arguments)
    clock.append(time.perf_counter())
    params, averages, loss = optimise(*arguments)
    ends = _ends(params, averages, loss, rank, draws, rng)
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
    shape : tuple of int
        (N, D).
    family, allocation, rank, steps, learning_rate, draws, restarts
        See `fit`. The family's coordinates are the same for all data.

    Attributes
    ----------
    seconds : float
        What building and compiling took.
    """

    def __init__(
        self,
        shape: tuple[int, int],
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

        _check(rank, steps, draws, restarts)
        began = time.perf_counter()
        learning_rate = RATES[rank] if learning_rate is None else learning_rate
        self.family, self.allocation, self.draws, self.restarts = family, allocation, draws, restarts
        self._rank = rank
        self._settings: dict[str, Any] = {
            "rank": rank,
            "steps": steps,
            "learning_rate": learning_rate,
            "restarts": restarts,
        }
        model = joint.build(np.zeros(shape), family, allocation, centred=True)
        self._flat = flatten(model, joint.parameters(family, allocation), [observed(model)])
        loop, self._shared = _loop(model, rank, steps, learning_rate, [observed(model)])
        arguments = _arguments(self._shared, {"mu": np.zeros((restarts, self._flat.size))}, np.random.default_rng(0))
        self._optimise = parallel(loop, *arguments, np.zeros((restarts, *shape)))
        v = np.zeros((draws, self._flat.size))
        self._log_joint = jax.jit(jax.vmap(self._flat.log_joint, (0, None))).lower(v, np.zeros(shape)).compile()
        self._constrain = batched(self._flat.constrain, v)
        self.seconds = time.perf_counter() - began

    def fit(self, x: np.ndarray, *, rng: Rng, start: Fit | None = None) -> Fit:
        """Fit q to x (N, D); see `fit`."""
        rng = generator(rng)
        began = time.perf_counter()
        if start is None:
            start = cavi.fit(x, self.family, self.allocation.conjugate, rng=rng)
        s = state(x, start)
        init = _start(self.family, self.allocation, self._flat, s, self.restarts, self._rank, rng)
        params, averages, loss = self._optimise(*_arguments(self._shared, init, rng), np.tile(x, (self.restarts, 1, 1)))
        fit = _result(
            _ends(params, averages, loss, self._rank, self.draws, rng),
            lambda v: self._log_joint(v, x),
            self._constrain,
            self.family,
            self.allocation,
            self._settings,
        )
        return replace(fit, seconds={"run": time.perf_counter() - began})


class Ends(NamedTuple):
    """Where the runs ended whose loss stayed a number: each q, then the q of the average on the way.

    Attributes
    ----------
    loss : ndarray, shape (R, steps)
    mean, scale : ndarray, shape (R, 2, P) and (R, 2, P, P)
        Means and Cholesky factors.
    noise : ndarray, shape (draws, P)
        Standard normal draws, the same for every q.
    """

    loss: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    noise: np.ndarray

    def draws(self, run: int, stage: int = 0) -> np.ndarray:
        """Draws (draws, P) from one q."""
        return self.mean[run, stage] + self.noise @ self.scale[run, stage].T

    def log_ratio(self, log_joint: Callable, run: int, stage: int = 0) -> np.ndarray:
        """log p(x, v) - log q(v) of the draws v from one q, shape (draws,)."""
        log_det = np.log(np.diagonal(self.scale[run, stage])).sum()
        log_q = -(self.noise**2).sum(1) / 2 - self.noise.shape[1] / 2 * np.log(2 * np.pi) - log_det
        return np.asarray(log_joint(self.draws(run, stage))) - log_q


def _ends(
    params: dict[str, np.ndarray],
    averages: dict[str, np.ndarray],
    loss: np.ndarray,
    rank: str,
    draws: int,
    rng: np.random.Generator,
) -> Ends:
    """Every q that is one, by its parameters (restarts, ...), their averages (restarts, ...) and the losses."""
    loss = np.asarray(loss)
    alive = np.flatnonzero(np.isfinite(loss).all(axis=1))
    if alive.size == 0:
        raise FloatingPointError(
            f"the loss of all {len(loss)} runs became NaN; lower learning_rate, or start from a CAVI fit"
        )
    stages = {name: np.stack([v, averages[name]], axis=1) for name, v in params.items()}
    mean, scale = (a[alive] for a in _gaussian(stages, rank))
    return Ends(loss[alive], mean, scale, rng.standard_normal((draws, mean.shape[-1])))


def _result(
    ends: Ends,
    log_joint: Callable,
    constrain: Callable,
    family: Family,
    allocation: Allocation,
    settings: dict[str, Any],
) -> Fit:
    """The fit by the run with the highest ELBO, but for the seconds."""
    log_ratio = np.stack([ends.log_ratio(log_joint, run) for run in range(len(ends.loss))])
    elbo, elbo_se = log_ratio.mean(1), _standard_error(log_ratio)
    best = int(np.argmax(elbo))
    rises = log_ratio[best] - ends.log_ratio(log_joint, best, 1)
    rise, rise_se = float(rises.mean()), float(_standard_error(rises))
    loss, steps, restarts = ends.loss[best], settings["steps"], settings["restarts"]
    values = {name: np.asarray(a)[None] for name, a in constrain(ends.draws(best)).items()}
    converged = abs(rise) + 2 * rise_se <= SETTLED
    if not converged:
        warnings.warn(
            f"the ELBO had not settled: it changed by {rise:+.2g} nats while the rate fell, limit {SETTLED}; raise steps",
            ConvergenceWarning,
            stacklevel=3,
        )
    stretch = -(-steps // TRACE)
    trace = [-each.mean() for each in np.split(loss, range(stretch, steps, stretch))]
    return allocation.fits(
        method="advi" if settings["rank"] == "meanfield" else "advi-fullrank",
        kind="variational",
        family=family,
        allocation=allocation,
        posterior=joint.posterior(allocation, values),
        bound=np.array([*trace, elbo[best]]),
        converged=bool(converged),
        seconds={},
        info={
            **settings,
            "failed": restarts - len(elbo),
            "reached": int((elbo >= elbo[best] - 3 * np.hypot(elbo_se, elbo_se[best])).sum()),
            "elbo": float(elbo[best]),
            "elbo_se": float(elbo_se[best]),
            "rise": rise,
            "rise_se": rise_se,
            "steps_per_entry": stretch,
        },
        sample_stats={"log_ratio": log_ratio[best][None]},
    )


def _check(rank: str, steps: int, draws: int, restarts: int) -> None:
    if rank not in INFERENCES:
        raise ValueError(f"rank is {rank!r}; expected one of {', '.join(INFERENCES)}")
    if steps < 200 or draws < 100 or restarts < 1:
        raise ValueError(
            f"steps is {steps}, draws {draws} and restarts {restarts}; expected at least 200 steps, 100 draws and one run"
        )


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
        return {"mu": mu, "rho": np.tile(_inverse_softplus(np.sqrt(np.diag(covariance))), (restarts, 1))}
    L = np.linalg.cholesky(covariance)
    np.fill_diagonal(L, _inverse_softplus(np.diag(L)))
    return {"mu": mu, "L_tril": np.tile(L[np.tril_indices(flat.size)], (restarts, 1))}


def _loop(
    model: pm.Model,
    rank: str,
    steps: int,
    learning_rate: float,
    data: Sequence[TensorVariable] = (),
    count: Callable[[Any], None] = lambda step: None,
) -> tuple[Callable, list[SharedVariable]]:
    """PyMC's steps in one loop, traceable by JAX, and the variables that make up its state.

    It takes a seed, the state, and what stands in for ``data`` (see `flatten`), to q's parameters, their averages over the
    steps of `AVERAGED`, both by name, and the losses (steps,).
    """
    import jax

    inference = INFERENCES[rank](model=model, random_seed=0)
    (group,) = inference.approx.groups
    rate, noise = pt.scalar("rate"), pt.matrix("noise", shape=(None, group.ddim))
    updates = inference.objective.updates(
        obj_n_mc=1,
        obj_optimizer=pm.adam(learning_rate=rate),
        more_replacements={group.symbolic_initial: noise},
    )
    inputs, arguments = ([variable.type() for variable in some] for some in (updates, data))
    given = dict(zip([*updates, *data], [*inputs, *arguments], strict=True))
    outputs = clone_replace([*updates.values(), updates.loss], given)
    step = by_jax([*inputs, noise, rate, *arguments], outputs)

    fall = np.clip((np.arange(steps) / steps - 0.5) / 0.4, 0, 1)
    rates = learning_rate * (LAST_RATE + (1 - LAST_RATE) * (1 + np.cos(np.pi * fall)) / 2)
    first, last = (round(part * steps) for part in AVERAGED)
    shares = np.zeros(steps)
    shares[first:last] = 1 / (last - first)

    def parameters(state):
        named = {shared.name: value for shared, value in zip(updates, state, strict=True)}
        return {name: value for name, value in named.items() if name in PARAMETERS[rank]}

    def loop(seed, state, *data):
        def body(carry, each):
            state, averages = carry
            number, key, rate, share = each
            count(number)
            *state, loss = step(*state, jax.random.normal(key, (1, group.ddim)), rate, *data)
            averages = {name: averages[name] + share * value for name, value in parameters(state).items()}
            return (state, averages), loss

        nothing = {name: jax.numpy.zeros_like(value) for name, value in parameters(state).items()}
        keys = jax.random.split(jax.random.PRNGKey(seed), steps)
        (state, averages), losses = jax.lax.scan(body, (state, nothing), (np.arange(steps), keys, rates, shares))
        return parameters(state), averages, losses

    return loop, list(updates)


def _arguments(shared: list[SharedVariable], init: dict[str, np.ndarray], rng: np.random.Generator) -> tuple:
    """Seeds and states to begin the runs with; what ``init`` does not name begins at zero."""
    restarts = len(init["mu"])
    seeds = rng.integers(2**31, size=restarts)
    zeros = [np.zeros((restarts, *variable.get_value().shape)) for variable in shared]
    return seeds, [init.get(str(variable.name), zero) for variable, zero in zip(shared, zeros, strict=True)]


def _gaussian(params: dict[str, np.ndarray], rank: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean (..., P) and Cholesky factor (..., P, P) of q from PyMC's parameters."""
    mean = np.asarray(params["mu"])
    P = mean.shape[-1]
    L = np.zeros((*mean.shape, P))
    if rank == "meanfield":
        L[..., range(P), range(P)] = params["rho"]
    else:
        L[..., *np.tril_indices(P)] = params["L_tril"]
    L[..., range(P), range(P)] = np.logaddexp(0, L[..., range(P), range(P)])
    return mean, L


def _inverse_softplus(scale: np.ndarray) -> np.ndarray:
    return scale + np.log(-np.expm1(-scale))


def _standard_error(values: np.ndarray) -> np.ndarray:
    """Of the means over the last axis."""
    return values.std(-1, ddof=1) / np.sqrt(values.shape[-1])
