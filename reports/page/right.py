"""Whether a result of one's own is right: the first sentences of a validation, from its verdict and its likeliest fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reports.comparison.verdict import CORRELATIONS, LIMITS, SEVERITY
from reports.metrics.quality import usable
from reports.page import answer
from reports.page.numbers import khat, with_error
from reports.page.validation_view import WITHIN, ValidationView
from reports.page.words import listing, literal

SHOWN = 3
"""Variables of which a sentence says by how much they differ; of the others it says how many they are."""

NEAR = 0.05
"""Nats up to which a q is called close: a normal q moved by a third of an sd in one direction loses as much."""


def answers(view: ValidationView) -> list[tuple[str, str]]:
    """Return a question and its answer for each added result, then what other methods are and what the reference is."""
    rows = [(f"Is {literal(view.label(method))} right?", right(view, method)) for method in view.added]
    ours = [m for m in view.methods if m not in view.added and m != view.manifest["reference"]["method"]]
    if ours or not rows:
        said = [answer.stand_in(only(view.manifest, ours)), *allowed_departures(view, ours)]
        rows.append(("Other methods" if rows else "Posterior", " ".join(said)))
    rows.append(("Reference", answer.of_reference(view.manifest)))
    if said := [*closeness(view), *weighting(view), *silent(view)]:
        rows.append(("Densities", " ".join(f"{sentence}." for sentence in said)))
    return rows


def only(manifest: dict[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """Return the manifest as if these methods and the reference alone had been there."""
    kept = {*methods, manifest["reference"]["method"]}
    return manifest | {"methods": {m: facts for m, facts in manifest["methods"].items() if m in kept}}


def right(view: ValidationView, method: str) -> str:
    """Return yes, no, or that it cannot be told, and what decided."""
    judged = view.manifest["verdict"].get(method, {})
    states = {state: [c for c, said in judged.items() if said["state"] == state] for state in SEVERITY}
    against = literal(view.label(view.reference)) if view.reference else "a reference"
    if not view.trusted:
        reason = literal(view.manifest["reference"]["reason"])
        why = f"{against} {reason}" if view.reference else reason
        return f"This cannot be told, as there is no trusted reference: {why}.{remedy(view)}"
    if wrong := states["differs"]:
        same = f" It agrees in {listing([claim(c) for c in states['agrees']])}." if states["agrees"] else ""
        found = differences(judged, wrong)
        return f"No. {blame(view, method)}It differs from {against} in {found}.{same}{excuse(view, judged, wrong)}"
    if open_ := states["cannot tell"]:
        rest = f" The rest agrees with {against}." if states["agrees"] else ""
        unreliable = view.methods[method]["converged"] is False
        why = f"it {answer.own_caveat(view.methods[method])}" if unreliable else "more draws would tell"
        found = departure(view, method)
        certain = f" A departure, however small, is certain. {found}" if found else ""
        return f"This cannot be told for {differences(judged, open_)}: {why}.{rest}{certain}"
    if answer.same_draws(view.manifest, method):
        return f"This cannot be told: {answer.copied(against)}. Give draws of a run of its own."
    nearest = max((said["checks"][0] for said in judged.values() if said["checks"]), key=answer.reach, default=None)
    near = f" Nearest to a limit: {answer.check_words(nearest)}." if nearest else ""
    several = len(view.blocks) > 1
    whole, verb = ("all of its variables", "") if several else (literal(view.blocks[0]), "s")
    if found := departure(view, method):
        return (
            f"Nearly. A departure is certain. {found} It is small: {whole} stay{verb} within the limits of the verdict, "
            f"{allowed()}.{near}"
        )
    return f"Yes, as far as these draws show: {whole} agree{verb} with {against}.{near}"


def remedy(view: ValidationView) -> str:
    """Return what may make a reference of a sampler that failed its checks: by the first of `REMEDIES` that it failed."""
    judged = view.manifest["references"].get(view.reference, {})
    failed = {check["name"] for check in judged.get("checks", ()) if not check["passed"]}
    return next((f" {words}" for name, words in REMEDIES.items() if name in failed), "")


REMEDIES = {
    "divergent transitions": "What often helps: a higher target_accept (--target-accept 0.99), or a model in which the "
    "variables of groups are non-centred, mean + sd × z with z standard normal.",
    "smallest E-BFMI": "What often helps: a model in which the variables of groups are non-centred, mean + sd × z with z "
    "standard normal, or priors with lighter tails.",
    "largest R-hat": "What often helps: longer chains (tune and draws). Chains that stay apart have found several modes, or "
    "a model that the data do not identify.",
    "smallest bulk ESS": "What often helps: longer chains (tune and draws).",
    "smallest tail ESS": "What often helps: longer chains (tune and draws).",
}
"""What to try where a sampler failed a check."""


def allowed() -> str:
    """Return in words how far a posterior may depart and still be said to agree."""
    moved, width = LIMITS["median_shift"], LIMITS["width_ratio"]
    return f"which allow a median {moved.high:g} sd away and intervals {width.low:g} to {width.high:g} times as wide"


def departure(view: ValidationView, method: str) -> str:
    """Return what is certain to be another than under the reference, be it one fault or several."""
    found = view.manifest["faults"].get(method)
    return literal(found["sentence"]) if found else ""


def allowed_departures(view: ValidationView, methods: Sequence[str]) -> list[str]:
    """Return a sentence for each method that departs for certain and is allowed to."""
    return [
        f"A departure of {literal(view.label(method))} is certain, though within the limits. {departure(view, method)}"
        for method in methods
        if view.overall(method) == WITHIN
    ]


def claim(name: str) -> str:
    """Return what a claim is about."""
    return f"the {name}" if name == CORRELATIONS else literal(name)


def blame(view: ValidationView, method: str) -> str:
    """Return the likeliest fault, if a single one explains the difference."""
    found = view.manifest["faults"].get(method)
    return f"{literal(found['sentence'])} " if found and found["kind"] != "several" else ""


def excuse(view: ValidationView, judged: dict[str, Any], claims: Sequence[str]) -> str:
    """Return how a q with no mistake in it may differ in this way, if it may: there has to be something to factorise."""
    if view.manifest["model"]["n_parameters"] == 1:
        return ""
    free = {name for name, facts in view.manifest["model"]["variables"].items() if facts["free"]}
    told = [found for name in claims if name in free | {CORRELATIONS} and (found := cause(judged[name]))]
    of_family = [
        each["quantity"] == "correlation_error" or (each["quantity"] == "width_ratio" and each["value"] < 1)
        for each in told
    ]
    if not told or not all(of_family):
        return ""
    return (
        " A [[mean-field|factorised]] q can differ like this with every update right, since the posterior is not in its "
        "family."
    )


def differences(judged: dict[str, Any], claims: Sequence[str]) -> str:
    """Return claims with the number that tells most, place and width before coverage, the worst first."""
    told = {name: found for name in claims if (found := cause(judged[name]))}
    ordered = sorted(claims, key=lambda name: -answer.reach(told[name]) if name in told else 0)
    words = [
        f"{claim(name)} ({number_of(told[name], name)})" if name in told else claim(name) for name in ordered[:SHOWN]
    ]
    if more := len(ordered) - len(words):
        words.append(f"{more} more")
    return listing(words)


def number_of(check: dict[str, Any], name: str) -> str:
    """Return a check in words, without the parameter where that is the whole variable."""
    return answer.check_words(check | {"target": "data"} if check["target"] == name else check)


def cause(said: dict[str, Any]) -> dict[str, Any] | None:
    """Return the check of a claim in the claim's own state that is no consequence of another."""
    own = [check for check in said["checks"] if check["state"] == said["state"]] or said["checks"]
    causes = [check for check in own if check["quantity"] != "coverage95"] or own
    return max(causes, key=answer.reach, default=None)


