"""A series in time: its rows in the colours of their states, and how probable the states are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@style.drawing()
def plot_series(
    series: xr.Dataset, responsibilities: Mapping[str, xr.DataArray], levels: Mapping[str, Sequence[str]], xlabel: str
) -> Figure:
    """Draw a panel for each feature, and below them one strip a method with the probabilities of the states, stacked.

    Parameters
    ----------
    series
        ``x`` (obs, feature), ``time`` (obs), rising within a sequence, ``best``, the state whose colour each row has, and
        ``certain``, its probability (obs); and ``edge`` (sequence), the places where sequences begin.
    responsibilities
        Method -> (obs, cluster).
    levels
        By nominal feature, the names of its levels.
    xlabel
        What the time is.
    """
    from matplotlib.lines import Line2D

    features, M = [str(name) for name in series["feature"].values], len(responsibilities)
    ratios = [2.2] * len(features) + [0.6] * M
    figure, axes = style.panels(len(ratios), 1, sharex=True, height_ratios=ratios)
    figure.set_size_inches(style.WIDTH, 0.9 + 1.75 * len(features) + 0.55 * M)
    time, edges = series["time"].values, series["edge"].values
    for ax, name in zip(axes.flat, features, strict=False):
        _feature(ax, series, name, levels.get(name, ()))
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    for ax, (method, r) in zip(axes.flat[len(features) :], responsibilities.items(), strict=True):
        _strip(ax, time, r.transpose("obs", "cluster").values, step)
        ax.set_ylabel(style.look(method).label, rotation=0, ha="right", va="center", weight="bold")
    for ax in axes.flat:
        ax.set_xlim(time[0] - step / 2, time[-1] + step / 2)
        for edge in edges[1:]:
            ax.axvline(time[edge] - step / 2, color=style.INK, linewidth=0.8)
    axes.flat[-1].set_xlabel(xlabel)
    K = max(r.sizes["cluster"] for r in responsibilities.values())
    handles = [
        Line2D([], [], color=style.cluster_colour(k), marker="s", linestyle="", label=f"state {k}") for k in range(K)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(K, 8))
    return figure


def _feature(ax: Axes, series: xr.Dataset, name: str, levels: Sequence[str]) -> None:
    """One feature in time: a thin line through each sequence, and a mark for each row in the colour of its state."""
    from matplotlib.colors import to_rgba

    time, x = series["time"].values, series["x"].sel(feature=name).values
    bounds = [*series["edge"].values, len(x)]
    if not levels:
        for start, stop in pairwise(bounds):
            ax.plot(time[start:stop], x[start:stop], color=style.RULE, linewidth=0.8, zorder=1)
    certain = series["certain"].values
    colours = [
        to_rgba(style.cluster_colour(int(k)), 0.35 + 0.65 * float(c))
        for k, c in zip(series["best"].values, certain, strict=True)
    ]
    ax.scatter(time, x, style.dot(len(x)), colours, linewidths=0, zorder=2)
    ax.set_ylabel(style.wrapped(style.shortened(name, 24), 14))
    if levels:
        ax.set_yticks(range(len(levels)), [style.shortened(level, 16) for level in levels])
        ax.set_ylim(-0.5, len(levels) - 0.5)


def _strip(ax: Axes, time: np.ndarray, r: np.ndarray, step: float) -> None:
    """Probabilities of the states (N, K), stacked in their colours."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(style.cluster_colour(k)) for k in range(r.shape[1])])
    level = (np.arange(60) + 0.5) / 60
    owner = (level[:, None, None] > r.cumsum(1)[None, :, :-1]).sum(-1)
    extent = (time[0] - step / 2, time[-1] + step / 2, 0, 1)
    ax.imshow(palette[owner], aspect="auto", origin="lower", extent=extent, interpolation="nearest")
    ax.set(yticks=[])
    ax.spines[:].set_visible(False)
