"""The posteriors side by side: agreement with the reference, the joint view, what needs no labels."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from reports.metrics.parameters import scaled
from reports.page import quantities
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image, value
from reports.page.cells import error_cell, hundredths, name_cell, worst
from reports.page.numbers import DASH, number, percent
from reports.page.trust import no_fit, reference_notice
from reports.page.view import View
from reports.page.words import listing

FOREST_LIMIT = 24
MARGINAL_LIMIT = 9
POINT_LIMIT = 2000


def agreement(view: View) -> Section:
    """Posterior agreement with the reference."""
    section = Section(
        "agreement",
        "Posterior agreement",
        "How far each posterior lies from the reference, parameter by parameter: is it in the right place, and is it as wide "
        "as it should be? A width ratio under one claims more certainty than the reference.",
    )
    if not view.trees:
        return no_fit(section)
    section.blocks += reference_notice(view)
    if view.reference:
        section.blocks += agreement_blocks(view, view.reference)
    else:
        from reports.plots.intervals import plot_intervals

        blocks = quantities.interval_blocks(view.trees)
        section.blocks.append(
            Figure(
                "Means of the weights and cluster means, with 95% intervals where the method has a posterior.",
                [image(plot_intervals(blocks), "Estimates and intervals of weights and means, by method")],
            )
        )
    section.blocks.append(estimate_table(view))
    return section


def agreement_blocks(view: View, reference: str) -> list:
    """Return the worst values, the forest, the densities and the full table against the reference."""
    from reports.plots.agreement import plot_agreement

    label = view.label(reference)
    table = view.metrics[view.metrics["metric"].isin(["median_shift", "width_ratio", "coverage95", "wasserstein"])]
    table = table[table["target"].str.contains("[", regex=False) & table["value"].notna()]
    floors = view.table("wasserstein_floor")
    floor = dict(zip(floors["target"], floors["value"], strict=True))
    blocks: list = []
    others = [m for m in view.trees if m != reference]
    if not others:
        return [Notice(f"{label} stands alone: no other method succeeded.")]
    rows = []
    for method in others:
        of = {k: g.set_index("target")["value"] for k, g in table[table["method"] == method].groupby("metric")}
        shift, ratio = of.get("median_shift"), of.get("width_ratio")
        cover, distance = of.get("coverage95"), of.get("wasserstein")
        rows.append(
            [
                name_cell(view, method),
                worst(shift, shift.abs().idxmax() if shift is not None else None),
                worst(ratio, ratio.idxmin() if ratio is not None else None),
                worst(ratio, ratio.idxmax() if ratio is not None else None),
                worst(cover, cover.idxmin() if cover is not None else None),
                worst(distance, distance.idxmax() if distance is not None else None),
            ]
        )
    columns = [
        "method",
        "median shift",
        "smallest width ratio",
        "largest width ratio",
        "lowest 95% coverage",
        "Wasserstein-1",
    ]
    blocks.append(
        Table(
            f"The worst parameter of each method against {label} (shift and distance in units of its IQR / 1.349)",
            columns,
            rows,
        )
    )

    blocks += corrected_tables(view, others)
    blocks += correlation_tables(view, others, label)
    blocks += two_sample_tables(view, others, label)
    targets = list(dict.fromkeys(table["target"]))
    chosen = quantities.ranked(targets, view.metrics)[:FOREST_LIMIT]
    shown = [t for t in targets if t in chosen]
    some = (
        f"{len(shown)} of {len(targets)} parameters, those furthest from the reference"
        if len(shown) < len(targets)
        else "all parameters"
    )
    if shown:
        picture = plot_agreement(table.set_index("target").loc[shown].reset_index(), floor)
        why = view.manifest["reference"].get("floor_note")
        blocks.append(
            Figure(
                f"Distance from {label}, {some}. Good methods sit on the grey lines; "
                f"in the last panel the grey bars are the floor.{f' {why}' if why else ''}",
                [
                    image(
                        picture,
                        f"Median shift, width ratio, coverage and Wasserstein distance against {label}, by parameter",
                    )
                ],
            )
        )
    blocks += forest_blocks(view, reference, label)
    full = table.pivot_table(index=["target", "method"], columns="metric", values="value", sort=False)
    names = {
        "median_shift": "median shift",
        "width_ratio": "width ratio",
        "coverage95": "95% coverage",
        "wasserstein": "Wasserstein-1",
    }
    kept = [k for k in names if k in full]
    body = [
        [
            Cell(row["target"]),
            name_cell(view, row["method"]),
            *(value(row[k]) for k in kept),
            value(floor.get(row["target"])),
        ]
        for row in full.reset_index().to_dict("records")
    ]
    head = ["parameter", "method", *(names[k] for k in kept), "floor of Wasserstein-1"]
    blocks.append(Table(f"All {len(targets)} parameters against {label}", head, body, fold=True))
    return blocks


def corrected_tables(view: View, methods: list[str]) -> list[Table]:
    """Return the medians that importance sampling makes of variational draws, beside what they were."""
    corrected, before = view.table("median_shift_corrected"), view.table("median_shift")
    rows = []
    for method in (m for m in methods if view.methods[m]["kind"] == "variational"):
        shifts = []
        for found in (before, corrected):
            one = found[(found["method"] == method) & found["target"].str.contains("[", regex=False)]
            own = one.set_index("target")["value"]
            shifts.append(worst(own, str(own.abs().idxmax())) if len(own) else Cell(DASH))
        rows.append([name_cell(view, method), value(view.value(method, "khat")), *shifts])
    caption = (
        "Median shift at the worst parameter, in units of the reference's IQR / 1.349, before and after the draws of a "
        "variational posterior q are "
        "weighted by p(x, θ) / q(θ). Left out where k-hat says that the weights cannot be relied on"
    )
    return [Table(caption, ["method", "k-hat of q", "median shift", "after weighting"], rows)] if rows else []


def correlation_tables(view: View, methods: list[str], label: str) -> list[Table]:
    """Return the pairs of parameters whose correlation is furthest from the reference's."""
    found = view.table("correlation_error")
    rows = []
    for row in found[(found["target"] != "all") & found["method"].isin(methods)].to_dict("records"):
        method, pair, error = row["method"], row["target"], row["value"]
        own = view.value(method, "correlation_reference", pair)
        rows.append(
            [name_cell(view, method), Cell(pair), value(own, 2), value(own + error, 2), error_cell(error, row["se"])]
        )
    if not rows:
        return []
    floor = number(view.table("correlation_floor")["value"].max(), 2)
    caption = (
        f"Pairs of parameters whose rank correlation is furthest from that under {label}: what a factorised posterior loses. "
        f"The furthest that two halves of {label} are from each other, over all pairs, is {floor}"
    )
    return [Table(caption, ["method", "pair", label, "the method", "difference"], rows)]


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
        f"Share of draws of which a classifier says rightly whether they are the method's or those of {label}, given all "
        f"parameters at once.{chance}"
    )
    return [Table(caption, ["method", "accuracy"], rows)] if rows else []


