"""Joint view: pairs of parameters, the methods over each other (ArviZ's pair plot shows one tree at a time)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style
from reports.plots.ellipses import outline

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
) -> Figure:
    """Draw the lower triangle of pairs: draws, and the 90% ellipse of a normal with the draws' mean and covariance.

    Parameters
    ----------
    trees
        Method -> tree whose `posterior` holds scalar variables (chain, draw), the same ones in each.
    points
        Point-estimate method -> variable -> value.
    frames
        Variable -> where its axis ends.
    """
    draws = {
        m: tree["posterior"].to_dataset().to_array().stack(s=("chain", "draw")).values for m, tree in trees.items()
    }
    names = [str(name) for name in next(iter(trees.values()))["posterior"].data_vars]
    size = len(names) - 1
    figure, axes = style.panels(
        size, size, height=7.6 / max(size, 2), width=style.WIDTH if size > 1 else style.HALF, sharex="col", sharey="row"
    )
    for (i, j), ax in np.ndenumerate(axes):
        if j > i:
            ax.set_visible(False)
            continue
        for method, values in draws.items():
            pair, look = values[[j, i + 1]], style.look(method)
            some = pair[:, :: max(1, pair.shape[1] // SCATTER)]
            ax.plot(*some, ".", color=look.colour, markersize=3, alpha=0.4, markeredgewidth=0, rasterized=True)
            ax.plot(*outline(pair.mean(1), np.cov(pair), 0.9).T, color=look.colour, linestyle=look.line)
        for method, value in points.items():
            look = style.look(method)
            ax.plot(value[names[j]], value[names[i + 1]], look.marker, color=look.colour, markeredgecolor="white")
        ax.set(xlim=frames[names[j]], ylim=frames[names[i + 1]])
        ax.locator_params(nbins=4)
        if i == size - 1:
            ax.set_xlabel(style.wrapped(style.shortened(names[j])))
        if j == 0:
            ax.set_ylabel(style.wrapped(style.shortened(names[i + 1])))
    style.legend(figure, [*trees, *points], points=points)
    return figure
