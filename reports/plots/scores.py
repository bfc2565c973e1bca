"""A score of each method with its standard error, as dots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@style.drawing()
def plot_scores(table: pd.DataFrame, xlabel: str, *, zero: bool = False) -> Figure:
    """Draw one row a method and one panel a score: the value and two standard errors to each side.

    Parameters
    ----------
    table
        Columns `method`, `score` (its name in words), `value`, `se` (missing where unknown).
    zero
        Whether the scores are differences, so that there is a line at zero.
    """
    scores, methods = list(table["score"].unique()), list(table["method"].unique())
    figure, axes = style.panels(
        1,
        len(scores),
        height=1.1 + 0.38 * len(methods),
        width=style.WIDTH if len(scores) > 1 else 6,
        sharey=True,
    )
    for ax, score in zip(axes.flat, scores, strict=True):
        part = table[table["score"] == score]
        for _, (method, value, se) in part[["method", "value", "se"]].iterrows():
            look, y = style.look(method), methods.index(method)
            if se == se:
                ax.hlines(y, value - 2 * se, value + 2 * se, color=look.colour, linewidth=1.6)
            ax.plot(value, y, look.marker, color=look.colour, markersize=6.5)
        ax.set(title=score, xlabel=xlabel, ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)))
        ax.set_yticklabels([style.look(m).label for m in methods])
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="x")
        ax.margins(x=0.12)
        if zero:
            ax.axvline(0, color=style.MUTED, linewidth=0.9, zorder=0)
    return figure