def closeness(view: ValidationView) -> list[str]:
    """Return how many nats each q is from the posterior."""
    said = [
        f"{literal(view.label(method))} {with_error(max(value, 0.0), view.se(method, 'divergence'))}"
        for method in view.trees
        if (value := view.value(method, "divergence")) == value
    ]
    return [f"[[kl|KL divergence]] from the posterior, in nats: {', '.join(said)}"] if said else []


def weighting(view: ValidationView) -> list[str]:
    """Return what importance sampling can make of each q that is not close to the posterior already."""
    good: list[str] = []
    bad: list[str] = []
    tails: list[str] = []
    for method in view.trees:
        if (found := view.value(method, "khat")) != found:
            continue
        sizes = view.trees[method]["posterior"].sizes
        words = f"{literal(view.label(method))} ([[khat|k-hat]] {khat(found)})"
        if usable(found, sizes["chain"] * sizes["draw"]):
            good.append(words)
        else:
            close = view.value(method, "divergence") + 2 * view.se(method, "divergence") < NEAR
            (tails if close else bad).append(words)
    said = []
    if good:
        said.append(f"Importance weights can correct what {listing(good)} get{'s' if len(good) == 1 else ''} wrong")
    if bad:
        said.append(f"Importance weights cannot repair {listing(bad)}")
    if tails:
        have = "has" if len(tails) == 1 else "have"
        said.append(
            f"{listing(tails)} {have} lighter tails than the posterior, too far out for the intervals to show it"
        )
    return said


def silent(view: ValidationView) -> list[str]:
    """Return which results came without a density, and of which variables they say nothing."""
    said = []
    without = [
        literal(view.label(m))
        for m in view.trees
        if m != view.reference and view.methods[m]["kind"] not in ("mcmc", "point") and not has_density(view, m)
    ]
    if without:
        are = "it is" if len(without) == 1 else "they are"
        said.append(f"{listing(without)} came without log q: how far {are} from the posterior as a whole is not known")
    for method in view.added:
        if lacking := [name for name in view.lacking(method) if view.manifest["model"]["variables"].get(name)]:
            said.append(f"{literal(view.label(method))} says nothing of {literal(listing(lacking))}")
    return said


def has_density(view: ValidationView, method: str) -> bool:
    """Return whether log q of the draws is known."""
    tree = view.trees[method]
    return "densities" in tree.children and "log_q" in tree["densities"].data_vars
