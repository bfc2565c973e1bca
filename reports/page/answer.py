"""The answer in three parts, worked out from the manifest: what can stand in for what, the reference, what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from reports.comparison.verdict import CORRELATIONS, NAMES, distance
from reports.page.numbers import fixed, number, with_error
from reports.page.words import listing, literal
from reports.plots import style

Manifest = Mapping[str, Any]

LONGEST = 200
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
        return _text("No method succeeded", *failed)
    if against is None:
        names = listing([label(m) for m in others], "or")
        return _text(f"Whether {names} can stand in for the posterior cannot be told: there is no reference", *failed)
    if not others:
        return _text(f"Only {label(against)} succeeded: there is nothing to compare it with", *failed)
    if not manifest["reference"]["trusted"]:
        clauses = ["Whether any method can stand in for the posterior cannot be told: the reference is not trusted"]
        if seen := _worst(_causes(_checks(manifest, others, _blocks(manifest)))):
            clauses.append(f"The largest difference from {label(against)} as it is: {_told(seen, True)}")
        return _text(*clauses, *failed)
    return _text(*_judged(manifest, others, against), *failed)


def _judged(manifest: Manifest, others: Sequence[str], against: str) -> list[str]:
    """Return the clauses on those that can stand in, cannot, leave it open, and give a point."""
    points = [m for m in others if manifest["methods"][m]["kind"] == "point"]
    states = {m: _state(manifest, m, _blocks(manifest)) for m in others if m not in points}
    good = [m for m, state in states.items() if state == "agrees"]
    unknown = [m for m, state in states.items() if state == "cannot tell"]
    if good:
        every = "every other method" if len(good) == len(others) > 2 else listing([label(m) for m in good])
        closest = _worst(_checks(manifest, good, _blocks(manifest)))
        at_most = f" (nearest to a limit: {_told(closest, len(good) > 1)})" if closest else ""
        found = [f"On these data {every} can stand in for {_name(manifest, against)}{at_most}"]
    else:
        found = [
            f"On these data no method {'could be shown to' if unknown else 'can'} stand in for {_name(manifest, against)}"
        ]
    found += [
        f"{label(method)} confirms nothing: {copied(label(against))}" for method in good if same_draws(manifest, method)
    ]
    found += _defects(manifest, [m for m, state in states.items() if state == "differs"])
    found += [f"For {label(method)} this cannot be told ({_open(manifest, method)})" for method in unknown]
    if points:
        worst = _worst(_checks(manifest, points, _blocks(manifest)))
        plural = len(points) > 1
        told = f"; furthest from the reference's median: {_told(worst, plural)}" if worst else ""
        found.append(
            f"{listing([label(m) for m in points])} give{'' if plural else 's'} {'points' if plural else 'a point'} "
            f"without intervals{told}"
        )
    return found


def _defects(manifest: Manifest, methods: Sequence[str]) -> list[str]:
    """Return one clause for each way in which methods differ, with the worst of its methods."""
    groups: dict[str, list[Seen]] = {}
    for method in methods:
        differing = [s for s in _checks(manifest, [method], _blocks(manifest)) if s.check["state"] == "differs"]
        if worst := _worst(_causes(differing)):
            groups.setdefault(defect(worst.check), []).append(worst)
    clauses = []
    for words, members in groups.items():
        plural = len(members) > 1
        names, whose = listing([label(s.method) for s in members]), "their" if plural else "its"
        clauses.append(
            f"{names} cannot: {whose} {words} ({'at worst ' if plural else ''}{_told(_worst(members), plural)})"
        )
    return clauses


def defect(check: Mapping[str, Any]) -> str:
    """Return what is wrong with a posterior of which this check differs."""
    if check["quantity"] == "width_ratio":
        return f"intervals are too {'narrow' if check['value'] < 1 else 'wide'}"
    if check["quantity"] == "correlation_error":
        return "dependence between parameters is another"
    return (
        "posterior lies elsewhere"
        if check["quantity"] == "median_shift"
        else "intervals miss too much of the reference"
    )


def of_reference(manifest: Manifest) -> str:
    """Return which method is the reference and whether it can be trusted."""
    facts, method = manifest["reference"], _reference(manifest)
    if method is None:
        return f"There is no reference: {literal(facts['reason'])}."
    name = label(method)
    if not facts["trusted"]:
        return (
            f"{name} would be the reference and cannot be trusted: it {literal(facts['reason'])}. What follows says how far "
            "the methods are from it, not which of them is right."
        )
    if manifest["methods"][method]["kind"] == "exact":
        draws = manifest["options"]["chains"] * manifest["options"]["draws"]
        return (
            f"The reference is exact: it sums over all allocations, and the only error of its {fixed(draws, 0)} independent "
            "draws is Monte Carlo error."
        )
    checks = [f"{c['name']} {check_number(c)}" for c in facts["checks"] if c["value"] is not None]
    shown = f" ({', '.join(checks[:3])})" if checks else ""
    return f"The reference is {name}, which passed its checks{shown}{_second(manifest, method)}."


def check_number(check: Mapping[str, Any]) -> str:
    """Return what a check of a sampler found: of an effective sample size no parts of a draw."""
    return fixed(check["value"], 0) if "ESS" in check["name"] else number(check["value"], 4)


def _second(manifest: Manifest, method: str) -> str:
    """Return what another possible reference says of the one chosen."""
    passed = [m for m, facts in manifest["references"].items() if m != method and facts["trusted"]]
    others = [m for m in passed if not same_draws(manifest, m)]
    agreeing = [m for m in others if _state(manifest, m, None) == "agrees"]
    if agreeing:
        names = listing([label(m) for m in agreeing])
        return f"; {names}, sampled independently, agree{'s' if len(agreeing) == 1 else ''} with it in every claim"
    if others:
        return f"; {listing([label(m) for m in others])} passed too and does not contradict it"
    return ""


def same_draws(manifest: Manifest, method: str) -> bool:
    """Return whether a method's draws are those of the reference, which no other run could hit in every median."""
    shifts = [
        seen.check["value"]
        for seen in _checks(manifest, [method], _blocks(manifest))
        if seen.check["quantity"] == "median_shift"
    ]
    return bool(shifts) and not any(shifts)


