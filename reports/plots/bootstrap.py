"""The bootstrap likelihood ratio test: what the data gain from one cluster more, beside what data drawn from the fit do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Replicates that are drawn as marks at most.
MARKS = 300


class Row(NamedTuple):
    """One test: its name, the ratio of the data, those of the replicates, and whether it rejects."""

    title: str
    ratio: float
    ratios: np.ndarray
    rejects: bool


@style.drawing()
def plot_ratios(rows: Sequence[Row]) -> Figure:
    """Draw a row a test: ratios of replicates as marks with a bar from their 5th to 95th percentile, that of the data large.

    Parameters
    ----------
    rows
        From the smallest K to the largest.
    """
    figure, axes = style.panels(1, 1, width=style.WIDTH * 0.8, height=1.1 + 0.42 * len(rows))
    ax = axes[0, 0]
    jitter = np.random.default_rng(0).uniform(-0.16, 0.16, MARKS)
    for y, row in enumerate(rows):
        some = row.ratios[:: -(-len(row.ratios) // MARKS)]
        ax.plot(some, y + jitter[: len(some)], ".", color=style.MUTED, alpha=0.5, markersize=3.5)
        ax.hlines(y, *np.quantile(row.ratios, [0.05, 0.95]), color=style.MUTED, linewidth=1.6)
        colour = style.ALARM if row.rejects else style.INK
        ax.plot(row.ratio, y, "D", color=colour, markerfacecolor=colour if row.rejects else "white", markersize=7)
    ax.set_yticks(range(len(rows)), [row.title for row in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xscale("symlog", linthresh=10)
    ends = np.concatenate([[0.0, 10.0], *([*row.ratios, row.ratio] for row in rows)])
    ax.set_xlim(1.15 * ends.min() - 0.3, 1.4 * ends.max())
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}".replace("-", "−"))
    ax.minorticks_off()
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("likelihood ratio LR (linear up to 10, logarithmic beyond)")
    ax.grid(axis="x")
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    from matplotlib.lines import Line2D

    handled: list[tuple[str, str, Any, str, str]] = [
        (style.ALARM, "D", "", style.ALARM, "data, K rejected"),
        (style.INK, "D", "", "white", "data, not rejected"),
        (style.MUTED, ".", "-", style.MUTED, "drawn from the fit of K clusters"),
    ]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle=line, markersize=7, markerfacecolor=face, label=label)
        for colour, marker, line, face, label in handled
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
