"""A measure along one setting of a study, a line a method, a panel a slice of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Panel(NamedTuple):
    """One slice: its title, its curves as `reports.studies.overfit.summary.curve` gives them, and where to draw a line."""

    title: str
    curves: pd.DataFrame
    mark: float | None = None
    mark_name: str = ""


@style.drawing()
def plot_curves(
    panels: Sequence[Panel],
    xlabel: str,
    ylabel: str,
    *,
    log_x: bool = True,
    log_y: bool = False,
    level: float | None = None,
    share: bool = False,
) -> Figure:
    """Draw means or medians with 95% bands; a hollow mark is over the replicates that did not fail; no line where infinite.

    Parameters
    ----------
    panels
    xlabel, ylabel
    log_x, log_y
    level
        Where to draw a horizontal line.
    share
        Whether the measure lies between 0 and 1, and its bands with it.
    """
    cols = min(style.columns(len(panels)), 3)
    rows = -(-len(panels) // cols)
    width = style.WIDTH if cols > 1 else 6.0
    figure, axes = style.panels(rows, cols, height=2.9 if cols > 1 else 3.4, width=width, sharey=share)
    for place, (ax, panel) in enumerate(zip(axes.flat, panels, strict=False)):
        _draw(ax, panel, log_x=log_x, log_y=log_y, share=share)
        if level is not None:
            ax.axhline(level, color=style.MUTED, linewidth=0.9, zorder=0)
        if panel.mark is not None:
            ax.axvline(panel.mark, color=style.MUTED, linewidth=0.9, linestyle=(0, (2, 2)), zorder=0)
            ax.annotate(panel.mark_name, (panel.mark, 1), (3, -2), xycoords=("data", "axes fraction"), va="top",
                        textcoords="offset points", fontsize=8, color=style.MUTED)  # fmt: skip
        ax.set_title(style.wrapped(panel.title, 96 // cols))
        if place + cols >= len(panels):
            ax.set_xlabel(xlabel)
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    style.blank(axes.flat[len(panels) :])
    drawn = {method for panel in panels for method in panel.curves["method"]}
    style.legend(figure, [method for method in style.METHODS if method in drawn])
    return figure


@style.drawing()
def plot_choices(parts: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    """Draw a row of panels a setting: how often each criterion chooses the true K, if any has one, and what its choice loses.

    Parameters
    ----------
    parts
        Title and what `reports.studies.overfit.summary.selection` found.
    """
    known = any(found["right"].notna().any() for _, found in parts)
    if not known:
        parts = [(title, found[~found["criterion"].str.startswith("test score")]) for title, found in parts]
    most = max(len(found) for _, found in parts)
    figure, axes = style.panels(
        len(parts), 1 + known, height=0.75 + 0.25 * most, width=style.WIDTH if known else 6.0, sharey="row"
    )
    for row_axes, (title, found) in zip(axes, parts, strict=True):
        for y, row in enumerate(found.to_dict("records")):
            look = style.look(row["method"])
            scored = row["criterion"].startswith("test score")
            loss = (row["loss"], row["loss"] - row["loss_half"], row["loss"] + row["loss_half"])
            points = [(row_axes[0], (row["right"], row["low"], row["high"]))] if known else []
            for ax, (x, low, high) in [*points, *([] if scored else [(row_axes[-1], loss)])]:
                if np.isfinite(x):
                    ax.hlines(y, max(low, 0), high, color=look.colour, linewidth=1.6)
                    ax.plot(x, y, look.marker, color=look.colour, markerfacecolor="white" if scored else look.colour)
        row_axes[0].set(yticks=range(len(found)), ylim=(len(found) - 0.5, -0.5))
        row_axes[0].set_yticklabels(found["criterion"])
        row_axes[0].set_title(style.wrapped(title, 60))
        row_axes[-1].set_xlim(0)
        if known:
            row_axes[0].set_xlim(0, 1)
            row_axes[0].xaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f}%")
        for ax in row_axes:
            ax.tick_params(axis="y", length=0)
            ax.grid(axis="x")
    if known:
        axes[-1, 0].set_xlabel("true K chosen")
    axes[-1, -1].set_xlabel("loss of the choice (nats a point)")
    return figure


def _draw(ax: Axes, panel: Panel, *, log_x: bool, log_y: bool, share: bool) -> None:
    from matplotlib.ticker import NullLocator

    curves = panel.curves
    xs = np.sort(curves["x"].dropna().unique())
    veil = style.veil(curves["method"].nunique())
    for method, part in curves.groupby("method", sort=False):
        look = style.look(str(method))
        flat = part["x"].isna().all()
        x = xs[[0, -1]] if flat else part["x"].to_numpy()
        mean, low, high = (
            np.repeat(part[name].to_numpy(), 2) if flat else part[name].to_numpy() for name in ("centre", "low", "high")
        )
        mean = np.where(np.isfinite(mean), mean, np.nan)
        if log_y:
            low = np.maximum(low, mean / 30)  # a band on a logarithmic axis has to end
        if share:
            low, high = np.maximum(low, 0), np.minimum(high, 1)
        bounded = np.isfinite(mean) & np.isfinite(low) & np.isfinite(high)
        ax.fill_between(x, low, high, where=bounded, color=look.colour, alpha=veil, linewidth=0)
        ax.plot(x, mean, color=look.colour, linestyle=look.line, linewidth=1.7)
        if not flat:
            whole = (part["count"] == part["total"]).to_numpy()
            for some, face in ((whole, look.colour), (~whole, "white")):
                ax.plot(x[some], mean[some], look.marker, color=look.colour, markerfacecolor=face, markersize=5)
    if log_x:
        ax.set_xscale("log")
    if log_y:
        ax.set_yscale("log")
    ax.set_xticks(xs, [f"{x:g}" for x in xs])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.grid(axis="y")
    _decimals(ax, log_y)


def _decimals(ax: Axes, log_y: bool) -> None:
    """Plain numbers on a logarithmic axis, the more of a decade the fewer decades there are."""
    if not log_y:
        ax.locator_params(axis="y", nbins=6)
        return
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = ax.get_ylim()
    subs: Any = (1, 1.5, 2, 3, 4, 6) if high / low < 8 else (1, 2, 5) if high / low < 300 else (1,)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
