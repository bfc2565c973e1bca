"""The ascent of maximum likelihood for clusters far tighter than they are apart, each with its statistics about its own centre.

About one origin, E[zz^T] - E[z]E[z]^T of a cluster of standard deviation sigma at distance d keeps no digits once (sigma/d)^2
nears eps. Here cluster k has t(x - c_k), with c_k its mean when the ascent began, and nothing cancels: a method's step and the
loop stay the same, for a maximum-likelihood step does not ask where the origin is. The price is K sets of features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mixtures.ascent.ascend import Ascent, Method, Own
from mixtures.ascent.climb import Natural, Runs, climb
from mixtures.ascent.starts import BLOCK_ELEMENTS, hard, nearest
from mixtures.engines.passes import Pass, noise
from mixtures.engines.responsibilities import fold, normalise
from mixtures.errors import CollapseError
from mixtures.families.collapse import refuse_empty
from mixtures.model import Allocation
from mixtures.rows import Rows, folded

# About its own mean a cluster keeps digits down to this smallest eigenvalue of its correlations.
LEAST = 100 * float(np.finfo(float).eps)

# A standard deviation below so many times the rounding of a cluster's own rows is none.
ROUNDING = 32 * float(np.finfo(float).eps)

Assign = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def go_on(
    method: Method,
    x: Rows,
    weights: np.ndarray | None,
    family: Any,
    allocation: Allocation,
    s: np.ndarray,
    *,
    n: float,
    tol: float,
    max_iter: int,
    accelerate: bool = True,
    reg_covar: float = 0.0,
    callback: Callable[[Runs, Own], object] | None = None,
) -> Ascent:
    """Climb from a state whose clusters are too tight, or soon will be, for statistics about one origin.

    Parameters
    ----------
    method : callable
        The step of maximum likelihood, `mixtures.methods.em.step`.
    x, weights, family, allocation
        See `mixtures.ascent.ascend.ascend`; a Gaussian family.
    s : ndarray, shape (K, P)
        The state, about the family's origin. Where it has no covariances, each row begins in the cluster of the nearest mean.
    n : float
        Number of observations.
    tol, max_iter, accelerate, reg_covar
        See `mixtures.ascent.ascend.ascend`.
    callback : callable, optional
        Called with the `Runs` and what their states are about after every pass; it ends the run by raising StopIteration.

    Returns
    -------
    Ascent
        With centres of the clusters' ``own``.

    Raises
    ------
    CollapseError
        If a cluster is empty, or singular to the rounding of its own rows.
    """
    family = replace(family, least=LEAST)
    natural = partial(method, family, allocation)
    blur = noise(family, reg_covar)[0][0]
    read, as_they_are = (partial(_read, x, weights, extra) for extra in (blur, np.zeros_like(blur)))
    if reg_covar == 0:
        _refuse_few(family, s)
    assign, centres = _first(family, allocation, s, blur), _move(family, family.origin, s)
    s = read(assign, _at(family, centres))[1]
    _refuse_rounding(family, centres, s, reg_covar)
    bounds: list[np.ndarray] = []
    while True:
        about = _move(family, centres, s)
        s, centres = read(assign, _at(family, about))[1], about
        at, left = _at(family, centres), max(1, max_iter - sum(map(len, bounds)))
        own = Own(centres, partial(_pass, read, at, blur), partial(_pass, as_they_are, at, 0 * blur), family)
        tell = partial(_told, callback, own) if callback else None
        runs = climb(partial(_same, (natural, own.pass_)), s[None], n, tol, left, accelerate, tell, _rounding)
        if runs.collapsed[0] and len(runs.trace) == 1:
            raise runs.errors[-1]
        bounds.append(runs.bounds(0))
        s = runs.s[0]
        if not runs.collapsed[0]:
            break
        assign = _by(_at(family, centres), blur, natural(s[None])[0][0])  # a mean has moved far: about where it is now
        s = read(assign, _at(family, centres))[1]
    if reg_covar == 0:
        own_rows = read(_own_rows(_by(_at(family, centres), blur, natural(s[None])[0][0])), _at(family, centres))[1]
        _refuse_rounding(family, centres, own_rows, reg_covar)
    bound = np.concatenate(bounds)
    return Ascent(s, bound, bool(runs.converged[0]), {"passes": len(bound)}, own)


def _rounding(eta: np.ndarray, s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Bound on the rounding error of sum_n log_z_n in any units: a term is as large as over the points of its cluster."""
    terms = np.abs(eta * s) / np.maximum(s[..., :1], 1e-9)
    return 64 * np.finfo(float).eps * n * (1 + terms.max((-2, -1)))


def _told(callback: Callable[[Runs, Own], object], own: Own, runs: Runs) -> None:
    callback(runs, own)


