r"""Known linear dynamical systems: series of which the rows before the test are fitted, by states that nobody has seen.

A system is drawn at random (`mixtures.datasets.simulate_linear`): all eigenvalues of its transition have modulus
`PERSISTENCE`, and the signal of each feature has `SIGNAL` times the variance of its noise. The rows to fit are the last ones
before the test: the test is the same however many there are, and fewer rows are the last of more.

A test row is scored given all rows before it, in the fitted part too: the log of the mean over draws of p(x_t | x_1 .. x_(t-1),
theta). The draws are those of the posterior given the fitted part, and weigh the same at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtures.datasets import simulate_linear
from mixtures.dynamics import LinearDynamics, cavi, em, gibbs, states
from mixtures.dynamics.fit import DynamicsFit
from mixtures.dynamics.model import Theta
from mixtures.engines import kalman
from mixtures.engines.kalman import as_data
from mixtures.rows.sequences import Sequences
from reports.studies.overfit.grid import LONGEST

PERSISTENCE, SIGNAL = 0.9, 2.0
"""Modulus of the eigenvalues, and variance of the signal over that of the noise."""

GAIN, STEPS = 1e-5, 300
"""Of a step in nats a row at which an ascent has settled, for latent systems have ridges; and passes at most."""

DRAWS = 100
"""Draws of a posterior over which densities are averaged."""

SAMPLED = {"draws": 250, "tune": 250, "chains": 4, "thin": 2, "doublings": 4}
"""Of Gibbs sampling. Without doublings none of 13 fits to 20, 40 or 80 rows had an R-hat below 1.01."""

FIXED = 20
"""Test rows at which the density is covered or not."""


@dataclass(frozen=True)
class Linear:
    """A known linear dynamical system, the oracle of its series.

    Parameters
    ----------
    theta : dict of ndarray
    """

    theta: Theta

    def log_steps(self, x: Sequences) -> np.ndarray:
        """log p(x_t | x_1 .. x_(t-1)), (N,)."""
        return _steps(x, self.theta)


def drawn(k: int, d: int, n: int, test: int, rng: np.random.Generator) -> tuple[Linear, np.ndarray, np.ndarray]:
    """A system with n rows to fit and a test that follows them."""
    data = simulate_linear([LONGEST + test], k, d, persistence=PERSISTENCE, signal=SIGNAL, rng=rng).data
    theta = {name: value for name, value in (data.truth or {}).items() if name != "states"}
    return Linear(theta), data.x[LONGEST - n : LONGEST], data.x[LONGEST:]


def fit(
    method: str, k: int, restarts: int, x: Sequences, rng: np.random.Generator, start: str | None = None
) -> DynamicsFit:
    """A latent system of k states by one method, all of it free but a start that is known unless said otherwise."""
    model = LinearDynamics.latent(k, x.shape[1], start=start or "known")
    if method == "gibbs":
        return gibbs.fit(x, model, rng=rng, **SAMPLED)  # type: ignore[arg-type]
    module: Any = {"em": em.fit, "map": em.map_, "cavi": cavi.fit}[method]
    return module(x, model, rng=rng, restarts=restarts, tol=GAIN, max_iter=STEPS)


def scores(data: Any, found: Linear | DynamicsFit, method: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of one fit; two of VB, whose parameters are averaged or taken at their means."""
    n, series = len(data.x), data.series
    of_truth = data.truth.log_steps(series)
    if isinstance(found, Linear):
        yield method, {"test": float(of_truth[n:].mean()), "train": float(of_truth[:n].mean())}
        return
    common = {
        "bound": found.info.get("log_likelihood", found.bound[-1] if len(found.bound) else None),
        **{name: found.info.get(name) for name in ("aic", "bic")},
        "starts_collapsed": found.info.get("collapsed"),
        "converged": found.converged,
    }
    rng = np.random.default_rng(data.draws)
    theta = found.parameters(DRAWS, rng) if found.kind != "point" else {m: v[None] for m, v in found.theta.items()}
    diffuse = found.model.diffuse
    each = np.array(
        [_steps(series, {m: v[i] for m, v in theta.items()}, diffuse) for i in range(len(theta["transition"]))]
    )
    covered = (
        {} if found.kind == "point" else {"cover_density": _within(each[:, n : n + FIXED], of_truth[n : n + FIXED])}
    )
    steps = np.logaddexp.reduce(each) - np.log(len(each))
    yield method, common | covered | _scored(steps, of_truth, n) | extremes(theta, data.truth)
    if method == "cavi":
        mean = {m: v[None] for m, v in found.theta.items()}
        plugged = _steps(series, found.theta, diffuse)
        yield "cavi-plugin", common | _scored(plugged, of_truth, n) | extremes(mean, data.truth)


def extremes(theta: Theta, truth: Linear) -> dict[str, float]:
    """How near parameters (n, ...) are to the edge: medians over draws.

    The smallest variance of R in any direction over the true one, and whether an eigenvalue of A is on or outside the unit
    circle.
    """
    variance = np.median(np.linalg.eigvalsh(theta["observation_covariance"])[..., 0])
    true = np.linalg.eigvalsh(truth.theta["observation_covariance"])[0]
    modulus = np.median(np.abs(states.eigenvalues(theta))[..., 0])
    return {"smallest_variance": float(variance / true), "boundary": float(modulus >= 1)}


def _scored(steps: np.ndarray, of_truth: np.ndarray, n: int) -> dict[str, float]:
    lost = (of_truth - steps)[n:]
    error = float(lost.std(ddof=1) / np.sqrt(len(lost)))
    return {"test": float(steps[n:].mean()), "train": float(steps[:n].mean()), "kl": float(lost.mean()), "kl_se": error}


def _steps(x: Sequences, theta: Theta, diffuse: np.ndarray | None = None) -> np.ndarray:
    data, system = as_data(x), states.system(theta, "known" if diffuse is None else diffuse)
    return kalman.track(kalman.collapse(data, system), data.x.edges, system).log_z


def _within(draws: np.ndarray, value: np.ndarray) -> float:
    low, high = np.quantile(draws, [0.025, 0.975], axis=0, method="weibull")
    return float(np.mean((low <= value) & (value <= high)))


def fit_each(
    method: str,
    k: int,
    restarts: int,
    xs: Sequence[Sequences],
    rngs: Sequence[np.random.Generator],
    start: str | None = None,
) -> list[Any]:
    """`fit` of each series, one after the other."""
    return [fit(method, k, restarts, x, rng, start) for x, rng in zip(xs, rngs, strict=True)]
