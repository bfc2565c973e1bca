"""Which single fault a method most likely has: the one that, planted in the reference, makes it look like the method.

Both are compared by their means and covariances over the unconstrained values u, where posteriors are nearest to normal. With
m, S of the method and m_f, S_f of the reference with the fault f in it, what f leaves unexplained is the divergence of two
normals in nats,

    KL_f = (tr(S_f^-1 S) - P + (m_f - m)^T S_f^-1 (m_f - m) + log|S_f| - log|S|) / 2

and that fault is named for which n KL_f + k / 2 log n is least, where k is the number of sizes that were fitted to the method
and n the number of independent draws that are as informative as both sets (Schwarz 1978, *Annals of Statistics* 6:461-464).
Whether there is a fault at all is tested first, by every mean, sd and correlation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats
from scipy.special import log_expit

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

LEAST_WEIGHTED = 100
"""Effective draws that are left of the reference where it is reweighted, at least."""


PAIRS = 10
"""The strongest correlations of the reference, of which one may be lost alone."""


NEAR = 0.1
"""Relative distance at which a ratio is about a half, or two."""


class Fault(NamedTuple):
    """A fault and the numbers that speak for it.

    Attributes
    ----------
    kind : str
        "shift", "width", "correlations", "mean field", "sign", "prior", "jacobian" or "several".
    where : str
        The parameter, or the variable with all of its parameters, or "" for all.
    sentence : str
    size : float
        Of a shift in posterior sds, of a width as the ratio of sds; else missing.
    divergence, left : float
        Nats from the reference to the method, and from the reference with the fault in it.
    """

    kind: str
    where: str
    sentence: str
    size: float
    divergence: float
    left: float

    @property
    def explained(self) -> float:
        """Share of the divergence that the fault explains."""
        return 1 - self.left / self.divergence

    @property
    def facts(self) -> dict[str, Any]:
        """The same for a manifest."""
        return self._asdict() | {"size": None if np.isnan(self.size) else float(self.size)}


class Moments(NamedTuple):
    """Mean (P,) and covariance (P, P)."""

    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, u: np.ndarray, weights: np.ndarray | None = None) -> Moments:
        """Those of draws u (n, P)."""
        return cls(np.average(u, 0, weights), np.atleast_2d(np.cov(u, rowvar=False, aweights=weights)))

    @property
    def sd(self) -> np.ndarray:
        """Standard deviations (P,)."""
        return np.sqrt(np.diagonal(self.covariance))

    @property
    def correlations(self) -> np.ndarray:
        """Correlations (P, P)."""
        return self.covariance / np.outer(self.sd, self.sd)

    def scaled(self, factors: np.ndarray) -> Moments:
        """With all deviations from the mean multiplied by factors (P,)."""
        return Moments(self.mean, self.covariance * np.outer(factors, factors))

    def divergence(self, other: Moments) -> float:
        """KL of a normal of these moments from one of the others, in nats; infinite where that has no density."""
        try:
            root = np.linalg.cholesky(other.covariance)
        except np.linalg.LinAlgError:
            return np.inf
        own = np.linalg.solve(root, np.linalg.cholesky(self.covariance))
        offset = np.linalg.solve(root, other.mean - self.mean)
        log_ratio = np.log(np.abs(np.diagonal(own))).sum()
        return float(((own**2).sum() + (offset**2).sum() - len(offset)) / 2 - log_ratio)


class Candidate(NamedTuple):
    """A fault that may explain the difference: the moments with it, how many sizes were fitted, and how it is said.

    Of faults in one parameter, in several and in all that explain as much, the first counts as having fitted less.
    """

    kind: str
    where: str
    moments: Moments
    fitted: int
    sentence: str
    size: float = np.nan


def find(target: Target, joined: Mapping[str, Joined], against: str, rng: np.random.Generator) -> dict[str, Fault]:
    """The likeliest fault of every method that departs from the reference and has all free variables.

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
            own.u, reference.u, names_of(target), independent=(own.independent, reference.independent), **about
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
    candidates = [
        *_shifts(method, right, names, scales),
        *_widths(method, right, names, variables or names),
        *_lost(method, right, names),
        *_flipped(method, right, names, np.array([scale == "as it is" for scale in scales])),
        *_jacobian(other, log_jacobians or {}),
        *_prior(prior),
    ]
    left = [method.divergence(each.moments) for each in candidates]
    scores = [n * kl + each.fitted / 2 * np.log(n) for kl, each in zip(left, candidates, strict=True)]
    best = int(np.argmin(scores))
    chosen = candidates[best]
    if left[best] > (1 - EXPLAINED) * divergence:
        return Fault("several", "", _several(method, right, names, departing), np.nan, divergence, left[best])
    share = f" This explains {100 * (1 - left[best] / divergence):.0f}% of the difference."
    return Fault(chosen.kind, chosen.where, chosen.sentence + share, chosen.size, divergence, left[best])


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
    every = np.concatenate(z)
    return np.abs(every) > stats.norm.isf(FALSE_ALARMS / 2 / len(every))


