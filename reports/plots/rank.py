"""Rank plots of an MCMC run: are the chains exchangeable?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style
from reports.plots.trace import CHAINS

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def plot_rank(tree: xr.DataTree) -> Figure:
    """Draw the fractional-rank difference ECDF of each chain for every scalar variable of `posterior`, with ArviZ."""
    number = len(tree["posterior"].data_vars)
    columns = style.columns(number)
    rows = -(-number // columns)
    with style.arviz_drawing() as az:
        collection = az.plot_rank(
            tree,
            col_wrap=columns,
            color=[CHAINS[c % len(CHAINS)] for c in range(tree["posterior"].sizes["chain"])],
            visuals={"ecdf_lines": {"width": 1}, "title": {"size": 9.5}},
            figure_kwargs={"figsize": (style.WIDTH, 0.4 + 1.6 * rows), "sharex": True, "sharey": True},
        )
        figure = style.of_collection(collection)
        for ax in figure.axes:
            ax.set_title(style.shortened(ax.get_title("left"), 30), fontsize=9.5)
            ax.set_xlabel("fractional rank")
            for text in list(ax.texts):
                text.remove()
            ax.axhline(0, color=style.MUTED, linewidth=0.7, zorder=0)
        for ax in figure.axes[::columns]:
            ax.set_ylabel("ECDF − rank")
    return figure
