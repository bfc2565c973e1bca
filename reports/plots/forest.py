"""Forest over methods: interval and median of each parameter, all in the reference's own units.

ArviZ has a forest too, in which each interval of each method is an artist of its own: a page took a quarter longer with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

LANE = 0.075
"""Inches of one method's interval in the row of a parameter."""

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


def plot_forest(
    draws: Mapping[str, xr.Dataset], points: Mapping[str, Mapping[str, float]], xlabel: str, reach: float
) -> Figure:
    """Draw 50% and 95% intervals and the median of every variable, methods side by side.

    Parameters
    ----------
    draws
        Method -> scalar variables (chain, draw), the same ones in each.
    points
        Point-estimate method -> variable -> value: drawn as that method's own marker, without an interval.
    reach
        Distance from zero at which the axis ends at the latest.
    """
    names = [str(name) for name in next(iter(draws.values()))]
    methods = [*points, *draws]
    row = max(0.3, LANE * (len(methods) + 2))
    middle = np.arange(len(names))[::-1]
    with style.drawing():
        figure, panels = style.panels(1, 1, height=1.2 + row * len(names))
        ax = panels.item()
        for lane, method in enumerate(methods):
            look, y = style.look(method), middle + LANE / row * ((len(methods) - 1) / 2 - lane)
            if method in points:
                ax.plot([points[method][name] for name in names], y, look.marker, color=look.colour, markersize=4.5)
                continue
            values = [np.quantile(draws[method][name], QUANTILES) for name in names]
            low, lower, median, upper, high = np.transpose(values)
            ax.hlines(y, low, high, colors=look.colour, linewidth=1.3)
            ax.hlines(y, lower, upper, colors=look.colour, linewidth=2.6)
            ax.plot(median, y, "o", markersize=4, color="white", markeredgecolor=look.colour, markeredgewidth=1)
        for edge in middle[:-1]:
            ax.axhline(edge - 0.5, color=style.RULE, linewidth=0.5, zorder=0)
        ax.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0)
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, -reach), min(high, reach))
        ax.set_ylim(-0.6, len(names) - 0.4)
        ax.set_yticks(middle, [style.shortened(name) for name in names])
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
        ax.set_xlabel(xlabel)
        style.legend(figure, methods, points=points)
    return figure
