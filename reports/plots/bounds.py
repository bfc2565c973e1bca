"""The objective of each optimiser, pass by pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LONG = 200
"""A trace longer than this is a noisy one, of stochastic steps: its running median is drawn over it."""


@style.drawing()
def plot_bounds(traces: Mapping[str, pd.Series], labels: Mapping[str, tuple[str, str]]) -> Figure:
    """Draw one panel a method: the objective (in nats) against the pass or step.

    Parameters
    ----------
    traces
        Method -> objective, indexed by pass or step.
    labels
        Method -> the names of the horizontal and vertical axis.
    """
    columns = 2 if len(traces) == 4 else min(3, len(traces))
    rows = -(-len(traces) // columns)
    figure, axes = style.panels(rows, columns, height=2.4, width=style.WIDTH if columns > 1 else style.HALF)
    for ax, (method, trace) in zip(axes.flat, traces.items(), strict=False):
        look = style.look(method)
        noisy = len(trace) > LONG
        ax.plot(trace.index, trace, color=look.colour, alpha=0.35 if noisy else 1, linewidth=0.6 if noisy else 1.5,
                marker="" if len(trace) > 60 else ".", rasterized=noisy)  # fmt: skip
        if noisy:
            ax.plot(trace.rolling(len(trace) // 40, min_periods=1).median(), color=look.colour)
            low, high = trace.quantile([0.1, 0.999])
            margin = 0.6 * max(high - low, 1e-9)
            ax.set_ylim(max(trace.min(), low - margin), max(trace.max(), high) + 0.1 * margin)
        ax.set(title=look.label, xlabel=labels[method][0], ylabel=style.wrapped(labels[method][1], 24))
        ax.grid(axis="y")
        ax.locator_params(axis="x", nbins=5, integer=True)
        ax.locator_params(axis="y", nbins=6)
    style.blank(axes.flat[len(traces) :])
    return figure
