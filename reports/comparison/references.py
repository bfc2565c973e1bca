"""Which method the others are held against, whether it can be trusted, and what stands in the way of a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixtures import Fit
from reports.comparison.catalogue import METHODS, REFERENCES
from reports.comparison.verdict import judge
from reports.metrics import Row

# An R-hat that more draws will not mend.
MODES_APART = 1.1
NOTHING_SAMPLED = "no MCMC draws to hold the others against"


def reference_entry(method: str, checks: list[dict[str, Any]], after: str = " after relabelling") -> dict[str, Any]:
    """The manifest's entry on the reference; ``after`` says what was done to its draws before they were checked."""
    failed = [check for check in checks if not check["passed"]]
    reason = "is the reference and passed its checks"
    if failed:
        reason = f"failed its checks{after} ({failed_checks(checks)})"
        if any(c["name"] == "largest R-hat" and c["value"] is not None and c["value"] > MODES_APART for c in failed):
            reason += "; chains so far apart are what a posterior with several modes looks like"
    return {
        "method": method,
        "trusted": not failed,
        "reason": reason,
        "checks": checks,
        "floor_note": "Wasserstein-1 between two halves of the reference: what two runs of half its length differ by.",
    }


def failed_checks(checks: list[dict[str, Any]]) -> str:
    """The checks that were not passed, each with its value: numbers of draws whole, R-hat to the third decimal."""

    def text(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.4g}"

    return ", ".join(f"{check['name']} {text(check['value'])}" for check in checks if not check["passed"])


def exact_entry(method: str) -> dict[str, Any]:
    """The manifest's entry on an exact reference."""
    return {
        "method": method,
        "trusted": True,
        "reason": "is exact and needs no check",
        "checks": [],
        "floor_note": "Wasserstein-1 between two halves of the draws: what the number of draws alone makes of no difference.",
    }


def no_reference(reason: str) -> dict[str, Any]:
    """The manifest's entry where no method can be one."""
    return {"method": None, "trusted": False, "reason": reason, "checks": [], "floor_note": None}


def chosen(judged: dict[str, dict[str, Any]], asked: str) -> dict[str, Any]:
    """The reference asked for; else the first that can be trusted, in the order of preference, else the first."""
    if asked != "auto":
        return judged.get(asked, no_reference(f"{METHODS[asked].title} was asked for as the reference and failed"))
    ordered = [judged[method] for method in REFERENCES if method in judged]
    return next(
        (entry for entry in ordered if entry["trusted"]), ordered[0] if ordered else no_reference(NOTHING_SAMPLED)
    )


def contested(
    entry: dict[str, Any], judged: dict[str, dict[str, Any]], rows: Mapping[str, list[Row]]
) -> dict[str, Any]:
    """The reference, no longer trusted where another sampler passed its checks too and differs from it."""
    if not (entry["trusted"] and entry["checks"]):
        return entry
    for method in REFERENCES:
        if method == entry["method"] or not judged.get(method, entry | {"trusted": False})["trusted"]:
            continue
        apart = [said["because"] for said in judge(rows[method], "mcmc").values() if said["state"] == "differs"]
        if apart:
            reason = f"passed its checks, and so did {METHODS[method].title}, which differs ({'; '.join(apart)})"
            return entry | {"trusted": False, "reason": reason}
    return entry


def caveat(fit: Fit, judged: dict[str, Any] | None) -> str | None:
    """Why the method itself cannot be relied on: an optimiser that did not converge, a sampler that failed its checks."""
    if fit.kind == "mcmc":
        if judged is not None:
            return None if judged["trusted"] else f"the sampler failed its checks ({failed_checks(judged['checks'])})"
        return None if fit.converged else "the sampler's runs disagree, or have few effective draws"
    return None if fit.converged else "the optimiser did not converge"