def forest_blocks(view: View, reference: str, label: str) -> list:
    """Return the forest in reference units and the marginal densities in the data's own."""
    if len(view.posteriors) < 2 or not view.scalars[reference].data_vars:
        return []
    from reports.plots.forest import plot_forest
    from reports.plots.marginals import plot_marginals

    on_scale = {m: quantities.on_scale(d) for m, d in view.scalars.items()}
    base = on_scale[reference]
    names = [str(name) for name in base]
    ranked = quantities.ranked(names, view.metrics)
    shown = [name for name in names if name in ranked[:FOREST_LIMIT]]
    standard = {
        m: quantities.as_tree(quantities.in_reference_units(d[shown], base[shown])) for m, d in on_scale.items()
    }
    centre, unit = quantities.units(base[shown])
    in_tree = {quantities.tree_safe(name): name for name in shown}
    points = {
        method: {
            safe: (float(scaled(n, np.array(values[safe]))) - float(centre[n])) / float(unit[n])
            for safe, n in in_tree.items()
        }
        for method, values in view.point_values.items()
    }
    some = (
        f"the {len(shown)} of {len(names)} parameters furthest from the reference"
        if len(shown) < len(names)
        else "every parameter"
    )
    forest = plot_forest(
        standard, points, f"distance from the median of {label}, in units of its IQR / 1.349", quantities.FRAME
    )
    dense = [name for name in names if name in ranked[:MARGINAL_LIMIT]]
    chosen = {m: d[dense] for m, d in view.scalars.items()}
    frames = quantities.frames(chosen, view.point_values, reference)
    marginals = plot_marginals({m: quantities.as_tree(d) for m, d in chosen.items()}, view.point_values, frames)
    return [
        Figure(
            f"Forest of {some}: median, 50% and 95% interval, in units of the reference's IQR / 1.349 from its median; weights "
            "and variances on a logarithmic scale, correlations by Fisher's z. "
            f"{label} spans about −2 to 2; a shorter bar claims too much certainty, a longer one too little. "
            f"The axis ends {quantities.FRAME} units from the median at the latest.",
            [image(forest, f"Forest plot of {listing([view.label(m) for m in view.posteriors])}")],
        ),
        Figure(
            f"Marginal posteriors of {len(dense)} of {len(names)} parameters, those furthest from the reference, in the data's "
            "units. Curves should lie on each other; "
            "a taller and narrower one claims too much certainty.",
            [image(marginals, f"Density overlay of {listing(dense)} by method")],
        ),
    ]


