"""Single faults, each planted in the moments of the reference; `reports.validation.faults` chooses among them.

A function yields the candidates of one kind, from the moments of the method and of the reference (``right``) over the
unconstrained values, and the names of these.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

PAIRS = 10
"""The strongest correlations of the reference, of which one may be lost alone."""

POWERS = {
    -1.0: "the reciprocal of what it should be, as a variance is of a precision",
    -0.5: "one over the square root of what it should be, as an sd is of a precision",
    -2.0: "one over the square of what it should be, as a precision is of an sd",
    0.5: "the square root of what it should be, as an sd is of a variance",
    2.0: "the square of what it should be, as a variance is of an sd",
}
"""What a positive parameter may have been taken for, by the power to which it is raised."""

NEAR = 0.1
"""Relative distance at which a ratio is about a half, or two."""

LEAST_WEIGHTED = 100
"""Effective draws that are left of the reference where it is reweighted, at least."""


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
        """KL of a normal of these moments from one of the others, in nats; infinite where one of them has no density."""
        try:
            root, own = np.linalg.cholesky(other.covariance), np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError:
            return np.inf
        own = np.linalg.solve(root, own)
        offset = np.linalg.solve(root, other.mean - self.mean)
        log_ratio = np.log(np.abs(np.diagonal(own))).sum()
        return float(((own**2).sum() + (offset**2).sum() - len(offset)) / 2 - log_ratio)


class Candidate(NamedTuple):
    """A fault that may explain the difference: the moments with it, how many sizes were fitted, how it is said,
    and how many covariances are 0.

    Of faults in one parameter, in several and in all that explain as much, the first counts as having fitted less.
    """

    kind: str
    where: str
    moments: Moments
    fitted: int
    sentence: str
    size: float = np.nan
    zeroed: int = 0


def shifts(method: Moments, right: Moments, names: Sequence[str], scales: Sequence[str]) -> Iterator[Candidate]:
    """One parameter has the mean of the method."""
    delta = method.mean - right.mean
    for j, (name, scale) in enumerate(zip(names, scales, strict=True)):
        mean = right.mean.copy()
        mean[j] += delta[j]
        size = delta[j] / right.sd[j]
        times = _times(np.exp(delta[j])) if scale == "log" else ""
        sentence = f"{name} is shifted, by {number(size, True)} posterior sd{times}."
        yield Candidate("shift", name, Moments(mean, right.covariance), 1, sentence, size)


def _times(ratio: float) -> str:
    return f": {number(ratio)} times that of the reference{_factor(ratio)}"


def widths(method: Moments, right: Moments, names: Sequence[str], variables: Sequence[str]) -> Iterator[Candidate]:
    """One parameter, one variable or all have the width of the method."""
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
        f"The posterior of {what} is too {size}: its sd is {number(ratio)} times that of the reference, its variance "
        f"{number(ratio**2)} times{_factor(ratio**2)}."
    )


def _factor(ratio: float) -> str:
    """What is said of a ratio that is near a half or two."""
    if abs(abs(np.log(ratio)) - np.log(2)) > NEAR:
        return ""
    return f", about {'half' if ratio < 1 else 'twice'}, as a factor of 2 in the wrong place makes it"


def lost(method: Moments, right: Moments, names: Sequence[str]) -> Iterator[Candidate]:
    """One correlation, those of one parameter or all are zero."""
    P = len(names)
    if P == 1:
        return
    strong = np.abs(np.tril(right.correlations, -1))
    pairs = [divmod(int(place), P) for place in np.argsort(-strong, axis=None)[: min(PAIRS, P * (P - 1) // 2)]]

    def seen(i: int, j: int) -> str:
        return correlation(method, right, names, j, i).removeprefix("correlation ")

    for i, j in pairs:
        own = right.covariance.copy()
        own[i, j] = own[j, i] = 0
        where = f"{names[j]}, {names[i]}"
        words = f"A correlation is lost: that {seen(i, j)}."
        yield Candidate("correlations", where, Moments(right.mean, own), 0, words, zeroed=1)
    for k in sorted({k for pair in pairs for k in pair}):
        own = right.covariance.copy()
        own[k], own[:, k] = 0, 0
        own[k, k] = right.covariance[k, k]
        pair = next(pair for pair in pairs if k in pair)
        words = f"{names[k]} has lost its correlations: the strongest, {seen(*pair)}."
        yield Candidate("correlations", names[k], Moments(right.mean, own), 1, words, zeroed=P - 1)
    strongest, every = seen(*pairs[0]), P * (P - 1) // 2
    apart, words = np.diag(right.sd**2), f"Correlations are lost: the strongest, {strongest}."
    yield Candidate("correlations", "", Moments(right.mean, apart), 2, words, zeroed=every)
    conditional = np.diag(1 / np.diagonal(np.linalg.inv(right.covariance)))
    words = (
        "Correlations are lost, and widths are those of each parameter given the others, as a mean-field posterior has them: "
        f"the strongest, {strongest}."
    )
    yield Candidate("mean field", "", Moments(right.mean, conditional), 2, words, zeroed=every)


def flipped(method: Moments, right: Moments, names: Sequence[str], signed: np.ndarray) -> Iterator[Candidate]:
    """One parameter that may have either sign, or all, has the wrong one."""
    for j in map(int, np.flatnonzero(signed)):
        sign = np.ones(len(names))
        sign[j] = -1
        means = f"its mean is {number(method.mean[j])} here and {number(right.mean[j])} in the reference"
        words = f"{names[j]} has the wrong sign: {means}."
        yield Candidate("sign", names[j], right.scaled(sign)._replace(mean=sign * right.mean), 0, words)
    if signed.sum() > 1:
        sign = np.where(signed, -1.0, 1.0)
        words = "Every parameter that may have either sign has the wrong one."
        yield Candidate("sign", "", right.scaled(sign)._replace(mean=sign * right.mean), 0, words)


def powers(right: Moments, variables: Sequence[str], positive: np.ndarray) -> Iterator[Candidate]:
    """Each positive variable in the place of a power of it, as where a program has another idea of a scale parameter."""
    for name in dict.fromkeys(np.array(variables)[positive].tolist()):
        own = np.array(variables) == name
        for power, words in POWERS.items():
            factors = np.where(own, power, 1.0)
            for scaled in {
                power: factors,
                abs(power): np.abs(factors),
            }.values():  # correlations that are noise keep their sign
                moments = right.scaled(scaled)._replace(mean=factors * right.mean)
                yield Candidate("power", name, moments, 0, f"{name} is {words}.")


def jacobian(reference: np.ndarray, log_jacobians: Mapping[str, np.ndarray]) -> Iterator[Candidate]:
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


def prior_drawn(prior: Callable[[], np.ndarray] | None) -> Iterator[Candidate]:
    """The draws are the prior's."""
    if prior is not None and np.isfinite(draws := prior()).all():
        words = "These look like draws from the prior: the data had no effect."
        yield Candidate("prior", "", Moments.of(draws), 0, words)


def correlation(method: Moments, right: Moments, names: Sequence[str], i: int, j: int) -> str:
    """A correlation of two parameters in the reference and in the method."""
    there, here = number(right.correlations[i, j]), number(method.correlations[i, j])
    return f"correlation of {names[i]} and {names[j]} is {there} in the reference and {here} here"


def number(x: float, sign: bool = False) -> str:
    """Two decimals with a true minus; two digits where they are more than five."""
    return f"{x:{'+' if sign else ''}{'.2f' if abs(x) < 1e5 else '.1e'}}".replace("-", "−")
