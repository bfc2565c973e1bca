"""Agreement with the reference, parameter by parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = {
    "median_shift": "median shift\n(IQR / 1.349)",
    "width_ratio": "width ratio\n(logarithmic)",
    "coverage95": "coverage of the\n95% interval",
    "wasserstein": "Wasserstein-1\n(IQR / 1.349)",
}
IDEAL = {"median_shift": 0.0, "width_ratio": 1.0, "coverage95": 0.95}


@style.drawing()
def plot_agreement(
    table: pd.DataFrame, floor: Mapping[str, float], limits: Mapping[str, tuple[float | None, float | None]]
) -> Figure:
    """Draw shift, width ratio, coverage and Wasserstein-1 against the reference, one row a parameter.

    Parameters
    ----------
    table
        Columns `method`, `metric`, `target`, `value`; the targets in the order of the rows.
    floor
        Target -> Wasserstein-1 of the reference against itself, a grey bar where it is known.
    limits
        Metric -> lowest and highest value that agree with the reference, shaded between; None where there is no limit.
    """
    targets = list(table["target"].unique())
    methods = list(table["method"].unique())
    metrics = [m for m in COLUMNS if (table["metric"] == m).any()]
    figure, axes = style.panels(
        1, len(metrics), height=1.5 + max(0.24, 0.045 * len(methods)) * len(targets), sharey=True
    )
    row = {target: i for i, target in enumerate(targets)}
    for ax, metric in zip(axes.flat, metrics, strict=True):
        if metric == "wasserstein" and floor:
            known = [t for t in targets if t in floor]
            ax.barh([row[t] for t in known], [floor[t] for t in known], height=1, color=style.RULE)
        if metric in IDEAL:
            ax.axvline(IDEAL[metric], color=style.MUTED, linewidth=0.9, zorder=1)
        for i, method in enumerate(methods):
            part = table[(table["metric"] == metric) & (table["method"] == method)]
            look = style.look(method)
            y = [row[t] + 0.7 * ((i + 0.5) / len(methods) - 0.5) for t in part["target"]]
            ax.plot(part["value"], y, look.marker, color=look.colour, alpha=0.9, markeredgecolor="white",
                    markeredgewidth=0.4)  # fmt: skip
        ax.set(
            xlabel=COLUMNS[metric],
            yticks=range(len(targets)),
            yticklabels=[style.shortened(t) for t in targets],
            ylim=(len(targets) - 0.4, -0.6),
        )
        ax.grid(axis="x")
        ax.tick_params(axis="y", length=0)
        ax.margins(x=0.08)
        if metric == "width_ratio":
            _ratio_axis(ax)
        else:
            ax.locator_params(axis="x", nbins=4)
        if metric in limits:
            ends = [end if limit is None else limit for limit, end in zip(limits[metric], ax.get_xlim(), strict=True)]
            ax.axvspan(*ends, color=style.RULE, alpha=0.35, linewidth=0, zorder=0)
        for edge in range(1, len(targets)):
            ax.axhline(edge - 0.5, color=style.RULE, linewidth=0.5, zorder=0)
    style.legend(figure, methods, points=methods)
    return figure


def _ratio_axis(ax: Axes) -> None:
    """Make halves and doubles equally far from one."""
    from matplotlib.ticker import LogLocator, NullLocator

    ax.set_xscale("log", base=2)
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, 0.48), max(high, 2.1))
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=5))
    ax.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}" if ratio >= 1 else f"1/{1 / ratio:g}")
    ax.xaxis.set_minor_locator(NullLocator())
