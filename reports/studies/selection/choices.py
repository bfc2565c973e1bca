"""What each criterion chooses among candidates, and by how much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.metrics.criteria import Candidate, Found
from reports.metrics.criterion import CRITERIA
from reports.metrics.prediction import paired_difference
from reports.studies.selection import bootstrap
from reports.studies.selection.bootstrap import RatioTest

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Choice:
    """What one criterion chooses among some candidates.

    Parameters
    ----------
    criterion : str
    among : str
        The covariance structure of the candidates, or "all".
    best : Candidate
    runner_up : Candidate or None
        The second best, where there is one.
    margin, margin_se : float
        Best minus second in nats, and its standard error where it has one: of the paired difference for scores that are sums
        over points, of two independent estimates for the evidence.
    one_se : Candidate or None
        For scores that are sums over points, the candidate with the fewest parameters that is within one standard error of
        their paired difference from the best (after Breiman, Friedman, Olshen & Stone 1984, section 3.4.3).
    """

    criterion: str
    among: str
    best: Candidate
    runner_up: Candidate | None
    margin: float
    margin_se: float
    one_se: Candidate | None


def tabulated(
    criteria: Sequence[str],
    candidates: Sequence[Candidate],
    parameters: Mapping[Candidate, int],
    found: Mapping[tuple[Candidate, str], Found],
    *,
    together: bool = False,
) -> tuple[pd.DataFrame, list[Choice]]:
    """All values with their differences from the best of their structure, or of all ``together``, and all choices."""
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    choices: list[Choice] = []
    structures = distinct(c.covariance for c in candidates)
    together = together and len(structures) > 1
    of = {c: "all" if together else c.covariance for c in candidates}
    structures = distinct(of.values())
    for criterion in criteria:
        own = {c: found[c, CRITERIA[criterion].part] for c in candidates}
        values = {c: one.values[criterion] for c, one in own.items() if criterion in one.values}
        missing = {c: one.missing[criterion] for c, one in own.items() if criterion in one.missing}
        missing |= (unproven := _unproven(criterion, own, values))
        values = {c: value for c, value in values.items() if c not in unproven}
        pointwise = {c: one.pointwise[criterion] for c, one in own.items() if criterion in one.pointwise}
        within = {}
        for structure in structures:
            some = {c: v for c, v in values.items() if of[c] == structure}
            if len(some) >= min(2, sum(own == structure for own in of.values())):
                within[structure] = choose(criterion, structure, some, pointwise, parameters)
        choices += within.values()
        if len(values) > 1 and len(structures) > 1:
            choices.append(choose(criterion, "all", values, pointwise, parameters))
        for c in candidates:
            value, se = values.get(c, (np.nan, np.nan))
            gap = gap_se = np.nan
            if c in values and of[c] in within:
                best = within[of[c]].best
                gap, gap_se = (0.0, np.nan) if c == best else difference(c, best, values, pointwise)
            rows.append((criterion, *c, value, se, gap, gap_se, missing.get(c)))
    columns = ["criterion", "covariance", "components", "value", "se", "difference", "difference_se", "missing"]
    return pd.DataFrame(rows, columns=columns), choices


def _unproven(
    criterion: str, own: Mapping[Candidate, Found], values: Mapping[Candidate, tuple[float, float]]
) -> dict[Candidate, str]:
    """Candidates whose value is the highest and doubtful, each with the reason: they would be chosen for an error."""
    highest = max((v for c, (v, _) in values.items() if criterion not in own[c].doubts), default=-np.inf)
    return {
        c: f"{own[c].doubts[criterion]}, and its value, {f'{v:.1f}'.replace('-', '−')}, exceeds that of every candidate "
        "without this doubt"
        for c, (v, _) in values.items()
        if criterion in own[c].doubts and v > highest
    }


def choose(
    criterion: str,
    among: str,
    values: Mapping[Candidate, tuple[float, float]],
    pointwise: Mapping[Candidate, np.ndarray],
    parameters: Mapping[Candidate, int],
) -> Choice:
    """What a criterion chooses among candidates with a value and its standard error; of equals, that with fewer parameters."""
    ordered = sorted(values, key=lambda c: (-values[c][0], parameters[c]))
    best, second = ordered[0], ordered[1] if len(ordered) > 1 else None
    margin, se = difference(best, second, values, pointwise) if second else (np.nan, np.nan)
    near = None
    if pointwise:
        behind = {c: difference(best, c, values, pointwise) for c in ordered[1:]}
        near = min([best, *(c for c, (gap, own_se) in behind.items() if gap <= own_se)], key=lambda c: parameters[c])
    return Choice(criterion, among, best, second, margin, se, near)


def difference(
    one: Candidate,
    other: Candidate,
    values: Mapping[Candidate, tuple[float, float]],
    pointwise: Mapping[Candidate, np.ndarray],
) -> tuple[float, float]:
    """One value minus another, and the standard error of that, paired where both are sums over points."""
    if not pointwise:
        (a, a_se), (b, b_se) = values[one], values[other]
        return a - b, float(np.hypot(a_se, b_se))
    n = len(pointwise[one])
    _, _, _, mean, se = paired_difference("", "", "", pointwise[one], pointwise[other])
    return float(n * mean), float(n * se)


def with_tests(
    table: pd.DataFrame, choices: list[Choice], tests: Sequence[RatioTest]
) -> tuple[pd.DataFrame, list[Choice]]:
    """All values and choices with those of the bootstrap test, which chooses by its sequence and has no margin."""
    import pandas as pd

    rows = [
        {"criterion": "blrt", **one.candidate._asdict(), "value": one.p, "se": one.se, "missing": one.missing}
        for one in tests
    ]
    own = pd.DataFrame(rows, columns=table.columns)
    found = [bootstrap.sequential(bootstrap.within(tests, structure))[0] for structure in distinct(own["covariance"])]
    more = [Choice("blrt", one.candidate.covariance, one.candidate, None, np.nan, np.nan, None) for one in found if one]
    return pd.concat([part for part in (table, own) if len(part)], ignore_index=True), [*choices, *more]


def as_named(choice: Choice) -> dict[str, Any]:
    """Candidates by the names of their fields, and no number where there is none, as the manifest can hold them."""
    candidates = {
        name: None if getattr(choice, name) is None else getattr(choice, name)._asdict()
        for name in ("best", "runner_up", "one_se")
    }
    numbers = {name: getattr(choice, name) for name in ("margin", "margin_se")}
    return candidates | {name: None if value != value else value for name, value in numbers.items()}


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions, in their order."""
    return tuple(dict.fromkeys(names))
