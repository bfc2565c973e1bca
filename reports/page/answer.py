"""The answer in three sentences, worked out from the manifest: what can stand in for what, the reference, what follows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from reports.page.numbers import fixed, number, with_error
from reports.page.words import listing, literal
from reports.plots import style

Manifest = Mapping[str, Any]

BLOCKS = ("weights", "locations", "spreads")
"""The claims about parameters; their order is that of the verdict."""

LONGEST = 160
"""Characters of an error message that a sentence quotes."""


class Seen(NamedTuple):
    """One check of the verdict on one method."""

    method: str
    check: Mapping[str, Any]


def sentences(manifest: Manifest) -> tuple[str, str, str]:
    """Return what can stand in for what, what is said of the reference, and what follows for clusters and prediction."""
    return stand_in(manifest), of_reference(manifest), use(manifest)


def stand_in(manifest: Manifest) -> str:
    """Return which methods can stand in for the reference's posterior, and why the others cannot."""
    others, against = _others(manifest), _reference(manifest)
    failed = _failures(manifest)
    if not _succeeded(manifest):
        return f"No method succeeded: {failed}."
    ending = f"; {failed}" if failed else ""
    if against is None:
        names = listing([label(m) for m in others], "or")
        return f"Whether {names} can stand in for the posterior cannot be told: there is no reference{ending}."
    if not others:
        return f"{label(against)} stands alone: no other method was compared with it{ending}."
    if not manifest["reference"]["trusted"]:
        seen = _worst(_checks(manifest, others, BLOCKS))
        difference = f"; the largest difference from {label(against)} as it is: {_told(seen, True)}" if seen else ""
        return f"Whether any method can stand in for the posterior cannot be told{difference}{ending}."
    return f"On these data {'; '.join(_judged(manifest, others, against))}{ending}."


def _judged(manifest: Manifest, others: Sequence[str], against: str) -> list[str]:
    """Return the clauses on those that can stand in, cannot, leave it open, and give a point."""
    points = [m for m in others if manifest["methods"][m]["kind"] == "point"]
    states = {m: _state(manifest, m, BLOCKS) for m in others if m not in points}
    found = []
    if good := [m for m, state in states.items() if state == "agrees"]:
        every = "every other method" if len(good) == len(others) > 2 else listing([label(m) for m in good])
        closest = _worst(_checks(manifest, good, BLOCKS))
        at_most = f" (nearest to a limit: {_told(closest, len(good) > 1)})" if closest else ""
        found.append(f"{every} can stand in for {_name(manifest, against)}{at_most}")
    found += _defects(manifest, [m for m, state in states.items() if state == "differs"], against, not good)
    for method in (m for m, state in states.items() if state == "cannot tell"):
        found.append(f"it cannot be told for {label(method)} ({_open(manifest, method)})")
    if points:
        worst = _worst(_checks(manifest, points, BLOCKS))
        plural = len(points) > 1
        told = f"; the furthest estimate: {_told(worst, plural)}" if worst else ""
        found.append(
            f"{listing([label(m) for m in points])} give{'' if plural else 's'} {'points' if plural else 'a point'} "
            f"without intervals{told}"
        )
    return found


def _defects(manifest: Manifest, methods: Sequence[str], against: str, first: bool) -> list[str]:
    """Return one clause for each way in which methods differ, with the worst of its methods."""
    groups: dict[tuple[str, str], list[Seen]] = {}
    for method in methods:
        differing = [s for s in _checks(manifest, [method], BLOCKS) if s.check["state"] == "differs"]
        if worst := _worst(differing):
            groups.setdefault((worst.check["quantity"], side(worst.check)), []).append(worst)
    clauses: list[str] = []
    for key, members in groups.items():
        plural = len(members) > 1
        whom = f" stand in for {_name(manifest, against)}" if first and not clauses else ""
        their = "their" if plural else "its"
        worst = _worst(members)
        assert worst is not None
        clauses.append(
            f"{listing([label(s.method) for s in members])} cannot{whom}, because {DEFECTS[key].format(their=their)} "
            f"({'at worst: ' if plural else ''}{_told(worst, plural)})"
        )
    return clauses


DEFECTS = {
    ("width_ratio", "low"): "{their} intervals are too narrow",
    ("width_ratio", "high"): "{their} intervals are too wide",
    ("median_shift", "low"): "{their} posterior lies elsewhere",
    ("median_shift", "high"): "{their} posterior lies elsewhere",
    ("coverage95", "low"): "{their} intervals miss too much of the reference",
}
"""What a block's check says where it fails, by quantity and by the limit that is passed."""


