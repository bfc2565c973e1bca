"""Pictures of clusters whose features are levels or counts, alone or beside numbers: what each cluster says of each feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from reports.metrics.criteria import Clustering
from reports.metrics.profile import MEAN, PROBABILITY, RATE, as_posterior, profile, separation, standard
from reports.page.blocks import Figure, image
from reports.page.numbers import fixed, percent
from reports.page.view import View
from reports.page.words import listing, literal

MOST_LINES, MOST_CLUSTERS = 16, 6
"""Entries and clusters up to which a profile is drawn as lines with intervals; others are coloured cells."""

MOST_CELLS = 64
"""Rows of coloured cells; of more, those of the features that part the clusters best."""

FAR_APART = "Where lines are far apart a feature tells the clusters apart; where they meet it does not."
ONE_APART = "Marks far apart, beside their intervals, are clusters that the feature tells apart."
"""How profiles are read, of several features and of one."""

MOST_COUNTS = 120
"""A largest count up to which one count is drawn as the distribution of its numbers."""


WHAT = {PROBABILITY: "the probability of a level", RATE: "the rate of a count", MEAN: "the mean of a number"}
"""What a cell shows."""

BY_SDS = "coloured by how far that is from the mean of all rows, in standard deviations of the rows"


def cells_words(kinds: Iterable[str]) -> str:
    """Return what coloured cells of columns of these kinds are."""
    of = {"bernoulli": PROBABILITY, "categorical": PROBABILITY, "poisson": RATE, "gaussian": MEAN}
    there = {of[kind] for kind in kinds}
    shown = listing([words for what, words in WHAT.items() if what in there], "or")
    return f"What each cluster says of each feature: {shown}, {BY_SDS}"


class Profiles:
    """The profiles of all methods, and how they are drawn.

    Parameters
    ----------
    view : View
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.features = [str(name) for name in view.data["feature"].values]
        self.levels: Mapping[str, list[str]] = view.manifest["model"]["levels"]
        self.x = view.data["x"].transpose("obs", "feature").values
        self.of = {m: self._profile(tree) for m, tree in view.trees.items()}
        self.shares = {m: shares(tree) for m, tree in view.trees.items()}
        shape = view.manifest["model"].get("image")
        self.image: tuple[int, int] | None = None if shape is None else (int(shape[0]), int(shape[1]))

    def _profile(self, tree: xr.DataTree) -> xr.Dataset:
        found = profile(tree["posterior"].to_dataset(), self.features, self.levels)
        return found.assign(standard=standard(found, self.x, self.features, self.levels))

    @property
    def base(self) -> xr.Dataset:
        """The profile of the reference, or else of the first method."""
        return self.of[self.view.base]

    @property
    def what(self) -> set[str]:
        """What the numbers are: probabilities, rates, means."""
        return {str(what) for what in self.base["what"].values}

    @property
    def two_levels(self) -> bool:
        """Whether all are probabilities, one an item."""
        return self.what == {PROBABILITY} and len(set(self.base["feature"].values)) == self.base.sizes["entry"]

    @property
    def form(self) -> str:
        """How profiles are drawn: as "tiles", "lines" or "cells"."""
        if self.image is not None and self.two_levels:
            return "tiles"
        few = self.base.sizes["entry"] <= MOST_LINES and self.base.sizes["cluster"] <= MOST_CLUSTERS
        return "lines" if few and (self.two_levels or self.what == {RATE}) else "cells"

    @property
    def ylabel(self) -> str:
        """What an axis of values is called."""
        if self.what == {RATE}:
            return "rate"
        level = {str(level) for level in self.base["level"].values}
        if len(level) > 1:
            return "probability"
        return f"probability of {'level ' if next(iter(level)).isdigit() else ''}{next(iter(level))}"

    @property
    def log(self) -> bool:
        """Whether the values are drawn on a logarithmic axis: rates, of which none is nearly zero."""
        return self.what == {RATE} and float(self.base["value"].sel(quantile=0.5).min()) > 1e-3


