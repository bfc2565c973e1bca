"""Automatic differentiation variational inference (Kucukelbir et al. 2017, *JMLR* 18:1-45) on the twin model.

PyMC states the problem: the Gaussian q over the unconstrained values v, the one-sample reparameterised ELBO

    ELBO = E_q[log p(x, v) - log q(v)]

with its gradient, and Adam. Its step, a PyTensor graph, is run under JAX in one compiled loop and for all restarts at once,
where `pymc.fit` would return to Python between steps.
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

from mixtures.ascent.starts import statistics
from mixtures.errors import ConvergenceWarning
from mixtures.fit import Draws, Fit
from mixtures.methods import cavi
from mixtures.model import Allocation, Family
from models.families import twin
from models.flat import Flat, batched, by_jax, counting, flatten, parallel
from models.observed import observed

INFERENCES = {"meanfield": pm.ADVI, "fullrank": pm.FullRankADVI}
PARAMETERS = {"meanfield": ("mu", "rho"), "fullrank": ("mu", "L_tril")}
RATES = {"meanfield": 0.01, "fullrank": 0.001}
LAST_RATE = 0.01
SMALLEST_SCALE = 1e-3
TRACE = 500
BATCHES = 10


def fit(
    x: np.ndarray,
    family: Family,
    allocation: Allocation,
    *,
    rng: np.random.Generator,
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
    rng : numpy.random.Generator
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
        the best ELBO; ``sample_stats`` has ``log_ratio`` = log p(x, v) - log q(v) of every draw, in nats. It has ``converged``
        if the mean ELBO rose by at most three standard errors between two halves, both over the second quarter of the steps,
        at the first rate, and over the last tenth.

    Raises
    ------
    ValueError
        If the rank is unknown or a count is out of range.
    FloatingPointError
        If the loss of every run became NaN.

    Warns
    -----
    ConvergenceWarning
        If the ELBO was still rising.
    """
    _check(rank, steps, draws, restarts)
    learning_rate = RATES[rank] if learning_rate is None else learning_rate
    clock = [time.perf_counter()]
    if start is None:
        start = cavi.fit(x, family, allocation, rng=rng)
    s = statistics(x, family, start.responsibilities(x))
    clock.append(time.perf_counter())
    model = twin(family).build(x, family, allocation, centred=True)
    flat = flatten(model, twin(family).PARAMETERS)
    init = _start(family, allocation, flat, s, restarts, rank, rng)
    loop, shared = _loop(model, rank, steps, learning_rate, count=counting(tell, restarts, steps))
    arguments = _arguments(shared, init, rng)
    optimise = parallel(loop, *arguments)
    clock.append(time.perf_counter())
    params, loss = optimise(*arguments)
    ends = _ends(params, loss, rank, draws, rng)
    clock.append(time.perf_counter())
    log_joint, constrain = batched(flat.log_joint, ends.v[0]), batched(flat.constrain, ends.v[0])
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
        model = twin(family).build(np.zeros(shape), family, allocation, centred=True)
        self._flat = flatten(model, twin(family).PARAMETERS, [observed(model)])
        loop, self._shared = _loop(model, rank, steps, learning_rate, [observed(model)])
        arguments = _arguments(self._shared, {"mu": np.zeros((restarts, self._flat.size))}, np.random.default_rng(0))
        self._optimise = parallel(loop, *arguments, np.zeros((restarts, *shape)))
        v = np.zeros((draws, self._flat.size))
        self._log_joint = jax.jit(jax.vmap(self._flat.log_joint, (0, None))).lower(v, np.zeros(shape)).compile()
        self._constrain = batched(self._flat.constrain, v)
        self.seconds = time.perf_counter() - began

    def fit(self, x: np.ndarray, *, rng: np.random.Generator, start: Fit | None = None) -> Fit:
        """Fit q to x (N, D); see `fit`."""
        began = time.perf_counter()
        if start is None:
            start = cavi.fit(x, self.family, self.allocation, rng=rng)
        s = statistics(x, self.family, start.responsibilities(x))
        init = _start(self.family, self.allocation, self._flat, s, self.restarts, self._rank, rng)
        params, loss = self._optimise(*_arguments(self._shared, init, rng), np.tile(x, (self.restarts, 1, 1)))
        fit = _result(
            _ends(params, loss, self._rank, self.draws, rng),
            lambda v: self._log_joint(v, x),
            self._constrain,
            self.family,
            self.allocation,
            self._settings,
        )
        return replace(fit, seconds={"run": time.perf_counter() - began})


class Ends(NamedTuple):
    """Where the runs ended whose loss stayed a number.

    Attributes
    ----------
    loss : ndarray, shape (R, steps)
    v, noise : ndarray, shape (R, draws, P) and (draws, P)
        Draws from each q, and the standard normal ones that they are made of.
    log_det : ndarray, shape (R,)
        Log determinant of each q's Cholesky factor.
    """

    loss: np.ndarray
    v: np.ndarray
    noise: np.ndarray
    log_det: np.ndarray


