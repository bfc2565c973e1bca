"""Gaussian variational posteriors over the unconstrained values of any PyMC model, by the steps of PyMC's ADVI under JAX.

See `models.methods.advi` for the algorithm and for how its convergence is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from models.flat import Flat
from models.loops import Loops, Tell

PARAMETERS = {"meanfield": ("mu", "rho"), "fullrank": ("mu", "L_tril")}
RATES = {"meanfield": 0.01, "fullrank": 0.001}
LAST_RATE = 0.01
TRACE = 500

# Decays of the two moments of the gradient, and what is added to the root of the second: those of PyMC.
ADAM = 0.9, 0.999, 1e-8

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
    *,
    advice: str = "lower learning_rate, or start elsewhere",
) -> Ends:
    """Every q that is one, by its parameters (restarts, ...), their averages (restarts, ...) and the losses.

    Raises
    ------
    FloatingPointError
        If there is none, with the ``advice``.
    """
    loss = np.asarray(loss)
    alive = np.flatnonzero(np.isfinite(loss).all(axis=1))
    if alive.size == 0:
        raise FloatingPointError(f"the loss of all {len(loss)} runs became NaN; {advice}")
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
    """The steps of `pymc.ADVI` or `pymc.FullRankADVI` in loops, compiled for all data of one shape.

    Loss, gradient and step are PyMC's: one draw, and Adam with PyMC's constants. But JAX derives the gradient from the log
    joint; PyTensor would take several times as long to derive one and to simplify it.

    Parameters
    ----------
    flat : Flat
    rank : {"meanfield", "fullrank"}
    steps : int
    learning_rate : float
    restarts : int
        Runs side by side.
    like : sequence of ndarray, shape (restarts, ...)
        Some data for every run, if the log joint takes data.
    """

    def __init__(
        self,
        flat: Flat,
        rank: str,
        steps: int,
        learning_rate: float,
        restarts: int,
        like: Sequence[np.ndarray] = (),
    ) -> None:
        import jax
        import jax.numpy as jnp

        fall = np.clip((np.arange(steps) / steps - 0.5) / 0.4, 0, 1)
        rates = learning_rate * (LAST_RATE + (1 - LAST_RATE) * (1 + np.cos(np.pi * fall)) / 2)
        first, last = (round(part * steps) for part in AVERAGED)
        shares = np.zeros(steps)
        shares[first:last] = 1 / (last - first)

        def loss(params, noise, *data):
            if rank == "meanfield":
                scale = jax.nn.softplus(params["rho"])
                v = params["mu"] + scale * noise
            else:
                L = jnp.zeros((flat.size, flat.size)).at[np.tril_indices(flat.size)].set(params["L_tril"])
                scale = jax.nn.softplus(jnp.diagonal(L))
                v = params["mu"] + jnp.fill_diagonal(L, scale, inplace=False) @ noise
            log_q = -(noise**2).sum() / 2 - flat.size / 2 * np.log(2 * np.pi) - jnp.log(scale).sum()
            return log_q - flat.log_joint(v, *data)

        def begin(seed, params):
            nothing = jax.tree.map(jnp.zeros_like, params)
            return jax.random.split(jax.random.PRNGKey(seed), steps), params, nothing, nothing, nothing

        def step(state, number, *data):
            keys, params, m, s, averages = state
            noise = jax.random.normal(keys[number], (1, flat.size))[0]
            value, gradient = jax.value_and_grad(loss)(params, noise, *data)
            first, second, epsilon = ADAM
            t = number + 1
            rate = jnp.asarray(rates)[number] * jnp.sqrt(1 - second**t) / (1 - first**t)
            m = jax.tree.map(lambda m, g: first * m + (1 - first) * g, m, gradient)
            s = jax.tree.map(lambda s, g: second * s + (1 - second) * g**2, s, gradient)
            params = jax.tree.map(lambda p, m, s: p - rate * m / (jnp.sqrt(s) + epsilon), params, m, s)
            averages = jax.tree.map(lambda a, p: a + jnp.asarray(shares)[number] * p, averages, params)
            return (keys, params, m, s, averages), value

        P = flat.size
        sizes = {"mu": P, "rho": P, "L_tril": P * (P + 1) // 2}
        some = {name: np.zeros((restarts, sizes[name])) for name in PARAMETERS[rank]}
        self._loops = Loops(begin, step, steps, (np.arange(restarts), some), like)

    def __call__(
        self, init: dict[str, np.ndarray], rng: np.random.Generator, data: Sequence[np.ndarray] = (), tell: Tell = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """Run from PyMC's parameters of q (restarts, ...), by name.

        Returns
        -------
        params, averages : dict of ndarray, shape (restarts, ...)
            q's parameters at the end, and their averages over the steps of `AVERAGED`.
        losses : ndarray, shape (restarts, steps)
        """
        seeds = rng.integers(2**31, size=len(init["mu"]))
        (_, params, _, _, averages), losses = self._loops((seeds, init), data, tell)
        return params, averages, losses


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
