"""Intervals and point estimates in the data's own units, one panel a kind of parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@style.drawing()
def plot_intervals(blocks: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw each method's median, with its interval where it has one, cluster by cluster.

    Parameters
    ----------
    blocks
        Panel title -> table with columns `method`, `cluster`, `median`, `low`, `high` (missing for a point estimate).
    """
    columns = min(3, len(blocks))
    rows = -(-len(blocks) // columns)
    clusters = max(int(block["cluster"].max()) + 1 for block in blocks.values())
    most = max(block["method"].nunique() for block in blocks.values())
    figure, axes = style.panels(rows, columns, height=1.0 + max(0.35, 0.075 * most) * clusters)
    for ax, (title, block) in zip(axes.flat, blocks.items(), strict=False):
        present = list(block["method"].unique())
        for i, method in enumerate(present):
            look, own = style.look(method), block[block["method"] == method]
            y = own["cluster"] + 0.64 * ((i + 0.5) / len(present) - 0.5)
            ax.hlines(y, own["low"], own["high"], color=look.colour, linewidth=1.5)
            ax.plot(own["median"], y, look.marker, color=look.colour)
        ax.set(
            title=style.shortened(title, 30),
            ylabel="cluster",
            yticks=range(clusters),
            ylim=(clusters - 0.5, -0.5),
            xlabel="value",
        )
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x")
    style.blank(axes.flat[len(blocks) :])
    methods = list(dict.fromkeys(m for block in blocks.values() for m in block["method"]))
    style.legend(figure, methods, points=methods)
    return figure
