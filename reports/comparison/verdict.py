"""What each method may be used for: means, intervals, clusters, density, with the check that decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.metrics.quality import USABLE

CLAIMS = ("means", "intervals", "clusters", "density")

MEAN_SHIFT = 0.5  # reference sds
SD_RATIO = (0.8, 1.25)
COVERAGE = 0.9
COCLUSTERING = 0.02  # probability, averaged over pairs of points
PREDICTIVE_KL = 0.01  # nats an observation

Verdict = dict[str, dict[str, Any]]


def judge(
    metrics: Mapping[tuple[str, str], float], method: str, kind: str, converged: bool, reference: Mapping[str, Any]
) -> Verdict:
    """The verdict on one method.

    Parameters
    ----------
    metrics : mapping
        From (metric, target) to the value for this method, where there is one.
    method, kind : str
    converged : bool
    reference : mapping
        The manifest's entry on the reference: ``method``, ``trusted`` and ``reason``.

    Returns
    -------
    dict
        For each claim ``fit`` (True, False, or None where nothing can be said) and ``because``.
    """
    if method == reference["method"]:
        return dict.fromkeys(CLAIMS, _said(reference["trusted"], reference["reason"]))
    if not converged:
        return dict.fromkeys(CLAIMS, _said(False, "the optimiser did not converge"))
    found = {claim: _measured(claim, metrics, kind) for claim in CLAIMS}
    if reference["trusted"]:
        return found
    if reference["method"] is None:
        lowered = dict.fromkeys(CLAIMS, _said(None, f"nothing to hold it against: {reference['reason']}"))
    else:
        lowered = {claim: _said(None, f"no trusted reference; {said['because']}") for claim, said in found.items()}
    return lowered | ({"intervals": found["intervals"]} if kind == "point" else {})


def _measured(claim: str, metrics: Mapping[tuple[str, str], float], kind: str) -> dict[str, Any]:
    if claim == "intervals" and kind == "point":
        return _said(False, "a point estimate has no intervals")
    if claim == "intervals":
        return _intervals(metrics)
    metric, target, limit, words = {
        "means": ("mean_shift", "all", MEAN_SHIFT, "worst mean shift {} sd, limit {}"),
        "clusters": ("coclustering_error", "data", COCLUSTERING, "co-clustering differs by {}, limit {}"),
        "density": ("predictive_kl", "data", PREDICTIVE_KL, "{} nats a point from the reference, limit {}"),
    }[claim]
    value = metrics.get((metric, target))
    if value is None:
        return _said(None, "not measured")
    return _said(abs(value) < limit, words.format(_text(value), limit))


def _intervals(metrics: Mapping[tuple[str, str], float]) -> dict[str, Any]:
    ratio, coverage = metrics.get(("sd_ratio", "all")), metrics.get(("coverage95", "all"))
    khat = metrics.get(("khat", "all"))
    if ratio is None or coverage is None:
        return _said(None, "not measured")
    low, high = SD_RATIO
    if not low < ratio < high:
        return _said(False, f"worst sd ratio {_text(ratio)}, outside {low} to {high}")
    if coverage < COVERAGE:
        return _said(False, f"a 95% interval covers {coverage:.0%} of the reference, limit {COVERAGE:.0%}")
    caution = f", though k-hat is {_text(khat)}" if khat is not None and khat > USABLE else ""
    return _said(True, f"worst sd ratio {_text(ratio)}, worst coverage {coverage:.0%}{caution}")


def _said(fit: bool | None, because: str) -> dict[str, Any]:
    return {"fit": None if fit is None else bool(fit), "because": because}


def _text(value: float) -> str:
    return f"{value:.2g}".replace("-", "−")