def _scores(draws: np.ndarray) -> np.ndarray:
    """Normal scores of draws (n, P) by their ranks."""
    return stats.norm.ppf((stats.rankdata(draws, axis=0) - 0.5) / len(draws))


def _shifts(method: Moments, right: Moments, names: Sequence[str], scales: Sequence[str]) -> Iterator[Candidate]:
    delta = method.mean - right.mean
    for j, (name, scale) in enumerate(zip(names, scales, strict=True)):
        mean = right.mean.copy()
        mean[j] += delta[j]
        size = delta[j] / right.sd[j]
        ratio = np.exp(delta[j])
        times = f": {_number(ratio)} times that of the reference{_factor(ratio)}" if scale == "log" else ""
        sentence = f"{name} is shifted, by {_number(size, True)} posterior sd{times}."
        yield Candidate("shift", name, Moments(mean, right.covariance), 1, sentence, size)


def _widths(method: Moments, right: Moments, names: Sequence[str], variables: Sequence[str]) -> Iterator[Candidate]:
    ratios = method.sd / right.sd
    for j, name in enumerate(names):
        factors = np.ones(len(names))
        factors[j] = ratios[j]
        yield Candidate("width", name, right.scaled(factors), 1, _width(name, ratios[j]), ratios[j])
    inside = {name: np.array([one == name for one in variables]) for name in dict.fromkeys(variables)}
    for name, own in (inside | {"": np.ones(len(names), dtype=bool)}).items():
        if own.sum() > 1 and (not name or not own.all()):
            common = float(np.exp(np.log(ratios[own]).mean()))
            words = _width(name or "every parameter", common)
            yield Candidate("width", name, right.scaled(np.where(own, common, 1.0)), 1, words, common)


def _width(what: str, ratio: float) -> str:
    size = "narrow" if ratio < 1 else "wide"
    return (
        f"The posterior of {what} is too {size}: its sd is {_number(ratio)} times that of the reference, its variance "
        f"{_number(ratio**2)} times{_factor(ratio**2)}."
    )


def _factor(ratio: float) -> str:
    """What is said of a ratio that is near a half or two."""
    if abs(abs(np.log(ratio)) - np.log(2)) > NEAR:
        return ""
    return f", about {'half' if ratio < 1 else 'twice'}, as a factor of 2 in the wrong place makes it"


