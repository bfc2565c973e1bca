"""How far each posterior lies from the reference, in blocks and parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from reports.comparison.verdict import LIMITS
from reports.metrics.agreement import WORST
from reports.metrics.parameters import BOUNDED, KINDS, at_boundary, separation
from reports.page import quantities
from reports.page.blocks import Cell, Facts, Figure, Notice, Section, Table, image, row_id, value
from reports.page.cells import error_cell, khat_cell, name_cell
from reports.page.numbers import DASH, fixed, number, with_error
from reports.page.trust import no_fit, reference_notice
from reports.page.view import View
from reports.page.words import listing, literal

MISSING = (math.nan, math.nan, math.nan)
"""What is known of a parameter that a method does not have."""

FOREST_LIMIT = 24
MARGINAL_LIMIT = 9

TITLES = {"initial": "initial probabilities", "transitions": "transition probabilities"}
"""Blocks whose names are not those of their numbers."""

MEASURES = {
    "median_shift": "median shift",
    "width_ratio": "width ratio",
    "coverage95": "coverage",
    "wasserstein": "Wasserstein-1",
}
"""What is measured on every parameter, and what its columns are called."""


def agreement(view: View) -> Section:
    """Posterior agreement with the reference."""
    section = Section(
        "agreement",
        "Posterior agreement",
        f"How far each posterior lies from the reference, in blocks ({', '.join(view.blocks)}) and parameter by parameter: is "
        "it in the right place, and is it as wide as it should be?",
    )
    if not view.trees:
        return no_fit(section)
    section.blocks += reference_notice(view)
    if view.reference:
        section.blocks += agreement_blocks(view, view.reference)
    elif view.has_rows:
        section.blocks.append(intervals(view))
    section.blocks.append(estimate_table(view))
    return section


def intervals(view: View) -> Figure:
    """Return every method's medians and intervals, cluster by cluster, where no reference is there to hold them against."""
    from reports.plots.intervals import plot_intervals

    blocks = quantities.interval_blocks(view.trees)
    shown = furthest_apart(view, blocks)
    named = listing([block for block in view.blocks if block != "spreads"])
    some = f" Shown are {len(shown)} of {len(blocks)}, where clusters differ most." if len(shown) < len(blocks) else ""
    return Figure(
        f"Medians of {named}, with central 90% intervals where the method has a posterior.{some}",
        [image(plot_intervals(shown), "")],
        alt=f"{named.capitalize()} by method. {weights_words(view)}",
        slug="intervals",
    )


