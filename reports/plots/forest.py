"""Forest over methods: interval and median of each parameter, all in the reference's own units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

LANE = 0.06
"""Inches of one method's interval in the row of a parameter."""


def plot_forest(
    trees: Mapping[str, xr.DataTree], points: Mapping[str, Mapping[str, float]], xlabel: str, reach: float
) -> Figure:
    """Draw 50% and 95% intervals and the median of every variable, methods side by side, with ArviZ.

    Parameters
    ----------
    trees
        Method -> tree whose `posterior` holds scalar variables (chain, draw), the same ones in each.
    points
        Point-estimate method -> variable -> value: drawn as that method's own marker, without an interval.
    reach
        Distance from zero at which the axis ends at the latest.
    """
    names = list(next(iter(trees.values()))["posterior"].data_vars)
    row = max(0.3, LANE * (len(trees) + 2))
    with style.arviz_drawing() as az:
        collection = az.plot_forest(
            {style.look(m).label: tree for m, tree in trees.items()},
            combined=True,
            color=[style.look(m).colour for m in trees],
            visuals={"labels": {"size": 8.5}, "trunk": {"width": 2.4}, "twig": {"width": 1.3},
                     "point_estimate": {"size": 22}},
            figure_kwargs={"figsize": (style.WIDTH, 1.2 + row * len(names)), "width_ratios": [1, 3.4]},
        )  # fmt: skip
        figure = style.of_collection(collection)
        names_ax, ax = figure.axes
        names_ax.set_xticks([])
        for text in names_ax.texts:
            text.set_text(style.shortened(text.get_text()))
        names_ax.spines[:].set_visible(False)
        heights = collection.get_aes_as_dataset("y").mean()
        for place, (method, values) in enumerate(points.items()):
            look, above = style.look(method), 0.36 - 0.09 * place
            ax.plot([values[v] for v in names], [float(heights[v]) + above for v in names], look.marker,
                    color=look.colour, markersize=4.5, alpha=0.9)  # fmt: skip
        for edge in range(len(names) - 1):
            for panel in figure.axes:
                panel.axhline(edge + 0.32, color=style.RULE, linewidth=0.5, zorder=0)
        ax.axvline(0, color=style.MUTED, linewidth=0.8, zorder=0)
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, -reach), min(high, reach))
        ax.set_ylim(-0.9, len(names) - 0.4)
        ax.set_xlabel(xlabel)
        style.legend(figure, [*trees, *points], points=points)
    return figure
