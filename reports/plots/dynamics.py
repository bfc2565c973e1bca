"""A linear dynamical system in time: the signal behind a series, its forecast, and what its innovations leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Z95 = 1.959964
"""Of a normal distribution, 95% lies within so many sds."""


@style.drawing()
def plot_signal(x: xr.DataArray, time: np.ndarray, series: Mapping[str, xr.Dataset], base: str, xlabel: str) -> Figure:
    """Draw a panel for each feature: the rows, the smoothed signal with its band, and the forecast with its fan.

    Parameters
    ----------
    x
        Rows of one sequence (obs, feature), NaN where a value is missing.
    time
        When they were, (obs,).
    series
        Method -> ``signal`` and ``signal_sd`` (obs, feature) of the sequence, and any ``forecast`` (quantile, step, feature).
    base
        The method whose band and fan are drawn; of the others there is a line.
    xlabel
        What the time is.
    """
    features = [str(name) for name in x["feature"].values]
    figure, axes = style.panels(len(features), 1, sharex=True, height=2.6)
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    for ax, name in zip(axes.flat, features, strict=True):
        ax.scatter(time, x.sel(feature=name), style.dot(len(time)), style.MUTED, linewidths=0, zorder=1, alpha=0.6)
        for method in [*(m for m in series if m != base), base]:
            _feature(ax, series[method].sel(feature=name), time, step, method, whole=method == base)
        ax.set_ylabel(style.wrapped(style.shortened(name, 24), 14))
    axes.flat[-1].set_xlabel(xlabel)
    style.legend(figure, series)
    return figure


def _feature(ax: Axes, own: xr.Dataset, time: np.ndarray, step: float, method: str, *, whole: bool) -> None:
    look, mean, sd = style.look(method), own["signal"].values, own["signal_sd"].values
    width = 1.8 if whole else 1.1
    ax.plot(time, mean, color=look.colour, linestyle=look.line, linewidth=width, zorder=4 if whole else 3)
    if whole:
        ax.fill_between(time, mean - Z95 * sd, mean + Z95 * sd, color=look.colour, alpha=0.15, linewidth=0, zorder=2)
    if "forecast" not in own:
        return
    ahead = time[-1] + step * np.arange(1, own.sizes["step"] + 1)
    low, lower, median, upper, high = own["forecast"].transpose("quantile", "step").values
    ax.plot(ahead, median, color=look.colour, linestyle=look.line, linewidth=width, zorder=3)
    if whole:
        ax.fill_between(ahead, low, high, color=look.colour, alpha=0.1, linewidth=0)
        ax.fill_between(ahead, lower, upper, color=look.colour, alpha=0.18, linewidth=0)
        ax.axvline(time[-1] + step / 2, color=style.RULE, linewidth=0.8)


PLACES = {
    "z1": (2.0, 1.0), "z2": (4.0, 1.0), "zT": (6.9, 1.0), "x1": (2.0, 0.0), "x2": (4.0, 0.0), "xT": (6.9, 0.0),
    "m0": (0.4, 1.4), "P0": (0.4, 0.6), "A": (4.7, 2.0), "Q": (6.2, 2.0), "C": (3.0, -1.0), "R": (5.4, -1.0),
}  # fmt: skip
"""Where the nodes of a system's graph lie."""

EDGES = {
    "z1": ("z2", "x1"), "z2": ("x2",), "zT": ("xT",), "m0": ("z1",), "P0": ("z1",),
    "A": ("z2", "zT"), "Q": ("z2", "zT"), "C": ("x1", "x2", "xT"), "R": ("x1", "x2", "xT"),
}  # fmt: skip

RADIUS = 0.3
"""Of a node."""


@style.drawing()
def plot_graph(unknown: Mapping[str, bool]) -> Figure:
    """Draw the graph of a system: states in a chain, rows below them, and what both depend on.

    Parameters
    ----------
    unknown
        Letter of a matrix, of A, C, Q, R, m0 and P0 -> whether it has entries that are estimated. What is left out has no node.
    """
    figure, axes = style.panels(1, 1, width=6.0, height=3.0)
    ax = axes.flat[0]
    drawn = {name for name in PLACES if name[0] in "zx" or name in unknown}
    for name in drawn:
        for end in EDGES.get(name, ()):
            _arrow(ax, PLACES[name], PLACES[end])
        observed, known = name[0] == "x", name in unknown and not unknown[name]
        _node(ax, name, fill=style.RULE if observed else "white", edge="none" if known else style.INK)
    for y in (0.0, 1.0):
        ax.text(5.45, y, "…", ha="center", va="center", color=style.INK, fontsize=12)
    _arrow(ax, PLACES["z2"], (5.6, 1.0))
    _arrow(ax, (5.3, 1.0), PLACES["zT"])
    ax.set(xlim=(0.0, 7.3), ylim=(-1.4, 2.4), aspect="equal")
    ax.set_axis_off()
    return figure


