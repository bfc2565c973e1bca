"""Gaussian variational posteriors over the unconstrained values of any PyMC model, fitted by PyMC's ADVI under JAX.

See `models.methods.advi` for the algorithm and for how its convergence is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.compile import SharedVariable
from pytensor.graph.replace import clone_replace
from pytensor.tensor.variable import TensorVariable

from models.flat import by_jax

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


def loop(
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

    def run(seed, state, *data):
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

    return run, list(updates)


def arguments(shared: list[SharedVariable], init: dict[str, np.ndarray], rng: np.random.Generator) -> tuple:
    """Seeds and states to begin the runs with; what ``init`` does not name begins at zero."""
    restarts = len(init["mu"])
    seeds = rng.integers(2**31, size=restarts)
    zeros = [np.zeros((restarts, *variable.get_value().shape)) for variable in shared]
    return seeds, [init.get(str(variable.name), zero) for variable, zero in zip(shared, zeros, strict=True)]


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