def _ends(params: dict[str, np.ndarray], loss: np.ndarray, rank: str, draws: int, rng: np.random.Generator) -> Ends:
    """Draws from every q that is one, by the parameters and the losses (restarts, steps)."""
    loss = np.asarray(loss)
    alive = np.flatnonzero(np.isfinite(loss).all(axis=1))
    if alive.size == 0:
        raise FloatingPointError(
            f"the loss of all {len(loss)} runs became NaN; lower learning_rate, or start from a CAVI fit"
        )
    mean, scale = (a[alive] for a in _gaussian(params, rank))
    noise = rng.standard_normal((draws, mean.shape[1]))
    log_det = np.log(np.diagonal(scale, axis1=-2, axis2=-1)).sum(-1)
    return Ends(loss[alive], mean[:, None] + noise @ scale.swapaxes(-1, -2), noise, log_det)


def _result(
    ends: Ends,
    log_joint: Callable,
    constrain: Callable,
    family: Family,
    allocation: Allocation,
    settings: dict[str, Any],
) -> Fit:
    """The fit by the run with the highest ELBO, but for the seconds."""
    draws, P = ends.noise.shape
    log_q = -(ends.noise**2).sum(1) / 2 - P / 2 * np.log(2 * np.pi) - ends.log_det[:, None]
    log_ratio = np.stack([np.asarray(log_joint(each)) for each in ends.v]) - log_q
    elbo, elbo_se = log_ratio.mean(1), log_ratio.std(1, ddof=1) / np.sqrt(draws)
    best = int(np.argmax(elbo))
    loss, steps, restarts = ends.loss[best], settings["steps"], settings["restarts"]
    values = {name: np.asarray(a)[None] for name, a in constrain(ends.v[best]).items()}
    converged = _settled(-loss)
    if not converged:
        warnings.warn("the ELBO was still rising; raise steps", ConvergenceWarning, stacklevel=3)
    stretch = -(-steps // TRACE)
    trace = [-each.mean() for each in np.split(loss, range(stretch, steps, stretch))]
    return Fit(
        method="advi" if settings["rank"] == "meanfield" else "advi-fullrank",
        kind="variational",
        family=family,
        allocation=allocation,
        posterior=Draws(values.pop("weights"), values),
        bound=np.array([*trace, elbo[best]]),
        converged=bool(converged),
        seconds={},
        info={
            **settings,
            "failed": restarts - len(elbo),
            "reached": int((elbo >= elbo[best] - 3 * np.hypot(elbo_se, elbo_se[best])).sum()),
            "elbo": float(elbo[best]),
            "elbo_se": float(elbo_se[best]),
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
    weights = allocation.sample(allocation.posterior(s[:, 0]), size, rng)
    theta = family.sample(family.posterior(s), size, rng)
    v = flat.join(twin(family).unconstrain(family, weights, theta, centred=True))
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

    It takes a seed, the state, and what stands in for ``data`` (see `flatten`), to q's parameters and the losses (steps,).
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

    def loop(seed, state, *data):
        def body(state, each):
            number, key, rate = each
            count(number)
            *state, loss = step(*state, jax.random.normal(key, (1, group.ddim)), rate, *data)
            return state, loss

        keys = jax.random.split(jax.random.PRNGKey(seed), steps)
        state, losses = jax.lax.scan(body, state, (np.arange(steps), keys, rates))
        params = {shared.name: value for shared, value in zip(updates, state, strict=True)}
        return {name: value for name, value in params.items() if name in PARAMETERS[rank]}, losses

    return loop, list(updates)


def _arguments(shared: list[SharedVariable], init: dict[str, np.ndarray], rng: np.random.Generator) -> tuple:
    """Seeds and states to begin the runs with; what ``init`` does not name begins at zero."""
    restarts = len(init["mu"])
    seeds = rng.integers(2**31, size=restarts)
    zeros = [np.zeros((restarts, *variable.get_value().shape)) for variable in shared]
    return seeds, [init.get(str(variable.name), zero) for variable, zero in zip(shared, zeros, strict=True)]


def _gaussian(params: dict[str, np.ndarray], rank: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean (restarts, P) and Cholesky factor (restarts, P, P) of q from PyMC's parameters."""
    mean = np.asarray(params["mu"])
    restarts, P = mean.shape
    L = np.zeros((restarts, P, P))
    if rank == "meanfield":
        L[:, range(P), range(P)] = params["rho"]
    else:
        L[:, *np.tril_indices(P)] = params["L_tril"]
    L[:, range(P), range(P)] = np.logaddexp(0, L[:, range(P), range(P)])
    return mean, L


def _inverse_softplus(scale: np.ndarray) -> np.ndarray:
    return scale + np.log(-np.expm1(-scale))


def _settled(elbo: np.ndarray) -> bool:
    """Whether the estimates (steps,) had stopped rising, before the rate fell and at its end."""
    steps = len(elbo)
    return all(_rise(window) <= 3 for window in (elbo[steps // 4 : steps // 2], elbo[-(steps // 10) :]))


def _rise(elbo: np.ndarray) -> float:
    """Rise of the mean between two halves in standard errors, from means over batches since steps are correlated."""
    before, after = ([b.mean() for b in np.array_split(half, BATCHES)] for half in np.array_split(elbo, 2))
    return float((np.mean(after) - np.mean(before)) / np.sqrt((np.var(before) + np.var(after)) / (BATCHES - 1)))
