"""How sure each method is of each point's cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LARGEST, SMALLEST = 60, 3
"""Areas of the marks of a point whose uncertainty is the largest possible, and of a certain one."""

LEAST = 0.05
"""Uncertainty that the axis reaches where all points are more certain."""


@style.drawing()
def plot_uncertainty(points: xr.Dataset | None, title: str, curves: Mapping[str, np.ndarray]) -> Figure:
    """Draw points by their uncertainty under one method, and the uncertainties in falling order, one line a method.

    Parameters
    ----------
    points
        `x` (obs, feature), one feature or two, `cluster` (obs), the most probable one, and `uncertainty` (obs), 1 less the
        largest responsibility; without them the lines alone.
    title
        Of the first panel.
    curves
        Method -> uncertainty of every point, in any order.
    """
    figure, axes = style.panels(1, 1 if points is None else 2, height=3.4)
    if points is not None:
        _points(axes[0, 0], points, title)
    _curves(axes[0, -1], curves)
    style.legend(figure, curves)
    return figure


def _points(ax: Axes, points: xr.Dataset, title: str) -> None:
    features = [str(f) for f in points["feature"].values]
    x = points["x"].transpose("feature", "obs").values
    cluster, uncertainty = points["cluster"].values, points["uncertainty"].values
    area = SMALLEST + (LARGEST - SMALLEST) * uncertainty / max(uncertainty.max(), 0.5)
    y = x[1] if len(features) > 1 else uncertainty
    for k in np.unique(cluster):
        own = cluster == k
        ax.scatter(
            x[0][own], y[own], area[own], style.cluster_colour(k), alpha=0.65, linewidths=0, label=f"cluster {k}"
        )
    ax.set(title=title, xlabel=features[0], ylabel=features[1] if len(features) > 1 else "uncertainty")
    ax.locator_params(nbins=5)
    for mark in ax.legend(loc="best", handletextpad=0.2, borderpad=0.2).legend_handles:
        mark.set_sizes([30])  # type: ignore[union-attr]


def _curves(ax: Axes, curves: Mapping[str, np.ndarray]) -> None:
    for method, uncertainty in curves.items():
        look = style.look(method)
        ax.plot(np.arange(1, len(uncertainty) + 1), -np.sort(-uncertainty), color=look.colour, linestyle=look.line)
    ax.set(title="All points, by method", xlabel="point, the least certain first", ylabel="uncertainty", xscale="log")
    ax.xaxis.set_major_formatter(lambda n, _: f"{n:g}")
    ax.set_ylim(0, max(ax.get_ylim()[1], LEAST))
    ax.margins(x=0)
    ax.grid(axis="y")
