"""Estimates of the log evidence side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@style.drawing()
def plot_evidence(table: pd.DataFrame) -> Figure:
    """Draw one row an estimate, in nats, with two standard errors to each side; a band over all marks a trusted first one.

    Parameters
    ----------
    table
        Columns `method`, `score` (what the number is), `value`, `se` (missing where unknown), and `state`: "trusted", or
        "failed" for what is drawn hollow.
    """
    figure, axes = style.panels(1, 1, height=1.0 + 0.34 * len(table), width=7.2)
    ax = axes[0, 0]
    best = table.iloc[0]
    if best["state"] == "trusted":
        width = 2 * best["se"] if best["se"] == best["se"] else 0.0
        ax.axvspan(best["value"] - width, best["value"] + width, color=style.RULE, alpha=0.6, linewidth=0)
        ax.axvline(best["value"], color=style.MUTED, linewidth=0.8)
    columns = (table[name] for name in ("method", "value", "se", "state"))
    for y, (method, value, se, state) in enumerate(zip(*columns, strict=True)):
        look = style.look(method)
        face = "white" if state == "failed" else look.colour
        if se == se:
            ax.hlines(y, value - 2 * se, value + 2 * se, color=look.colour, linewidth=1.6)
        ax.plot(value, y, look.marker, color=look.colour, markerfacecolor=face, markersize=6.5)
    columns = (table[name] for name in ("method", "score", "state"))
    names = [
        f"{style.look(method).label}: {score}{' (failed its checks)' if state == 'failed' else ''}"
        for method, score, state in zip(*columns, strict=True)
    ]
    ax.locator_params(axis="x", nbins=4)  # of numbers with many digits in common
    ax.set(xlabel="log evidence (nats)", yticks=range(len(table)), yticklabels=names, ylim=(len(table) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    ax.margins(x=0.1)
    return figure
