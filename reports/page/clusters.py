"""The clusters themselves: how many points, where, how wide, and which points could belong to another."""

from __future__ import annotations

import numpy as np
import xarray as xr

from reports.metrics.parameters import separation
from reports.metrics.summary import clusters as described
from reports.page import quantities
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image
from reports.page.cells import interval_cell, name_cell
from reports.page.columns import memberships
from reports.page.numbers import fixed, percent
from reports.page.trust import no_fit
from reports.page.view import View
from reports.page.words import listing

FEATURES = 4
"""Features in a table of clusters."""

UNCERTAIN = 0.1
"""Uncertainty from which a point is counted."""

SHOWN = 2000
"""Points drawn at most."""


def clusters(view: View) -> Section:
    """Size, weight and place of every cluster by method, and the points of uncertain cluster."""
    section = Section(
        "clusters",
        "Clusters",
        "How large each cluster is, where it lies and how wide it is, and which points might as well belong to another."
        if view.gaussian
        else "How large each cluster is, what it is like, and which points might as well belong to another.",
    )
    if not view.trees:
        return no_fit(section)
    features = separating(view)
    others = [m for m in view.trees if m != view.base]
    section.blocks.append(cluster_table(view, [view.base], features))
    if others:
        section.blocks.append(cluster_table(view, others, features))
    d = view.data.sizes["feature"]
    some = (
        f" Shown are {len(features)} of {d} features, those that part the clusters best." if len(features) < d else ""
    )
    section.blocks.append(
        Notice(
            "A cluster's size is the sum of the points' responsibilities, averaged over draws; its members are the points that "
            f"belong to it most probably. {said(view)} Medians, with the central 90% interval below.{some}"
        )
    )
    if view.n_clusters > 1:
        section.blocks.append(uncertainty_figure(view))
        section.blocks += memberships(view)
    return section


def said(view: View) -> str:
    """Return what the columns of a table of clusters are."""
    kinds = set(view.kinds.values())
    own = {
        "gaussian": "Its mean and sd are those of its density in each feature.",
        "poisson": "Its rate is the count that it expects.",
    }
    words = [text for kind, text in own.items() if kind in kinds]
    if kinds & {"bernoulli", "categorical"}:
        words.append("P(a level) is the probability that it gives to the level; of two levels the second is shown.")
    return " ".join(words)


def separating(view: View) -> list[str]:
    """Return the features that part the clusters best, in the data's order."""
    apart = separation(view.trees[view.base]["posterior"].to_dataset())
    best = sorted(apart, key=lambda feature: -apart[feature])[:FEATURES]
    return [feature for feature in view.kinds if feature in best]


def cluster_table(view: View, methods: list[str], features: list[str]) -> Table:
    """Return the clusters of one method, or side by side those of several, a row each."""
    several = methods != [view.base]
    trees = {m: view.trees[m] for m in methods}
    found = {
        m: described(quantities.weighted(tree), tree["clusters"].to_dataset()["responsibilities"])
        for m, tree in trees.items()
    }
    columns = [(f, str(title)) for f in features for title in found[methods[0]][1][f].data_vars]
    rows = []
    for k in range(view.n_clusters):
        for method in methods:
            own, by_feature = found[method][0].isel(cluster=k), found[method][1]
            size, members = float(own["size"]), int(own["members"])
            rows.append(
                [
                    Cell(f"cluster {k}"),
                    *([name_cell(view, method)] if several else []),
                    Cell(fixed(size, 1), size),
                    Cell(str(members), members),
                    _interval(own["weight"]),
                    *(_interval(by_feature[f][title].isel(cluster=k)) for f, title in columns),
                ]
            )
    head = [
        "size",
        "members",
        "long-run share" if view.ordered else "weight",
        *(f"{f}: {title}" for f, title in columns),
    ]
    if several:
        caption = "Clusters of the other methods. A point estimate has no intervals"
        return Table(caption, ["cluster", "method", *head], rows, fold=True, slug="clusters-of-others")
    role = ", the reference" if view.base == view.reference else ""
    return Table(f"Clusters of {view.label(view.base)}{role}", ["cluster", *head], rows, slug="clusters")


def _interval(of: xr.DataArray) -> Cell:
    low, median, high = of.transpose("quantile").values
    return interval_cell(float(median), float(low), float(high))


def uncertainty_figure(view: View) -> Figure:
    """Return the points by their uncertainty under the base, and the uncertainties of all methods."""
    from reports.plots.uncertainty import plot_uncertainty

    curves = {
        m: 1 - tree["clusters"]["responsibilities"].transpose("obs", "cluster").values.max(1)
        for m, tree in view.trees.items()
    }
    n = len(curves[view.base])
    counts = {m: int((u > UNCERTAIN).sum()) for m, u in curves.items()}
    seen = f"Points with an uncertainty above {percent(UNCERTAIN)}, of {n}: " + ", ".join(
        f"{view.label(m)} {count}" for m, count in counts.items()
    )
    what = "Uncertainty of a point's cluster: 1 less the probability of its most probable one."
    good = f"Methods should agree; a point between two clusters has 0.5. {seen}."
    if not view.numbers:
        picture = plot_uncertainty(None, "", curves)
        return Figure(f"{what} All points, by method. {good}", [image(picture, seen)], slug="uncertainty")
    base = view.base
    pair = quantities.feature_pairs(view.number_trees[base], limit=1)
    shown = list(pair[0]) if pair else view.numbers[:1]
    points = (
        view.data[["x"]]
        .sel(feature=shown)
        .assign(
            uncertainty=("obs", curves[base]),
            cluster=("obs", view.trees[base]["clusters"]["responsibilities"].argmax("cluster").values),
        )
    )
    some = np.argsort(curves[base], kind="stable")[-SHOWN:]
    which = f"the {SHOWN} least certain points" if n > SHOWN else "every point"
    return Figure(
        f"{what} Left, {which} under {view.label(base)}, the larger the less certain; right, all points by method. {good}",
        [
            image(
                plot_uncertainty(points.isel(obs=some), f"Uncertain points, {view.label(base)}", curves),
                f"{seen}; the least certain lie between clusters in {listing(shown)}",
                raster=len(some) > 500,
            )
        ],
        slug="uncertainty",
    )
