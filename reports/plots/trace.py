"""Traces of an MCMC run, chain by chain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def plot_trace(tree: xr.DataTree) -> Figure:
    """Draw every scalar variable of `posterior` (chain, draw) against the draw, with ArviZ; divergences are ticked."""
    number = len(tree["posterior"].data_vars)
    columns = style.columns(number)
    rows = -(-number // columns)
    with style.arviz_drawing() as az:
        collection = az.plot_trace(
            tree,
            col_wrap=columns,
            color=[style.chain_colour(c) for c in range(tree["posterior"].sizes["chain"])],
            visuals={"trace": {"width": 0.5, "alpha": 0.75}, "title": {"size": 9.5}},
            figure_kwargs={"figsize": (style.WIDTH, 0.4 + 1.6 * rows)},
        )
        figure = style.of_collection(collection)
        for place, ax in enumerate(figure.axes):
            ax.set_title(style.wrapped(style.shortened(ax.get_title("left"), 64), 34), fontsize=9)
            lowest = place + columns >= number
            ax.set_xlabel("draw" if lowest else "")
            ax.tick_params(labelbottom=lowest)
            ax.locator_params(axis="y", nbins=4)
        for ax in figure.axes[::columns]:
            ax.set_ylabel("value")
    return figure