def _node(ax: Axes, name: str, fill: str, edge: str) -> None:
    from matplotlib.patches import Circle

    letter, below = name[0], name[1:]
    ax.add_patch(Circle(PLACES[name], RADIUS, facecolor=fill, edgecolor=edge, linewidth=1.0, zorder=3))
    text = f"${letter}_{{{below}}}$" if below else f"${letter}$"
    ax.text(*PLACES[name], text, ha="center", va="center", fontsize=11, color=style.INK, zorder=4,
            parse_math=True)  # fmt: skip


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw an arrow from the edge of one node to that of another."""
    way = np.subtract(end, start)
    way = (RADIUS + 0.03) * way / np.hypot(*way)
    look = {"arrowstyle": "-|>", "color": style.MUTED, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", np.subtract(end, way), np.add(start, way), arrowprops=look, zorder=2)


@style.drawing()
def plot_autocorrelations(series: Mapping[str, xr.Dataset], limit: float) -> Figure:
    """Draw the autocorrelation of standardised innovations by lag, a panel for each feature, a mark for each method.

    Parameters
    ----------
    series
        Method -> ``autocorrelation`` (lag, feature).
    limit
        What 95% of the autocorrelations of independent innovations lie within.
    """
    from matplotlib.ticker import MaxNLocator

    first = next(iter(series.values()))
    features, lags = [str(name) for name in first["feature"].values], first["lag"].values
    columns = style.columns(len(features))
    rows = -(-len(features) // columns)
    figure, axes = style.panels(rows, columns, sharey=True, height=2.4)
    offsets = np.linspace(-0.3, 0.3, len(series)) if len(series) > 1 else [0.0]
    for ax, name in zip(axes.flat, features, strict=False):
        ax.axhspan(-limit, limit, color=style.RULE, alpha=0.5, linewidth=0)
        ax.axhline(0, color=style.MUTED, linewidth=0.8)
        for offset, (method, own) in zip(offsets, series.items(), strict=True):
            look, values = style.look(method), own["autocorrelation"].sel(feature=name).values
            ax.vlines(lags + offset, 0, values, color=look.colour, linewidth=0.9)
            ax.scatter(lags + offset, values, 11, look.colour, marker=look.marker, linewidths=0)
        ax.set(title=style.shortened(name, 30), xlabel="lag")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.blank(axes.flat[len(features) :])
    axes.flat[0].set_ylabel("autocorrelation")
    style.legend(figure, series, points=series)
    return figure


@style.drawing()
def plot_eigenvalues(eigenvalues: Mapping[str, np.ndarray]) -> Figure:
    """Draw the eigenvalues of the transition in the upper half of the complex plane, a panel for each method.

    Parameters
    ----------
    eigenvalues
        Method -> draws of them (n, H), those of pairs once; a single draw is a point.
    """
    columns = min(3, len(eigenvalues))
    rows = -(-len(eigenvalues) // columns)
    figure, axes = style.panels(rows, columns, sharex=True, sharey=True, height=2.0)
    angle = np.linspace(0, np.pi, 200)
    for ax, (method, values) in zip(axes.flat, eigenvalues.items(), strict=False):
        look = style.look(method)
        ax.plot(np.cos(angle), np.sin(angle), color=style.MUTED, linewidth=0.8)
        ax.axhline(0, color=style.RULE, linewidth=0.8)
        alone = len(values) == 1
        ax.scatter(values.real, values.imag, 34 if alone else 4, look.colour, marker=look.marker, linewidths=0,
                   alpha=1.0 if alone else 0.25, clip_on=False)  # fmt: skip
        ax.set(title=look.label, xlim=(-1.1, 1.15), ylim=(-0.05, 1.1), aspect="equal")
    style.blank(axes.flat[len(eigenvalues) :])
    for ax in axes[-1]:
        ax.set_xlabel("real part")
    for ax in axes[:, 0]:
        ax.set_ylabel("imaginary part")
    return figure
