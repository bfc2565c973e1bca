"""How well the methods of a linear dynamical system predict: the next row, and every row from those before it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.stats import norm

from mixtures.dynamics import cavi, gibbs, states
from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.model import LinearDynamics
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.rows.sequences import Sequences
from reports.metrics import Row, future, prediction
from reports.validation.results import Joined
from reports.validation.system import SystemTarget

# Rows at most for which every row is predicted, and draws of each posterior that it takes.
FEW, DRAWS_A_FIT = 200, 1000

# Draws of which the density of the next row is the mean, and points at which it is taken.
DRAWS, POINTS = 400, 401


@dataclass(frozen=True)
class Steps:
    """A fit, as leave-future-out asks of it."""

    fit: DynamicsFit

    def log_steps(self, x: Sequences) -> np.ndarray:
        """log p(x_t | x_1 .. x_(t-1), theta) of each row under some draws, (draws, N), in nats."""
        return self.fit.log_steps(x, DRAWS_A_FIT)


def leave_future_out(
    target: SystemTarget, methods: Mapping[str, Any], rng: np.random.Generator
) -> tuple[list[Row], dict[str, Any]]:
    """Leave-future-out of the methods that are quick to fit again, and what the page says of it."""
    log_p: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    x, refitted = target.x, {"cavi": _by_cavi, "gibbs": _by_gibbs}
    if len(x) > FEW or target.system.loadings is not None:  # of which the rows to come are not known
        return [], {}
    for (method, refit), own in zip(refitted.items(), rng.spawn(len(refitted)), strict=True):
        if method not in methods:
            continue
        try:
            first = future.first_step(x.lengths)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # of fits to beginnings, k-hat and the errors tell
                score = future.leave_future_out(partial(refit, target.system, own), x, first)
        except (ValueError, CollapseError) as error:
            facts[method] = {"missing": str(error)}
            continue
        log_p[method] = score.elpd
        facts[method] = {
            "fits": score.fits,
            "first": first,
            "khat": float(score.khat.max()) if len(score.khat) else None,
        }
    if len(log_p) == len(refitted):
        row = prediction.paired_difference("cavi", "gibbs", "lfo", log_p["cavi"], log_p["gibbs"])
        facts["cavi"]["less_gibbs"] = [float(row.value), float(row.se)]
    return [prediction.log_density(method, "lfo_log_density", value) for method, value in log_p.items()], facts


def _by_cavi(model: LinearDynamics, rng: np.random.Generator, x: Sequences) -> Steps:
    return Steps(cavi.fit(x, model, rng=rng, restarts=3, tol=1e-6))


def _by_gibbs(model: LinearDynamics, rng: np.random.Generator, x: Sequences) -> Steps:
    return Steps(gibbs.fit(x, model, rng=rng, draws=DRAWS_A_FIT // 4, tune=200, thin=4))


def next_rows(target: SystemTarget, joined: Mapping[str, Joined], reference: str | None) -> list[Row]:
    """Total variation between a method's density of the next row and the reference's, the largest of features and sequences.

    That between two halves of the reference's draws says how much of it is Monte Carlo error.
    """
    if reference is None or reference not in joined or target.system.loadings is not None:
        return []
    found = {method: _moments(target, own) for method, own in joined.items()}
    mean, sd = found[reference]
    grid = np.linspace((mean - 6 * sd).min(0), (mean + 6 * sd).max(0), POINTS)
    halves = [(mean[part::2], sd[part::2]) for part in (0, 1)]
    rows = [Row(reference, "next_density_halves", "data", _apart(grid, *halves))]
    others = (method for method in joined if method != reference)
    return rows + [
        Row(method, "next_density_tv", reference, _apart(grid, found[method], found[reference])) for method in others
    ]


def _moments(target: SystemTarget, own: Joined) -> tuple[np.ndarray, np.ndarray]:
    """Means and sds (draws, S, D) of the row after the last of each sequence, by some draws."""
    theta = own.theta if own.u is None else target.theta(own.u)
    flat = {name: v.reshape(-1, *v.shape[2:]) for name, v in theta.items()}
    n = len(flat["transition"])
    places = np.unique(np.linspace(0, n, min(n, DRAWS), endpoint=False).astype(int))
    each = ({name: v[i] for name, v in flat.items()} for i in places)
    ahead = [states.forecast(target.x, one, 1, target.system.diffuse) for one in each]
    mean, covs = (np.array([one[part] for one in ahead])[:, :, 0] for part in (0, 1))
    return mean, np.sqrt(np.diagonal(covs, axis1=-2, axis2=-1))


def _apart(grid: np.ndarray, one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """The largest total variation between two mixtures of normals, over the axes behind the points of the grid."""
    p, q = (np.mean([norm.pdf(grid, m, s) for m, s in zip(*own, strict=True)], axis=0) for own in (one, other))
    return float((np.abs(p - q).sum(0) * (grid[1] - grid[0]) / 2).max())
