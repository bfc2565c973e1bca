"""Which single fault a method most likely has: the one that, planted in the reference, makes it look like the method.

Both are compared by their means and covariances over the unconstrained values u, where posteriors are nearest to normal. With
m, S of the method and m_f, S_f of the reference with the fault f in it, what f leaves unexplained is the divergence of two
normals in nats,

    KL_f = (tr(S_f^-1 S) - P + (m_f - m)^T S_f^-1 (m_f - m) + log|S_f| - log|S|) / 2

and that fault is named for which n KL_f + k / 2 log n is least, where k is the number of sizes that were fitted to the method
and n the number of independent draws that are as informative as both sets (Schwarz 1978, *Annals of Statistics* 6:461-464).
A fault that sets covariances to zero takes the Monte Carlo error of the reference's m draws out of KL_f, 1 / 2m nats for each:
they are added again.
Whether there is a fault at all is tested first, by every mean, sd and correlation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import log_expit

from reports.validation.candidates import (
    Moments,
    correlation,
    flipped,
    jacobian,
    lost,
    number,
    powers,
    prior_drawn,
    shifts,
    widths,
)

if TYPE_CHECKING:
    from reports.validation.results import Joined
    from reports.validation.target import Target

FALSE_ALARMS = 0.001
"""Probability at most with which draws that are right are said to have a fault, over all tests, where they are near normal."""

EXPLAINED = 0.5
"""A fault is named where it explains at least this share of the divergence."""

MOST = 100
"""Unconstrained values up to which faults are looked for: all pairs of them are compared."""

PRIOR_DRAWS = 1000

ROUNDING = 1e-12
"""Relative spread of draws up to which they do not vary."""

TIED = 1e-10
"""Distance from 1 up to which a correlation is perfect."""


class Fault(NamedTuple):
    """A fault and the numbers that speak for it.

    Attributes
    ----------
    kind : str
        "shift", "width", "correlations", "mean field", "sign", "power", "prior", "jacobian", "fixed" where a parameter does not
        vary, "tied" where one follows from another, or "several".
    where : str
        The parameter, or the variable with all of its parameters, or "" for all.
    sentence : str
    size : float
        Of a shift in posterior sds, of a width as the ratio of sds; else missing.
    divergence, left : float
        Nats from the reference to the method, and from the reference with the fault in it; infinite where the draws of the
        method do not vary in some direction.
    noise : float
        Nats expected between two sets of draws from one posterior: one over twice the number of draws for each mean, variance
        and covariance.
    """

    kind: str
    where: str
    sentence: str
    size: float
    divergence: float
    left: float
    noise: float = 0.0

    @property
    def explained(self) -> float:
        """Share of the divergence that the fault explains, without what is expected of draws that are right; at most 1."""
        return 1 - max(self.left - self.noise, 0.0) / max(self.divergence - self.noise, self.noise / 10)

    @property
    def facts(self) -> dict[str, Any]:
        """The same for a manifest."""
        sizes = {name: getattr(self, name) for name in ("size", "divergence", "left", "noise")}
        return self._asdict() | {name: float(x) if np.isfinite(x) else None for name, x in sizes.items()}


def find(target: Target, joined: Mapping[str, Joined], against: str, rng: np.random.Generator) -> dict[str, Fault]:
    """The likeliest fault of every method that departs from the reference and has all free variables.

    Mistakes of a program are looked for in results that were made elsewhere alone.

    Parameters
    ----------
    target : Target
    joined : mapping of str to Joined
        By method.
    against : str
        The reference.
    rng : numpy.random.Generator
        For draws from the prior.
    """
    reference = joined[against]
    if reference.u is None or target.size > MOST or not target.free:
        return {}
    about: dict[str, Any] = {
        "scales": [scale for _, scale, size in _free(target) for _ in range(size)],
        "variables": [name for name, _, size in _free(target) for _ in range(size)],
        "prior": None if target.flat_priors else cache(lambda: target.draw_prior(PRIOR_DRAWS, rng)),
        "log_jacobians": log_jacobians(target, reference.u.reshape(-1, target.size)),
    }
    found = {
        method: likeliest(
            own.u,
            reference.u,
            names_of(target),
            independent=(own.independent, reference.independent),
            programs=own.added,
            **about,
        )
        for method, own in joined.items()
        if method != against and own.u is not None
    }
    return {method: fault for method, fault in found.items() if fault is not None}


def names_of(target: Target) -> list[str]:
    """Names of the unconstrained values, by the scalars they belong to where there are as many."""
    names: list[str] = []
    for name, _, size in _free(target):
        scalars = target.variables[name].scalars
        names += scalars if len(scalars) == size else [f"{name} (value {i + 1} of {size})" for i in range(size)]
    return names


def log_jacobians(target: Target, u: np.ndarray) -> dict[str, np.ndarray]:
    """log |dx / du| (n,) by variable that has a transform, and of all together under "" where these are several."""
    found, end = {}, 0
    for name, scale, size in _free(target):
        own, end = u[:, end : end + size], end + size
        if scale == "log":
            found[name] = own.sum(1)
        elif scale == "log odds" and size == int(np.prod(target.variables[name].shape)):
            found[name] = (log_expit(own) + log_expit(-own)).sum(1)
        elif scale == "log odds":  # shares: the sum of their logarithms, and a constant
            found[name] = np.log(target.constrain(u)[name].reshape(len(u), -1)).sum(1)
    whole = target.log_jacobian(u)
    if np.ptp(whole) > 0 and len(found) != 1:
        found[""] = whole
    return found


def _free(target: Target) -> list[tuple[str, str, int]]:
    """Name, scale and number of unconstrained values of every free variable, in the order of u."""
    sizes = [int(np.prod(shape)) for shape in target.flat.shapes.values()]
    return [(name, own.scale, size) for (name, own), size in zip(target.free.items(), sizes, strict=True)]


def likeliest(
    u: np.ndarray,
    reference: np.ndarray,
    names: Sequence[str],
    *,
    independent: tuple[bool, bool] = (True, True),
    scales: Sequence[str] | None = None,
    variables: Sequence[str] | None = None,
    prior: Callable[[], np.ndarray] | None = None,
    log_jacobians: Mapping[str, np.ndarray] | None = None,
    programs: bool = True,
) -> Fault | None:
    """The likeliest fault of draws; None where they depart in no mean, sd or correlation.

    Parameters
    ----------
    u, reference : ndarray, shape (chain, draw, P)
        Unconstrained values.
    names : sequence of P str
    independent : tuple of bool
        Whether the draws of each are; else their effective sample sizes count.
    scales : sequence of P str, optional
        Of `reports.validation.target.Variable`: "as it is" where a value is a parameter that may have either sign, by default
        all, "log" where it is a logarithm.
    variables : sequence of P str, optional
        The variable that each value belongs to, by default one of its own.
    prior : callable, optional
        Gives draws (n, P) from the prior, if they are needed.
    log_jacobians : mapping of str to ndarray, shape (chain * draw,), optional
        By variable, log |dx / du| at the draws of the reference.
    programs : bool
        Whether a mistake of a program is among the candidates; an approximation of the right density is only shifted, too wide
        or too narrow, or without correlations.
    """
    P = u.shape[-1]
    sizes = [effective(draws, own) for draws, own in zip((u, reference), independent, strict=True)]
    flat, other = u.reshape(-1, P), reference.reshape(-1, P)
    departing = departures(flat, other, *sizes)
    if not departing.any():
        return None
    method, right, scales = Moments.of(flat), Moments.of(other), scales or ["as it is"] * P
    n = 1 / (1 / sizes[0].min() + 1 / sizes[1].min())
    divergence = method.divergence(right)
    if (known := unvaried(flat, other, names)) is not None:
        return known
    if not np.isfinite(divergence):
        return Fault("several", "", _several(method, right, names, departing), np.nan, divergence, divergence)
    candidates = [
        *shifts(method, right, names, scales),
        *widths(method, right, names, variables or names),
        *(lost(method, right, names) if departing[2 * P :].any() else ()),
    ]
    if programs:
        candidates += [
            *flipped(method, right, names, np.array([scale == "as it is" for scale in scales])),
            *powers(right, variables or names, np.array([scale == "log" for scale in scales])),
            *jacobian(other, log_jacobians or {}),
            *prior_drawn(prior),
        ]
    left = [method.divergence(each.moments) for each in candidates]
    scores = [
        n * (kl + each.zeroed / (2 * sizes[1].min())) + each.fitted / 2 * np.log(n)
        for kl, each in zip(left, candidates, strict=True)
    ]
    best = int(np.argmin(scores))
    chosen = candidates[best]
    noise = (P + P * (P + 1) / 2) / (2 * n)
    found = Fault(chosen.kind, chosen.where, chosen.sentence, chosen.size, divergence, left[best], noise)
    if not found.explained >= EXPLAINED:
        return found._replace(kind="several", where="", size=np.nan, sentence=_several(method, right, names, departing))
    return found._replace(sentence=f"{chosen.sentence} This explains {100 * found.explained:.0f}% of the difference.")


def unvaried(u: np.ndarray, reference: np.ndarray, names: Sequence[str]) -> Fault | None:
    """That draws (n, P) do not vary in some direction in which those of the reference do; None where they vary."""
    if fixed := [name for name, own in zip(names, unvarying(u) & ~unvarying(reference), strict=True) if own]:
        return Fault("fixed", "", _unvarying(fixed, len(names)), np.nan, np.inf, np.inf)
    tied = np.argwhere(np.triu(as_one(u) & ~as_one(reference), 1))
    if not len(tied):
        return None
    i, j = tied[0]
    words = _tied(names[i], names[j], len(tied), np.array_equal(u[:, i], u[:, j]))
    return Fault("tied", "", words, np.nan, np.inf, np.inf)


def effective(draws: np.ndarray, independent: bool) -> np.ndarray:
    """Effective numbers of draws (chain, draw, P), of their values and of their squares the smaller, shape (P,)."""
    chains, length, P = draws.shape
    if independent:
        return np.full(P, float(chains * length))
    from arviz_stats.base import array_stats

    values = np.moveaxis(draws, 2, 0)
    offset = values - values.mean((1, 2), keepdims=True)
    return np.minimum(*(np.asarray(array_stats.ess(each, method="mean")) for each in (values, offset**2)))


def departures(u: np.ndarray, reference: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Which means (P), sds (P) and correlations of draws (., P) differ from the reference by more than Monte Carlo error.

    Each by its normal approximation, at `FALSE_ALARMS` by Bonferroni over all; correlations as Fisher's z of normal scores, in
    the order of ``np.triu_indices``.
    """
    P = u.shape[1]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of values that do not vary
        z = _standardised(u, reference, n, m)
    every = np.where(np.isin(np.arange(len(z)), P + np.flatnonzero(unvarying(u))), np.inf, z)
    return np.abs(every) > stats.norm.isf(FALSE_ALARMS / 2 / len(every))