def _same(problem: tuple[Natural, Pass], runs: np.ndarray) -> tuple[Natural, Pass]:
    return problem


def _first(family: Any, allocation: Allocation, s: np.ndarray, blur: np.ndarray) -> Assign:
    """Responsibilities by the state s (K, P) about the origin, or the nearest mean where it has no covariances."""
    refuse_empty(s[:, 0])
    try:
        theta = family.maximum_likelihood(s)
    except CollapseError:
        means = s[:, 1 : 1 + len(family.origin)] / s[:, :1]
        return lambda x: (np.zeros(len(x)), hard(nearest(family.coordinates(x), means), len(s)))
    own = theta | {"means": np.zeros_like(theta["means"])}
    eta = fold(allocation.natural(allocation.maximum_likelihood(s[:, 0])), family.natural(own))
    return _by(_at(family, _move(family, family.origin, s)), blur, eta)


def _own_rows(assign: Assign) -> Assign:
    """The same without responsibilities that are rounding, which would give a cluster of equal rows a variance."""

    def assigned(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_z, r = assign(x)
        return log_z, np.where(r > ROUNDING, r, 0.0)

    return assigned


def _at(family: Any, centres: np.ndarray) -> list[Any]:
    """The family with its origin at each of the centres (K, D)."""
    return [replace(family, origin=c) for c in centres]


def _by(at: list[Any], blur: np.ndarray, eta: np.ndarray) -> Assign:
    """log_z and responsibilities of rows by natural parameters eta (K, P), each about the origin of its own family."""
    return lambda x: normalise(np.stack([f.features(x) @ e for f, e in zip(at, eta, strict=True)], -1) + eta @ blur)


def _move(family: Any, centres: np.ndarray, s: np.ndarray) -> np.ndarray:
    """The means (K, D), in the units of x, that statistics (K, P) about the centres stand for."""
    refuse_empty(s[:, 0])
    return centres + family.expand(s[:, 1 : 1 + len(family.origin)] / s[:, :1])


def _read(
    x: Rows, weights: np.ndarray | None, blur: np.ndarray, assign: Assign, at: list[Any]
) -> tuple[float, np.ndarray]:
    """sum_n w_n log_z_n, and s (K, P) of the assigned responsibilities, each about the origin of its own family."""
    found = folded(x, weights, partial(_sums, assign, at), lambda a, b: (a[0] + b[0], a[1] + b[1]), "pass")
    assert found is not None
    total, s = found
    return total, s + s[:, :1] * blur


def _sums(
    assign: Assign, at: list[Any], block: np.ndarray, w: np.ndarray | None, start: int
) -> tuple[float, np.ndarray]:
    """What a block adds to `_read`."""
    total, s = 0.0, np.zeros((len(at), 1 + int(at[0].monomials[-1, 0])))
    step = max(1, BLOCK_ELEMENTS // s.size)
    for first in range(0, len(block), step):
        rows = slice(first, first + step)
        log_z, r = assign(block[rows])
        if w is not None:
            log_z, r = log_z * w[rows], r * w[rows, None]
        total += float(log_z.sum())
        s += [r_k @ f.features(block[rows]) for r_k, f in zip(r.T, at, strict=True)]
    return total, s


def _pass(
    read: Callable[[Assign, list[Any]], tuple[float, np.ndarray]], at: list[Any], blur: np.ndarray, eta: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The one pass for natural parameters (..., K, P) of one run, each cluster's about the origin of its own family."""
    log_z, s = read(_by(at, blur, eta.reshape(-1, eta.shape[-1])), at)
    return np.full(eta.shape[:-2], log_z), s.reshape(eta.shape)


def _refuse_few(family: Any, s: np.ndarray) -> None:
    """Refuse clusters of fewer rows than a covariance needs, before time is spent on them."""
    few = {"full": len(family.origin) + 1, "tied": 0}.get(family.covariance, 2) - 0.5
    if s[:, 0].min() < few:
        raise CollapseError(f"cluster {int(np.argmin(s[:, 0]))} collapsed: too few rows are left for its covariance")


def _refuse_rounding(family: Any, centres: np.ndarray, s: np.ndarray, reg_covar: float) -> None:
    """Refuse clusters that are singular, or on rows that differ by no more than rounding."""
    covariances = family.to_data(family.maximum_likelihood(s))["covariances"]
    tight = reg_covar == 0 and np.any(
        np.diagonal(covariances, axis1=-2, axis2=-1) <= (ROUNDING * centres) ** 2, axis=-1
    )
    if np.any(tight):
        raise CollapseError(f"cluster {int(np.argmax(tight))} collapsed: its rows differ by rounding alone")
