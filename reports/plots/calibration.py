"""Calibration: what intervals cover, whether ranks are uniform, and on which side of the middle the truth lies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 10
REACH = 2.2
"""Where panels of ranks end, in half-widths of the band."""


@style.drawing()
def plot_coverage(curves: Mapping[str, pd.DataFrame], table: pd.DataFrame, level: float) -> Figure:
    """Draw coverage minus the stated probability for every central interval, and the coverage at one level by quantity.

    Parameters
    ----------
    curves
        Method -> columns `stated`, `coverage`, `low`, `high`, all quantities together.
    table
        Columns `method`, `quantity`, `coverage`, `low`, `high` at the level; the quantities in the order of the rows.
    level
        Stated probability of the intervals in `table`.
    """
    quantities = list(table["quantity"].unique())
    figure, axes = style.panels(
        1, 2, height=1.6 + max(0.3, 0.07 * len(curves)) * max(7, len(quantities)), width_ratios=[1.15, 1]
    )
    _curves(axes[0, 0], curves)
    _by_quantity(axes[0, 1], table, quantities, list(curves), level)
    style.legend(figure, curves)
    return figure


def _curves(ax: Axes, curves: Mapping[str, pd.DataFrame]) -> None:
    ax.axhline(0, color=style.MUTED, linewidth=0.9)
    for method, curve in curves.items():
        look, stated = style.look(method), 100 * curve["stated"]
        below, above, off = (100 * (curve[name] - curve["stated"]) for name in ("low", "high", "coverage"))
        ax.fill_between(stated, below, above, color=look.colour, alpha=style.veil(len(curves)), linewidth=0)
        ax.plot(stated, off, color=look.colour, linestyle=look.line)
        ax.margins(x=0)
    low, high = ax.get_ylim()
    ax.set(
        xlim=(0, 100),
        ylim=(min(low, -5), max(high, 5)),
        xlabel="stated probability (%)",
        ylabel="coverage − stated (percentage points)",
        title="All quantities together",
    )
    ax.text(2, min(low, -5), " overconfident", va="bottom", color=style.MUTED, fontsize=8.5)
    ax.grid(axis="both")


def _by_quantity(ax: Axes, table: pd.DataFrame, quantities: list[str], methods: list[str], level: float) -> None:
    row = {name: i for i, name in enumerate(quantities)}
    ax.axvline(100 * level, color=style.MUTED, linewidth=0.9)
    for i, method in enumerate(methods):
        part, look = table[table["method"] == method], style.look(method)
        y = [row[q] + 0.7 * ((i + 0.5) / len(methods) - 0.5) for q in part["quantity"]]
        ax.hlines(y, 100 * part["low"], 100 * part["high"], color=look.colour, linewidth=1.3)
        ax.plot(100 * part["coverage"], y, look.marker, color=look.colour, markersize=4.5)
    ax.set(
        xlabel=f"coverage of {100 * level:.0f}% intervals (%)",
        yticks=range(len(quantities)),
        ylim=(len(quantities) - 0.4, -0.6),
        title="By quantity",
    )
    ax.set_yticklabels([style.wrapped(name, 26) for name in quantities])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    for edge in range(1, len(quantities)):
        ax.axhline(edge - 0.5, color=style.RULE, linewidth=0.5, zorder=0)


@style.drawing()
def plot_ranks(
    differences: Mapping[str, Mapping[str, np.ndarray]], z: np.ndarray, band: tuple[np.ndarray, np.ndarray]
) -> Figure:
    """Draw the ECDF of the ranks minus that of uniform ranks, a panel a quantity, with the simultaneous band of the latter.

    Parameters
    ----------
    differences
        Quantity -> method -> ECDF minus z, shape (L,).
    z
        Ranks as shares, shape (L,).
    band
        Lowest and highest ECDF of uniform ranks minus z.
    """
    columns = style.columns(len(differences))
    rows = -(-len(differences) // columns)
    figure, axes = style.panels(rows, columns, height=2.0, sharex=True, sharey=True)
    methods = list(dict.fromkeys(method for found in differences.values() for method in found))
    for ax, (quantity, found) in zip(axes.flat, differences.items(), strict=False):
        ax.fill_between(z, *band, color=style.RULE, alpha=0.75, linewidth=0)
        ax.axhline(0, color=style.MUTED, linewidth=0.7)
        for method, difference in found.items():
            look = style.look(method)
            ax.plot([0, *z, 1], [0, *difference, 0], color=look.colour, linestyle=look.line, linewidth=1.3)
        ax.set(title=style.shortened(quantity, 34), xlim=(0, 1))
        ax.locator_params(axis="x", nbins=5)
        ax.set_ylim(-REACH * band[1].max(), REACH * band[1].max())
    _edges(axes, len(differences), "rank of the truth (share)", "ECDF difference")
    style.legend(figure, methods)
    return figure


@style.drawing()
def plot_sides(shares: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Draw histograms of q(quantity < truth), a panel a quantity; those of a q with unbiased medians are symmetric.

    Parameters
    ----------
    shares
        Quantity -> method -> probabilities, shape (S,).
    """
    columns = style.columns(len(shares))
    rows = -(-len(shares) // columns)
    figure, axes = style.panels(rows, columns, height=1.8, sharex=True, sharey=True)
    methods = list(dict.fromkeys(method for found in shares.values() for method in found))
    edges = np.linspace(0, 1, BINS + 1)
    for ax, (quantity, found) in zip(axes.flat, shares.items(), strict=False):
        ax.axhline(100 / BINS, color=style.MUTED, linewidth=0.7)
        ax.axvline(0.5, color=style.MUTED, linewidth=0.7, linestyle=(0, (2, 2)))
        for method, p in found.items():
            look = style.look(method)
            heights = 100 * np.histogram(p, edges)[0] / len(p)
            ax.stairs(heights, edges, color=look.colour, linestyle=look.line, linewidth=1.3)
            ax.stairs(heights, edges, color=look.colour, fill=True, alpha=0.12)
        ax.set(title=style.shortened(quantity, 34), xlim=(0, 1))
        ax.locator_params(axis="x", nbins=5)
    _edges(axes, len(shares), "q(quantity < truth)", "simulations (%)")
    style.legend(figure, methods)
    return figure


def _edges(axes: np.ndarray, shown: int, xlabel: str, ylabel: str) -> None:
    """Label the outer panels, and hide those with nothing to show."""
    columns = axes.shape[1]
    style.blank(axes.flat[shown:])
    for i in range(shown):
        if i % columns == 0:
            axes.flat[i].set_ylabel(ylabel)
        if i + columns >= shown:
            axes.flat[i].set_xlabel(xlabel)
            axes.flat[i].tick_params(labelbottom=True)
