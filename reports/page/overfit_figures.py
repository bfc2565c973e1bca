"""Figures of an overfitting study: a measure along one setting, with its table; and cells that several tables share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from reports.page.blocks import Cell, Figure, Section, Table, image, value
from reports.page.numbers import number, percent, with_error
from reports.page.overfit_findings import overlap
from reports.page.overfit_view import NAMES, PANELS, View, half_free, missing
from reports.page.words import listing, sentence
from reports.plots.overfit import Panel, plot_curves
from reports.studies.overfit import summary
from reports.studies.overfit.summary import Slice

if TYPE_CHECKING:
    import matplotlib.figure


def _with_interval(row: Mapping[Any, Any], measure: str) -> str:
    if measure in summary.SHARES:
        return f"{row['centre']:.1%} ({row['low']:.0%} to {row['high']:.0%})"
    return with_error(row["centre"], row["high"] - row["centre"])


def simple(view: View, id: str, title: str, lead: str, along: str, measure: str, ylabel: str) -> Section | None:
    """A section of one figure; None where there is nothing to show."""
    section = Section(id, title, lead)
    add(view, section, view.table, along, measure, ylabel, caption=f"{title}.")
    return section if section.blocks else None


def add(
    view: View,
    section: Section,
    table: pd.DataFrame,
    along: str,
    measure: str,
    ylabel: str,
    *,
    caption: str,
    **draw: Any,
) -> None:
    """Append a figure and its table, where there is something to show; of scores that may be infinite the medians."""
    medians = measure in summary.UNBOUNDED and bool(summary.discrete(table).any())
    shown = table[table["method"] != "oracle"] if measure in ("kl", "gap", "occupied") else table
    if measure == "occupied":
        shown = shown[~shown["method"].isin(("single", "cavi-plugin"))]
    parts = [
        (part, curves)
        for part in summary.slices(shown, along)
        if (curves := summary.curve(part.table, along, measure, medians=medians))["x"].nunique() > 1
        and not set(curves["method"]) <= set(summary.BESIDE)
    ]
    if not parts:
        return
    panels = [_panel(view, part, curves, along) for part, curves in parts[:PANELS]]
    more = f" The first {PANELS} of {len(parts)} settings; the table has all." if len(parts) > PANELS else ""
    figure: matplotlib.figure.Figure = plot_curves(panels, NAMES[along], ylabel, **{"log_x": along != "k"} | draw)
    hollow = any((panel.curves["count"] < panel.curves["total"]).any() for panel in panels)
    note = " Hollow marks: some replicates failed or have no such number." if hollow else ""
    bands = "Bands: 95% intervals."
    if medians:
        bands = "Lines: medians over the replicates, infinite values included; bands: their 95% intervals, by order statistics."
        if any(panel.curves["infinite"].any() for panel in panels):
            bands += " There is no line where most values are infinite, and no band where its end is."
    if any(missing(part.settings["true_k"]) for part, _ in parts):
        note += f" {overlap(view)}"
    seen = _seen(view, panels[0], NAMES[along], measure)
    section.blocks.append(Figure(f"{caption} {bands}{more}{note} {seen}", [image(figure, seen)]))
    rows = [
        [Cell(view.words(part.settings, along)), Cell(view.label(row["method"]), method=row["method"]), value(row["x"]),
         *_numbers(row, measure, medians), Cell(f"{row['count']} of {row['total']}", row["count"])]
        for part, curves in parts
        for row in curves.to_dict("records")
    ]  # fmt: skip
    shown_as = ["median", "95% interval", "infinite"] if medians else ["mean", "median"]
    columns = ["setting", "method", NAMES[along], *shown_as, "replicates"]
    section.blocks.append(Table(f"{sentence(ylabel)} by method and {NAMES[along]}", columns, rows, fold=True))


def _numbers(row: Mapping[Any, Any], measure: str, medians: bool) -> list[Cell]:
    if medians:
        ends = f"{number(row['low'])} to {number(row['high'])}"
        return [value(row["centre"]), Cell(ends), Cell(percent(row["infinite"] / row["count"]), row["infinite"])]
    return [Cell(_with_interval(row, measure), row["centre"]), value(row["median"])]


def _seen(view: View, panel: Panel, along: str, measure: str) -> str:
    """The means or medians at both ends of the first panel, as seen in the figure."""
    said = []
    for x in (panel.curves["x"].min(), panel.curves["x"].max()):
        here = panel.curves[panel.curves["x"] == x].to_dict("records")
        here.sort(key=lambda row: view.methods.index(row["method"]))
        means = [percent(row["centre"]) if measure in summary.SHARES else number(row["centre"]) for row in here]
        of = [f"{view.label(row['method'])} {mean}" for row, mean in zip(here, means, strict=True)]
        said.append(f"at {along} = {x:g}, {listing(of)}")
    return sentence(f"{panel.title}: {'; '.join(said)}.")


def _panel(view: View, part: Slice, curves: pd.DataFrame, along: str) -> Panel:
    mark, name = None, ""
    true = part.settings.get("true_k")
    if along == "k" and not missing(true):
        mark, name = float(true), "true K"  # type: ignore[arg-type]
    if along == "alpha" and not view.ordered:
        mark, name = half_free(part.settings), "d/2"
    return Panel(view.words(part.settings, along), curves, mark, name)


def difference_cell(settings: Mapping[Any, Any]) -> Cell:
    """A paired difference with its simultaneous interval, coloured where that excludes zero."""
    tone = {1: "good", -1: "bad", 0: ""}[int(settings["decided"])]
    if not missing(settings["median"]):
        text = f"{number(settings['median'])} ({number(settings['low'])} to {number(settings['high'])})"
        return Cell(text, settings["median"], tone=tone)
    sort = None if missing(settings["mean"]) else settings["mean"]
    return Cell(with_error(settings["mean"], settings["simultaneous"]), sort, tone=tone)