def chosen(of: xr.Dataset, weights: np.ndarray) -> np.ndarray:
    """Return places of the rows that are drawn as cells: all, or those of the features that part the clusters best."""
    if of.sizes["entry"] <= MOST_CELLS:
        return np.arange(of.sizes["entry"])
    apart = separation(of["standard"], list(of["feature"].values), weights)
    ranked, kept, rows = sorted(apart, key=lambda name: -apart[name]), set[str](), 0
    counts = {name: int((of["feature"].values == name).sum()) for name in apart}
    for name in ranked:
        if rows + counts[name] <= MOST_CELLS:
            kept.add(name)
            rows += counts[name]
    return np.flatnonzero([str(name) in kept for name in of["feature"].values])


def candidates_figure(
    clusterings: Mapping[str, Clustering], x: np.ndarray, kinds: Mapping[str, str], levels: Mapping[str, list[str]]
) -> Any:
    """Return the profiles of several clusterings of the same rows (N, D), a panel each."""
    from reports.plots.heat import plot_heat

    features, found = list(kinds), {}
    for title, one in clusterings.items():
        of = profile(as_posterior(one.theta, kinds), features, levels)
        found[title] = of.assign(standard=standard(of, x, features, levels))
    first = next(iter(found.values()))
    rows = chosen(first, next(iter(clusterings.values())).weights)
    return plot_heat({title: of.isel(entry=rows) for title, of in found.items()}, {title: title for title in found})


def shares(tree: xr.DataTree) -> np.ndarray:
    """Return the share of the rows in every cluster by responsibilities (K,)."""
    return tree["clusters"].to_dataset()["responsibilities"].mean("obs").values


def overview(view: View) -> Figure:
    """Return the picture of the answer: every method's clusters side by side."""
    return _figure(Profiles(view), list(view.trees), "answer")


def base_figure(view: View) -> Figure:
    """Return the profile of the base alone."""
    return _figure(Profiles(view), [view.base], "profile")


def _figure(of: Profiles, methods: list[str], slug: str) -> Figure:
    if slug == "answer" and one_count(of):
        return counts_figure(of, methods)
    draw = {"tiles": _tiles, "lines": _lines, "cells": _cells}[of.form]
    caption, drawing = draw(of, methods)
    return Figure(caption, [image(drawing, alt(of, methods))], slug=slug)


def alt(of: Profiles, methods: list[str]) -> str:
    """Return what is seen: the sizes of the clusters by method, and what tells them apart."""
    view, base = of.view, of.base
    apart = separation(base["standard"], list(base["feature"].values), of.shares[view.base])
    best = sorted(apart, key=lambda name: -apart[name])[:3]
    sizes = "; ".join(
        f"{view.label(m)}: clusters of {listing([percent(round(s, 2)) for s in of.shares[m]])} of the rows"
        for m in methods
    )
    return f"Profiles of the clusters. {sizes}. They differ most in {listing(best)}."


def _lines(of: Profiles, methods: list[str]) -> tuple[str, Any]:
    from reports.plots.profile import plot_profile, plot_profiles

    view, what = of.view, "rate" if of.what == {RATE} else "probability"
    if len(methods) == 1:
        shown = "as estimated" if methods[0] in view.points else "medians with 90% intervals"
        caption = (
            f"Profiles of the clusters by {view.label(methods[0])}: the {what} of every feature in each, "
            f"{shown}. {FAR_APART if len(of.features) > 1 else ONE_APART}"
        )
        return caption, plot_profile(of.of[methods[0]], of.shares[methods[0]].tolist(), of.ylabel, log=of.log)
    titles = [f"cluster {k}: {percent(round(s, 2))}" for k, s in enumerate(of.shares[view.base])]
    band = (
        f" Grey: the interval and the median of {view.label(view.reference)}, the reference; where a method agrees with it, "
        "its mark lies on the line and its interval covers the band."
        if view.reference
        else ""
    )
    caption = (
        f"Every cluster's {what} of each feature, by each method: medians with 90% intervals, which a point estimate has not."
        f"{band} Above each panel, the share of the rows in the cluster by {view.label(view.base)}."
    )
    return caption, plot_profiles(of.of, view.reference, titles, of.ylabel, log=of.log)


