"""Every posterior as ArviZ and Stan summarise it: parameter by parameter, with the Monte Carlo error of what is shown."""

from __future__ import annotations

import math

from reports.metrics import summary as posterior_summary
from reports.page.blocks import Cell, Notice, Section, Table
from reports.page.cells import rhat_cell, whole
from reports.page.numbers import DASH, fixed, number, places
from reports.page.trust import no_fit
from reports.page.view import View

COLUMNS = ["parameter", "median", "mean", "sd", "90% interval", "MCSE of the median", "bulk ESS", "tail ESS", "R-hat"]

LONGEST = 60
"""Rows of a table that stands open."""


def summary(view: View) -> Section:
    """Median, interval, Monte Carlo error and convergence of every parameter, a table a method."""
    section = Section(
        "summary",
        "Posterior summary",
        "Every parameter under every method that gives a posterior, in the data's units. Values are written to two digits of "
        "their own Monte Carlo error.",
    )
    if not view.trees:
        return no_fit(section)
    if not view.posteriors:
        section.blocks.append(Notice("No method gives more than a point, so there is no posterior to summarise."))
        return section
    section.blocks.append(
        Notice(
            "A dash for a mean or an sd: by the k-hat of the draws themselves the posterior has none, or it cannot be told "
            "from these draws. ESS and R-hat are of Markov chains; independent draws have neither."
        )
    )
    opened = view.base if view.base in view.posteriors else view.posteriors[0]
    ordered = [opened, *(m for m in view.posteriors if m != opened)]
    section.blocks += [parameter_table(view, method, fold=method != opened) for method in ordered]
    return section


def parameter_table(view: View, method: str, *, fold: bool) -> Table:
    """Return the summary of one method's posterior."""
    chained = method in view.sampled
    khat = {str(name): float(k) for name, k in view.of(method, "tail_khat").items()}
    found = posterior_summary.parameters(view.trees[method]["posterior"].to_dataset(), khat, independent=not chained)
    diagnostics = {metric: view.of(method, metric) for metric in ("ess_bulk", "ess_tail", "rhat")}
    rows = []
    for name, row in found.iterrows():
        rows.append(
            [
                Cell(str(name)),
                *(to_error(row[key], row[f"{key}_se"]) for key in ("median", "mean", "sd")),
                Cell("\u00a0to\u00a0".join(to_error(row[key], row[f"{key}_se"]).text for key in ("low", "high"))),
                to_error(row["median_se"], row["median_se"]),
                *(whole(diagnostics[metric].get(name, math.nan)) for metric in ("ess_bulk", "ess_tail")),
                rhat_cell(diagnostics["rhat"].get(name, math.nan)),
            ]
        )
    sizes = view.trees[method]["posterior"].sizes
    draws = (
        f"{sizes['chain']} chains of {sizes['draw']} draws"
        if chained
        else f"{sizes['chain'] * sizes['draw']} independent draws"
    )
    role = ", the reference" if method == view.reference else ""
    return Table(
        f"Posterior of {view.label(method)}{role}, from {draws}",
        COLUMNS,
        rows,
        fold=fold or len(rows) > LONGEST,
        slug=f"summary-{method}",
    )


def to_error(x: float, se: float) -> Cell:
    """Return a number's cell, written to the two leading digits of its Monte Carlo error."""
    if math.isnan(x):
        return Cell(DASH)
    return Cell(fixed(x, places(se)) if se > 0 else number(x), x)
