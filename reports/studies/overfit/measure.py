"""From a cell and some of its replicates to rows of numbers; a number that does not apply is missing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mixtures import Fit
from mixtures.errors import reason_of
from mixtures.fit import Conjugate
from mixtures.rows.sequences import Sequences
from mixtures.sequences import SequenceFit
from reports.metrics.boundary import at_boundary, impossible
from reports.metrics.recovery import recovery
from reports.studies.overfit import chains, systems
from reports.studies.overfit.fits import fit, plug_in
from reports.studies.overfit.grid import Cell
from reports.studies.overfit.truths import Known, Replicate, overall, replicate

COLUMNS = {
    "cell": "string",
    "replicate": "int64",
    "method": "string",
    "truth": "string",
    "true_k": "int64",
    "d": "int64",
    "separation": "float64",
    "imbalance": "float64",
    "concentration": "float64",
    "levels": "float64",
    "stay": "float64",
    "n": "int64",
    "k": "int64",
    "covariance": "string",
    "alpha": "float64",
    "failure": "string",
    "test": "float64",
    "train": "float64",
    "kl": "float64",
    "kl_se": "float64",
    "boundary": "float64",
    "impossible": "float64",
    "smallest_variance": "float64",
    "starts_collapsed": "float64",
    "occupied": "float64",
    "cover_mean": "float64",
    "cover_variance": "float64",
    "cover_dependence": "float64",
    "cover_density": "float64",
    "cover_weight": "float64",
    "cover_stay": "float64",
    "ari": "float64",
    "calibration_error": "float64",
    "brier": "float64",
    "bound": "float64",
    "aic": "float64",
    "bic": "float64",
    "icl": "float64",
    "converged": "float64",
    "seconds": "float64",
}

# Draws behind an interval, test points at which the density is covered or not, and test points whose clusters are scored.
DRAWS, FIXED, LABELLED = 400, 20, 1000


def measure(cell: Cell, replicates: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of some replicates of a cell: one for each, two for CAVI, whose plug-in density has its own.

    One thread does it, so that the number of workers changes no digit.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        data = [replicate(cell.truth, cell.n, cell.test, cell.seed, number) for number in replicates]
        began = time.perf_counter()
        outcomes = [one.truth for one in data] if cell.method == "oracle" else fit(cell, data)
        share = (time.perf_counter() - began) / len(data)
        rows = []
        for number, one, outcome in zip(replicates, data, outcomes, strict=True):
            for method, values in _scores(cell, one, outcome):
                rows.append(cell.settings() | {"replicate": number, "method": method, "seconds": share} | values)
    return rows


def _scores(cell: Cell, data: Replicate, outcome: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    methods = ("cavi", "cavi-plugin") if cell.method == "cavi" else (cell.method,)
    if isinstance(outcome, Exception):
        for method in methods:
            yield method, {"failure": reason_of(outcome)}
        return
    if cell.truth.linear:
        yield from systems.scores(data, outcome, cell.method)
        return
    if not isinstance(outcome, Fit):
        yield cell.method, _prediction(data, outcome) | _clusters(data, outcome)
        return
    common = {
        "bound": outcome.info.get("log_likelihood", outcome.bound[-1] if len(outcome.bound) else None),
        **{name: outcome.info.get(name) for name in ("aic", "bic", "icl")},
        "starts_collapsed": outcome.info.get("collapsed"),
        "converged": outcome.converged,
        **_clusters(data, outcome),
        "occupied": _occupied(outcome, data.x),
    }
    point = plug_in(outcome) if isinstance(outcome.posterior, Conjugate) else outcome
    extreme = _smallest_variance(data, point) if point.family.gaussian else {"boundary": float(at_boundary(point))}
    covered = {} if outcome.kind == "point" else _coverage(data, outcome)
    yield cell.method, common | _prediction(data, outcome) | extreme | covered
    if cell.method == "cavi":
        yield "cavi-plugin", common | _prediction(data, point) | extreme


def _prediction(data: Replicate, density: Known | Fit) -> dict[str, float]:
    """Mean log density in nats a point, on points seen and unseen, and what it falls short of the true one.

    Of discrete points also the share of the unseen that are impossible; where there are any, the mean is minus infinity.
    """
    train, test = _log_densities(data, density)
    scores = {"test": float(test.mean()), "train": float(train.mean())}
    if isinstance(density, Fit) and not density.family.gaussian:
        scores["impossible"] = impossible(test)
    if data.truth is None or density is data.truth:
        return scores
    lost = _log_densities(data, data.truth)[1] - test
    if not np.isfinite(lost).all():
        return scores | {"kl": float(lost.mean())}
    return scores | {"kl": float(lost.mean()), "kl_se": float(lost.std(ddof=1) / np.sqrt(len(lost)))}


def _log_densities(data: Replicate, density: Any) -> tuple[np.ndarray, np.ndarray]:
    """Log densities of the points seen and unseen; of a series, each given all points before it."""
    if data.series is None:
        return density.log_predictive(data.x), density.log_predictive(data.test)
    steps = chains.log_steps(density, data.series, DRAWS, data.draws)
    return steps[: len(data.x)], steps[len(data.x) :]


def _clusters(data: Replicate, density: Any) -> dict[str, float]:
    """How well unseen points are given to their classes, where these are known."""
    if data.labels is None:
        return {}
    if data.series is None:
        r = density.responsibilities(data.test[:LABELLED])
    else:
        r = density.responsibilities(data.series)[len(data.x) :][:LABELLED]
    rows = recovery("", r, data.labels[:LABELLED])
    return {row.metric: row.value for row in rows if row.metric in ("ari", "calibration_error", "brier")}


def _occupied(fit: Fit, x: Any) -> float:
    """Expected number of clusters with a point, sum_k (1 - prod_n (1 - r_nk)), averaged over draws where there are any."""
    if isinstance(fit, SequenceFit):
        return chains.occupied(fit, x)
    with np.errstate(divide="ignore"):
        if isinstance(fit.posterior, Conjugate):
            return float(-np.expm1(np.log1p(-fit.responsibilities(x)).sum(0)).sum())
        empty: Any = 0.0
        for _, log_rho in fit.log_rho(x):  # (S, rows, K)
            log_z = np.logaddexp.reduce(log_rho, axis=-1, keepdims=True)
            empty = empty + np.log1p(-np.minimum(np.exp(log_rho - log_z), 1)).sum(1)
        return float(-np.expm1(empty).sum(-1).mean())


def _smallest_variance(data: Replicate, fit: Fit) -> dict[str, float]:
    """Smallest variance of a cluster in any direction over the smallest true one, the median over draws if any."""
    truth: Any = data.truth
    if truth is None:
        return {}
    _, covariances = fit.family.cluster_moments(fit.held.flat()[1])
    smallest = np.linalg.eigvalsh(covariances)[..., 0].min(-1)
    return {"smallest_variance": float(np.median(smallest) / truth.smallest_variance)}


def _coverage(data: Replicate, fit: Fit) -> dict[str, float]:
    """Share of the central 95% intervals that hold the truth, of quantities that need no labels."""
    truth: Any = data.truth
    if truth is None:
        return {}
    rng = np.random.default_rng(data.draws)
    drawn = fit.as_draws(1, DRAWS, rng)
    labels, theta = drawn.held.flat()
    weights = drawn.allocation.long_run(labels)
    means, covariances = fit.family.cluster_moments(theta)
    (mean, covariance), (true_mean, true_covariance) = overall(weights, means, covariances), truth.moments
    covered = {
        "cover_mean": _within(mean, true_mean),
        "cover_density": _within(*_fixed(data, drawn)),
    }
    if isinstance(truth, chains.Chain) and fit.n_components == len(truth.weights) > 1:
        stay = np.diagonal(labels[..., 1:], axis1=-2, axis2=-1).mean(-1, keepdims=True)
        covered["cover_stay"] = _within(stay, np.array([truth.stay]))
    if fit.family.gaussian:
        covered["cover_variance"] = _within(np.diagonal(covariance, axis1=-2, axis2=-1), np.diagonal(true_covariance))
    elif (pairs := np.triu((covariances == 0).all((0, 1)))).any():  # of features that a cluster holds independent
        covered["cover_dependence"] = _within(covariance[:, pairs], true_covariance[pairs])
    if fit.n_components == len(truth.weights) and np.ptp(truth.weights) > 0:
        covered["cover_weight"] = _within(weights.max(-1, keepdims=True), truth.weights.max(keepdims=True))
    return covered


def _fixed(data: Replicate, drawn: Any) -> tuple[np.ndarray, np.ndarray]:
    """Log densities of the first test points under every draw (S, n) and in truth (n,); of a series given those before."""
    truth: Any = data.truth
    if data.series is None:
        points = data.test[:FIXED]
        return drawn.log_likelihood(points)[0], truth.log_predictive(points)
    n = len(data.x)
    some = Sequences(data.series.x[: n + FIXED])
    return chains.each_log_steps(drawn, some, DRAWS, data.draws)[:, n:], truth.log_steps(some)[n:]


def _within(draws: np.ndarray, value: np.ndarray) -> float:
    """Share of the entries of value (...) within the central interval of draws (S, ...) that holds another with 95%."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=0, method="weibull")
    return float(np.mean((low <= value) & (value <= high)))
