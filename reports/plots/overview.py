"""The picture of the answer: the data with each method's clusters, and the density that each method gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style
from reports.plots.regions import outline

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@style.drawing()
def plot_overview(x: xr.DataArray, fits: Mapping[str, xr.Dataset], reference: str | None) -> Figure:
    """Draw the data and what each method makes of them: of two features one panel a method, of one feature one panel.

    Parameters
    ----------
    x
        Data (obs, feature) with one or two features; rows with a gap are no points.
    fits
        Method -> `best` (obs), the most probable cluster of every point, and `certain` (obs), its probability. For two
        features also, for every `cluster`, what `reports.plots.regions.outline` draws. For one feature `density` (grid).
    reference
        The method whose outlines are repeated in grey in the panels of the others.
    """
    return _line(x, fits) if x.sizes["feature"] == 1 else _plane(x, fits, reference)


def _plane(x: xr.DataArray, fits: Mapping[str, xr.Dataset], reference: str | None) -> Figure:
    columns = style.columns(len(fits))
    rows = -(-len(fits) // columns)
    figure, axes = style.panels(
        rows,
        columns,
        height={1: 4.2, 2: 3.4}.get(columns, 2.8),
        width=style.WIDTH if columns > 1 else 6,
        sharex=True,
        sharey=True,
    )
    points = x.values
    low, high = np.nanmin(points, 0), np.nanmax(points, 0)
    margin = 0.12 * (high - low)
    for place, (ax, (method, fit)) in enumerate(zip(axes.flat, fits.items(), strict=False)):
        colours = [style.cluster_colour(int(k)) for k in fit["best"].values]
        ax.scatter(
            *points.T,
            s=style.dot(len(points)),
            c=colours,
            alpha=0.2 + 0.4 * fit["certain"].values ** 4,
            linewidths=0,
            rasterized=True,
        )
        if reference is not None and method != reference:
            for k in range(fit.sizes["cluster"]):
                outline(ax, fits[reference].isel(cluster=k), style.MUTED, inner=False, line="--")
        for k in range(fit.sizes["cluster"]):
            outline(ax, fit.isel(cluster=k), style.cluster_colour(k), halo=True)
        ax.set(
            title=style.look(method).label + (", the reference" if method == reference else ""),
            xlim=(low[0] - margin[0], high[0] + margin[0]),
            ylim=(low[1] - margin[1], high[1] + margin[1]),
        )
        ax.locator_params(nbins=5)
        names = [style.shortened(str(name), 30) for name in x["feature"].values]
        if place + columns >= len(fits):
            ax.set_xlabel(names[0])
            ax.tick_params(labelbottom=True)
        if place % columns == 0:
            ax.set_ylabel(names[1])
    style.blank(axes.flat[len(fits) :])
    return figure


def _line(x: xr.DataArray, fits: Mapping[str, xr.Dataset]) -> Figure:
    figure, axes = style.panels(2, 1, height=1, width=style.WIDTH, sharex=True, height_ratios=[3, 0.28 * len(fits)])
    figure.set_size_inches(style.WIDTH, 3.4 + 0.28 * len(fits))
    top, below = axes.flat
    values = x.values[:, 0]
    top.hist(values, bins=min(60, max(12, int(2 * len(values) ** 0.5))), density=True, color="#e4e7eb")
    for row, (method, fit) in enumerate(fits.items()):
        look = style.look(method)
        top.plot(fit["grid"], fit["density"], color=look.colour, linestyle=look.line)
        colours = [style.cluster_colour(int(k)) for k in fit["best"].values]
        below.vlines(values, row - 0.36, row + 0.36, colors=colours, linewidth=1.4, alpha=0.7)
    below.set(
        yticks=range(len(fits)),
        yticklabels=[style.look(method).label for method in fits],
        ylim=(len(fits) - 0.4, -0.6),
        xlabel=style.shortened(str(x["feature"].values[0]), 60),
    )
    below.tick_params(axis="y", length=0)
    below.spines["left"].set_visible(False)
    top.set_ylabel("density")
    top.locator_params(nbins=6)
    style.legend(figure, list(fits))
    return figure
