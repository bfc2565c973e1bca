"""Whether the runs can be believed: the reference and the relabelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reports.page import quantities, uniformity
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image
from reports.page.cells import error_cell, name_cell, share
from reports.page.modes import modes_blocks
from reports.page.numbers import DASH, fixed, percent, rhat
from reports.page.view import View
from reports.page.words import listing

if TYPE_CHECKING:
    import xarray as xr

METRIC = (
    "The metric of NUTS starts from CAVI's posterior: it sets the direction and length of a step, not the distribution that is "
    "sampled, so CAVI is not judged by itself. Chains start independently, twice as wide as that posterior."
)
"""What NUTS took from CAVI, and what not."""

SHOWN = 6
"""Parameters whose chains are drawn."""


def no_fit(section: Section) -> Section:
    """Say that nothing was fitted, in a section that needs a fit."""
    section.blocks.append(Notice("No method succeeded, so there is nothing to show.", "warn"))
    return section


def reference_notice(view: View) -> list[Notice]:
    """Return the sentence that lowers the claims of a section, where there is no reference to trust."""
    reason = view.manifest["reference"]["reason"]
    if view.reference is None:
        return [Notice(f"There is no reference ({reason}), so no posterior is judged here.", "warn")]
    if not view.trusted:
        return [
            Notice(
                f"{view.label(view.reference)} {reason}. What follows says how the methods differ from it, "
                "not which of them is right.",
                "warn",
            )
        ]
    return []


def reference(view: View) -> Section:
    """Can the reference be trusted."""
    section = Section(
        "reference",
        "Can the reference be trusted?",
        "The other posteriors are held against the reference. It is one only if every check below passes"
        f"{view.after_alignment}.",
    )
    facts = view.manifest["reference"]
    if view.reference is None:
        section.blocks += reference_notice(view)
        return section
    label = view.label(view.reference)
    if view.trusted:
        why = "passed every check" if facts["checks"] else facts["reason"]
        section.blocks.append(Notice(f"{label} {why}; it serves as the reference.", "good"))
    else:
        section.blocks += reference_notice(view)
    if view.methods[view.reference]["options"].get("metric") == "cavi":
        section.blocks.append(Notice(METRIC))
    checked = [m for m in (view.reference, *view.other_references) if view.manifest["references"][m]["checks"]]
    if checked:
        section.blocks.append(check_table(view, checked))
    if view.other_references:
        section.blocks.append(references_table(view, label))
    if view.reference in view.sampled:
        section.blocks += [traces(view, view.reference), *ranks(view, view.reference)]
    for method in view.other_references:
        if method in view.sampled and not view.manifest["references"][method]["trusted"]:
            section.blocks += ranks(view, method)
    return section


def least_agreed(view: View, method: str) -> tuple[xr.Dataset, str]:
    """Return the draws of the parameters whose chains agree least, and what they are in words."""
    draws = view.natural(view.trees[method])[view.moving(method)]
    found = view.of(method, "rhat")
    names = sorted(map(str, draws), key=lambda name: -float(found.get(name, 0.0)))[:SHOWN]
    some = f"the {len(names)} of {len(draws)} parameters with the largest R-hat"
    return draws[names], some if len(names) < len(draws) else "all parameters"


def traces(view: View, method: str) -> Figure:
    """Return the traces of the parameters whose chains agree least."""
    from reports.plots.trace import plot_trace

    label = view.label(method)
    draws, which = least_agreed(view, method)
    return Figure(
        f"Traces of {label}, one colour a chain, for {which}. Chains that mix look like one band; a chain at a level of its "
        "own has found another mode.",
        [
            image(
                plot_trace(quantities.as_tree(draws)), f"Traces of {label}: {listing([*map(str, draws)])}", raster=True
            )
        ],
        slug=f"traces-{method}",
    )


def ranks(view: View, method: str) -> list[Figure]:
    """Return the rank plots of the parameters whose chains agree least, if there are several chains."""
    from reports.plots.rank import plot_rank

    label = view.label(method)
    draws, which = least_agreed(view, method)
    if draws.sizes["chain"] == 1:
        return []
    found = uniformity.ranks(draws)
    left = uniformity.astray(found)
    seen = f"Lines leave it for {listing(left)}." if left else "Here every line does."
    alt = f"outside the band for {listing(left)}" if left else "all chains in the band"
    return [
        Figure(
            f"Rank plots of {label}, one colour a chain, for {which}. A line is the ECDF of one chain's ranks among the draws "
            f"of all chains, less that of equal chains; of each chain {found.attrs['draws']} draws are ranked, about as many "
            "as are effective. Where chains sample the same distribution, all lines of a panel stay in the grey band with "
            f"probability {percent(uniformity.LEVEL)}. {seen}",
            [image(plot_rank(found), f"Rank plots of {label} for {listing([*map(str, draws)])}: {alt}")],
            slug=f"ranks-{method}",
        )
    ]


def check_table(view: View, methods: list[str]) -> Table:
    """Return what is demanded of a reference, and what was found of each that could be one."""
    found: dict[tuple[str, str], dict[str, Cell]] = {}
    for method in methods:
        for check in view.manifest["references"][method]["checks"]:
            found.setdefault((check["name"], check["limit"]), {})[method] = check_cell(check)
    rows = [[Cell(name), Cell(limit), *(of.get(m, Cell(DASH)) for m in methods)] for (name, limit), of in found.items()]
    labels = [view.label(m) for m in methods]
    return Table(f"Checks of {listing(labels)}", ["check", "limit", *labels], rows, slug="checks-of-references")


def check_cell(check: dict[str, Any]) -> Cell:
    """Return what was found, and whether it passed; sizes of samples and counts are whole numbers."""
    name, found = check["name"], check["value"]
    text = rhat(found) if "R-hat" in name or found is None else fixed(found, 2 if "BFMI" in name else 0)
    return Cell(f"✓ {text}", tone="good") if check["passed"] else Cell(f"✗ {text}", tone="bad")


def references_table(view: View, label: str) -> Table:
    """Return how far the other possible references are from the one chosen."""
    columns = {
        "median_shift": "median shift",
        "width_ratio": "width ratio",
        "coverage95": "coverage",
        "wasserstein": "Wasserstein-1",
        "wasserstein_floor": "floor",
    }
    of_mixtures = {"clusters": "coclustering_error", "density": "predictive_tv"}
    measures = {block: list(columns) for block in view.blocks}
    beside_blocks = {
        claim: [own] for claim, own in of_mixtures.items() if claim in view.claims and claim not in measures
    }
    rows = []
    for method in view.other_references:
        for block, own in (measures | beside_blocks).items():
            target = "data" if block in beside_blocks else block
            values = [error_cell(view.value(method, m, target), view.se(method, m, target)) for m in own]
            if all(cell.text == DASH for cell in values):
                continue
            if beside_blocks:
                dashes = [Cell(DASH)] * len(columns)
                values = [*dashes, *values] if block in beside_blocks else [*values, Cell(DASH)]
            rows.append([name_cell(view, method), Cell(block), *values])
    if beside_blocks:
        columns["beside"] = "co-clustering, total variation"
    beside = (
        ", in co-clustering and in the predictive density (total variation), the last column" if beside_blocks else ""
    )
    return Table(
        f"The references against each other: how far from {label}, at the worst parameter of each block (shift and distance in "
        f"units of its IQR / 1.349){beside}. The floor is Wasserstein-1 between two halves of {label}. "
        "Methods that sample the same posterior in different ways should differ by Monte Carlo error alone",
        ["method", "of", *columns.values()],
        rows,
        slug="references",
    )


def relabelling(view: View) -> Section:
    """How the labels were brought together."""
    section = Section(
        "relabelling",
        "Relabelling",
        "Labels are arbitrary, so every draw was brought to one labelling before anything was compared. "
        "Renumbering is harmless; draws that switch labels within a chain show clusters that trade places. Where draws are "
        "independent, or a sampler exchanges labels on purpose, as Gibbs sampling does, a switch says nothing and is not "
        "counted.",
    )
    moved = view.manifest["relabelling"]
    rows = [
        [name_cell(view, m), *(share(moved[m][of]) for of in ("moved", "switched", "agreement"))]
        for m in view.methods
        if m in moved
    ]
    if not rows:
        return no_fit(section)
    pivot = view.label(moved[next(iter(moved))]["pivot"])
    coded = ", of the codes of its levels" if next(iter(view.kinds.values())) in ("categorical", "bernoulli") else ""
    section.blocks.append(
        Table(
            f"Each draw's responsibilities were matched to those of {pivot} by an assignment problem; clusters are "
            f"numbered by their mean in the first feature{coded}. The last column is a second opinion that knows no pivot: the "
            "share of draws that Stephens' relabelling, by least divergence from the mean responsibilities, numbers alike",
            [
                "method",
                "draws renumbered",
                "draws that switched labels within their chain",
                "numbered alike by Stephens",
            ],
            rows,
        )
    )
    section.blocks += modes_blocks(view)
    return section
