"""The methods of `mixtures.dynamics`, as results that a validation can hold against a sampler of the twin."""

from __future__ import annotations

import importlib
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from mixtures.dynamics.fit import DynamicsFit
from mixtures.errors import ConvergenceWarning
from reports.metrics.systems import log_ratio
from reports.validation.results import Joined
from reports.validation.system import SystemTarget

# Rows of a series whose Gibbs chains are never made longer; half as many are once, and so on.
ROWS = 8000

MODULES = {"em": "em", "map": "em", "cavi": "cavi", "gibbs": "gibbs"}


def fit(
    target: SystemTarget,
    *,
    rng: np.random.Generator,
    method: str,
    draws: int = 1000,
    chains: int = 4,
    tell: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Joined:
    """Fit the model of ``target`` by EM, MAP, VB or Gibbs sampling, and draw what is compared.

    Parameters
    ----------
    target : SystemTarget
    rng : numpy.random.Generator
    method : {"em", "map", "cavi", "gibbs"}
    draws, chains : int
        Independent draws of q, as so many chains of so many; or those of the sampler.
    **settings
        Further arguments of the method's ``fit``.
    """
    module = importlib.import_module(f"mixtures.dynamics.{MODULES[method]}")
    model, x, compiling = target.system, target.x, 0.0
    if method == "gibbs":
        settings["doublings"] = affordable(settings["doublings"], len(x))
        settings |= {"draws": draws, "chains": chains} | ({} if tell is None else {"tell": tell})
    else:
        compiling = compiled(target, module)
    found: DynamicsFit = (module.map_ if method == "map" else module.fit)(x, model, rng=rng, **settings)
    facts: dict[str, Any] = {
        "bound": found.bound,
        "converged": found.converged,
        "seconds": {"compile": compiling} | found.seconds,
        "info": {name: value for name, value in found.info.items() if np.isscalar(value)},
        "stats": found.sample_stats,
    }
    if isinstance(found.posterior, dict):
        return target.joined(found.posterior, found.kind, **facts)
    theta = {name: v.reshape(chains, draws, *v.shape[1:]) for name, v in found.parameters(chains * draws, rng).items()}
    return target.joined(theta, found.kind, log_ratio=log_ratio(model, found, theta), **facts)


def affordable(doublings: int, rows: int) -> int:
    """How often chains may be made twice as long: seldom for long series, of which every sweep takes longer.

    >>> affordable(4, 100), affordable(4, 2000), affordable(4, 10**5)
    (4, 2, 0)
    """
    return max(0, min(doublings, int(np.log2(ROWS / rows))))


def compiled(target: SystemTarget, module: ModuleType) -> float:
    """Seconds that the first passes of a process take beyond those of later ones: compiling, or loading what was compiled."""
    took = []
    for _ in range(2):
        began = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            module.fit(target.x, target.system, rng=0, restarts=1, max_iter=2)
        took.append(time.perf_counter() - began)
    return max(0.0, took[0] - took[1])