def copied(against: str) -> str:
    """Return what is said of a method with the draws of the reference."""
    return f"it holds the draws of {against} themselves, every median is the same to the last digit"


def use(manifest: Manifest) -> str:
    """Return what the verdict means for clusters and for prediction."""
    others, against = _others(manifest), _reference(manifest)
    if not _succeeded(manifest):
        return "So there are neither clusters nor predictions to compare."
    if against is None or not others or not manifest["reference"]["trusted"]:
        return _without_trust(manifest, others, against)
    parts = []
    if manifest["model"]["n_components"] > 1 and (told := _claim(manifest, others, "clusters")):
        parts.append(f"For clusters, {told}")
    if told := _claim(manifest, others, "density"):
        parts.append(f"For prediction, {told}")
    if manifest["model"]["n_components"] == 1:
        parts.insert(0, "With one cluster all points belong together")
    parts += _stranded(manifest, others, against)
    return _text(*parts)


def _without_trust(manifest: Manifest, others: Sequence[str], against: str | None) -> str:
    """Return what can be said of clusters and prediction without a posterior to hold them against."""
    data = manifest["data"]
    rests = ["the score on held-out points"] if data["n_heldout"] else ["leave-one-out scores"]
    rests = ["training scores"] if data.get("n_fitted") else rests
    rests += ["the recovery of the known classes"] if data["n_classes"] else []
    own = f"{listing(rests)} below need{'' if len(rests) > 1 or rests[0].endswith('scores') else 's'} no reference"
    if against is None or not others:
        return f"Clusters and predictions have nothing to be compared with; {own}."
    worst = [_worst(_checks(manifest, others, [claim])) for claim in ("clusters", "density")]
    told = " and ".join(_told(seen, True) for seen in worst if seen)
    largest = f" (the largest differences from {label(against)}: {told})" if told else ""
    return f"Which clusters and predictions are right cannot be told either{largest}; {own}."


def _claim(manifest: Manifest, others: Sequence[str], claim: str) -> str:
    """Return the clause on one claim: who agrees, who differs, for whom it cannot be told, each with the worst number."""
    states = {m: _state(manifest, m, [claim]) for m in others}
    found: list[str] = []
    for state in ("agrees", "differs", "cannot tell"):
        methods = [m for m in others if states[m] == state]
        if not methods:
            continue
        plural = len(methods) > 1
        names = "all methods" if len(methods) == len(others) > 2 else listing([label(m) for m in methods])
        worst = _worst(_checks(manifest, methods, [claim]))
        at_most = f" ({'at worst ' if plural else ''}{_told(worst, plural)})" if worst else ""
        said = {
            "agrees": f"{names} agree{'' if plural else 's'} with the reference",
            "differs": f"{names} differ{'' if plural else 's'}{'' if found else ' from the reference'}",
            "cannot tell": f"for {names} this cannot be told",
        }
        found.append(said[state] + at_most)
    return "; ".join(found)


