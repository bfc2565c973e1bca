"""Sensitivity of the posterior to powers of the prior and of the likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MARKERS = {"weights": "o", "locations": "s", "spreads": "^", "probabilities": "D", "rates": "v"}
OTHERS = "os^Dv<>ph"
"""Of blocks that are not those of mixtures, one after the other; after the last it begins again."""


LETTER = 0.013
"""Of the axis' length that a letter takes, about."""


@style.drawing()
def plot_sensitivity(table: pd.DataFrame, limit: float) -> Figure:
    """Draw one mark a parameter, prior against likelihood sensitivity with one standard error, on logarithmic axes.

    Parameters
    ----------
    table
        Columns `target`, `block`, `prior`, `prior_se`, `likelihood` and `likelihood_se`.
    limit
        Sensitivity from which one counts: lines, and the words for the fields between them.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, axes = style.panels(1, 1, height=3.9, width=6.2)
    ax = axes[0, 0]
    shown = table[(table["prior"] > 0) & (table["likelihood"] > 0)]
    blocks = list(shown["block"].unique())
    known = set(blocks) <= set(MARKERS)
    markers = MARKERS if known else {block: OTHERS[i % len(OTHERS)] for i, block in enumerate(blocks)}
    for block, marker in markers.items():
        part = shown[shown["block"] == block]
        if not len(part):
            continue
        x, y = part["prior"].to_numpy(), part["likelihood"].to_numpy()
        ax.errorbar(
            x,
            y,
            xerr=[np.minimum(part["prior_se"], 0.9 * x), part["prior_se"]],
            yerr=[np.minimum(part["likelihood_se"], 0.9 * y), part["likelihood_se"]],
            fmt=marker,
            color=style.INK,
            markersize=5,
            markerfacecolor="white" if block == "locations" else style.INK,
            elinewidth=0.6,
            alpha=0.75,
            label=block,
        )
    ax.set(xscale="log", yscale="log", xlabel="prior sensitivity", ylabel="likelihood sensitivity")
    ax.axvline(limit, color=style.MUTED, linewidth=0.9)
    ax.axhline(limit, color=style.MUTED, linewidth=0.9)
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    ax.set(xlim=(min(left, limit / 3), max(right, limit * 6)), ylim=(min(bottom, limit / 2), max(top, limit * 3) * 1.3))
    words = {"size": 8.5, "color": style.MUTED, "style": "italic"}
    ax.annotate("prior-data conflict", (0.98, 0.98), xycoords="axes fraction", ha="right", va="top", **words)
    ax.annotate(
        "strong prior / weak likelihood", (0.98, 0.02), xycoords="axes fraction", ha="right", va="bottom", **words
    )
    for row in shown.nlargest(1, "prior").to_dict("records"):
        name = style.shortened(str(row["target"]), 34)
        left, right = np.log(ax.get_xlim())
        along = (np.log(row["prior"]) - left) / (right - left)
        if along + LETTER * (len(name) + 2) < 1:  # else there is no room; nothing lies to its right
            place = (row["prior"], row["likelihood"])
            ax.annotate(name, place, xytext=(8, 0), textcoords="offset points", va="center", size=8)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda at, _: f"{at:g}"))
        axis.set_minor_locator(NullLocator())
    if len(shown):
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=style.legend_columns(labels, 6.2))
    ax.grid(visible=True)
    return figure
