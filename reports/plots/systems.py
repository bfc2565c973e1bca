"""A selection among linear dynamical systems: every criterion, candidate by candidate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from reports.metrics.criteria import Candidate
from reports.metrics.criterion import CRITERIA
from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Nats below the best up to which the axis is linear.
LINEAR = 10

COLOURS = ("#1f5fa8", "#c05a00", "#3a8a4d", "#8a4f9e", "#7a6a00", "#5a5a5a", "#a03060")
"""Of structures, in their order."""


@style.drawing()
def plot_systems(table: pd.DataFrame, word: Callable[[Candidate], str]) -> Figure:
    """Draw differences from the best candidate of each criterion; a filled mark is the choice.

    Bars are one standard error of the difference from that choice to each side.

    Parameters
    ----------
    table
        Of `reports.studies.selection.result.Selection`.
    word
        How a candidate is called.
    """
    from matplotlib.ticker import FuncFormatter, NullLocator

    criteria = list(dict.fromkeys(table.loc[table["value"].notna(), "criterion"]))
    keys = table[["covariance", "components"]].drop_duplicates().itertuples(index=False)
    candidates = [Candidate(str(c), int(k)) for c, k in keys]
    structures = list(dict.fromkeys(c.covariance for c in candidates))
    cols = min(3, max(1, len(criteria)))
    rows = -(-max(1, len(criteria)) // cols)
    figure, axes = style.panels(rows, cols, height=0.9 + 0.24 * len(candidates), sharex=True, sharey=True)
    for ax, criterion in zip(axes.flat, criteria, strict=False):
        own = table[table["criterion"] == criterion]
        below = (own["value"] - own["value"].max()).to_numpy()
        se = own["difference_se"].fillna(0).to_numpy()
        for y, (candidate, gap, error) in enumerate(zip(candidates, below, se, strict=True)):
            colour = COLOURS[structures.index(candidate.covariance) % len(COLOURS)]
            if np.isnan(gap):
                ax.plot(0, y, "x", color=colour)
                continue
            ax.hlines(y, gap - error, min(gap + error, LINEAR / 3), color=colour, linewidth=1.4)
            ax.plot(
                gap,
                y,
                "o",
                color=colour,
                markerfacecolor=colour if gap == 0 else "white",
                markersize=7 if gap == 0 else 5,
            )
        ax.set_title(CRITERIA[criterion].title)
        ax.axvline(0, color=style.RULE, linewidth=0.8, zorder=0)
        ax.grid(axis="x")
    first = axes.flat[0]
    lowest = (table["value"] - table.groupby("criterion")["value"].transform("max")).min()
    first.set_xscale("symlog", linthresh=LINEAR, linscale=1.5)
    first.set_xlim(1.3 * min(float(np.nan_to_num(lowest)), -LINEAR), LINEAR / 3)
    first.set_xticks([v for v in (0, -5, -10, -30, -100, -300, -1000, -3000) if v >= 1.3 * min(lowest, -LINEAR)])
    first.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
    first.xaxis.set_minor_locator(NullLocator())
    first.set(yticks=range(len(candidates)), ylim=(len(candidates) - 0.4, -0.6))
    first.set_yticklabels([word(c) for c in candidates])
    for ax in axes[-1]:
        ax.set_xlabel("nats from the best")
    style.blank(axes.flat[len(criteria) :])
    return figure