def _lost(method: Moments, right: Moments, names: Sequence[str]) -> Iterator[Candidate]:
    P = len(names)
    if P == 1:
        return
    strong = np.abs(np.tril(right.correlations, -1))
    pairs = [divmod(int(place), P) for place in np.argsort(-strong, axis=None)[: min(PAIRS, P * (P - 1) // 2)]]

    def seen(i: int, j: int) -> str:
        return _correlation(method, right, names, j, i).removeprefix("correlation ")

    for i, j in pairs:
        own = right.covariance.copy()
        own[i, j] = own[j, i] = 0
        where = f"{names[j]}, {names[i]}"
        yield Candidate(
            "correlations", where, Moments(right.mean, own), 0, f"A correlation is lost: that {seen(i, j)}."
        )
    for k in sorted({k for pair in pairs for k in pair}):
        own = right.covariance.copy()
        own[k], own[:, k] = 0, 0
        own[k, k] = right.covariance[k, k]
        pair = next(pair for pair in pairs if k in pair)
        words = f"{names[k]} has lost its correlations: the strongest, {seen(*pair)}."
        yield Candidate("correlations", names[k], Moments(right.mean, own), 1, words)
    strongest = seen(*pairs[0])
    apart = np.diag(right.sd**2)
    yield Candidate(
        "correlations", "", Moments(right.mean, apart), 2, f"Correlations are lost: the strongest, {strongest}."
    )
    conditional = np.diag(1 / np.diagonal(np.linalg.inv(right.covariance)))
    words = (
        "Correlations are lost, and widths are those of each parameter given the others, as a mean-field posterior has them: "
        f"the strongest, {strongest}."
    )
    yield Candidate("mean field", "", Moments(right.mean, conditional), 2, words)


def _flipped(method: Moments, right: Moments, names: Sequence[str], signed: np.ndarray) -> Iterator[Candidate]:
    for j in map(int, np.flatnonzero(signed)):
        sign = np.ones(len(names))
        sign[j] = -1
        means = f"its mean is {_number(method.mean[j])} here and {_number(right.mean[j])} in the reference"
        words = f"{names[j]} has the wrong sign: {means}."
        yield Candidate("sign", names[j], right.scaled(sign)._replace(mean=sign * right.mean), 0, words)
    if signed.sum() > 1:
        sign = np.where(signed, -1.0, 1.0)
        words = "Every parameter that may have either sign has the wrong one."
        yield Candidate("sign", "", right.scaled(sign)._replace(mean=sign * right.mean), 0, words)


def _jacobian(reference: np.ndarray, log_jacobians: Mapping[str, np.ndarray]) -> Iterator[Candidate]:
    """The reference (n, P) reweighted to the density that lacks the Jacobian, or that has it twice."""
    for name, log_j in log_jacobians.items():
        what = f"of {name}" if name else "of the transforms"
        for power, words in (
            (-1, f"The Jacobian {what} is forgotten: on the unconstrained scale the log density lacks log |dx/du|."),
            (1, f"The Jacobian {what} is counted twice."),
        ):
            weights = np.exp(power * log_j - (power * log_j).max())
            if weights.sum() ** 2 / (weights**2).sum() >= LEAST_WEIGHTED:
                yield Candidate("jacobian", name, Moments.of(reference, weights), 0, words)


def _prior(prior: Callable[[], np.ndarray] | None) -> Iterator[Candidate]:
    if prior is not None and np.isfinite(draws := prior()).all():
        words = "These look like draws from the prior: the data had no effect."
        yield Candidate("prior", "", Moments.of(draws), 0, words)


def _several(method: Moments, right: Moments, names: Sequence[str], departing: np.ndarray) -> str:
    """The largest certain departure of a mean, of an sd and of a correlation, of those that there are."""
    P = len(names)
    shifts, ratios = (method.mean - right.mean) / right.sd, method.sd / right.sd
    first, second = np.triu_indices(P, 1)
    lost = (method.correlations - right.correlations)[first, second]
    moved, widened, other = (np.flatnonzero(each) for each in np.split(departing, [P, 2 * P]))
    said = []
    if len(moved):
        j = moved[np.abs(shifts[moved]).argmax()]
        said.append(f"{names[j]} is shifted by {_number(shifts[j], True)} posterior sd")
    if len(widened):
        j = widened[np.abs(np.log(ratios[widened])).argmax()]
        said.append(f"the sd of {names[j]} is {_number(ratios[j])} times that of the reference")
    if len(other):
        j = other[np.abs(lost[other]).argmax()]
        said.append(f"the {_correlation(method, right, names, first[j], second[j])}")
    return f"No single fault explains this; the largest departures: {', '.join(said)}."


def _correlation(method: Moments, right: Moments, names: Sequence[str], i: int, j: int) -> str:
    """A correlation of two parameters in the reference and in the method."""
    there, here = _number(right.correlations[i, j]), _number(method.correlations[i, j])
    return f"correlation of {names[i]} and {names[j]} is {there} in the reference and {here} here"


def _number(x: float, sign: bool = False) -> str:
    """Two decimals with a true minus."""
    return f"{x:{'+' if sign else ''}.2f}".replace("-", "−")
