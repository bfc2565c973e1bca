"""EM for clusters far tighter than the spread of the data, each with its statistics about its own mean.

About one origin, E[zz^T] - E[z]E[z]^T of a cluster of standard deviation sigma at distance d keeps no digits once (sigma/d)^2
nears eps. Here cluster k has t(x - c_k), with c_k its mean after the last step: nothing cancels, at the price of K sets of
features and two readings a step, one for the means and one about them. Only a positive ``reg_covar`` keeps such clusters from
a variance of zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mixtures.engines.passes import noise
from mixtures.engines.responsibilities import fold, normalise
from mixtures.errors import CollapseError
from mixtures.families.normal import refuse_empty
from mixtures.model import Allocation, Theta
from mixtures.rows import Rows, blocks

EPS = float(np.finfo(float).eps)

# A covariance matrix whose eigenvalues span more than this has lost the digits of the smallest.
WIDEST = 1e-2 / EPS


class Centred(NamedTuple):
    """Where a run ended: weights (K,), theta (K, ...) with means about the family's origin, bounds of start and steps."""

    weights: np.ndarray
    theta: Theta
    bound: np.ndarray
    converged: bool


def em(
    x: Rows,
    weights: np.ndarray | None,
    family: Any,
    allocation: Allocation,
    pi: np.ndarray,
    theta: Theta,
    *,
    n: float,
    reg_covar: float,
    tol: float,
    max_iter: int,
    callback: Callable[[list[float], np.ndarray, Theta], object] | None = None,
) -> Centred:
    """Maximum likelihood by plain EM from pi (K,) and theta (K, ...).

    Parameters
    ----------
    x : ndarray, shape (N, D), or blocks of rows
    weights : ndarray, shape (N,), or None
    family : Normal
        A Gaussian family, whose unit should be the square root of ``reg_covar``, so that no variance is below one.
    allocation : Allocation
    pi, theta
        The start, theta in the family's coordinates.
    n : float
        Number of observations, for the tolerance.
    reg_covar : float
        See `mixtures.engines.passes.one_pass`; positive.
    tol, max_iter
        See `mixtures.ascent.climb.ascend`.
    callback : callable, optional
        Called after every pass with the bounds so far, the weights and theta; it ends the run by raising StopIteration.

    Raises
    ------
    CollapseError
        If a cluster is empty or its covariance is singular to working precision in spite of ``reg_covar``.
    ArithmeticError
        If the bound falls by more than rounding.
    """
    centres, blur = family.origin + family.unit * theta["means"], noise(family, reg_covar)
    bounds: list[float] = []
    converged = False
    while True:
        own = theta | {"means": np.zeros_like(centres)}
        condition = _condition(family, own)
        eta = fold(allocation.natural(pi), family.natural(own))
        log_z, s = _pass(x, weights, family, eta, blur, centres, centres)
        if bounds:
            rise, rounding = log_z - bounds[-1], 64 * EPS * n * condition
            if rise < -rounding:
                raise ArithmeticError(f"the bound fell by {-rise:.3g} nats in pass {len(bounds)}: the step is wrong")
            converged = rise <= tol * n
        bounds.append(log_z)
        theta = own | {"means": (centres - family.origin) / family.unit}
        if _stopped(callback, bounds, pi, theta) or converged or len(bounds) > max_iter:
            return Centred(pi, theta, np.array(bounds), converged)
        refuse_empty(s[:, 0])
        about = centres + family.unit * s[:, 1 : 1 + centres.shape[1]] / s[:, :1]
        _, s = _pass(x, weights, family, eta, blur, centres, about)
        pi, theta, centres = (
            allocation.maximum_likelihood(s[:, 0]),
            family.maximum_likelihood(s + s[:, :1] * blur),
            about,
        )


def _stopped(callback: Callable[..., object] | None, *now: object) -> bool:
    """Tell the callback, if there is one, where the run is, and whether it wants no more."""
    try:
        if callback is not None:
            callback(*now)
    except StopIteration:
        return True
    return False


def _condition(family: Any, theta: Theta) -> float:
    """The largest ratio of a covariance matrix's eigenvalues; those of independent features do not mix."""
    if "variances" in theta:
        return 1.0
    eigenvalues = np.linalg.eigvalsh(family.covariances(theta))
    ratio = eigenvalues[:, -1] / np.maximum(eigenvalues[:, 0], 1e-300)
    if ratio.max() > WIDEST:
        raise CollapseError(
            f"cluster {int(np.argmax(ratio))} collapsed: the eigenvalues of its covariance span more than {WIDEST:.0e}; "
            "scale the features, leave out those that follow from others, or raise reg_covar"
        )
    return float(ratio.max())


def _pass(
    x: Rows,
    weights: np.ndarray | None,
    family: Any,
    eta: np.ndarray,
    blur: np.ndarray,
    centres: np.ndarray,
    about: np.ndarray,
) -> tuple[float, np.ndarray]:
    """sum_n w_n log_z_n for eta about the centres (K, D), and s (K, P) about other points (K, D)."""
    at, to = ([replace(family, origin=c) for c in points] for points in (centres, about))
    total, s = 0.0, np.zeros_like(eta)
    for block, w in blocks(x, weights):
        log_z, r = normalise(np.stack([f.features(block) @ e for f, e in zip(at, eta, strict=True)], -1) + eta @ blur)
        if w is not None:
            log_z, r = log_z * w, r * w[:, None]
        total += float(log_z.sum())
        s += [r_k @ f.features(block) for r_k, f in zip(r.T, to, strict=True)]
    return total, s
