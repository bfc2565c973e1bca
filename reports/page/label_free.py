"""What no relabelling can change: which points belong together, how many clusters are in use, the predictive density."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from reports.page import quantities
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image, row_id, value
from reports.page.cells import error_cell, hundredths, name_cell
from reports.page.numbers import DASH, percent
from reports.page.trust import no_fit
from reports.page.view import View

CERTAIN = 0.95


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
    section.blocks.append(label_free_table(view))
    return section


def label_free_table(view: View) -> Table:
    """Return clusters in use, co-clustering and predictive density against the reference, with their floors."""
    differences = (
        quantities.log_density_differences(view.trees, view.reference)
        if view.reference and "log_likelihood" in view.trees[view.reference]
        else pd.DataFrame()
    )
    rows, ids = [], []
    for method in view.trees:
        cells = [hundredths(view.value(method, "occupied"), math.nan)]
        for metric, floor in (("coclustering_error", "coclustering_floor"), ("predictive_tv", "predictive_tv_floor")):
            cells += [
                error_cell(view.value(method, metric), view.se(method, metric)),
                value(view.value(method, floor), 2),
            ]
        for q in (0.025, 0.5, 0.975):
            cells.append(value(differences[q][method] if method in differences.index else math.nan))
        rows.append([name_cell(view, method), *cells])
        ids.append(row_id(method, "label-free"))
        if not math.isnan(by_labels := view.value(method, "occupied_qz")):
            empty = [Cell(DASH)] * (len(cells) - 1)
            rows.append(
                [Cell(f"{view.label(method)}, by q(z)", method=method), hundredths(by_labels, math.nan), *empty]
            )
            ids.append("")
    head = [
        "method",
        "clusters in use",
        "co-clustering difference",
        "floor",
        "total variation",
        "floor",
        "log density 2.5%",
        "median",
        "97.5%",
    ]
    caption = (
        "Expected number of [[occupied|clusters in use]]; mean absolute difference of [[co-clustering|co-clustering "
        "probabilities]] from the reference; [[total-variation|total variation]] between the predictive densities; each ± "
        "Monte Carlo standard error and beside its floor, the same between two halves of the reference. Last, quantiles over "
        f"the points of the log predictive density minus the reference's (nats){_some_points(view)}"
    )
    return Table(caption, head, rows, slug="label-free", ids=ids)


def _some_points(view: View) -> str:
    """Return over which points the co-clustering is taken, where they are not all."""
    sizes = next((tree["clusters"].sizes for tree in view.trees.values() if "clusters" in tree), {})
    some, of = sizes.get("point", 0), sizes.get("obs", 0)
    return (
        ""
        if some == of
        else f". Co-clustering is of {some} evenly spaced points of {of}: its error leaves out their choice"
    )


def cluster_figures(view: View, clusters: Mapping[str, xr.Dataset]) -> list[Figure]:
    """Return responsibilities and co-clustering, points in the reference's order."""
    from reports.plots.coclustering import plot_coclustering
    from reports.plots.responsibilities import plot_responsibilities

    base = view.base if view.base in clusters else next(iter(clusters))
    order = quantities.reference_order(clusters[base]["responsibilities"])
    strips = {m: c["responsibilities"].isel(obs=order) for m, c in clusters.items()}
    figures = (
        []
        if view.ordered
        else [  # of sequences they stand on top of the page, in the order of time
            Figure(
                f"Responsibilities: each upright line is one point ({len(order)} shown), split in the "
                "probabilities of the clusters. Mixed colours are uncertain points; strips should look alike.",
                [image(plot_responsibilities(strips), "", raster=True)],
                alt=f"Stacked responsibilities by method. {certain_words(view, clusters)}",
                slug="responsibilities",
            )
        ]
    )
    of_paths = ", counted on paths of states drawn from each posterior" if view.ordered else ""
    together = {m: c["coclustering"].values for m, c in clusters.items() if "coclustering" in c}
    if together:
        first = together.get(base, next(iter(together.values())))
        place = quantities.block_order(first)
        matrices = {m: c[np.ix_(place, place)] for m, c in together.items()}
        figures.append(
            Figure(
                f"Probability that two points share a cluster ({len(place)} points, ordered by {view.label(base)}){of_paths}. "
                "Blocks of full colour are clusters; faint edges are points between them.",
                [image(plot_coclustering(matrices), "", raster=True)],
                alt=f"Co-clustering heat maps by method. {together_words(view, matrices)}",
                slug="co-clustering",
            )
        )
    return figures


def certain_words(view: View, clusters: Mapping[str, xr.Dataset]) -> str:
    """Return how many points belong to a cluster with a probability above 0.95, by method."""
    shares = {m: float((c["responsibilities"].max("cluster") > CERTAIN).mean()) for m, c in clusters.items()}
    said = "; ".join(f"{view.label(m)} {percent(share)}" for m, share in shares.items())
    return f"Points in one cluster with a probability above {CERTAIN}: {said}."


def together_words(view: View, matrices: Mapping[str, np.ndarray]) -> str:
    """Return how many pairs of points probably share a cluster, by method."""
    said = []
    for method, matrix in matrices.items():
        pairs = matrix[np.triu_indices(len(matrix), 1)]
        said.append(f"{view.label(method)} {percent(float((pairs > 0.5).mean()))}")
    return f"Pairs of points that probably share a cluster: {'; '.join(said)}."
