"""Estimates of the log evidence side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@style.drawing()
def plot_evidence(table: pd.DataFrame) -> Figure:
    """Draw one row an estimate, in nats, with two standard errors to each side.

    Parameters
    ----------
    table
        Columns `method`, `score` (what the number is), `value`, `se` (missing where unknown).
    """
    figure, axes = style.panels(1, 1, height=1.0 + 0.34 * len(table), width=7.2)
    ax = axes[0, 0]
    for y, (method, value, se) in enumerate(zip(table["method"], table["value"], table["se"], strict=True)):
        look = style.look(method)
        if se == se:
            ax.hlines(y, value - 2 * se, value + 2 * se, color=look.colour, linewidth=1.6)
        ax.plot(value, y, look.marker, color=look.colour, markersize=6.5)
    names = [f"{style.look(m).label}: {score}" for m, score in zip(table["method"], table["score"], strict=True)]
    ax.set(xlabel="log evidence (nats)", yticks=range(len(table)), yticklabels=names, ylim=(len(table) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.margins(x=0.1)
    return figure
