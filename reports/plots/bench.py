"""The benchmark: ours beside scikit-learn, cell by cell, with the machine's floor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reports.bench.cells import Cell, short
from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS: dict[str, dict[str, Any]] = {
    "ours": {"color": "#00707f", "marker": "o", "markersize": 6.5},
    "scikit-learn": {"color": style.MUTED, "markerfacecolor": "white", "markersize": 6, "markeredgewidth": 1.4},
    "floor of the machine": {"color": style.INK, "marker": "|", "markersize": 9, "markeredgewidth": 1.4},
}


class Panel(NamedTuple):
    """What one panel shows."""

    quantity: str
    method: str
    title: str
    axis: str


PANELS = (
    Panel("pass", "em", "Time a pass, EM", "milliseconds"),
    Panel("pass", "cavi", "Time a pass, CAVI", "milliseconds"),
    Panel("optimum", "em", "Time to the same optimum, EM", "seconds"),
    Panel("memory", "em", "Peak private memory, EM", "MB above imports, without the data"),
    Panel("small", "em", "Many small data sets, EM", "fits a second: more is better"),
    Panel("small", "cavi", "Many small data sets, CAVI", "fits a second: more is better"),
    Panel("restarts", "em", "Five starts each, EM", "fits a second: more is better"),
    Panel("restarts", "cavi", "Five starts each, CAVI", "fits a second: more is better"),
    Panel("map pass", "em", "From a memory map, EM", "milliseconds a pass"),
    Panel("map memory", "em", "From a memory map, EM", "MB of private memory above imports"),
)


@style.drawing()
def plot_bench(table: pd.DataFrame) -> Figure:
    """Draw a panel a quantity: a row a cell, from ours to scikit-learn, with the ratio at the right.

    Parameters
    ----------
    table
        Of `reports.bench.Bench`.
    """
    from matplotlib.figure import Figure

    parts = [(p, table[(table["quantity"] == p.quantity) & (table["method"] == p.method)]) for p in PANELS]
    parts = [(panel, part) for panel, part in parts if len(part)]
    pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
    heights = [0.85 + 0.27 * max(len(part) for _, part in pair) for pair in pairs]
    figure = Figure(figsize=(style.WIDTH, 0.5 + sum(heights)))
    axes = figure.subplots(len(pairs), 2, squeeze=False, height_ratios=heights)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)  # type: ignore[union-attr, call-arg]
    for ax, (panel, part) in zip(axes.flat, parts, strict=False):
        _draw(ax, panel, part, structures=table["covariance"].nunique() > 1)
    style.blank(axes.flat[len(parts) :])
    _legend(figure, floor=bool(table["floor"].notna().any()))
    return figure


def _draw(ax: Axes, panel: Panel, part: pd.DataFrame, *, structures: bool) -> None:
    """Draw the rows of one panel, the first at the top."""
    beside: dict[str, Any] = {
        "transform": ax.get_yaxis_transform(),
        "va": "center_baseline",
        "fontsize": 8.5,
        "fontweight": "bold",
    }
    for y, row in enumerate(part.to_dict("records")):
        ax.plot([row["ours"], row["sklearn"]], [y, y], color=style.RULE, linewidth=2.5, zorder=1)
        ax.plot(row["sklearn"], y, ">" if row["at_least"] else "o", **LOOKS["scikit-learn"])
        ax.plot(row["floor"], y, **LOOKS["floor of the machine"])
        ax.plot(row["ours"], y, **LOOKS["ours"])
        if not panel.quantity.startswith("map"):
            ax.text(1.02, y, _ratio(row["ratio"], row["at_least"]), **beside)
    ax.set(title=panel.title, xlabel=panel.axis, xscale="log", ylim=(len(part) - 0.4, -0.6), yticks=range(len(part)))
    ax.set_yticklabels([_name(row, structures) for row in part.to_dict("records")])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    _decades(ax, part)


def _name(row: Mapping[Any, Any], structures: bool) -> str:
    by_rows = row["quantity"] == "small" or row["quantity"].startswith("map")
    name = f"N = {short(row['n'])}" if by_rows else str(Cell(row["n"], row["d"], row["k"]))
    return f"{name}, {row['covariance']}" if structures else name


def _decades(ax: Axes, part: pd.DataFrame) -> None:
    """Plain numbers at whole decades, or more closely where there are few of those."""
    from matplotlib.ticker import LogLocator, NullFormatter

    shown = part[["ours", "sklearn", "floor"]].to_numpy(float)
    shown = shown[np.isfinite(shown) & (shown > 0)]
    low, high = (np.log10(shown.min()), np.log10(shown.max())) if len(shown) else (0.0, 1.0)
    ax.set_xlim(10 ** (low - 0.25), 10 ** max(high + 0.25, low + 1.5))
    ax.grid(axis="x")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3) if high - low < 2 else (1,), numticks=6))
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:,.0f}" if v >= 1 else f"{v:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


def _ratio(ratio: float, at_least: bool) -> str:
    if ratio != ratio:
        return "–"
    text = f"{ratio:.0f}×" if ratio >= 9.95 else f"{ratio:.1f}×"
    return f"> {text}" if at_least else text


def _legend(figure: Figure, *, floor: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="", label=name, **{"marker": "o", **look})
        for name, look in LOOKS.items()
        if floor or "floor" not in name
    ]
    handles.append(Line2D([], [], linestyle="", label="8.6×  how many times better ours is (▹ at least)"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handletextpad=0.3)
