"""Rank plots of an MCMC run: are the chains exchangeable?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@style.drawing()
def plot_rank(ranks: xr.Dataset) -> Figure:
    """Draw, one panel a parameter and one line a chain, the ECDF of the chain's ranks among all draws less the rank.

    Parameters
    ----------
    ranks
        `difference` (parameter, chain, rank), and `low` and `high` (rank): the band in which the lines of all chains lie.
    """
    names = [str(name) for name in ranks["parameter"].values]
    columns = style.columns(len(names))
    rows = -(-len(names) // columns)
    figure, axes = style.panels(rows, columns, height=0.3 + 1.7, sharex=True, sharey=True)
    x = ranks["rank"]
    for place, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
        ax.fill_between(x, ranks["low"], ranks["high"], color=style.RULE, alpha=0.6, linewidth=0)
        ax.axhline(0, color=style.MUTED, linewidth=0.7)
        for chain, line in enumerate(ranks["difference"].isel(parameter=place)):
            ax.plot(x, line, color=style.chain_colour(chain), linewidth=1, drawstyle="steps-post")
        ax.set_title(style.wrapped(style.shortened(name, 64), 34), fontsize=9)
        ax.margins(x=0)
        ax.locator_params(axis="y", nbins=5)
        if place + columns >= len(names):
            ax.set_xlabel("fractional rank")
            ax.tick_params(labelbottom=True)
        if place % columns == 0:
            ax.set_ylabel("ECDF − rank")
    style.blank(axes.flat[len(names) :])
    return figure
