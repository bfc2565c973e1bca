"""Heat maps of clusters: levels or features by cluster, a panel a method; and of pairs of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REACH = 2.0
"""Standard deviations from the mean of all rows at which colours end."""

NUMBERED = 16
"""Columns of a figure up to which cells have their numbers."""


@style.drawing()
def plot_heat(profiles: Mapping[str, xr.Dataset], titles: Mapping[str, str]) -> Figure:
    """Draw a panel for each profile, a row an entry and a column a cluster; cells hold the medians where they fit.

    Parameters
    ----------
    profiles
        Name -> `value` (quantile, entry, cluster), `feature`, `level`, `what` (entry). With `standard` (entry, cluster), how
        far the value is from the mean of all rows in their sds, cells are coloured by that, else by the probability itself.
    titles
        Name -> title of the panel.
    """
    first = next(iter(profiles.values()))
    sizes = [own.sizes["cluster"] for own in profiles.values()]
    K, n, M = max(sizes), first.sizes["entry"], len(profiles)
    labels = _labels(first)
    left = 0.3 + 0.075 * max(map(len, labels))
    numbered = sum(sizes) <= NUMBERED and n <= 60
    across = max(1, min(M, int((style.WIDTH - left) / max(1.0, 0.34 * K if numbered else 0.16 * K + 0.3))))
    rows = -(-M // across)
    across = -(-M // rows)
    each = 0.24 if n <= 40 else 0.16
    width_ratios = sizes if rows == 1 else None
    parts = [own / sum(sizes) if rows == 1 else 1 / across for own in sizes]
    heads = [
        style.wrapped(titles[name], max(9, int(100 * (style.WIDTH - left) * part / 9.5)))
        for name, part in zip(profiles, parts, strict=True)
    ]
    lines = 1 + max(head.count("\n") for head in heads)
    figure, axes = style.panels(rows, across, sharey=True, width_ratios=width_ratios)
    figure.set_size_inches(style.WIDTH, rows * (0.6 + 0.15 * lines + each * n) + 0.75)
    apart = "standard" in first
    for place, (ax, profile) in enumerate(zip(axes.flat, profiles.values(), strict=False)):
        value, own = profile["value"].sel(quantile=0.5).values, sizes[place]
        shown = profile["standard"].values if apart else value
        image = ax.imshow(shown, aspect="auto", cmap="RdBu_r" if apart else "Blues",
                          vmin=-REACH if apart else 0, vmax=REACH if apart else 1)  # fmt: skip
        if numbered:
            _numbers(ax, value, shown / REACH if apart else shown * 2 - 1, apart, list(profile["what"].values))
        ax.set_title(heads[place])
        ax.set_xticks(range(own))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        _rules(ax, list(first["feature"].values))
        if place + across >= M:
            ax.set_xlabel("cluster")
    for ax in axes[:, 0]:
        ax.set_yticks(range(n), labels, fontsize=8.5 if each > 0.2 else 7)
    style.blank(axes.flat[M:])
    words = "sds from the mean of all rows" if apart else "probability"
    bar = figure.colorbar(image, ax=axes, location="top", shrink=0.4, aspect=28, pad=0.02, anchor=(1, 0))
    bar.set_label(words, loc="right")  # a bar of few rows is shorter than its words, which end where it ends
    return figure


def _labels(profile: xr.Dataset) -> list[str]:
    """The names of rows: the feature before its first level, only the level before the others; no level that all share."""
    if len(set(profile["level"].values)) == 1:
        return [style.shortened(str(feature), 30) for feature in profile["feature"].values]
    found, before = [], None
    for feature, level in zip(profile["feature"].values, profile["level"].values, strict=True):
        name = style.shortened(str(feature), 24)
        inner = style.shortened(str(level), 22)
        found.append(f"{name}: {inner}" if level and feature != before else inner if level else name)
        before = feature
    return found


def _numbers(ax: Axes, value: np.ndarray, darkness: np.ndarray, both: bool, what: Sequence[str]) -> None:
    """Write every cell's value, white where the cell is dark."""
    for (i, k), v in np.ndenumerate(value):
        dark = abs(darkness[i, k]) > 0.6 if both else darkness[i, k] > 0.2
        text = f"{v:.2f}" if what[i] == "probability" else f"{v:.0f}" if abs(v) >= 1000 else f"{v:.3g}"
        ax.text(
            k,
            i,
            text.replace("-", "−"),
            ha="center",
            va="center",
            fontsize=7.5,
            color="white" if dark else style.INK,
            in_layout=False,
        )


def _rules(ax: Axes, features: Sequence[str]) -> None:
    """A line between features that have several levels."""
    if len(set(features)) == len(features):
        return
    for i in range(1, len(features)):
        if features[i] != features[i - 1]:
            ax.axhline(i - 0.5, color="white", linewidth=2.5)


@style.drawing()
def plot_residuals(matrices: Mapping[str, np.ndarray], names: Sequence[str], top: float) -> Figure:
    """Draw one panel a method: the bivariate residual of every two items, items in the order given.

    Parameters
    ----------
    matrices
        Method -> residuals (item, item), not a number on the diagonal.
    names
        Of the items.
    top
        Residual at which colours end.
    """
    M, J = len(matrices), len(names)
    columns = style.columns(M)
    rows = -(-M // columns)
    height = {1: 4.4, 2: 3.7, 3: 2.9}.get(columns, 2.5)
    figure, axes = style.panels(
        rows, columns, height=height, width=style.WIDTH if columns > 1 else 6, sharex=True, sharey=True
    )
    for place, (ax, (method, matrix)) in enumerate(zip(axes.flat, matrices.items(), strict=False)):
        image = ax.imshow(matrix, vmin=0, vmax=top, cmap="YlOrRd", interpolation="nearest")
        ax.set_title(style.look(method).label)
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelbottom=place + columns >= M)
        step = -(-J // (24 if columns < 3 else 16))
        some = range(0, J, step)
        short = [style.shortened(names[j], 14) for j in some]
        ax.set_xticks(some, short, rotation=90, fontsize=7)
        ax.set_yticks(some, short, fontsize=7)
    style.blank(axes.flat[M:])
    figure.colorbar(image, ax=axes, label="bivariate residual", shrink=0.8, aspect=24, pad=0.02, extend="max")
    return figure
