"""Power of the verdict: how often it says each word about defects of known size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STATES = {"differs": ("#c2185b", "^", "-"), "agrees": ("#00805a", "o", (0, (5, 1.5)))}
"""Colour, marker and line of what is said."""


class Panel(NamedTuple):
    """One defect in one claim: the columns ``size``, ``state``, ``share``, ``low``, ``high``, and the limit of the verdict."""

    title: str
    xlabel: str
    rates: pd.DataFrame
    limit: float


@style.drawing()
def plot_power(panels: Sequence[Panel]) -> Figure:
    """Draw the shares of cells said to differ and said to agree against the size of the defect, with 95% intervals."""
    columns = min(4, len(panels))
    figure, axes = style.panels(-(-len(panels) // columns), columns, height=2.3, sharey=True)
    for ax, panel in zip(axes.flat, panels, strict=False):
        ax.axvline(panel.limit, color=style.MUTED, linewidth=0.9)
        for state, (colour, marker, line) in STATES.items():
            own = panel.rates[panel.rates["state"] == state]
            ax.fill_between(own["size"], 100 * own["low"], 100 * own["high"], color=colour, alpha=0.15, linewidth=0)
            ax.plot(own["size"], 100 * own["share"], color=colour, marker=marker, linestyle=line, label=state)
        ax.set(title=panel.title, xlabel=panel.xlabel, ylim=(-4, 104))
        if panel.rates["size"].iloc[0] > panel.rates["size"].iloc[-1]:
            ax.invert_xaxis()  # larger defects to the right
        ax.locator_params(axis="x", nbins=5)
        ax.grid(axis="both")
    for ax in axes[:, 0]:
        ax.set_ylabel("cells (%)")
    style.blank(axes.flat[len(panels) :])
    figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