def of_reference(manifest: Manifest) -> str:
    """Return which method is the reference and whether it can be trusted."""
    facts, method = manifest["reference"], _reference(manifest)
    if method is None:
        return f"There is no reference: {literal(facts['reason'])}."
    name = label(method)
    if not facts["trusted"]:
        return (
            f"{name} is the only reference there is and cannot be trusted: it {literal(facts['reason'])}; what follows says "
            "how far the methods are from it, not which of them is right."
        )
    if manifest["methods"][method]["kind"] == "exact":
        draws = manifest["options"]["chains"] * manifest["options"]["draws"]
        return (
            f"The reference is exact: it sums over all allocations, and the only error of its {fixed(draws, 0)} independent "
            "draws is Monte Carlo error."
        )
    checks = [f"{c['name']} {number(c['value'], 4)}" for c in facts["checks"] if c["value"] is not None]
    shown = f" ({', '.join(checks[:3])})" if checks else ""
    return f"The reference is {name}, which passed its checks{shown}{_second(manifest, method)}."


def _second(manifest: Manifest, method: str) -> str:
    """Return what another possible reference says of the one chosen."""
    others = [m for m, facts in manifest["references"].items() if m != method and facts["trusted"]]
    agreeing = [m for m in others if _state(manifest, m, None) == "agrees"]
    if agreeing:
        names = listing([label(m) for m in agreeing])
        return f"; {names}, sampled independently, agree{'s' if len(agreeing) == 1 else ''} with it in every claim"
    if others:
        return f"; {listing([label(m) for m in others])} passed too and does not contradict it"
    return ""


def use(manifest: Manifest) -> str:
    """Return what the verdict means for clusters and for prediction."""
    others, against = _others(manifest), _reference(manifest)
    if not _succeeded(manifest):
        return "So there are neither clusters nor predictions to compare."
    if against is None or not others or not manifest["reference"]["trusted"]:
        return _without_trust(manifest, others, against)
    parts = []
    if manifest["model"]["n_components"] > 1 and (told := _claim(manifest, others, "clusters")):
        parts.append(f"for clusters, {told}")
    if told := _claim(manifest, others, "density"):
        parts.append(f"for prediction, {told}")
    if manifest["model"]["n_components"] == 1:
        parts.insert(0, "with one cluster all points belong together")
    parts += _stranded(manifest, others, against)
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _without_trust(manifest: Manifest, others: Sequence[str], against: str | None) -> str:
    """Return what can be said of clusters and prediction without a posterior to hold them against."""
    data = manifest["data"]
    rests = ["the score on held-out points"] if data["n_heldout"] else ["leave-one-out scores"]
    rests += ["the recovery of the known classes"] if data["n_classes"] else []
    own = (
        f"{listing(rests)} below need{'' if len(rests) > 1 or rests == ['leave-one-out scores'] else 's'} no reference"
    )
    if against is None or not others:
        return f"Clusters and predictions have nothing to be compared with; {own}."
    worst = [_worst(_checks(manifest, others, [claim])) for claim in ("clusters", "density")]
    told = " and ".join(_told(seen, True) for seen in worst if seen)
    largest = f" (the largest differences from {label(against)}: {told})" if told else ""
    return f"Which clusters and predictions are right cannot be told either{largest}; {own}."


def _claim(manifest: Manifest, others: Sequence[str], claim: str) -> str:
    """Return the clause on one claim: who agrees, who differs, for whom it cannot be told, each with the worst number."""
    states = {m: _state(manifest, m, [claim]) for m in others}
    found = []
    for state, verb in (("agrees", "agree"), ("differs", "differ"), ("cannot tell", "")):
        methods = [m for m in others if states[m] == state]
        if not methods:
            continue
        plural = len(methods) > 1
        names = "all methods" if len(methods) == len(others) > 2 else listing([label(m) for m in methods])
        worst = _worst(_checks(manifest, methods, [claim]))
        at_most = f" ({'at worst ' if plural else ''}{_told(worst, plural)})" if worst else ""
        what = f"{names} {verb}{'' if plural else 's'} with the reference" if state == "agrees" else ""
        what = what or (f"{names} {verb}{'' if plural else 's'} from it" if verb else f"{names} cannot be judged")
        found.append(what + at_most)
    return ", ".join(found)


def _stranded(manifest: Manifest, others: Sequence[str], against: str) -> list[str]:
    """Return the clause on methods that settled where no draw of the reference goes."""
    facts = manifest["modes"].get(against)
    if not facts:
        return []
    nowhere = [m for m in others if m in facts["sits"] and facts["sits"][m] is None]
    if not nowhere:
        return []
    names = listing([label(m) for m in nowhere])
    return [f"the clusters of {names} are those of no draw of {label(against)}"]


def _told(seen: Seen | None, named: bool) -> str:
    """Return a check in words, with the method's name where it is not said before."""
    if seen is None:
        return ""
    said = check_words(seen.check)
    return f"{label(seen.method)}, {said}" if named else said


