"""The section of an overfitting study's page on estimates at the boundary, and what its numbers are."""

from __future__ import annotations

from reports.page.blocks import Cell, Section, Table, value
from reports.page.numbers import DASH, percent
from reports.page.overfit_figures import add
from reports.page.overfit_view import NAMES, View, missing
from reports.studies.overfit import summary
from reports.studies.overfit.boundaries import MEASURES, boundaries

TITLES = {"infinite": "test score of minus infinity", "boundary": "estimate at the boundary"}

YLABELS = {"infinite": "share of infinite scores", "boundary": "share at the boundary"}


def boundary(view: View) -> Section | None:
    """Shares of fits with an estimate at the boundary, and with an infinite score, against n, K and D."""
    if not view.discrete:
        return None
    section = Section(
        "boundary",
        "Estimates at the boundary",
        "A probability that is estimated as 0 or 1, or a rate as 0, makes unseen values impossible in its class; a point that "
        "is impossible in all classes has a log probability of minus infinity, and so has the test score.",
    )
    fits = view.table[summary.discrete(view.table) & ~view.table["method"].isin(("oracle", "single"))]
    for measure in ("infinite", "boundary"):
        add(view, section, fits, "n", measure, YLABELS[measure], share=True,
            caption=f"Share of fits with {_article(measure)} against the number of points; lower is better.")  # fmt: skip
    for along in ("k", "d"):
        add(view, section, fits, along, "infinite", YLABELS["infinite"], share=True, log_x=False,
            caption=f"Share of fits with {_article('infinite')} against {NAMES[along]}; lower is better.")  # fmt: skip
    rows = [
        [Cell(view.words(row)), Cell(view.label(row["method"]), method=row["method"]), value(row["fits"]),
         value(row["failed"]), *(_with_interval(row, measure) for measure in MEASURES),
         Cell(DASH) if missing(row["impossible"]) else Cell(percent(row["impossible"]), row["impossible"])]
        for row in boundaries(view.table).to_dict("records")
    ]  # fmt: skip
    columns = ["setting", "method", "fits", "failed", "at the boundary", "score of minus infinity", "impossible points"]
    section.blocks.append(
        Table(
            "Shares of the fits that ended, with exact intervals that hold together over this table (Bonferroni); last, the "
            "median share of test points that are impossible, over the fits that have any",
            columns,
            rows,
            fold=True,
        )
    )
    return section


def boundary_measures(view: View) -> list[str]:
    """What is measured of estimates that go astray."""
    said = []
    if view.table["covariance"].notna().any():
        said.append(
            "Smallest variance: of any fitted cluster in any direction, relative to the smallest true one. A fit fails when "
            f"every start collapses; it has nearly collapsed when this ratio is below {summary.COLLAPSED:g}."
        )
    if view.discrete:
        said.append(
            "Estimate at the boundary: a probability of 0 or 1, or a rate of 0, of a point estimate, of the posterior mean, or "
            "in every draw. EM comes near to a boundary in ever smaller steps; its estimates within 10⁻⁶ of it are moved there "
            "where the data are as probable as before, to 10⁻⁹ nats a point."
        )
        said.append(
            "Infinite scores: where a test point has probability zero the test score is minus infinity. Such scores are "
            "counted, and never averaged: scores, losses and gaps of discrete data are medians over all replicates that ended, "
            "infinite ones included."
        )
    return said


def _article(measure: str) -> str:
    return f"{'an' if measure == 'boundary' else 'a'} {TITLES[measure]}"


def _with_interval(row: dict, measure: str) -> Cell:
    if row[measure] != row[measure]:
        return value(None)
    text = f"{percent(row[measure])} ({100 * row[f'{measure}_low']:.0f} to {100 * row[f'{measure}_high']:.0f}%)"
    return Cell(text, row[measure])
