"""Profiles of clusters: the probability of every item, or the rate of every count, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = "osD^vPXp"
LINES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))
"""Marker and line of a cluster: those of one colour differ in both."""

POINT = 7.5
"""Width of a letter on an axis in hundredths of an inch."""


@style.drawing()
def plot_profile(profile: xr.Dataset, shares: Sequence[float], ylabel: str, *, log: bool = False) -> Figure:
    """Draw one line a cluster over the items, with the interval of every value.

    Parameters
    ----------
    profile
        `value` (quantile, entry, cluster): low, median and high; `label` (entry).
    shares
        Share of the rows in every cluster, for its name in the legend.
    ylabel
        What the values are.
    log
        Whether the values are drawn on a logarithmic axis; probabilities are not, and end at 0 and 1.
    """
    names = [str(name) for name in profile["label"].values]
    figure, axes = style.panels(1, 1, height=3.3 + _room(names))
    ax = axes[0, 0]
    K, x = profile.sizes["cluster"], np.arange(len(names))
    spread = min(0.5, 0.09 * K)
    for k in range(K):
        low, median, high = profile["value"].isel(cluster=k).values
        place, colour = x + spread * ((k + 0.5) / K - 0.5), style.cluster_colour(k)
        ax.vlines(place, low, high, color=colour, linewidth=1.8, alpha=0.8)
        ax.plot(place, median, color=colour, marker=MARKERS[k % len(MARKERS)], markersize=5.5, linewidth=1.3,
                linestyle=LINES[k // len(style.CLUSTERS) % len(LINES)],
                label=f"cluster {k}: {100 * shares[k]:.0f}%")  # fmt: skip
    _items(ax, names)
    _scale(ax, log)
    ax.set_ylabel(ylabel)
    handles, labels = ax.get_legend_handles_labels()
    columns = style.legend_columns(labels, style.WIDTH)
    figure.legend(handles, labels, loc="outside upper left", ncols=columns, handlelength=2.4)
    return figure


@style.drawing()
def plot_profiles(
    profiles: Mapping[str, xr.Dataset], reference: str | None, titles: Sequence[str], ylabel: str, *, log: bool = False
) -> Figure:
    """Draw one panel a cluster: every method's value of each item with its interval, and the reference's as a grey step.

    Parameters
    ----------
    profiles
        Method -> what `plot_profile` takes.
    reference
        The method whose interval is repeated as a band behind those of the others.
    titles
        Title of every panel.
    ylabel, log
        See `plot_profile`.
    """
    first = next(iter(profiles.values()))
    names, K = [str(name) for name in first["label"].values], first.sizes["cluster"]
    columns = _columns(K, len(names))
    rows = -(-K // columns)
    room = _room(names, columns)
    figure, axes = style.panels(rows, columns, height=1.9, sharex=True, sharey=True)
    figure.set_size_inches(style.WIDTH, rows * {1: 2.1, 2: 2.2}.get(columns, 2.0) + room + 0.4)
    x, M = np.arange(len(names)), len(profiles)
    for k, ax in enumerate(axes.flat[:K]):
        if reference is not None and M > 1:
            _band(ax, x, profiles[reference]["value"].isel(cluster=k).values)
        for m, (method, profile) in enumerate(profiles.items()):
            low, median, high = profile["value"].isel(cluster=k).values
            look, place = style.look(method), x + 0.7 * ((m + 0.5) / M - 0.5)
            ax.vlines(place, low, high, color=look.colour, linewidth=1.6)
            ax.plot(place, median, look.marker, color=look.colour, markersize=4.2 if len(names) <= 12 else 3)
        ax.set_title(titles[k])
        _items(ax, names, columns)
        _scale(ax, log)
        ax.tick_params(labelbottom=k + columns >= K)
        for edge in x[:-1] + 0.5:
            ax.axvline(edge, color=style.RULE, linewidth=0.5, zorder=0)
    style.blank(axes.flat[K:])
    for ax in axes[:, 0]:
        ax.set_ylabel(ylabel)
    points = [m for m, profile in profiles.items() if np.isnan(profile["value"].values[0]).all()]
    _legend(figure, list(profiles), points, reference if M > 1 else None)
    return figure


def _columns(K: int, items: int) -> int:
    """Panels in a row: few where there are many items."""
    most = 1 if items > 16 else 2 if items > 8 else 3
    return min(most, K if most >= K else style.columns(K))


def _band(ax: Axes, x: np.ndarray, of: np.ndarray) -> None:
    """The interval of the reference behind each item, and its median as a line."""
    low, median, high = of
    if not np.isnan(low).all():
        ax.bar(x, high - low, 0.94, low, color=style.RULE, alpha=0.55, linewidth=0, zorder=0)
    ax.hlines(median, x - 0.47, x + 0.47, color=style.MUTED, linewidth=0.8, zorder=1)


def _legend(figure: Figure, methods: Sequence[str], points: Sequence[str], reference: str | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=style.look(m).colour, marker=style.look(m).marker, linestyle="" if m in points else "-",
               linewidth=1.6, markersize=4.5, label=style.look(m).label)
        for m in methods
    ]  # fmt: skip
    if reference is not None:
        handles.append(Patch(color=style.RULE, label=f"90% interval, {style.look(reference).label}"))
    labels = [handle.get_label() for handle in handles]
    columns = style.legend_columns(labels, style.WIDTH)
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, handlelength=1.8)


def _slanted(names: Sequence[str], columns: int) -> bool:
    """Whether names stand too close on an axis to be written level, on two lines each at most."""
    width = 100 * (style.WIDTH / columns - 0.8) / max(1, len(names))
    return max(map(len, names)) * POINT / (2 if len(names) <= 12 else 1) > width


def _room(names: Sequence[str], columns: int = 1) -> float:
    """Inches that slanted names need below an axis."""
    return 0.06 * min(26, max(map(len, names))) if _slanted(names, columns) else 0.1


def _items(ax: Axes, names: Sequence[str], columns: int = 1) -> None:
    """Name the items on the axis: level where they fit, else slanted, and upright where they are many."""
    ax.set_xticks(range(len(names)))
    ax.set_xlim(-0.55, len(names) - 0.45)
    ax.tick_params(axis="x", length=0)
    if not _slanted(names, columns):
        width = max(4, int(100 * (style.WIDTH / columns - 0.8) / len(names) / POINT))
        ax.set_xticklabels([style.wrapped(name, width) for name in names])
        return
    short = [style.shortened(name, 28) for name in names]
    if len(names) > 20 // columns:
        ax.set_xticklabels(short, rotation=90, fontsize=8 if len(names) <= 36 else 6.5)
    else:
        ax.set_xticklabels(short, rotation=35, ha="right", rotation_mode="anchor")


def _scale(ax: Axes, log: bool) -> None:
    if log:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
    else:
        ax.set_ylim(-0.04, 1.04)
        ax.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "¼", "½", "¾", "1"])
    ax.grid(axis="y")
    ax.set_axisbelow(True)
