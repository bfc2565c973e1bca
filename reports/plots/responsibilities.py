"""Who belongs to which cluster, and how surely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@style.drawing()
def plot_responsibilities(responsibilities: Mapping[str, xr.DataArray]) -> Figure:
    """Draw one strip a method: points along it, in the order given, the cluster probabilities stacked in colour.

    Parameters
    ----------
    responsibilities
        Method -> (obs, cluster), rows adding up to one, the same points in the same order in each.
    """
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Patch

    figure, axes = style.panels(len(responsibilities), 1, height=0.85, sharex=True)
    clusters = max(r.sizes["cluster"] for r in responsibilities.values())
    palette = np.array([to_rgb(style.cluster_colour(k)) for k in range(clusters)])
    level = (np.arange(100) + 0.5) / 100
    for ax, (method, r) in zip(axes.flat, responsibilities.items(), strict=True):
        edges = r.transpose("obs", "cluster").values.cumsum(1)
        owner = (level[:, None, None] > edges[None, :, :-1]).sum(-1)
        ax.imshow(
            palette[owner], aspect="auto", origin="lower", extent=(0, r.sizes["obs"], 0, 1), interpolation="nearest"
        )
        ax.set_ylabel(style.look(method).label, rotation=0, ha="right", va="center", weight="bold")
        ax.set(yticks=[0, 1])
        ax.spines[["left", "bottom"]].set_visible(False)
    axes.flat[-1].set_xlabel("points, in the reference's order (most probable cluster, then falling certainty)")
    figure.legend(
        handles=[Patch(color=style.cluster_colour(k), label=f"cluster {k}") for k in range(clusters)],
        loc="outside upper left",
        ncols=min(clusters, 8),
    )
    return figure
