"""NUTS and ADVI on the model, built and compiled once in a process: the data are arguments of what is compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from reports.studies.own.generative import Generative, Values, opened
from reports.studies.own.sample import Outcome, smallest_ess

NUTS: dict[str, Any] = {"chains": 4, "tune": 500, "draws": 500, "target_accept": 0.9}
ADVI: dict[str, Any] = {"steps": 10_000, "restarts": 2}

# NUTS runs again, and the runs are joined, until its smallest effective sample size is the number of draws asked for.
RUNS = 4

# Half the width of the jitter about PyMC's start, on unconstrained scales, and out of how many points starts are taken.
JITTER = 1.0
TRIES = 50

# Standard deviation of every unconstrained value where ADVI starts.
FIRST_SD = 0.1

Data = Mapping[str, np.ndarray]


class Ours:
    """Both methods on one model.

    Parameters
    ----------
    generative : Generative
    draws : int
        L, independent draws wanted.
    """

    def __init__(self, generative: Generative, draws: int) -> None:
        import jax

        from models.flat import flatten

        self.generative, self.draws = generative, draws
        model, self.observed = opened(generative.model, generative.observed)
        self.flat = flatten(model, generative.free, self.observed)
        point = generative.model.initial_point()
        self.start = self.flat.join({name: np.asarray(point[name], dtype=float) for name in self.flat.shapes})
        held = [None] * len(self.observed)
        self.log_joint = jax.jit(jax.vmap(self.flat.log_joint, (0, *held)))
        self.constrain = jax.jit(jax.vmap(self.flat.constrain))
        self._compiled: dict[str, Callable[..., Any]] = {}

    def fit(self, method: str, data: Data, rng: np.random.Generator) -> Outcome:
        """What a method says of the data."""
        names = self.generative.observed
        given = [np.asarray(data[name]).astype(own.dtype) for name, own in zip(names, self.observed, strict=True)]
        return self._nuts(given, rng) if method == "nuts" else self._advi(RANKS[method], given, rng)

    def _starts(self, n: int, data: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
        """Unconstrained values (n, P) of finite log density about PyMC's start.

        Raises
        ------
        ValueError
            If hardly any such point has one.
        """
        tried = self.start + rng.uniform(-JITTER, JITTER, (TRIES * n, self.flat.size))
        good = tried[np.isfinite(np.asarray(self.log_joint(tried, *data)))]
        if len(good) < n:
            raise ValueError(
                "hardly any point about PyMC's start has a finite log density; give initval= to the variables"
            )
        return good[:n]

    def _nuts(self, data: Sequence[np.ndarray], rng: np.random.Generator) -> Outcome:
        from models.methods import nuts

        chains = NUTS["chains"]
        tiled = [np.tile(each, (chains, *[1] * each.ndim)) for each in data]
        if "nuts" not in self._compiled:
            self._compiled["nuts"] = nuts.compiled(self.flat, tiled, **NUTS)
        runs: list[nuts.Run] = []
        values: Values = {}
        ess = 0.0
        while ess < self.draws and len(runs) < RUNS:
            seeds = int(rng.integers(2**31)) + np.arange(chains)
            runs.append(self._compiled["nuts"](seeds, self._starts(chains, data, rng), *tiled))
            values = {name: np.concatenate([run.values[name] for run in runs]) for name in self.generative.free}
            ess = smallest_ess(values)
        diverged = sum(int(run.stats["diverging"].sum()) for run in runs)
        return Outcome(values, False, ess >= self.draws and diverged == 0)

    def _advi(self, rank: str, data: Sequence[np.ndarray], rng: np.random.Generator) -> Outcome:
        from models import vi

        R, P = ADVI["restarts"], self.flat.size
        init = {"mu": self._starts(R, data, rng)}
        rho = float(vi.inverse_softplus(np.array(FIRST_SD)))
        if rank == "meanfield":
            init["rho"] = np.full((R, P), rho)
        else:
            init["L_tril"] = np.tile((rho * np.eye(P))[np.tril_indices(P)], (R, 1))
        tiled = [np.tile(each, (R, *[1] * each.ndim)) for each in data]
        if rank not in self._compiled:
            self._compiled[rank] = vi.Descent(self.flat, rank, ADVI["steps"], vi.RATES[rank], R, tiled)
        params, averages, losses = self._compiled[rank](init, rng, tiled)
        ends = vi.ends(params, averages, losses, rank, self.draws, rng)
        found = vi.best(ends, lambda v: self.log_joint(v, *data), R)
        values = {name: np.asarray(v)[None] for name, v in self.constrain(ends.draws(found.run)).items()}
        return Outcome(values, True, found.converged)


RANKS = {"advi": "meanfield", "advi-fullrank": "fullrank"}
