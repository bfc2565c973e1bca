"""scikit-learn's side of the benchmark.

An iteration is the body of the loop in its `BaseMixture.fit_predict`, called as that loop calls it: `_e_step`, `_m_step` and
`_compute_lower_bound`. So its checks of the data, k-means and the last E-step are left out, as ours are. Differences between
calls of `fit` with other numbers of iterations give the same times with more noise.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from reports.bench.cells import SEED, Problem

# A rise of the mean log likelihood that counts as none.
SETTLED = 1e-13


def start(problem: Problem, method: str, reg_covar: float) -> Any:
    """A model whose parameters are those of an M-step from the start's responsibilities."""
    model = _model(method)(
        n_components=problem.r.shape[1],
        covariance_type=problem.family.covariance,
        reg_covar=reg_covar,
        random_state=SEED,
    )
    model._check_parameters(problem.x)
    model._m_step(problem.x, np.log(problem.r))
    return model


def loop(problem: Problem, method: str) -> Callable[[int], Any]:
    """So many iterations of a method from the start, and the model at their end."""
    first = start(problem, method, reg_covar=1e-6)

    def iterate(times: int) -> Any:
        model = copy(first)
        for _ in range(times):
            log_z, log_r = model._e_step(problem.x)
            model._m_step(problem.x, log_r)
            model._compute_lower_bound(log_r, log_z)
        return model

    return iterate


class Climb(NamedTuple):
    """How far EM came.

    Attributes
    ----------
    iterations : int
    reached : bool
        Whether the last mean log likelihood was at the level.
    log_r : ndarray, shape (N, K)
        The last log responsibilities.
    """

    iterations: int
    reached: bool
    log_r: np.ndarray


def climb(problem: Problem, model: Any, level: float, limit: float) -> Climb:
    """EM from a model until the mean log likelihood is at the level, it has settled, or so many seconds have passed."""
    model, before, iterations, began = copy(model), -np.inf, 0, time.perf_counter()
    while True:
        log_z, log_r = model._e_step(problem.x)
        iterations += 1
        if log_z >= level or log_z - before <= SETTLED or time.perf_counter() - began > limit:
            return Climb(iterations, bool(log_z >= level), log_r)
        before = log_z
        model._m_step(problem.x, log_r)


def fits(method: str, xs: np.ndarray, k: int, starts: int, tol: float, reg_covar: float) -> list[Any]:
    """A fit of every data set of xs (R, N, D) from so many starts, k-means and all; full covariances, our default prior."""
    from sklearn.exceptions import ConvergenceWarning

    # A Bayesian lower bound is a total, and its change is held against tol as it is; that of EM is a mean.
    tol = tol * xs.shape[1] if method == "cavi" else tol
    settings = {"n_init": starts, "tol": tol, "reg_covar": reg_covar, "max_iter": 10_000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [_fit(method, x, random_state=i, n_components=k, **settings) for i, x in enumerate(xs)]


def _fit(method: str, x: np.ndarray, **settings: Any) -> Any:
    model = _model(method)(**settings)
    if method == "cavi":
        D = x.shape[1]
        model.set_params(
            weight_concentration_prior=1.0,
            mean_precision_prior=0.01,
            degrees_of_freedom_prior=D + 2,
            covariance_prior=np.cov(x.T) / settings["n_components"] ** (2 / D),
        )
    return model.fit(x)


def score(fit: Any, x: np.ndarray) -> float:
    """Mean log density of the points x (N, D) under a fit, in nats."""
    return float(fit.score(x))


def _model(method: str) -> Callable[..., Any]:
    from sklearn.mixture import BayesianGaussianMixture, GaussianMixture

    if method == "em":
        return GaussianMixture
    return partial(BayesianGaussianMixture, weight_concentration_prior_type="dirichlet_distribution")
