"""The fitted clusters over the data, and how parameters move together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from reports.page import quantities
from reports.page.agreement import lost_correlations
from reports.page.blocks import Figure, Section, image
from reports.page.numbers import fixed, number, percent
from reports.page.trust import no_fit
from reports.page.view import View
from reports.page.words import listing

JOINT_LIMIT = 4
POINT_LIMIT = 2000


def joint(view: View) -> Section | None:
    """The fit over the data, and pairs of parameters; None where there is neither to draw."""
    section = Section(
        "joint",
        "Joint view",
        "The fitted clusters over the data, and how parameters move together. Agreement of margins is not agreement of the "
        "joint: a mean-field posterior loses the tilt of these clouds.",
    )
    if not view.trees:
        return no_fit(section)
    if view.numbers:
        section.blocks.append(fit_figure(view))
    section.blocks += pair_figure(view)
    return section if section.blocks else None


def fit_figure(view: View) -> Figure:
    """Return the clusters over the data, in the features that hold numbers."""
    x = view.data["x"].sel(feature=view.numbers)
    rows = quantities.drawn_rows(x, POINT_LIMIT)
    if x.sizes["feature"] == 1:
        from reports.plots.density import plot_density

        feature = str(x["feature"].values[0])
        values = x.isel(feature=0).dropna("obs").values
        curves = {m: quantities.density_curves(tree, feature, values) for m, tree in view.number_trees.items()}
        picture = plot_density(x.isel(feature=0, obs=rows).rename(feature), curves)
        return Figure(
            "Fitted density over the data, with its parts by cluster. The band holds 95% of the posterior's densities.",
            [image(picture, "")],
            alt=f"Density of {feature} by method over a histogram. {centres_words(view, [feature])}",
            slug="density",
        )
    return ellipse_figure(view, x.isel(obs=rows), rows)


def pair_figure(view: View) -> list[Figure]:
    """Return pairs of parameters: those whose correlations methods lose, then the most correlated ones."""
    source = view.base if view.base in view.posteriors else next(iter(view.posteriors), None)
    if not (view.rich and source):
        return []
    lost = lost_correlations(view)
    names = quantities.joint_names(view.scalars[source], lost, JOINT_LIMIT)
    if len(names) < 2:
        return []
    from reports.plots.joint import plot_joint

    chosen, points = view.shown(names)
    trees = {m: quantities.as_tree(d) for m, d in chosen.items()}
    frames = quantities.frames(chosen, points, source)
    regions = quantities.pair_regions(chosen, frames)
    picture = plot_joint(trees, points, quantities.around(regions, frames), regions)
    inner, outer = (percent(prob) for prob in quantities.REGION_PROBS)
    why = "those whose rank correlations differ most between methods, and then " if len(lost) else ""
    return [
        Figure(
            f"Pairs of parameters: {why}the most correlated under {view.label(source)}. Draws, and the [[hdr|highest-density "
            f"regions]] that hold {inner} (thick) and {outer} (thin) of them, by a kernel density. Regions of methods that "
            "agree lie on each other.",
            [image(picture, "", raster=True)],
            alt=f"Pairs of {listing(names)} by method. {correlation_words(view, names)}",
            slug="pairs",
        )
    ]


def ellipse_figure(view: View, x: xr.DataArray, rows: np.ndarray) -> Figure:
    """Return the ellipses over the data, for at most three pairs of features."""
    from reports.plots.ellipses import plot_ellipses

    pairs = quantities.feature_pairs(view.number_trees[view.base], 3 if len(view.trees) < 5 else 2)
    trees = {}
    for method, tree in view.number_trees.items():
        trees[method] = tree.copy(deep=False)
        trees[method]["clusters"] = tree["clusters"].to_dataset()[["responsibilities"]].isel(obs=rows)
    d = len(view.numbers)
    some = f" {len(pairs)} of {d * (d - 1) // 2} pairs of features, those that part the clusters best." if d > 2 else ""
    regions = {
        pair: {
            m: quantities.cluster_regions(tree["posterior"].to_dataset(), pair) for m, tree in view.number_trees.items()
        }
        for pair in pairs
    }
    inner, outer = (percent(prob) for prob in quantities.REGION_PROBS)
    return Figure(
        f"Thick: the highest-density regions that hold {inner} and {outer} of each cluster, averaged over the posterior. Thin: "
        f"the ellipse that holds {outer} of it under single draws, so that their scatter shows how well it is known. Points "
        f"take the colour of their most probable cluster and fade where it is uncertain.{some}{quantities.without_points(x)}",
        [image(plot_ellipses(x, trees, regions, quantities.REGION_PROBS[-1]), "", raster=True)],
        alt=f"Regions of the clusters over the data by method. {centres_words(view, pairs[0])}",
        slug="clusters",
    )


def centres_words(view: View, features: Sequence[str]) -> str:
    """Return where the clusters lie in these features, by method."""
    said = []
    for method, tree in view.number_trees.items():
        means = tree["posterior"].to_dataset()["means"].sel(feature=list(features)).median(("chain", "draw"))
        centres = (", ".join(number(float(m)) for m in of) for of in means.transpose("cluster", "feature").values)
        said.append(f"{view.label(method)} {' and '.join(f'({centre})' for centre in centres)}")
    return f"Median centres of the clusters in {listing(features)}: {'; '.join(said)}."


def correlation_words(view: View, names: Sequence[str]) -> str:
    """Return the rank correlation of the first two of these parameters by method."""
    from scipy.stats import spearmanr

    said = []
    for method, draws in view.scalars.items():
        r = spearmanr(draws[names[0]].values.ravel(), draws[names[1]].values.ravel()).statistic
        said.append(f"{view.label(method)} {fixed(float(r), 2)}")
    return f"Rank correlation of {names[0]} and {names[1]}: {'; '.join(said)}."
