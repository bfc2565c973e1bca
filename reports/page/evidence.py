"""The evidence: every number that the methods give for it, side by side."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from reports.page.blocks import Cell, Facts, Figure, Notice, Section, Table, image, value
from reports.page.cells import hundredths, name_cell
from reports.page.numbers import number
from reports.page.trust import no_fit
from reports.page.view import View


class Number(NamedTuple):
    """A number for the evidence: how well it is to be trusted (0 is best), its name, and what it is."""

    rank: int
    name: str
    meaning: str


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
    """Estimates, bounds and approximations of the log evidence, and penalised likelihoods."""
    section = Section(
        "evidence",
        "Evidence",
        "The log evidence log p(x) in nats, by every way that the methods offer: estimates with their standard errors, bounds "
        "and approximations. A number around one labelling is short of one over all by up to log K! = "
        f"{number(math.lgamma(view.n_clusters + 1))}.",
    )
    if not view.trees:
        return no_fit(section)
    table = evidence_table(view)
    if len(table):
        from reports.plots.evidence import plot_evidence

        section.blocks += [
            Figure(
                "Log evidence on one axis, with two standard errors to each side. The numbers differ by what they leave out, "
                "not only by error.",
                [image(plot_evidence(table), "Log evidence by method and number")],
            ),
            _side_by_side(view, table),
            Facts([(n.name, n.meaning) for target, n in NUMBERS.items() if target in set(table["target"])]),
        ]
    for method, missing in view.manifest["evidence"].items():
        for target, reason in missing.items():
            section.blocks.append(Notice(f"{view.label(method)} gives no {NUMBERS[target].name}: {reason}.", "warn"))
    criteria = [
        [name_cell(view, m), *(hundredths(view.value(m, criterion), math.nan) for criterion in ("aic", "bic", "icl"))]
        for m in view.trees
        if not math.isnan(view.value(m, "bic"))
    ]
    if criteria:
        section.blocks.append(Table("Criteria, smaller being better", ["method", "AIC", "BIC", "ICL"], criteria))
    return section


def evidence_table(view: View) -> pd.DataFrame:
    """Every number for the log evidence: `method`, `target`, `score` (its name), `value` and `se`, the best known first.

    Numbers of one rank stand by their error, those without one from the highest.
    """
    summed_out = view.table("bound_marginal").assign(target="elbo_marginal")
    table = pd.concat([view.table("log_evidence"), summed_out])
    table = table[table["method"].isin(view.trees)]
    numbers = [NUMBERS[target] for target in table["target"]]
    table = table.assign(score=[n.name for n in numbers], rank=[n.rank for n in numbers], fall=-table["value"])
    return table.sort_values(["rank", "se", "fall"], ignore_index=True)


def _side_by_side(view: View, table: pd.DataFrame) -> Table:
    best = table.iloc[0]
    errors = np.hypot(table["se"].fillna(0), 0 if math.isnan(best["se"]) else best["se"])
    rows = []
    for i, (method, target, score, x, se) in enumerate(
        zip(*(table[name] for name in ("method", "target", "score", "value", "se")), strict=True)
    ):
        difference = Cell("–") if i == 0 else hundredths(x - best["value"], errors[i])
        khat = value(view.value(method, "khat") if target == "importance" else math.nan)
        rows.append([name_cell(view, method), Cell(score), hundredths(x, se), difference, khat])
    head = ["method", "what it is", "log evidence", "minus the first", "k-hat of q"]
    return Table("Log evidence ± standard error in nats, the best known first", head, rows)
