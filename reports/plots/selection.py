"""Every criterion against the number of clusters, a panel a criterion, a line a covariance structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reports.metrics.criteria import CRITERIA
from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Look(NamedTuple):
    """How a covariance structure is drawn."""

    colour: str
    marker: str
    line: Any


STRUCTURES = {
    "full": Look("#1f5fa8", "o", "-"),
    "tied": Look("#c05a00", "s", (0, (5, 1.5))),
    "diag": Look("#3a8a4d", "^", (0, (4, 1, 1, 1))),
    "spherical": Look("#8a4f9e", "D", (0, (1, 1))),
}

# Nats below the best up to which the axis is linear.
LINEAR = 10


@style.drawing()
def plot_selection(table: pd.DataFrame) -> Figure:
    """Draw differences from the best candidate of each criterion; a filled mark is the choice within its structure.

    Bands are one standard error of the difference from that choice to each side.

    Parameters
    ----------
    table
        Of `reports.studies.selection.study.Selection`.
    """
    criteria = list(dict.fromkeys(table.loc[table["value"].notna(), "criterion"]))
    cols = min(3, max(1, len(criteria)))
    figure, axes = style.panels(-(-max(1, len(criteria)) // cols), cols, height=2.5, width=3 * cols, sharey=True)
    for ax, criterion in zip(axes.flat, criteria, strict=False):
        _draw(ax, table[table["criterion"] == criterion])
        ax.set_title(CRITERIA[criterion].title)
    shown = axes.flat[: len(criteria)]
    for ax in shown[-cols:]:
        ax.set_xlabel("clusters K")
    for ax in axes[:, 0]:
        ax.set_ylabel("nats from the best")
    style.blank(axes.flat[len(criteria) :])
    _legend(figure, list(dict.fromkeys(table["covariance"])))
    return figure


def _draw(ax: Axes, table: pd.DataFrame) -> None:
    """One criterion; a candidate without a value is marked at the foot."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    best = table["value"].max()
    lowest = max(-2000, min(table["value"].min() - best, -LINEAR) * 1.2)
    for structure, part in table.groupby("covariance", sort=False):
        look, k = STRUCTURES[str(structure)], part["components"].to_numpy()
        below, se = (part["value"] - best).to_numpy(), part["difference_se"].fillna(0).to_numpy()
        if np.isnan(below).all():
            continue
        ax.fill_between(k, below - se, below + se, color=look.colour, alpha=0.13, linewidth=0)
        ax.plot(k, below, look.marker, linestyle=look.line, color=look.colour, markerfacecolor="white", markersize=4.5)
        for lost in k[np.isnan(below)]:
            ax.plot(lost, lowest, "x", color=look.colour, clip_on=False)
        chosen = int(np.nanargmax(below))
        ax.plot(k[chosen], below[chosen], look.marker, color=look.colour, markersize=7.5)
    ax.set_yscale("symlog", linthresh=LINEAR, linscale=1.5)
    ax.set_yticks([0, -5, -10, -30, -100, -300, -1000])
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
    ax.minorticks_off()
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.set_ylim(lowest, LINEAR / 3)
    ax.grid(axis="y")


def _legend(figure: Figure, structures: list[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line, markerfacecolor="white", label=name)
        for name, look in STRUCTURES.items()
        if name in structures
    ]
    handles += [
        Line2D([], [], color=style.MUTED, marker=marker, linestyle="", markersize=size, label=name)
        for marker, size, name in (("o", 7.5, "chosen"), ("x", 6, "no value"))
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handlelength=2.4)
