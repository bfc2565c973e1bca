"""Whether a method agrees with the reference: a verdict in three states on weights, locations, spreads, clusters and density.

A number *differs* where its simultaneous confidence interval lies wholly outside its limits, *agrees* where a one-sided 95%
interval lies wholly inside, and else one *cannot tell*. A block of parameters differs if one of its parameters does, with
intervals widened so that the whole block raises a false alarm in at most 1% of cases (Bonferroni); it agrees if all of its
parameters do, an intersection-union test, which needs no correction (Berger 1982, *Technometrics* 24:295).

The verdict needs rows alone, with values and standard errors, and no fit:

    rows = reports.metrics.agreement.posterior_agreement("mine", posterior, reference, independent=False)
    judge(rows, kind="mcmc", claims=BLOCKS)["spreads"]["state"]
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from reports.metrics import Row
from reports.metrics.parameters import BLOCKS
from reports.metrics.parameters import kind as kind_of

EVERY = (*BLOCKS, "clusters", "density")
"""All claims, in the order in which they are shown."""

CORRELATIONS = "rank correlations"
"""The claim on how parameters depend on each other, where it is made; no parameter has a name with a space."""

CLAIMS = ("weights", "locations", "spreads", "clusters", "density")
"""Those on Gaussian clusters."""

TITLES = {
    "weights": "Weights",
    "initial": "Initial probabilities",
    "transitions": "Transition probabilities",
    "locations": "Locations",
    "spreads": "Spreads and correlations",
    "probabilities": "Probabilities",
    "rates": "Rates",
    "clusters": "Clusters",
    "density": "Predictive density",
}

FALSE_ALARMS = 0.01
"""Probability at most with which a claim that holds exactly is said to differ, over all of its parameters and quantities."""

CONFIDENCE = 0.95
"""Confidence, on either side, with which every parameter has to lie within its limits before a claim agrees."""


class Limit(NamedTuple):
    """The values of a metric that agree with the reference, and where these limits come from."""

    low: float | None
    high: float | None
    why: str

    @property
    def bounds(self) -> tuple[float, float]:
        """Both limits, infinite where there is none."""
        return (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)


LIMITS = {
    "median_shift": Limit(
        -0.5,
        0.5,
        "half a posterior sd: a shift of this size leaves 92% of a normal posterior inside the method's 95% interval",
    ),
    "width_ratio": Limit(
        0.8, 1.25, "a quarter more or less: a normal 95% interval that is 0.8 times as wide holds 88% instead"
    ),
    "coverage95": Limit(0.9, None, "an interval that is called 95% and holds less than 90% doubles the risk of error"),
    "coclustering_error": Limit(
        None,
        0.02,
        "two points in a hundred pairs: the change in the probability that two points share a cluster, on average",
    ),
    "correlation_error": Limit(
        -0.2,
        0.2,
        "a fifth of the way from none to a whole one: two normal parameters lose a correlation of 0.2 or more",
    ),
    "predictive_tv": Limit(
        None, 0.05, "no event has predictive probabilities that differ by more than 0.05, the usual level of a test"
    ),
}
"""From the metric to its limits. They are conventions, chosen once for all data; each says what it means."""

OF_PARAMETERS = ("median_shift", "width_ratio", "coverage95")
"""What decides a claim on a block of parameters."""

MEASURED = {
    **dict.fromkeys(BLOCKS, OF_PARAMETERS),
    "clusters": ("coclustering_error",),
    "density": ("predictive_tv",),
}
"""What decides each claim."""

NAMES = {
    "median_shift": "median shift",
    "width_ratio": "width ratio",
    "coverage95": "95% coverage",
    "coclustering_error": "co-clustering difference",
    "predictive_tv": "total variation",
    "correlation_error": "rank correlation difference",
}

NOT_MEASURED = "not measured"
"""Of a claim for which there are no numbers."""

# What is logarithmic is judged on the logarithm.
LOGARITHMIC = {"width_ratio"}

SEVERITY = {"agrees": 0, "cannot tell": 1, "differs": 2}

Verdict = dict[str, dict[str, Any]]


def judge(
    rows: Iterable[Row],
    kind: str,
    *,
    reference: Mapping[str, Any] | None = None,
    caveat: str | None = None,
    claims: Sequence[str] = CLAIMS,
    block: Callable[[str], str | None] | None = None,
    pairs: int | None = None,
) -> Verdict:
    """The verdict on one method.

    Parameters
    ----------
    rows : iterable of Row
        The method's rows; those that decide nothing are passed over.
    kind : str
        "point", "variational", "mcmc", "exact" or "draws".
    reference : mapping, optional
        The manifest's entry on the reference, ``method``, ``trusted`` and ``reason``; without it, one that is trusted.
    caveat : str, optional
        Why the method itself cannot be relied on, such as an optimiser that did not converge: then nothing agrees, and
        what does not differ says so.
    claims : sequence of str
        Those of `EVERY` that say something of this model: one cluster has no weights.
    block : callable, optional
        From the name of a scalar parameter to its block, where blocks are not those of mixtures; claims are then blocks.
    pairs : int, optional
        Of how many pairs of parameters the rows on correlations are the worst.

    Returns
    -------
    dict
        For each claim ``state`` ("agrees", "differs", "cannot tell"), ``because``, one sentence on the check that decided, and
        ``checks``, the deciding one first, one a quantity with its worst parameter: ``quantity``, ``target``, ``value``,
        ``se``, ``low`` and ``high`` (the limits) and ``state``.
    """
    rows = list(rows)
    by_claim = {claim: _members(claim, rows, block) for claim in claims}
    found = {
        claim: _judged(
            own, kind == "point" and (bool(block) or claim in BLOCKS), (pairs or 0) if claim == CORRELATIONS else 0
        )
        for claim, own in by_claim.items()
    }
    if caveat:
        found = {claim: _lowered(said, caveat) for claim, said in found.items()}
    if reference is None or reference["trusted"]:
        return found
    if reference["method"] is None:
        return {claim: _said("cannot tell", f"no trusted reference; {reference['reason']}") for claim in claims}
    return {
        claim: said | {"state": "cannot tell", "because": f"no trusted reference; {said['because']}"}
        for claim, said in found.items()
    }


def of_reference(reference: Mapping[str, Any], claims: Sequence[str] = CLAIMS) -> Verdict:
    """The verdict on the reference itself: "reference" where it is trusted, else "cannot tell", with the reason."""
    state = "reference" if reference["trusted"] else "cannot tell"
    return {claim: _said(state, reference["reason"]) for claim in claims}


def _members(claim: str, rows: list[Row], block: Callable[[str], str | None] | None) -> list[Row]:
    """The rows that decide a claim."""
    if claim == CORRELATIONS:
        return [row for row in rows if row.metric == "correlation_error" and row.target != "all"]
    if block is not None:
        return [row for row in rows if row.metric in OF_PARAMETERS and block(row.target) == claim]
    return [row for row in rows if row.metric in MEASURED[claim] and _belongs(row.target, claim)]


def _judged(own: list[Row], is_point: bool, number: int) -> dict[str, Any]:
    """The verdict by the rows that decide a claim, the worst of so many where others were left out."""
    if not own:
        return _said("cannot tell", NOT_MEASURED)
    strict = _quantile(1 - FALSE_ALARMS / (2 * max(number, len(own))))
    by_metric = defaultdict(list)
    for row in own:
        by_metric[row.metric].append((_state(row, strict), row))
    worst = [
        max(those, key=lambda one: (SEVERITY[one[0]], distance(one[1].metric, one[1].value)))
        for those in by_metric.values()
    ]
    worst.sort(key=lambda one: (-SEVERITY[one[0]], -distance(one[1].metric, one[1].value)))
    state, row = worst[0]
    note = "; a point estimate has no intervals" if is_point else ""
    return _said(state, _sentence(row) + note, [_check(*one) for one in worst])


def _belongs(target: str, claim: str) -> bool:
    if claim not in BLOCKS:
        return target == "data"
    own = kind_of(target)
    return own is not None and own.block == claim


def _state(row: Row, strict: float) -> str:
    """Where the interval of a number lies: wholly outside its limits, wholly inside, or neither."""
    limit = LIMITS[row.metric]
    if np.isinf(row.value):
        return "differs"
    if not (np.isfinite(row.value) and np.isfinite(row.se)):
        return "cannot tell"
    low, high = limit.bounds
    value, se = row.value, row.se
    if row.metric in LOGARITHMIC:
        value, se, low, high = np.log(value), se / value, np.log(low), np.log(high)
    if value + strict * se < low or value - strict * se > high:
        return "differs"
    confident = _quantile(CONFIDENCE)
    return "agrees" if low < value - confident * se and value + confident * se < high else "cannot tell"


def distance(metric: str, value: float) -> float:
    """How far a number is from the ideal, in units of its limit: 1 at the limit, more beyond it.

    >>> round(distance("width_ratio", 0.64), 6), distance("median_shift", -0.25)
    (2.0, 0.5)
    """
    low, high = LIMITS[metric].bounds
    if metric in LOGARITHMIC:
        return float(abs(np.log(value)) / np.log(high)) if value > 0 else np.inf
    return (0.95 - value) / (0.95 - low) if metric == "coverage95" else abs(value) / high


def _check(state: str, row: Row) -> dict[str, Any]:
    limit = LIMITS[row.metric]
    se = float(row.se) if np.isfinite(row.se) else None
    return {
        "quantity": row.metric,
        "target": row.target,
        "value": float(row.value),
        "se": se,
        "low": limit.low,
        "high": limit.high,
        "state": state,
    }


def _sentence(row: Row) -> str:
    """The number in words: "median shift of means[0, a] 0.52 ± 0.03, limits −0.5 to 0.5"."""
    limit, of = LIMITS[row.metric], "" if row.target == "data" else f" of {row.target}"
    if limit.low is not None and limit.high is not None:
        bounds = f"limits {_text(limit.low)} to {_text(limit.high)}"
    else:
        bounds = f"limit {_text(limit.low if limit.high is None else limit.high)}"
    return f"{NAMES[row.metric]}{of} {_with_error(row.value, row.se)}, {bounds}"


def _lowered(said: dict[str, Any], caveat: str) -> dict[str, Any]:
    """What would agree, or be undecided, if the method could be relied on."""
    if said["state"] == "differs":
        return said
    return said | {"state": "cannot tell", "because": f"{caveat}; {said['because']}"}


def _said(state: str, because: str, checks: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    return {"state": state, "because": because, "checks": list(checks)}


@cache
def _quantile(p: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(p))


def _with_error(value: float, se: float) -> str:
    """The value to the two leading digits of its error."""
    if not (np.isfinite(se) and se > 0):
        return _text(value)
    places = min(6, max(0, 1 - int(np.floor(np.log10(se)))))
    return f"{value:.{places}f} ± {se:.{places}f}".replace("-", "−")


def _text(value: float | None) -> str:
    return f"{value:.3g}".replace("-", "−").replace("inf", "∞")
