"""The ascent of maximum likelihood for clusters far tighter than they are apart, each with its statistics about its own centre.

About one origin, E[zz^T] - E[z]E[z]^T of a cluster of standard deviation sigma at distance d keeps no digits once (sigma/d)^2
nears eps. Here cluster k has t(x - c_k), with c_k its mean when the ascent began, and nothing cancels: a method's step and the
loop stay the same, for a maximum-likelihood step does not ask where the origin is. The price is K sets of features.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from mixtures.ascent.ascend import Ascent, Method, Own
from mixtures.ascent.candidates import Listener
from mixtures.ascent.climb import Natural, Runs, climb
from mixtures.ascent.states import hard
from mixtures.engines.apart import Apart, Expected, Points, read
from mixtures.engines.passes import Pass, blur, noise
from mixtures.engines.responsibilities import fold
from mixtures.errors import CollapseError
from mixtures.families.collapse import refuse_empty
from mixtures.model import Allocation
from mixtures.rows.reading import Rows

# About its own mean a cluster keeps digits down to this smallest eigenvalue of its correlations.
LEAST = 100 * float(np.finfo(float).eps)

# Squared distance of a mean from the centre of its cluster, over the smallest variance, above which digits are lost.
AWAY = 1e6

# A standard deviation below so many times the rounding of a cluster's own rows is none.
ROUNDING = 32 * float(np.finfo(float).eps)


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
    own: Own | None = None,
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
    own : Own, optional
        What s is about where that is no longer the family's origin.

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
    about_rows = noise(family, reg_covar)
    if reg_covar == 0:
        _refuse_few(family, s)
    if own:
        assign: Expected | Nearest = Expected(_at(family, own.centres), natural(s[None])[0][0], about_rows)
        centres = own.centres
    else:
        assign, centres = _first(family, allocation, s, about_rows), _means(family, s)
    s = read(x, weights, assign, _at(family, centres))[1]
    _refuse_rounding(family, centres, s, reg_covar)
    bounds: list[np.ndarray] = []
    passes = 0
    while True:
        centres = _means(replace(family, origin=centres), s)
        at, left = _at(family, centres), max(1, max_iter - passes)
        s = read(x, weights, assign, at)[1]
        own = Own(centres, Apart(x, weights, at, about_rows), Apart(x, weights, at, noise(family, 0.0)), family)
        tell = Listener(partial(_told, callback, own)) if callback else None
        problem = partial(_same, (natural, own.pass_))
        try:
            runs = climb(problem, s[None], n, tol, left, accelerate, tell, _rounding)
        except ArithmeticError as error:
            if not family.linked:
                raise
            raise CollapseError(f"a cluster collapsed: what is missing has no digits beside it ({error})") from error
        if runs.collapsed[0] and (len(runs.trace) == 1 or (tell and tell.stopped)):
            raise runs.errors[-1]
        if bounds and not runs.collapsed[0]:  # what digits that were lost had made too high
            bounds[-1] = np.minimum(bounds[-1], runs.bounds(0)[0])
        bounds.append(runs.bounds(0))
        s, made = runs.s[0], len(runs.trace)
        passes += made
        if not (runs.collapsed[0] or (made < left and _has_moved(family, s))):
            break
        assign = Expected(at, natural(s[None])[0][0], about_rows)  # a mean has moved far: about where it is now
    if reg_covar == 0:
        assign = Expected(at, natural(s[None])[0][0], about_rows, ROUNDING)
        _refuse_rounding(family, centres, read(x, weights, assign, at)[1], reg_covar)
    bound = np.concatenate(bounds)
    return Ascent(s, bound, bool(runs.converged[0]), {"passes": passes}, own)


def _rounding(eta: np.ndarray, s: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Bound on the rounding error of sum_n log_z_n in any units: a term is as large as over the points of its cluster."""
    terms = np.abs(eta * s) / np.maximum(s[..., :1], 1e-9)
    return 64 * np.finfo(float).eps * n * (1 + terms.max((-2, -1)))


def _told(callback: Callable[[Runs, Own], object], own: Own, runs: Runs) -> None:
    callback(runs, own)


def _same(problem: tuple[Natural, Pass], runs: np.ndarray) -> tuple[Natural, Pass]:
    return problem


@dataclass(frozen=True)
class Nearest:
    """Rows in the clusters of the nearest means (K, D), in the coordinates of a family.

    What is missing counts for no distance; its statistics are those of `Family.rough`.
    """

    family: Any
    means: np.ndarray
    noise: tuple[np.ndarray, np.ndarray]

    def __call__(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """Zeros (N,) and indicators (N, K)."""
        away = self.family.coordinates(points.x)[:, None] - self.means
        return np.zeros(len(away)), hard(np.argmin(np.nansum(away**2, axis=-1), axis=1), len(self.means))

    def statistics(self, points: Points, r: np.ndarray) -> np.ndarray:
        """Those of the labels about the centres of the points, (K, P)."""
        s = np.stack([r_k @ f.rough(points.x) for r_k, f in zip(r.T, points.at, strict=True)])
        return blur(s, self.noise)


def _first(
    family: Any, allocation: Allocation, s: np.ndarray, noise: tuple[np.ndarray, np.ndarray]
) -> Expected | Nearest:
    """Responsibilities by the state s (K, P) about the origin.

    Clusters that have no covariance have the mean of the others'; where none has one, each row goes to the nearest mean.
    """
    refuse_empty(s[:, 0])
    alone = family.covariance != "tied"
    regular = (
        np.array([_is_regular(family, own) for own in s[:, None]]) if alone else np.full(len(s), _is_regular(family, s))
    )
    centres = _means(family, s)
    if not regular.any():
        return Nearest(family, family.coordinates(centres), noise)
    theta = family.maximum_likelihood(s[regular])
    each = np.where(regular, np.cumsum(regular) - 1, regular.sum())
    spread = {name: np.append(value, value.mean(0, keepdims=True), axis=0)[each] for name, value in theta.items()}
    own = spread | {"means": np.zeros_like(centres)}
    eta = fold(allocation.natural(allocation.maximum_likelihood(s[:, 0])), family.natural(own))
    return Expected(_at(family, centres), eta, noise)


def _is_regular(family: Any, s: np.ndarray) -> bool:
    """Whether a cluster alone, (1, P), has a covariance."""
    with suppress(CollapseError):
        family.maximum_likelihood(s)
        return True
    return False


def _at(family: Any, centres: np.ndarray) -> list[Any]:
    """The family with its origin at each of the centres (K, D)."""
    return [replace(family, origin=c) for c in centres]


def _means(family: Any, s: np.ndarray) -> np.ndarray:
    """The means (K, D), in the units of x, that statistics (K, P) stand for, about one origin or each about its own (K, D)."""
    counts = s[:, family.count_of]
    refuse_empty(counts.min(-1))
    p, i, j = family.monomials.T
    return family.origin + family.expand(s[:, p[(i == 0) & (j > 0) & (j <= counts.shape[1])]] / counts)


def _has_moved(family: Any, s: np.ndarray) -> bool:
    """Whether a mean by statistics (K, P), each about a centre of its own, is so far from there that these have lost digits."""
    theta = family.maximum_likelihood(s)
    smallest = np.linalg.eigvalsh(family.covariances(theta))[:, 0]
    return bool(((theta["means"] ** 2).sum(-1) > AWAY * smallest).any())


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