def estimate_table(view: View) -> Table:
    """Return every parameter's mean and sd by method."""
    tables = {m: quantities.estimates(tree) for m, tree in view.trees.items()}
    names = list(tables[view.base].index)
    rows = [[Cell(name), *(error_cell(t["mean"][name], t["sd"][name]) for t in tables.values())] for name in names]
    head = ["parameter", *(view.label(m) for m in tables)]
    return Table("Posterior mean ± sd of every parameter (of a point: the estimate)", head, rows, fold=len(names) > 12)


def joint(view: View) -> Section:
    """The fit over the data, and pairs of parameters."""
    section = Section(
        "joint",
        "Joint view",
        "The fitted clusters over the data, and how parameters move together. Agreement of margins is not agreement of the "
        "joint: a mean-field posterior loses the tilt of these clouds.",
    )
    if not view.trees:
        return no_fit(section)
    x = view.data["x"]
    rows = np.unique(np.linspace(0, x.sizes["obs"] - 1, min(POINT_LIMIT, x.sizes["obs"])).astype(int))
    if x.sizes["feature"] == 1:
        from reports.plots.density import plot_density

        feature = str(x["feature"].values[0])
        values = x.isel(feature=0).values
        curves = {m: quantities.density_curves(tree, feature, values) for m, tree in view.trees.items()}
        picture = plot_density(x.isel(feature=0, obs=rows).rename(feature), curves)
        section.blocks.append(
            Figure(
                "Fitted density over the data, with its parts by cluster. The band holds 95% of the posterior's densities.",
                [image(picture, f"Density of {feature} by method")],
            )
        )
    else:
        section.blocks.append(ellipse_figure(view, rows))
    source = view.base if view.base in view.posteriors else next(iter(view.posteriors), None)
    names = quantities.most_correlated(view.scalars[source], 4) if view.rich and source else []
    if source and len(names) > 1:
        from reports.plots.joint import plot_joint

        chosen = {m: d[names] for m, d in view.scalars.items()}
        trees = {m: quantities.as_tree(d) for m, d in chosen.items()}
        frames = quantities.frames(chosen, view.point_values, source)
        section.blocks.append(
            Figure(
                f"The weights and means most correlated under {view.label(source)}: draws, and the highest-density regions "
                "that hold 50% and 90% of them.",
                [
                    image(
                        plot_joint(trees, view.point_values, frames, quantities.pair_regions(chosen, frames)),
                        f"Pairs of {listing(names)} by method",
                        raster=True,
                    )
                ],
            )
        )
    return section