def _stranded(manifest: Manifest, others: Sequence[str], against: str) -> list[str]:
    """Return the clause on methods that settled where no draw of the reference goes."""
    facts = manifest["modes"].get(against)
    if not facts:
        return []
    nowhere = [m for m in others if m in facts["sits"] and facts["sits"][m] is None]
    if not nowhere:
        return []
    names = listing([label(m) for m in nowhere])
    return [f"No draw of {label(against)} has the clusters of {names}"]


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
    where = "" if check["target"] == "data" else f" at {literal(check['target'])}"
    return f"{NAMES[check['quantity']]} {check_value(check)}{where}, {limits(check)}"


def check_value(check: Mapping[str, Any]) -> str:
    """Return a check's value ± standard error."""
    return with_error(check["value"], check["se"])


def limits(check: Mapping[str, Any]) -> str:
    """Return the limits of a check in words."""
    low, high = check["low"], check["high"]
    if low is None or high is None:
        return f"limit {high if low is None else low:g}"
    return f"limit ±{high:g}" if low == -high else f"limits {low:g} to {high:g}"


def reach(check: Mapping[str, Any]) -> float:
    """Return how far a check's value has gone towards its limit: 1 at the limit, more beyond it."""
    return distance(check["quantity"], check["value"])


def label(method: str) -> str:
    """Return a method's short name, safe inside a sentence."""
    return literal(style.look(method).label)


def _name(manifest: Manifest, method: str) -> str:
    return "the exact posterior" if manifest["methods"][method]["kind"] == "exact" else label(method)


def _open(manifest: Manifest, method: str) -> str:
    """Return why nothing can be said of a method's posterior."""
    facts = manifest["methods"][method]
    if facts["converged"] is False:
        if facts["kind"] != "mcmc":
            return f"it {own_caveat(facts)}"
        failed = [c for c in manifest["references"].get(method, {"checks": ()})["checks"] if not c["passed"]]
        named = ", ".join(f"{c['name']} {check_number(c)}" for c in failed if c["value"] is not None)
        return f"it {own_caveat(facts)}{': ' if named else ''}{named}"
    undecided = [s for s in _checks(manifest, [method], _blocks(manifest)) if s.check["state"] == "cannot tell"]
    seen = _worst(undecided)
    return _told(seen, False) if seen else "nothing was measured"


def own_caveat(facts: Mapping[str, Any]) -> str:
    """Return what is wrong with a method that cannot be relied on."""
    return "failed its checks" if facts["kind"] == "mcmc" else "did not converge"


def _blocks(manifest: Manifest) -> list[str]:
    """The blocks of parameters that the model has."""
    return [*manifest["model"]["blocks"], CORRELATIONS]


def _reference(manifest: Manifest) -> str | None:
    method = manifest["reference"]["method"]
    return method if method in _succeeded(manifest) else None


def _succeeded(manifest: Manifest) -> list[str]:
    return [m for m, facts in manifest["methods"].items() if facts["status"] == "ok"]


def _others(manifest: Manifest) -> list[str]:
    return [m for m in _succeeded(manifest) if m != manifest["reference"]["method"]]


def _failures(manifest: Manifest) -> list[str]:
    """Return the clause on those that failed, with the error of one and the names of several."""
    failed = {m: str(f["error"]) for m, f in manifest["methods"].items() if f["status"] != "ok"}
    if not failed:
        return []
    names = listing([label(m) for m in failed])
    if len(set(failed.values())) > 1:
        return [f"{names} failed"]
    return [f"{names} failed ({literal(style.shortened(next(iter(failed.values())), LONGEST))})"]


def _text(*clauses: str) -> str:
    """Return clauses as sentences."""
    return " ".join(f"{clause}." for clause in clauses)


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


def _causes(seen: Sequence[Seen]) -> list[Seen]:
    """Return the checks without those of coverage, which follows from place and width, unless there are no others."""
    return [s for s in seen if s.check["quantity"] != "coverage95"] or list(seen)


def _worst(seen: Sequence[Seen]) -> Seen | None:
    """Return the check that has gone furthest towards its limit, or beyond it."""
    key: Callable[[Seen], float] = lambda s: reach(s.check)  # noqa: E731
    return max(seen, key=key, default=None)