def unvarying(u: np.ndarray) -> np.ndarray:
    """Which columns of draws (n, P) hold one value, but for rounding."""
    return np.ptp(u, axis=0) <= ROUNDING * np.abs(u).max(0)


def as_one(u: np.ndarray) -> np.ndarray:
    """Which pairs (P, P) of columns of draws (n, P) vary and are perfectly correlated, but for rounding."""
    varies = ~unvarying(u)
    with np.errstate(all="ignore"):  # of values that do not vary
        return (np.abs(Moments.of(u).correlations) > 1 - TIED) & np.outer(varies, varies)


def _standardised(u: np.ndarray, reference: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Differences of means (P), of log sds (P) and of correlations, in their standard errors."""
    P = u.shape[1]
    sides = [(Moments.of(draws), stats.kurtosis(draws, fisher=False), size) for draws, size in ((u, n), (reference, m))]
    (a, a_kurtosis, _), (b, b_kurtosis, _) = sides
    means = (a.mean - b.mean) / np.sqrt(a.sd**2 / n + b.sd**2 / m)
    widths = np.log(a.sd / b.sd) / np.sqrt((a_kurtosis - 1) / (4 * n) + (b_kurtosis - 1) / (4 * m))
    z = [means, widths]
    if P > 1:
        pairs = np.triu_indices(P, 1)
        least = [np.minimum(size[pairs[0]], size[pairs[1]]) for size in (n, m)]
        fisher = [np.arctanh(np.corrcoef(_scores(draws), rowvar=False)[pairs]) for draws in (u, reference)]
        z.append((fisher[0] - fisher[1]) / np.sqrt(1 / (least[0] - 3) + 1 / (least[1] - 3)))
    return np.concatenate(z)


def _scores(draws: np.ndarray) -> np.ndarray:
    """Normal scores of draws (n, P) by their ranks."""
    return stats.norm.ppf((stats.rankdata(draws, axis=0) - 0.5) / len(draws))


def _unvarying(fixed: Sequence[str], P: int) -> str:
    """That some of P parameters, or all, do not vary."""
    if len(fixed) == P:
        return "All draws are one point: nothing varies."
    others = f" and {len(fixed) - 1} more" if len(fixed) > 1 else ""
    return f"{fixed[0]}{others} {'do' if others else 'does'} not vary: all draws have one value."


def _tied(first: str, second: str, pairs: int, copied: bool) -> str:
    """That a number follows from another; so it is of so many pairs."""
    others = f", and so it is of {pairs - 1} more {'pair' if pairs == 2 else 'pairs'}" if pairs > 1 else ""
    if copied:
        return (
            f"{second} has the same draws as {first}, one by one{others}: was one copied into the place of the other?"
        )
    return f"{first} and {second} are perfectly correlated: each follows from the other{others}."


def _several(method: Moments, right: Moments, names: Sequence[str], departing: np.ndarray) -> str:
    """The largest certain departure of a mean, of an sd and of a correlation, of those that there are."""
    P = len(names)
    shifts, ratios = (method.mean - right.mean) / right.sd, method.sd / right.sd
    first, second = np.triu_indices(P, 1)
    with np.errstate(all="ignore"):  # of values that do not vary
        lost, apart = (method.correlations - right.correlations)[first, second], np.abs(np.log(ratios))
    moved, widened, other = (np.flatnonzero(each) for each in np.split(departing, [P, 2 * P]))
    said = []
    if len(moved):
        j = moved[np.abs(shifts[moved]).argmax()]
        said.append(f"{names[j]} is shifted by {number(shifts[j], True)} posterior sd")
    if len(widened):
        j = widened[apart[widened].argmax()]
        said.append(f"the sd of {names[j]} is {number(ratios[j])} times that of the reference")
    if len(other):
        j = other[np.abs(lost[other]).argmax()]
        said.append(f"the {correlation(method, right, names, first[j], second[j])}")
    return f"No single fault explains this; the largest departures: {', '.join(said)}."