def ellipse_figure(view: View, rows: np.ndarray) -> Figure:
    """Return the ellipses over the data, for at most three pairs of features."""
    from reports.plots.ellipses import plot_ellipses

    pairs = quantities.feature_pairs(view.trees[view.base])
    x = view.data["x"].isel(obs=rows)
    trees = {}
    for method, tree in view.trees.items():
        trees[method] = tree.copy(deep=False)
        trees[method]["clusters"] = tree["clusters"].to_dataset()[["responsibilities"]].isel(obs=rows)
    d = view.data.sizes["feature"]
    some = f" {len(pairs)} of {d * (d - 1) // 2} pairs of features, those that part the clusters best." if d > 2 else ""
    regions = {
        pair: {m: quantities.cluster_regions(tree["posterior"].to_dataset(), pair) for m, tree in view.trees.items()}
        for pair in pairs
    }
    inner, outer = (percent(prob) for prob in quantities.REGION_PROBS)
    return Figure(
        f"Thick: the highest-density regions that hold {inner} and {outer} of each cluster, averaged over the posterior. Thin: "
        f"the ellipse that holds {outer} of it under single draws, so that their scatter shows how well it is known. Points "
        f"take the colour of their most probable cluster and fade where it is uncertain.{some}",
        [
            image(
                plot_ellipses(x, trees, regions, quantities.REGION_PROBS[-1]),
                f"Cluster ellipses over the data by method, {len(pairs)} pairs of features",
                raster=True,
            )
        ],
    )


def label_free(view: View) -> Section:
    """Quantities that no relabelling can change."""
    section = Section(
        "label-free",
        "Label-free quantities",
        "What does not depend on how clusters are numbered: which points belong together, how surely, how many clusters are in "
        "use, and the predictive density at each point.",
    )
    if not view.trees:
        return no_fit(section)
    with_clusters = {m: t["clusters"].to_dataset() for m, t in view.trees.items() if "clusters" in t}
    if view.n_clusters == 1:
        section.blocks.append(Notice("With one cluster all points belong together."))
    elif with_clusters:
        section.blocks += cluster_figures(view, with_clusters)
    rows = []
    differences = (
        quantities.log_density_differences(view.trees, view.reference)
        if view.reference and "log_likelihood" in view.trees[view.reference]
        else pd.DataFrame()
    )
    for method in view.trees:
        cells = [
            hundredths(view.value(method, "occupied"), math.nan),
            value(view.value(method, "coclustering_error")),
            error_cell(view.value(method, "predictive_tv"), view.se(method, "predictive_tv")),
        ]
        for q in (0.025, 0.5, 0.975):
            cells.append(value(differences[q][method] if method in differences.index else math.nan))
        rows.append([name_cell(view, method), *cells])
    head = [
        "method",
        "clusters in use",
        "co-clustering difference",
        "total variation",
        "log density 2.5%",
        "median",
        "97.5%",
    ]
    section.blocks.append(
        Table(
            "Clusters in use; mean absolute difference of co-clustering from the reference; total variation of the "
            "predictive density from the reference's; and quantiles over the points of the log predictive density minus "
            "the reference's (nats)",
            head,
            rows,
        )
    )
    return section


def cluster_figures(view: View, clusters: dict) -> list[Figure]:
    """Return responsibilities and co-clustering, points in the reference's order."""
    from reports.plots.coclustering import plot_coclustering
    from reports.plots.responsibilities import plot_responsibilities

    base = view.base if view.base in clusters else next(iter(clusters))
    order = quantities.reference_order(clusters[base]["responsibilities"])
    strips = {m: c["responsibilities"].isel(obs=order) for m, c in clusters.items()}
    figures = [
        Figure(
            f"Responsibilities: each upright line is one point ({len(order)} shown), split in the "
            "probabilities of the clusters. Mixed colours are uncertain points; strips should look alike.",
            [image(plot_responsibilities(strips), "Stacked responsibilities by method", raster=True)],
        )
    ]
    together = {m: c["coclustering"].values for m, c in clusters.items() if "coclustering" in c}
    if together:
        first = together.get(base, next(iter(together.values())))
        place = quantities.block_order(first)
        matrices = {m: c[np.ix_(place, place)] for m, c in together.items()}
        figures.append(
            Figure(
                f"Probability that two points share a cluster ({len(place)} points, ordered by {view.label(base)}). "
                "Dark blocks are clusters; pale edges are points between them.",
                [image(plot_coclustering(matrices), "Co-clustering heat maps by method", raster=True)],
            )
        )
    return figures
