"""Gaussian variational posteriors over the unconstrained values of any PyMC model, fitted by PyMC's ADVI under JAX.

See `models.methods.advi` for the algorithm and for how its convergence is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.graph.replace import clone_replace
from pytensor.tensor.variable import TensorVariable

from models.flat import by_jax
from models.loops import Loops, Tell

INFERENCES = {"meanfield": pm.ADVI, "fullrank": pm.FullRankADVI}
PARAMETERS = {"meanfield": ("mu", "rho"), "fullrank": ("mu", "L_tril")}
RATES = {"meanfield": 0.01, "fullrank": 0.001}
LAST_RATE = 0.01
TRACE = 500

# The part of the steps whose average is compared with the end, and by how many nats their ELBOs may differ: a normal q that is
# off by d nats is off by sqrt(2 d) standard deviations in one direction, or by less in each of several.
AVERAGED = (0.5, 0.6)
SETTLED = 0.1


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


def ends(
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
            f"the loss of all {len(loss)} runs became NaN; lower learning_rate, or start elsewhere"
        )
    stages = {name: np.stack([v, averages[name]], axis=1) for name, v in params.items()}
    mean, scale = (a[alive] for a in gaussian(stages, rank))
    return Ends(loss[alive], mean, scale, rng.standard_normal((draws, mean.shape[-1])))


class Found(NamedTuple):
    """The run with the highest ELBO and what is known of it.

    Attributes
    ----------
    run : int
        Which run it is.
    log_ratio : ndarray, shape (draws,)
        log p(x, v) - log q(v) of its draws, in nats.
    trace : ndarray
        Means of the ELBO's one-sample estimates over stretches of ``steps_per_entry`` steps, then the final ELBO.
    info : dict
        ``failed`` and ``reached``, runs; ``elbo`` and ``rise``, each with its Monte Carlo error; ``steps_per_entry``.
    converged : bool
        Whether the ELBO had settled.
    """

    run: int
    log_ratio: np.ndarray
    trace: np.ndarray
    info: dict[str, Any]
    converged: bool


def best(ends: Ends, log_joint: Callable, restarts: int) -> Found:
    """The best of so many runs, by the ELBO over the draws of ``ends``."""
    log_ratio = np.stack([ends.log_ratio(log_joint, run) for run in range(len(ends.loss))])
    elbo, elbo_se = log_ratio.mean(1), standard_error(log_ratio)
    chosen = int(np.argmax(elbo))
    rises = log_ratio[chosen] - ends.log_ratio(log_joint, chosen, 1)
    rise, rise_se = float(rises.mean()), float(standard_error(rises))
    loss = ends.loss[chosen]
    stretch = -(-len(loss) // TRACE)
    trace = [-each.mean() for each in np.split(loss, range(stretch, len(loss), stretch))]
    info = {
        "failed": restarts - len(elbo),
        "reached": int((elbo >= elbo[chosen] - 3 * np.hypot(elbo_se, elbo_se[chosen])).sum()),
        "elbo": float(elbo[chosen]),
        "elbo_se": float(elbo_se[chosen]),
        "rise": rise,
        "rise_se": rise_se,
        "steps_per_entry": stretch,
    }
    converged = abs(rise) + 2 * rise_se <= SETTLED
    return Found(chosen, log_ratio[chosen], np.array([*trace, elbo[chosen]]), info, bool(converged))


def unsettled(rise: float) -> str:
    """What is said where the ELBO had not settled."""
    return f"the ELBO had not settled: it changed by {rise:+.2g} nats while the rate fell, limit {SETTLED}; raise steps"


class Descent:
    """PyMC's steps in loops, compiled for all data of one shape: built once, run as often as needed.

    Parameters
    ----------
    model : pymc.Model
    rank : {"meanfield", "fullrank"}
    steps : int
    learning_rate : float
    restarts : int
        Runs side by side.
    data : sequence
        Observed values of the model that every run is given; see `flatten`.
    like : sequence of ndarray, shape (restarts, ...)
        Some ``data`` for every run.
    """

    def __init__(
        self,
        model: pm.Model,
        rank: str,
        steps: int,
        learning_rate: float,
        restarts: int,
        data: Sequence[TensorVariable] = (),
        like: Sequence[np.ndarray] = (),
    ) -> None:
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
        move = by_jax([*inputs, noise, rate, *arguments], outputs)

        fall = np.clip((np.arange(steps) / steps - 0.5) / 0.4, 0, 1)
        rates = learning_rate * (LAST_RATE + (1 - LAST_RATE) * (1 + np.cos(np.pi * fall)) / 2)
        first, last = (round(part * steps) for part in AVERAGED)
        shares = np.zeros(steps)
        shares[first:last] = 1 / (last - first)

        def begin(seed, state):
            nothing = {name: jax.numpy.zeros_like(value) for name, value in self._parameters(state).items()}
            return jax.random.split(jax.random.PRNGKey(seed), steps), state, nothing

        def step(carry, number, *data):
            keys, state, averages = carry
            drawn = jax.random.normal(keys[number], (1, group.ddim))
            *state, loss = move(*state, drawn, jax.numpy.asarray(rates)[number], *data)
            share = jax.numpy.asarray(shares)[number]
            averages = {name: averages[name] + share * value for name, value in self._parameters(state).items()}
            return (keys, state, averages), loss

        self._rank, self._shared = rank, list(updates)
        some = self._arguments({"mu": np.zeros((restarts, group.ddim))}, np.random.default_rng(0))
        self._loops = Loops(begin, step, steps, some, like)

    def __call__(
        self, init: dict[str, np.ndarray], rng: np.random.Generator, data: Sequence[np.ndarray] = (), tell: Tell = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """Run from PyMC's parameters of q (restarts, ...), by name; what ``init`` does not name begins at zero.

        Returns
        -------
        params, averages : dict of ndarray, shape (restarts, ...)
            q's parameters at the end, and their averages over the steps of `AVERAGED`.
        losses : ndarray, shape (restarts, steps)
        """
        (_, state, averages), losses = self._loops(self._arguments(init, rng), data, tell)
        return self._parameters(state), averages, losses

    def _parameters(self, state: Sequence[Any]) -> dict[str, Any]:
        named = {str(shared.name): value for shared, value in zip(self._shared, state, strict=True)}
        return {name: value for name, value in named.items() if name in PARAMETERS[self._rank]}

    def _arguments(self, init: dict[str, np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, list[np.ndarray]]:
        """Seeds and states to begin the runs with."""
        restarts = len(init["mu"])
        seeds = rng.integers(2**31, size=restarts)
        zeros = [np.zeros((restarts, *variable.get_value().shape)) for variable in self._shared]
        return seeds, [init.get(str(variable.name), zero) for variable, zero in zip(self._shared, zeros, strict=True)]


def gaussian(params: dict[str, np.ndarray], rank: str) -> tuple[np.ndarray, np.ndarray]:
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


def inverse_softplus(scale: np.ndarray) -> np.ndarray:
    """PyMC's parameter rho of a standard deviation log(1 + exp(rho))."""
    return scale + np.log(-np.expm1(-scale))


def standard_error(values: np.ndarray) -> np.ndarray:
    """Of the means over the last axis."""
    return values.std(-1, ddof=1) / np.sqrt(values.shape[-1])
