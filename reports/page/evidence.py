"""The evidence: every number that the methods give for it, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from reports.metrics.quality import limit
from reports.page.blocks import Cell, Facts, Figure, Notice, Section, Table, image
from reports.page.cells import hundredths, name_cell
from reports.page.numbers import DASH, khat, number
from reports.page.trust import no_fit
from reports.page.view import View
from reports.page.words import literal


class Number(NamedTuple):
    """A number for the evidence: how well it is to be trusted (0 is best), its name, and what it is."""

    rank: int
    name: str
    meaning: str


TRUSTED, FAILED = "trusted", "failed"
ESTIMATES = ("exact", "bridge", "smc", "importance")

NUMBERS = {
    "exact": Number(0, "sum over allocations", "The evidence itself, over all labellings: no error but rounding."),
    "bridge": Number(
        1,
        "bridge sampling",
        "An estimate over all labellings from posterior draws. Its standard error counts how many draws there are and how "
        "they depend on each other, but no mode that every chain missed.",
    ),
    "smc": Number(
        1,
        "sequential Monte Carlo",
        "An estimate over all labellings: the log of the mean over independent runs, with the standard error of that mean.",
    ),
    "importance": Number(
        2,
        "importance sampling from q",
        "An estimate over all labellings from draws of q, with the standard error of its smoothed weights. Where q misses a "
        "part of the posterior it is too low by more than its error: a k-hat above 0.7 warns of that, but does not see a mode "
        "that no draw reached.",
    ),
    "elbo_all_labellings": Number(
        3,
        "ELBO + log K!",
        "A lower bound over all labellings where q keeps its clusters apart, and too high where it does not. An error is that "
        "of a mean over draws.",
    ),
    "elbo_marginal": Number(
        4,
        "ELBO, labels summed out",
        "A lower bound around one labelling from the same q(pi, theta), with the best q(z) for each of its draws. Its error is "
        "that of a mean over draws.",
    ),
    "elbo": Number(5, "ELBO", "A lower bound around one labelling. An error is that of a mean over draws."),
    "bic": Number(
        6,
        "−BIC / 2",
        "An approximation for many points around one mode of the likelihood, without the prior and without an error of its "
        "own.",
    ),
}


def evidence(view: View) -> Section:
    """Estimates, bounds and approximations of the log evidence."""
    section = Section(
        "evidence",
        "Evidence",
        "The log evidence log p(x) in nats, by every way that the methods offer: estimates with their standard errors, bounds "
        "and approximations. A number around one labelling is short of one over all by up to log K! = "
        f"{number(math.lgamma(view.n_clusters + 1))}.",
    )
    if not view.trees:
        return no_fit(section)
    section.blocks += estimates(view, NUMBERS)
    return section


def estimates(view: View, numbers: Mapping[str, Number]) -> list[Figure | Table | Facts | Notice]:
    """Return every number for the evidence, drawn and side by side, what each is, and why others are missing."""
    table = evidence_table(view, numbers)
    blocks: list[Figure | Table | Facts | Notice] = []
    if len(table):
        from reports.plots.evidence import plot_evidence

        best = table.iloc[0]
        seen = f"{view.label(best['method'])}, {best['score']}: {hundredths(best['value'], best['se']).text} nats"
        caption = (
            f"Log evidence on one axis, with two standard errors to each side. The band is the best estimate ({seen}). "
            "Hollow marks failed their checks. The numbers differ by what they leave out, not only by error."
            if best["state"] == TRUSTED
            else "Log evidence on one axis, with two standard errors to each side. No estimate by a sampler can be "
            "relied on, so none is marked as the best; hollow marks failed their checks. The numbers differ by what they leave "
            "out, not only by error."
        )
        alt = f"Log evidence by method and number; on top {seen}"
        blocks += [
            Figure(caption, [image(plot_evidence(table), alt)]),
            _side_by_side(view, table),
            Facts([(n.name, n.meaning) for target, n in numbers.items() if target in set(table["target"])]),
        ]
    for method, missing in view.manifest["evidence"].items():
        for target, reason in missing.items():
            blocks.append(Notice(f"{view.label(method)} gives no {numbers[target].name}: {literal(reason)}.", "warn"))
    return blocks


def evidence_table(view: View, numbers: Mapping[str, Number] = NUMBERS) -> pd.DataFrame:
    """Every number for the log evidence, trusted estimates first.

    Returns
    -------
    DataFrame
        ``method``, ``target``, ``score`` (the number's name), ``value`` and ``se`` in nats, and ``state``: "trusted" for an
        estimate by the exact sum or by a sampler that passed its checks, "failed" for one by a sampler that did not or by
        weights whose k-hat is too large, "" for the others. The reference's estimate stands before those of other samplers;
        what failed stands last. Estimates alike in this stand by their error, bounds from the highest.
    """
    summed_out = view.table("bound_marginal").assign(target="elbo_marginal")
    table = pd.concat([view.table("log_evidence"), summed_out])
    table = table[table["method"].isin(view.trees)]
    states = [_state(view, *pair) for pair in zip(table["method"], table["target"], strict=True)]
    table = table.assign(
        score=[numbers[target].name for target in table["target"]],
        state=states,
        failed=[state == FAILED for state in states],
        rank=[numbers[target].rank for target in table["target"]],
        other=table["method"] != view.reference,
        order=table["se"].where(table["target"].isin(ESTIMATES), -table["value"]),
    )
    return table.sort_values(["failed", "rank", "other", "order"], ignore_index=True)


def _state(view: View, method: str, target: str) -> str:
    """Whether an estimate can be relied on; a bound or an approximation is neither trusted nor failed."""
    if target == "exact":
        return TRUSTED
    if target == "importance":
        return FAILED if view.value(method, "khat") > limit(view.draws(method)) else ""
    if target not in ESTIMATES:
        return ""
    return TRUSTED if view.methods[method]["converged"] and not contested(view) else FAILED


def contested(view: View) -> bool:
    """Whether two samplers passed their checks and say different things, so that neither is trusted."""
    chosen = view.manifest["reference"]
    return bool(view.reference and view.manifest["references"][view.reference]["trusted"] and not chosen["trusted"])


def _side_by_side(view: View, table: pd.DataFrame) -> Table:
    best = table.iloc[0]
    trusted = best["state"] == TRUSTED
    errors = np.hypot(table["se"].fillna(0), 0 if math.isnan(best["se"]) else best["se"])
    rows = []
    for i, (method, target, score, x, se, state) in enumerate(
        zip(*(table[name] for name in ("method", "target", "score", "value", "se", "state")), strict=True)
    ):
        difference = Cell(DASH) if i == 0 else hundredths(x - best["value"], errors[i])
        checks = _checks(view, method, target, state)
        apart = [difference] if trusted else []
        rows.append([name_cell(view, method), Cell(score), hundredths(x, se), *apart, checks])
    apart_head = ["difference from the best estimate"] if trusted else []
    head = ["method", "what it is", "log evidence", *apart_head, "checks"]
    caption = (
        "Log evidence ± standard error in nats, trusted estimates first"
        if trusted
        else "Log evidence ± standard error in nats. No estimate by a sampler can be relied on, so there is none to take "
        "differences from"
    )
    return Table(caption, head, rows)


def _checks(view: View, method: str, target: str, state: str) -> Cell:
    """What is known of how far an estimate can be relied on."""
    if target == "importance":
        found = view.value(method, "khat")
        words = "k-hat not defined" if math.isnan(found) else f"k-hat {khat(found)}"
        return Cell(f"✗ {words}", tone="bad") if state == FAILED else Cell(words)
    if target == "exact":
        return Cell("none needed", tone="good")
    if not state:
        return Cell(DASH)
    if state == TRUSTED:
        return Cell(f"✓ passed{', the reference' if method == view.reference else ''}", tone="good")
    return Cell("✗ contradicted by another sampler" if view.methods[method]["converged"] else "✗ failed", tone="bad")