def furthest_apart(view: View, blocks: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Return the weights and the blocks of the features in which the clusters lie furthest apart, in the order given."""
    if len(blocks) <= MARGINAL_LIMIT:
        return dict(blocks)
    apart = separation(view.trees[view.base]["posterior"].to_dataset())

    def of_feature(title: str) -> float:
        place = title.partition(", ")[2]
        return max((far for name, far in apart.items() if f"{place}, ".startswith(f"{name}, ")), default=np.inf)

    chosen = sorted(blocks, key=of_feature, reverse=True)[:MARGINAL_LIMIT]
    return {title: table for title, table in blocks.items() if title in chosen}


def weights_words(view: View) -> str:
    """Return the median weights of the clusters by method."""
    said = []
    for method, tree in view.trees.items():
        weights = quantities.weighted(tree)["weights"].median(("chain", "draw")).values
        said.append(f"{view.label(method)} {', '.join(fixed(w, 2) for w in weights)}")
    what = "shares of the states in the long run" if view.ordered else "weights of the clusters"
    return f"Median {what}: {'; '.join(said)}."


def agreement_blocks(view: View, reference: str) -> list:
    """Return what is measured, the worst of each block, the figures, what blocks leave out, and the full table."""
    label = view.label(reference)
    others = [m for m in view.trees if m != reference]
    if not others:
        return [Notice(f"{label} stands alone: no other method succeeded.")]
    table = view.metrics[view.metrics["metric"].isin([*MEASURES, "wasserstein_floor"])]
    table = table[table["target"].map(view.block_of).notna()]
    return [
        measures(view, label),
        block_table(view, others, label),
        *boundary(view),
        *distance_figure(view, table, reference),
        *forest_blocks(view, reference, label),
        *corrected_tables(view, others),
        *correlation_tables(view, label),
        *two_sample_tables(view, others, label),
        *parameter_table(view, table, label),
    ]


def scales(view: View) -> str:
    """Return on which scales the parameters of the model are compared."""
    names = [name for own in view.manifest["model"]["blocks"].values() for name in own]
    by_scale: dict[str, list[str]] = {}
    for name in names:
        by_scale.setdefault(KINDS[name].on_scale, []).append(KINDS[name].title)
    plain = by_scale.pop("as they are", [])
    said = listing([f"{listing(titles)} by {scale}" for scale, titles in by_scale.items()])
    rest = f"; {listing(plain)} are compared as they are" if plain else ""
    return f"Compared are {said}, so that means and variances of what is compared exist{rest}."


def measures(view: View, label: str) -> Facts:
    """Return the definitions of what is measured."""
    return Facts(
        [
            ("Scales", view.scales or scales(view)),
            (
                "Median shift",
                f"Difference of the medians in units of the spread under {label}: its interquartile range over 1.349, which is "
                "the sd of a normal distribution.",
            ),
            (
                "Width ratio",
                f"Width of the method's central 90% interval over that under {label}: below 1 it claims more certainty.",
            ),
            (
                "Coverage",
                f"Probability under {label} of the method's central 95% interval. It says how much of this posterior the "
                "interval holds, not how often such intervals hold the truth over many data sets.",
            ),
            (
                "Wasserstein-1",
                "Mean distance between the two distributions' quantiles, in the unit of the shift. Its floor is that between "
                f"two halves of the draws of {label}: what Monte Carlo error alone gives.",
            ),
        ]
    )


def block_table(view: View, methods: list[str], label: str) -> Table:
    """Return the worst parameter of every block, each value with its error and the parameter's name."""
    rows, ids = [], []
    for method in methods:
        for block in view.blocks:
            own = view.metrics[
                (view.metrics["method"] == method) & (view.metrics["target"].map(view.block_of) == block)
            ]
            if own.empty:
                continue
            cells = [worst_cell(view, method, block, metric, own) for metric in MEASURES]
            floor = own.loc[own["metric"] == "wasserstein_floor", "value"]
            rows.append([name_cell(view, method), Cell(block), *cells, value(floor.max(), 2)])
            ids.append(row_id(method, block))
    columns = ["method", "block", *MEASURES.values(), "floor"]
    return Table(
        f"The worst parameter of each block against {label}, ± Monte Carlo standard error. The floor is the largest of the "
        "block",
        columns,
        rows,
        slug="agreement",
        ids=ids,
    )


OF_ONE_START = (
    "There is one sequence, with one start, in which the likelihood is linear: its maximum is at 0 and 1 whatever the data. "
    "That says nothing of the method, and the start of a point estimate is not compared."
)


def boundary(view: View) -> list[Notice]:
    """Return which points are at the boundary, where a parameter has no finite value on its scale."""
    blocks = [block for block in BOUNDED if block in view.blocks]
    own, said = listing([TITLES.get(block, block) for block in blocks] or [""]), []
    once: list[str] = []
    where = "0, where logarithms" if blocks == ["rates"] else "0 or 1, where log odds"
    where += " and logarithms" if "rates" in blocks and len(blocks) > 1 else ""
    for method in view.points:
        found = at_boundary(view.trees[method]["posterior"].to_dataset())
        ends = [name for name, at in found.items() if at]
        starts = [name for name in ends if name.startswith("initial[")] if len(view.lengths) == 1 else []
        if starts:
            once.append(f"{view.label(method)} estimates {listing(starts)} as 0 or 1. {OF_ONE_START}")
        if ends := [literal(name) for name in ends if name not in starts]:
            said.append(
                f"{view.label(method)} estimates {len(ends)} of {len(found)} {own} as {where} are infinite: "
                f"{listing(ends[:3])}{' and others' if len(ends) > 3 else ''}. So are its median shifts there (−∞, ∞)."
            )
    return [*(Notice(text) for text in once), *(Notice(text, "warn") for text in said)]


def worst_cell(view: View, method: str, block: str, metric: str, own: pd.DataFrame) -> Cell:
    """Return the worst value of one metric in a block, coloured by what the verdict says of it."""
    found = own[own["metric"] == metric]
    if found.empty:
        return Cell(DASH)
    row = furthest(found, metric)
    said = view.manifest["verdict"].get(method, {}).get(block, {"checks": ()})
    states = {check["quantity"]: check["state"] for check in said["checks"]}
    tone = {"agrees": "good", "differs": "bad"}.get(states.get(metric, ""), "")
    return Cell(with_error(row["value"], row["se"]), float(row["value"]), tone=tone, note=f"at {row['target']}")


def distance_figure(view: View, table: pd.DataFrame, reference: str) -> list[Figure]:
    """Return every measure against the reference, the worst parameters first."""
    from reports.plots.agreement import plot_agreement

    label = view.label(reference)
    names = list(dict.fromkeys(table["target"]))
    shown = quantities.ranked(names, view.metrics)[:FOREST_LIMIT]
    if not shown:
        return []
    floors = table[table["metric"] == "wasserstein_floor"]
    floor = dict(zip(floors["target"], floors["value"], strict=True))
    drawn = table[table["metric"].isin(list(MEASURES))].set_index("target").loc[shown].reset_index()
    shifts = drawn["metric"] == "median_shift"
    infinite = shifts & np.isinf(drawn["value"])
    far = shifts & ~infinite & (drawn["value"].abs() > quantities.FRAME)
    edge = f" Shifts beyond {quantities.FRAME} are drawn at {quantities.FRAME}." if far.any() else ""
    drawn.loc[far, "value"] = np.sign(drawn.loc[far, "value"]) * quantities.FRAME
    if infinite.any():
        reach = max(1.2 * drawn.loc[shifts & ~infinite, "value"].abs().max(), LIMITS["median_shift"].bounds[1])
        drawn.loc[infinite, "value"] = np.sign(drawn.loc[infinite, "value"]) * reach
        edge += f" Infinite shifts, of estimates at the boundary, are drawn at ±{number(reach, 2)}."
    note = view.manifest["reference"].get("floor_note")
    return [
        Figure(
            f"Distance from {label}, {some_of(shown, names)}, the furthest first. Grey lines: no difference; shaded: within "
            f"the limits of the verdict. In the last panel grey bars are the floor{f', {note}' if note else '.'}{edge}",
            [image(plot_agreement(drawn, floor, {m: limit[:2] for m, limit in LIMITS.items()}), "")],
            alt=f"Median shift, width ratio, coverage and Wasserstein distance against {label}. "
            + "; ".join(furthest_words(view, m, drawn) for m in dict.fromkeys(drawn["method"])),
            slug="agreement",
        )
    ]


def furthest(own: pd.DataFrame, metric: str) -> Any:
    """Return the row of one metric that is furthest from agreement."""
    return max(own.to_dict("records"), key=lambda row: WORST[metric](row["value"]))


def furthest_words(view: View, method: str, table: pd.DataFrame) -> str:
    """Return a method's largest shift and narrowest or widest interval in words."""
    said = []
    for metric in ("median_shift", "width_ratio"):
        own = table[(table["method"] == method) & (table["metric"] == metric)]
        if len(own):
            row = furthest(own, metric)
            said.append(f"worst {MEASURES[metric]} {number(row['value'], 2)} at {row['target']}")
    return f"{view.label(method)}: {', '.join(said)}"


def some_of(shown: Sequence[str], names: Sequence[str], every: str = "all parameters") -> str:
    """Return how many of the parameters are shown; where all are, as they are called."""
    return every if len(shown) == len(names) else f"{len(shown)} of {len(names)} parameters"


def corrected_tables(view: View, methods: list[str]) -> list[Table]:
    """Return the medians that importance sampling makes of variational draws, beside what they were."""
    rows = []
    for method in (m for m in methods if view.methods[m]["kind"] == "variational"):
        shifts = []
        for metric in ("median_shift", "median_shift_corrected"):
            found = view.table(metric)
            found = found[(found["method"] == method) & found["target"].map(view.block_of).notna()]
            if found.empty:
                shifts.append(Cell(DASH))
                continue
            row = furthest(found, metric)
            shifts.append(Cell(with_error(row["value"], row["se"]), float(row["value"]), note=f"at {row['target']}"))
        rows.append([name_cell(view, method), khat_cell(view, method), *shifts])
    if not rows:
        return []
    head, weighted = ["method", "k-hat of q", "median shift"], any(row[-1].text != DASH for row in rows)
    caption = (
        "Median shift at the worst parameter before and after the draws of a [[variational|variational posterior]] q are "
        "weighted by p(x, θ) / q(θ). Left out where [[khat|k-hat]] says that the weights cannot be relied on"
        if weighted
        else "Median shift at the worst parameter of each [[variational|variational posterior]] q. By [[khat|k-hat]] weights "
        "p(x, θ) / q(θ) of its draws cannot be relied on, so that none is corrected by them"
    )
    if weighted:
        return [Table(caption, [*head, "after weighting"], rows, slug="weighted")]
    return [Table(caption, head, [row[:-1] for row in rows], slug="weighted")]


def lost_correlations(view: View) -> pd.DataFrame:
    """Return the rank correlations that differ from the reference's by more than the floor and twice their error."""
    found = view.table("correlation_error")
    if found.empty:
        return found
    floors = view.table("correlation_floor").set_index("method")["value"]
    beyond = found["value"].abs() > found["method"].map(floors).astype(float)
    return found[(found["target"] != "all") & beyond & (found["value"].abs() > 2 * found["se"])]


def correlation_tables(view: View, label: str) -> list[Table | Notice]:
    """Return the pairs of parameters whose correlation differs from the reference's by more than chance."""
    floors = view.table("correlation_floor")["value"]
    if floors.empty:
        return []
    rows = []
    for row in lost_correlations(view).to_dict("records"):
        method, pair, error = row["method"], row["target"], row["value"]
        own = view.value(method, "correlation_reference", pair)
        rows.append(
            [
                name_cell(view, method),
                Cell(pair),
                Cell(fixed(own, 2), own),
                Cell(fixed(own + error, 2), own + error),
                error_cell(error, row["se"]),
            ]
        )
    floor = number(floors.max(), 2)
    if not rows:
        return [
            Notice(
                f"No [[rank-correlation|rank correlation]] of two parameters differs from that under {label} by more than "
                f"chance: twice its error and {floor}, the largest difference between two halves of {label} over all pairs."
            )
        ]
    caption = (
        f"Pairs of parameters whose [[rank-correlation|rank correlation]] is furthest from that under {label}: what a "
        f"factorised posterior loses. Shown where the difference exceeds twice its error and {floor}, the largest between two "
        f"halves of {label} over all pairs"
    )
    return [Table(caption, ["method", "pair", label, "the method", "difference"], rows, slug="correlations")]


def two_sample_tables(view: View, methods: list[str], label: str) -> list[Table]:
    """Return how well a classifier tells draws apart, where it was asked to."""
    metric = "two_sample_accuracy"
    rows = [
        [name_cell(view, m), error_cell(view.value(m, metric), view.se(m, metric))]
        for m in methods
        if not math.isnan(view.value(m, metric))
    ]
    floor = view.table("two_sample_floor")["value"]
    chance = (
        f" One half is chance; two halves of {label} are told apart at {number(floor.item())}." if len(floor) else ""
    )
    caption = (
        f"Share of draws that a classifier assigns rightly to the method or to {label}, given all parameters.{chance}"
    )
    return [Table(caption, ["method", "accuracy"], rows, slug="two-sample")] if rows else []


def forest_blocks(view: View, reference: str, label: str) -> list[Figure]:
    """Return the forest in reference units and the marginal densities."""
    numbers = view.scalars[reference].data_vars if len(view.posteriors) > 1 else {}
    if not numbers:
        return []
    drawn = [] if len(numbers) <= view.drawn_first else [forest(view, reference, label, FOREST_LIMIT)]
    return [*drawn, marginals(view, reference, label)]


def forest(view: View, reference: str, label: str, limit: int, slug: str = "forest") -> Figure:
    """Return the intervals of the parameters furthest from the reference, in its units."""
    from reports.plots.forest import plot_forest

    on_scale = {m: view.on_scale(d) for m, d in view.scalars.items()}
    base = on_scale[reference]
    centre, unit = quantities.units(base)
    varying = [str(name) for name in base if float(unit[name]) > 0]
    names = quantities.ranked(varying, view.metrics)
    shown = names[:limit]
    centre, unit = centre[shown], unit[shown]
    standard = {m: (d[shown] - centre) / unit for m, d in on_scale.items()}
    points = {
        method: {
            n: (view.estimate_on_scale(n, values[quantities.tree_safe(n)]) - float(centre[n])) / float(unit[n])
            for n in shown
        }
        for method, values in view.point_values.items()
    }
    ends = [np.quantile(d[n].values, (0.025, 0.975)) for d in standard.values() for n in shown]
    far = np.abs([*ends, *([x, x] for own in points.values() for x in own.values())])
    cut = (
        f" The axis ends at ±{quantities.FRAME}; what lies beyond is not drawn."
        if np.nanmax(far) > quantities.FRAME
        else ""
    )
    infinite = " Estimates at the boundary are infinitely far away and left out." if boundary(view) else ""
    picture = plot_forest(
        standard, points, f"distance from the median of {label}, in units of its IQR / 1.349", quantities.FRAME
    )
    return Figure(
        f"Forest, {some_of(shown, names, view.every_parameter)}, the furthest from {label} first: median, 50% and 95% "
        f"interval, on the scales of the comparison and in units of the reference. A normal posterior spans −2 to 2; a bar "
        f"shorter than {label}'s claims more certainty, a longer one less.{cut}{infinite}",
        [image(picture, "")],
        alt=f"Intervals of {len(shown)} parameters by method. {intervals_words(view, shown[0])}",
        slug=slug,
    )


def marginals(view: View, reference: str, label: str) -> Figure:
    """Return the marginal densities of the parameters furthest from the reference."""
    from reports.plots.marginals import plot_marginals

    names = quantities.ranked([str(name) for name in view.scalars[reference]], view.metrics)
    dense = names[:MARGINAL_LIMIT]
    chosen, points = view.shown(dense)
    frames = quantities.frames(chosen, points, reference)
    picture = plot_marginals({m: quantities.as_tree(d) for m, d in chosen.items()}, points, frames)
    return Figure(
        f"Marginal posteriors, {some_of(dense, names, view.every_parameter)}, the furthest from {label} first, in {view.units}"
        f"{view.logarithms}. Curves should lie on each other; a taller and narrower one claims more certainty.",
        [image(picture, "")],
        alt=f"Density curves of {listing(dense)} by method. {intervals_words(view, dense[0])}",
        slug="marginals",
    )


def intervals_words(view: View, name: str) -> str:
    """Return the median and the 90% interval of one parameter by method."""
    said = []
    for method, draws in view.scalars.items():
        low, median, high = (number(float(q)) for q in np.quantile(draws[name].values, [0.05, 0.5, 0.95]))
        said.append(f"{view.label(method)} {median} ({low} to {high})")
    return f"Median and central 90% interval of {name}: {'; '.join(said)}."


def parameter_table(view: View, table: pd.DataFrame, label: str) -> list[Table]:
    """Return every measure of every parameter, the parameters furthest from the reference first."""
    names = quantities.ranked(list(dict.fromkeys(table["target"])), view.metrics)
    values = {(r["target"], r["method"], r["metric"]): (r["value"], r["se"]) for r in table.to_dict("records")}
    methods = list(dict.fromkeys(table["method"]))
    columns = [m for m in (*MEASURES, "wasserstein_floor") if m in set(table["metric"])]
    rows, ids = [], []
    for target in names:
        for method in methods:
            if (target, method, "median_shift") not in values:
                continue
            cells = [error_cell(*values.get((target, method, m), (math.nan, math.nan))) for m in columns]
            rows.append([Cell(target), name_cell(view, method), *cells])
            ids.append(row_id(method, target))
    head = ["parameter", "method", *(MEASURES.get(m, "floor") for m in columns)]
    every = {1: "The parameter", 2: "Both parameters"}.get(len(names), f"All {len(names)} parameters")
    caption = f"{every} against {label}, ± Monte Carlo standard error, the furthest first"
    return [Table(caption, head, rows, fold=True, slug="parameters", ids=ids)] if rows else []


def estimate_table(view: View) -> Table:
    """Return every parameter's median and 90% interval by method."""
    tables = {m: quantities.estimates(view.natural(tree)) for m, tree in view.trees.items()}
    names = quantities.ranked([str(name) for name in tables[view.base]], view.metrics)
    rows = [[Cell(name), *estimate_cells([of.get(name, MISSING) for of in tables.values()])] for name in names]
    head = ["parameter", *(view.label(m) for m in tables)]
    points = " (of a point: the estimate)" if view.points else ""
    caption = f"Median and central 90% interval of every parameter in {view.units}{points}"
    return Table(caption, head, rows, fold=len(names) > 12, slug="estimates")


def estimate_cells(estimates: Sequence[tuple[float, float, float]]) -> list[Cell]:
    """Return medians with their intervals, all to two digits of the narrowest interval's width."""
    widths = [high - low for _, low, high in estimates if high > low]
    places = min(8, max(0, 1 - math.floor(math.log10(min(widths))))) if widths else 3
    return [
        Cell(DASH)
        if math.isnan(median)
        else Cell(
            fixed(median, places),
            median,
            note="" if math.isnan(low) else f"{fixed(low, places)} to {fixed(high, places)}",
        )
        for median, low, high in estimates
    ]
