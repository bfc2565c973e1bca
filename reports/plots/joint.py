"""Joint view: pairs of parameters, the methods over each other (ArviZ's pair plot shows one tree at a time)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style
from reports.plots.regions import outline

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

SCATTER = 300
"""Draws shown a method and panel."""


@style.drawing()
def plot_joint(
    trees: Mapping[str, xr.DataTree],
    points: Mapping[str, Mapping[str, float]],
    frames: Mapping[str, tuple[float, float]],
    regions: Mapping[tuple[str, str], Mapping[str, xr.Dataset]],
) -> Figure:
    """Draw the lower triangle of pairs: draws, and the outlines of their highest-density regions.

    Parameters
    ----------
    trees
        Method -> tree whose `posterior` holds scalar variables (chain, draw), the same ones in each.
    points
        Point-estimate method -> variable -> value.
    frames
        Variable -> where its axis ends.
    regions
        Pair of variables, in their order -> method -> what `reports.plots.regions.outline` draws.
    """
    draws = {m: tree["posterior"].to_dataset() for m, tree in trees.items()}
    names = [str(name) for name in next(iter(draws.values())).data_vars]
    size = len(names) - 1
    figure, axes = style.panels(
        size, size, height=7.6 / max(size, 2), width=style.WIDTH if size > 1 else style.HALF, sharex="col", sharey="row"
    )
    for (i, j), ax in np.ndenumerate(axes):
        if j > i:
            ax.set_visible(False)
            continue
        across, up = names[j], names[i + 1]
        for method, values in draws.items():
            look = style.look(method)
            pair = np.stack([values[across].values.ravel(), values[up].values.ravel()])
            some = pair[:, :: max(1, pair.shape[1] // SCATTER)]
            ax.plot(*some, ".", color=look.colour, markersize=3, alpha=0.3, markeredgewidth=0, rasterized=True)
        for method, region in regions[across, up].items():
            outline(ax, region, style.look(method).colour, line=style.look(method).line)
        for method, value in points.items():
            look = style.look(method)
            ax.plot(value[across], value[up], look.marker, color=look.colour, markeredgecolor="white")
        ax.set(xlim=frames[across], ylim=frames[up])
        ax.locator_params(nbins=4)
        if i == size - 1:
            ax.set_xlabel(style.wrapped(style.shortened(across)))
        if j == 0:
            ax.set_ylabel(style.wrapped(style.shortened(up)))
    style.legend(figure, [*trees, *points], points=points)
    return figure