def _cells(of: Profiles, methods: list[str]) -> tuple[str, Any]:
    from reports.plots.heat import plot_heat

    base = of.base
    rows = chosen(base, of.shares[of.view.base])
    drop = [] if of.what != {PROBABILITY} else ["standard"]
    shown = {m: of.of[m].isel(entry=rows).drop_vars(drop) for m in methods}
    numbers = listing([words for what, words in WHAT.items() if what in of.what], "or")
    colours = "coloured by it" if drop else BY_SDS
    left = len(set(map(str, base["feature"].values))) - len({str(f) for f in base["feature"].values[rows]})
    some = f" Left out: {left} features in which the clusters differ less." if left else ""
    who = f" by {of.view.label(methods[0])}" if len(methods) == 1 else ", a panel a method"
    good = "" if len(methods) == 1 else " Where methods agree, panels look alike."
    caption = f"What each cluster says of each feature{who}: {numbers}, the median, {colours}.{good}{some}"
    role = {of.view.reference: ", the reference"} if len(methods) > 1 else {}
    return caption, plot_heat(shown, {m: of.view.label(m) + role.get(m, "") for m in methods})


def _tiles(of: Profiles, methods: list[str]) -> tuple[str, Any]:
    from reports.plots.tiles import plot_tiles

    pictures = {m: of.of[m]["value"].sel(quantile=0.5).transpose("cluster", "entry").values for m in methods}
    assert of.image is not None
    who = f" by {of.view.label(methods[0])}" if len(methods) == 1 else ", a row a method"
    caption = (
        f"The clusters as pictures{who}: {of.ylabel} at every pixel, the median. Above each, its number and the share of the "
        "rows in it."
    )
    return caption, plot_tiles(pictures, of.image, {m: of.shares[m].tolist() for m in methods}, of.ylabel)


def one_count(of: Profiles) -> bool:
    """Whether the data are one count, small enough to draw each number."""
    return of.what == {RATE} and len(of.features) == 1 and float(np.nanmax(of.x)) <= MOST_COUNTS


def counts_figure(of: Profiles, methods: list[str]) -> Figure:
    """Return the distribution of one count and every method's predictive probabilities."""
    from scipy.stats import poisson

    from reports.plots.counts import plot_counts

    x = of.x[~np.isnan(of.x[:, 0]), 0].astype(int)
    grid = np.arange(int(x.max()) + 2)
    observed = np.bincount(x, minlength=len(grid)) / len(x)
    expected = {}
    for method in methods:
        posterior = of.view.trees[method]["posterior"].to_dataset()
        w = posterior["weights"].values.reshape(-1, of.view.n_clusters)
        rates = posterior["rates"].values.reshape(w.shape)
        some = np.linspace(0, len(w), min(len(w), 500), endpoint=False).astype(int)
        expected[method] = np.mean(
            [p @ own for p, own in zip(_pmf(poisson, grid, rates[some]), w[some], strict=True)], axis=0
        )
    worst = {m: float(np.abs(p - observed).max()) for m, p in expected.items()}
    seen = "; ".join(f"{of.view.label(m)} is at most {fixed(v, 3)} off" for m, v in worst.items())
    caption = (
        f"How often each number of {literal(of.features[0])} was seen (bars), and how probable each method calls it (marks). "
        "Where the model is right, marks are at the tops of the bars, but for chance."
    )
    drawing = plot_counts(observed, expected, of.features[0])
    return Figure(
        caption, [image(drawing, f"Observed shares of the counts and predictive probabilities: {seen}")], slug="answer"
    )


def _pmf(poisson: Any, grid: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Poisson probabilities (S, number, K)."""
    return poisson.pmf(grid[:, None], rates[:, None, :])
