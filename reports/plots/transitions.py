"""Transition matrices of several methods, with their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

MOST_NUMBERED = 6
"""States up to which every cell has its numbers."""


@style.drawing()
def plot_transitions(matrices: Mapping[str, xr.DataArray]) -> Figure:
    """Draw one panel a method: from the state of a row to the state of a column, coloured by the median.

    Parameters
    ----------
    matrices
        Method -> (quantile, cluster, cluster_): the ends of an interval, missing for a point estimate, and the median between.
    """
    M, K = len(matrices), next(iter(matrices.values())).sizes["cluster"]
    columns = 3 if K <= 4 else 2
    rows = -(-M // columns)
    figure, axes = style.panels(rows, columns, height=0.7 + 0.62 * max(K, 2))
    for ax, (method, matrix) in zip(axes.flat, matrices.items(), strict=False):
        low, median, high = matrix.transpose("quantile", "cluster", "cluster_").values
        ax.imshow(median, vmin=0, vmax=1, cmap="Blues", aspect="auto")
        ax.set_title(style.look(method).label)
        ax.set(xticks=range(K), yticks=range(K), xlabel="to state", ylabel="from state")
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        if K <= MOST_NUMBERED:
            for (j, k), value in np.ndenumerate(median):
                interval = "" if np.isnan(low[j, k]) else f"\n{low[j, k]:.2f} to {high[j, k]:.2f}"
                ax.text(k, j, f"{value:.2f}{interval}", ha="center", va="center", fontsize=8,
                        color="white" if value > 0.6 else style.INK)  # fmt: skip
    style.blank(axes.flat[M:])
    return figure
