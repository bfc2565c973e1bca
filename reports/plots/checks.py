"""Test statistics of replicated data sets beside those of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


REACH = 8
"""Interquartile ranges of the replicated statistic, the median over methods, from its centre to where an axis ends."""


@style.drawing()
def plot_checks(table: pd.DataFrame) -> Figure:
    """Draw one panel a statistic and one row a method: quantiles over replicated data sets, and the observed value as a line.

    Parameters
    ----------
    table
        Columns `method`, `label`, `statistic`, `low`, `lower`, `median`, `upper`, `high`, `observed`.
    """
    statistics, methods = list(table["statistic"].unique()), list(table["method"].unique())
    columns = min(3, len(statistics))
    rows = -(-len(statistics) // columns)
    height = 0.75 + 0.2 * len(methods)
    figure, axes = style.panels(rows, columns, height=height, width=style.WIDTH * columns / 3, sharey=True)
    colours, y = [style.look(m).colour for m in methods], range(len(methods))
    for ax, statistic in zip(axes.flat, statistics, strict=False):
        part = table[table["statistic"] == statistic].set_index("method").loc[methods]
        observed = part["observed"].iloc[0]
        ax.hlines(y, part["low"], part["high"], color=colours, linewidth=1)
        ax.hlines(y, part["lower"], part["upper"], color=colours, linewidth=3.4)
        ax.scatter(part["median"], y, 16, "white", edgecolors=colours, zorder=3)
        ax.axvline(observed, color=style.INK, linewidth=1.6, zorder=0)
        ax.set_title(style.wrapped(style.shortened(statistic, 56), 30), fontsize=9)
        ax.locator_params(axis="x", nbins=4)
        ax.set_xlim(*_frame(part, observed))
    for ax in axes[:, 0]:
        ax.set(ylim=(len(methods) - 0.4, -0.6), yticks=y)
        ax.set_yticklabels(table.drop_duplicates("method")["label"])
    for ax in axes.flat:
        ax.tick_params(axis="y", length=0)
    style.blank(axes.flat[len(statistics) :])
    for ax in axes.flat[max(0, len(statistics) - columns) : len(statistics)]:
        ax.set_xlabel("replicated (line: the data)")
    return figure


def _frame(part: pd.DataFrame, observed: float) -> tuple[float, float]:
    """Return the axis of one statistic: what most methods replicate and the observed value; one astray runs out of it."""
    centre, reach = part["median"].median(), REACH * (part["upper"] - part["lower"]).median()
    low, high = min(observed, part["low"].min()), max(observed, part["high"].max())
    if reach > 0:
        low, high = max(low, min(observed, centre - reach)), min(high, max(observed, centre + reach))
    margin = 0.08 * (high - low) or 1
    return low - margin, high + margin
