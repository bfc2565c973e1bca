"""Coordinate-ascent variational inference for the conjugate mixture (PRML section 10.2)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixtures.ascent.ascend import Ascent, ascend
from mixtures.ascent.many import ascend_many, one_by_one, sources
from mixtures.ascent.online import as_ascent, learn, learned_by
from mixtures.checks import check_models
from mixtures.engines import Clock
from mixtures.engines.responsibilities import fold, log_sum, normalise_draws
from mixtures.errors import CollapseError, ConvergenceWarning
from mixtures.fit import Conjugate, Fit
from mixtures.model import Allocation, Family
from mixtures.rows.arrays import check_matrix
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng

LEAVE_ONE_OUT_BLOCK = 3_000_000

MOST_SWEEPS = 10
"""How many times ``max_iter`` the refits without a point may go on where rows are alike."""


def step(family: Family, allocation: Allocation, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """q(pi) and q(theta) given q(z): eta, and minus their divergence from the prior, every constant kept.

    With q(z) at its optimum the ELBO (PRML 10.70) is sum_n log_z_n - KL(q(pi) || p(pi)) - sum_k KL(q(theta_k) || p(theta_k)),
    and each divergence is sum(s * eta) minus a log marginal likelihood.
    """
    labels, points = allocation.split(s)
    q_pi, q_theta = allocation.posterior(labels), family.posterior(points)  # 10.57-10.63
    eta = fold(allocation.expected_natural(q_pi), family.expected_natural(q_theta))  # 10.64-10.66
    kl = (s * eta).sum((-2, -1)) - allocation.log_marginal(labels) - family.log_marginal(points, q_theta)
    return eta, -kl  # the pass: 10.46, 10.49, 10.51-10.53


def fit(x: Rows, family: Family, allocation: Allocation, *, rng: Rng, **climb: Any) -> Fit:
    """Fit a Bayesian mixture by CAVI.

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    family, allocation : Family, Allocation
        The model with its priors.
    rng : numpy.random.Generator or int
        Source of the starts.
    **climb
        ``weights``, ``init``, ``restarts``, ``keep``, ``tol``, ``max_iter``, ``accelerate``, ``reg_covar``, ``engine``,
        ``precision``: see `mixtures.ascent.ascend.ascend`.

    Returns
    -------
    Fit
        Of kind "variational"; its bound is a lower bound on log p(x) around one labelling, in nats.
    """
    clock = Clock()
    ascent, _ = ascend(step, x, family, allocation, rng=rng, **climb)
    return _result(ascent, family, allocation, clock.seconds())


def fit_many(
    xs: Sequence[np.ndarray],
    families: Sequence[Family],
    allocation: Allocation,
    *,
    rng: Rng | Sequence[Rng],
    **climb: Any,
) -> list[Fit | CollapseError]:
    """Fit a Bayesian mixture to each of many small data sets of one shape by CAVI, side by side.

    Arguments and results are those of `mixtures.methods.em.fit_many`.
    """
    check_models(families, allocation)
    if not allocation.independent or any(family.missing for family in families):
        return one_by_one(fit, xs, families, allocation, sources(rng, len(xs)), **climb)
    clock = Clock()
    ascents = ascend_many(step, xs, families, allocation, rngs=sources(rng, len(xs)), **climb)
    each = {name: seconds / max(1, len(xs)) for name, seconds in clock.seconds().items()}
    return [
        _result(ascent, family, allocation, each) if isinstance(ascent, Ascent) else ascent
        for family, ascent in zip(families, ascents, strict=True)
    ]


def partial_fit(
    x: Rows,
    family: Family,
    allocation: Allocation,
    *,
    rng: Rng,
    previous: Fit | None = None,
    total: float | None = None,
    **learning: Any,
) -> Fit:
    """Move a fit on by one batch of rows: stochastic variational inference.

    Arguments and result are those of `mixtures.methods.em.partial_fit`; ``total`` is the number of observations that the
    posterior counts.
    """
    clock = Clock()
    learned = learn(step, learned_by(previous), x, family, allocation, rng=rng, total=total, **learning)
    return _result(as_ascent(learned, total), family, allocation, clock.seconds())


def _result(ascent: Ascent, family: Family, allocation: Allocation, seconds: dict[str, float]) -> Fit:
    labels, points = allocation.split(ascent.s)
    return allocation.fits(
        method="cavi",
        kind="variational",
        family=family,
        allocation=allocation,
        posterior=Conjugate(allocation.posterior(labels), family.posterior(points)),
        bound=ascent.bound,
        converged=ascent.converged,
        seconds=seconds,
        info=ascent.info,
    )


def can_leave_out(family: Family, x: np.ndarray) -> bool:
    """Whether `leave_one_out` has a closed form: no value is missing among correlated features."""
    return not any(np.isnan(x[:, link.columns]).any() for link in family.linked)


def leave_one_out(
    fit: Fit, x: np.ndarray, *, weights: np.ndarray | None = None, tol: float = 1e-8, max_iter: int = 1000
) -> np.ndarray:
    """log p(x_n | all points but x_n) of a CAVI fit in nats, shape (N,), by refitting without each point in turn.

    See `left_out`, which also says which refits were still moving.

    Warns
    -----
    ConvergenceWarning
        If refits were still moving after ``max_iter`` sweeps.
    """
    log_p, moved = left_out(fit, x, weights=weights, tol=tol, max_iter=max_iter)
    if late := int((moved > tol).sum()):
        warnings.warn(
            f"{late} of {len(x)} refits were still moving, by up to {moved.max():.1g} nats a sweep, when they were stopped",
            ConvergenceWarning,
            stacklevel=2,
        )
    return log_p


def left_out(
    fit: Fit, x: np.ndarray, *, weights: np.ndarray | None = None, tol: float = 1e-8, max_iter: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """Refit without each point in turn.

    The refits start from the fit itself, so that they stay in its mode, and climb side by side, each until its log density
    moves by no more than ``tol``. Rows alike are refitted once: the cost is that of U fits to U rows, where U of the N rows
    differ, about U^2 K P operations a sweep.

    Parameters
    ----------
    fit : Fit
        With its closed-form posterior on ``x``.
    x : ndarray, shape (N, D)
    weights : ndarray, shape (N,), optional
        Those of the fit: of a row that stands for several observations one is left out, of one that stands for less than
        one all.
    tol : float
        In nats.
    max_iter : int
        Sweeps of N refits that differ; where rows are alike as many more as take no longer, up to ten times.

    Returns
    -------
    log_p : ndarray, shape (N,)
        log p(x_n | all points but x_n) in nats.
    moved : ndarray, shape (N,)
        By how much it moved in the last sweep.
    """
    x = check_matrix(x, fit.family.missing)
    if not can_leave_out(fit.family, x):
        raise ValueError(
            "with values missing among correlated features the density of a point left out is no ratio of evidences; use "
            "PSIS-LOO on draws"
        )
    if weights is None:
        N = len(x)
        x, inverse, counts = np.unique(x, axis=0, return_inverse=True, return_counts=True)
        w, max_iter = counts.astype(float), int(max_iter * min((N / len(x)) ** 2, MOST_SWEEPS))
    else:
        inverse, w = np.arange(len(x)), weights
    family, allocation, t = fit.family, fit.allocation, fit.family.features(x)
    r = fit.responsibilities(x)
    s = (w[:, None] * r).T @ t
    out = np.minimum(w, 1)
    refits = [
        _without(
            rows,
            s - (out[rows, None] * r[rows])[:, :, None] * t[rows, None],
            t,
            w,
            family,
            allocation,
            tol,
            max_iter,
        )
        for rows in np.array_split(np.arange(len(x)), -(-len(x) * r.size // LEAVE_ONE_OUT_BLOCK))
    ]
    log_p, moved = (np.concatenate(parts) for parts in zip(*refits, strict=True))
    return (family.log_base(x) + log_p)[inverse], moved[inverse]


def _without(
    rows: np.ndarray,
    s: np.ndarray,
    t: np.ndarray,
    w: np.ndarray,
    family: Family,
    allocation: Allocation,
    tol: float,
    max_iter: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Log predictive density of each of ``rows`` from states s (rows, K, P) that leave it out, and its last move."""
    log_p, moved = np.full(len(rows), np.inf), np.full(len(rows), np.inf)
    moving = np.arange(len(rows))
    for _ in range(max_iter):
        fresh = _predictive(t[rows[moving]], s, family, allocation)
        moved[moving], log_p[moving] = np.abs(fresh - log_p[moving]), fresh
        late = moved[moving] > tol
        if not late.any():
            break
        moving, s = moving[late], s[late]
        eta = fold(
            allocation.expected_natural(allocation.posterior(s[..., 0])), family.expected_natural(family.posterior(s))
        )
        r = normalise_draws(np.moveaxis(eta @ t.T, 1, -1))[1]  # (moving, N, K)
        place, own = np.arange(len(moving)), rows[moving]
        own_r = r[place, own]
        r *= w[:, None]
        r[place, own] = np.maximum(w[own] - 1, 0)[:, None] * own_r
        s = r.swapaxes(1, 2) @ t
    return log_p, moved


def _predictive(own: np.ndarray, s: np.ndarray, family: Family, allocation: Allocation) -> np.ndarray:
    """log p(x_n | s_n) for features (B, P) and states (B, K, P): each cluster's density is a ratio of evidences."""
    K = s.shape[1]
    joined = s[:, None] + np.eye(K)[None, :, :, None] * own[:, None, None, :]
    log_density = family.log_marginal(joined) - family.log_marginal(s)[:, None]
    weights = allocation.mean(allocation.posterior(s[..., 0]))
    return log_sum(allocation.natural(weights) + log_density)