def check_words(check: Mapping[str, Any]) -> str:
    """Return a check as quantity, parameter, value ± error and limit.

    Examples
    --------
    >>> check_words({"quantity": "width_ratio", "target": "variances[1, x]", "value": 0.5217, "se": 0.0118,
    ...              "low": 0.8, "high": 1.25, "state": "differs"})
    'width ratio 0.522 ± 0.012 at variances[1, x], limits 0.8 to 1.25'
    """
    what = QUANTITIES.get(check["quantity"], check["quantity"].replace("_", " "))
    where = "" if check["target"] == "data" else f" at {literal(check['target'])}"
    return f"{what} {check_value(check)}{where}, {limits(check)}"


QUANTITIES = {
    "median_shift": "median shift",
    "width_ratio": "width ratio",
    "coverage95": "coverage",
    "coclustering_error": "co-clustering difference",
    "predictive_tv": "total variation",
}
"""What the page calls the quantities of the verdict."""


def check_value(check: Mapping[str, Any]) -> str:
    """Return a check's value ± standard error."""
    return with_error(check["value"], check["se"])


def limits(check: Mapping[str, Any]) -> str:
    """Return the limits of a check in words."""
    low, high = check["low"], check["high"]
    if low is None or high is None:
        return f"limit {high if low is None else low:g}"
    return f"limit ±{high:g}" if low == -high else f"limits {low:g} to {high:g}"


def side(check: Mapping[str, Any]) -> str:
    """Return which limit the value is nearer to: "low" or "high"."""
    low, high, value = check["low"], check["high"], check["value"]
    if low is None or high is None:
        return "low" if high is None else "high"
    middle = math.sqrt(low * high) if low > 0 else (low + high) / 2
    return "low" if value < middle else "high"


def reach(check: Mapping[str, Any]) -> float:
    """Return how far the value has gone from the middle to the limit: 1 at the limit, more beyond it.

    Examples
    --------
    >>> round(reach({"value": 0.64, "low": 0.8, "high": 1.25}), 6), reach({"value": -0.25, "low": -0.5, "high": 0.5})
    (2.0, 0.5)
    """
    low, high, value = check["low"], check["high"], check["value"]
    if low is None:
        return value / high
    if high is None:
        return (1 - value) / (1 - low)
    if low > 0:
        return abs(math.log(value / math.sqrt(low * high))) / (math.log(high / low) / 2) if value > 0 else math.inf
    return abs(value - (low + high) / 2) / ((high - low) / 2)


def label(method: str) -> str:
    """Return a method's short name, safe inside a sentence."""
    return literal(style.look(method).label)


def _name(manifest: Manifest, method: str) -> str:
    return "the exact posterior" if manifest["methods"][method]["kind"] == "exact" else label(method)


def _open(manifest: Manifest, method: str) -> str:
    """Return why nothing can be said of a method's posterior."""
    facts = manifest["methods"][method]
    if facts["converged"] is False:
        return "it failed its checks" if facts["kind"] == "mcmc" else "its optimiser did not converge"
    undecided = [s for s in _checks(manifest, [method], BLOCKS) if s.check["state"] == "cannot tell"]
    seen = _worst(undecided)
    return _told(seen, False) if seen else "nothing was measured"


def _reference(manifest: Manifest) -> str | None:
    method = manifest["reference"]["method"]
    return method if method in _succeeded(manifest) else None


def _succeeded(manifest: Manifest) -> list[str]:
    return [m for m, facts in manifest["methods"].items() if facts["status"] == "ok"]


def _others(manifest: Manifest) -> list[str]:
    return [m for m in _succeeded(manifest) if m != manifest["reference"]["method"]]


def _failures(manifest: Manifest) -> str:
    """Return who failed, with the error of one and the names of several."""
    failed = {m: str(f["error"]) for m, f in manifest["methods"].items() if f["status"] != "ok"}
    if not failed:
        return ""
    if len(failed) > 1 and len(set(failed.values())) > 1:
        return f"{listing([label(m) for m in failed])} failed"
    return f"{listing([label(m) for m in failed])} failed ({literal(style.shortened(next(iter(failed.values())), LONGEST))})"


def _state(manifest: Manifest, method: str, claims: Sequence[str] | None) -> str:
    """Return the worst state of a method's claims: differs before cannot tell before agrees."""
    judged = manifest["verdict"].get(method, {})
    states = {said["state"] for claim, said in judged.items() if claims is None or claim in claims}
    return next((s for s in ("differs", "cannot tell") if s in states), "agrees") if states else "cannot tell"


def _checks(manifest: Manifest, methods: Sequence[str], claims: Sequence[str]) -> list[Seen]:
    """Return every check made of these methods for these claims that has a number and a limit."""
    return [
        Seen(method, check)
        for method in methods
        for claim in claims
        for check in manifest["verdict"].get(method, {}).get(claim, {}).get("checks", ())
    ]


def _worst(seen: Sequence[Seen]) -> Seen | None:
    """Return the check that has gone furthest towards its limit, or beyond it."""
    key: Callable[[Seen], float] = lambda s: reach(s.check)  # noqa: E731
    return max(seen, key=key, default=None)
