"""A selection: every criterion against the number of clusters, and the clusters of the candidates that are chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reports.metrics.criteria import NO_COVARIANCE, Clustering
from reports.metrics.criterion import CRITERIA, TESTS
from reports.plots import style
from reports.plots.ellipses import ellipse
from reports.studies.selection.plane import Plane

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
    NO_COVARIANCE: Look("#1f5fa8", "o", "-"),
}

# Nats below the best up to which the axis is linear.
LINEAR = 10

# Probability inside the contour of a cluster's normal.
CONTOUR = 0.95

# Points that are drawn, and bins of a histogram, at most.
POINTS, BINS = 3000, 60


@style.drawing()
def plot_selection(table: pd.DataFrame) -> Figure:
    """Draw differences from the best candidate of each criterion; a filled mark is the choice within its structure.

    Bands are one standard error of the difference from that choice to each side.

    Parameters
    ----------
    table
        Of `reports.studies.selection.result.Selection`.
    """
    table = table[~table["criterion"].isin(TESTS)]
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


@style.drawing()
def plot_clusters(x: np.ndarray, plane: Plane, panels: Sequence[tuple[str, Clustering]]) -> Figure:
    """Draw the data coloured by most probable cluster with the fitted normals, a panel a clustering.

    In a plane, the contour of each normal that has 95% of its probability inside, paler points being less certain; on a line,
    a histogram with the density of each cluster and, in black, of the mixture. Clusters without a point are left out.

    Parameters
    ----------
    x
        Data (N, D), of which at most `POINTS` evenly spaced rows are drawn as points; a histogram has them all.
    plane
    panels
        Title and clustering.
    """
    columns = style.columns(len(panels)) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    width, height = (6.0, 4.2) if columns == 1 else (style.WIDTH, 7.6 / columns)
    figure, axes = style.panels(rows, columns, width=width, height=height, sharex=True, sharey=True)
    draw = _histogram if len(plane.names) == 1 else _scatter
    for ax, (title, clustering) in zip(axes.flat, panels, strict=False):
        draw(ax, plane.points(x), clustering, plane)
        ax.set_title(style.wrapped(title, 96 // columns))
        ax.locator_params(nbins=5)
    for ax in axes[-1]:
        ax.set_xlabel(style.wrapped(plane.names[0], 80 // columns))
    for ax in axes[:, 0]:
        ax.set_ylabel("density" if len(plane.names) == 1 else style.wrapped(plane.names[1], 32))
    style.blank(axes.flat[len(panels) :])
    return figure


def _scatter(ax: Axes, points: np.ndarray, clustering: Clustering, plane: Plane) -> None:
    some = slice(None, None, -(-len(points) // POINTS))
    colours = [style.cluster_colour(k) for k in clustering.labels[some]]
    certain: Any = 0.25 + 0.55 * clustering.probability[some] ** 4
    ax.scatter(points[some, 0], points[some, 1], s=11, c=colours, alpha=certain, linewidths=0, rasterized=True)
    centres = plane.points(clustering.means)
    shapes = plane.covariances(clustering)
    for k in np.unique(clustering.labels):
        colour = style.cluster_colour(k)
        if np.isfinite(shapes[k]).all():
            for line, width in (("white", 3.2), (colour, 1.9)):
                ax.plot(*ellipse(centres[k], shapes[k], CONTOUR).T, color=line, linewidth=width)
        ax.text(centres[k, 0], centres[k, 1], str(k), color=colour, weight="bold", ha="center", va="center",
                bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour})  # fmt: skip
    low, high = points.min(0), points.max(0)
    margin = 0.12 * (high - low)
    ax.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))


def _histogram(ax: Axes, points: np.ndarray, clustering: Clustering, plane: Plane) -> None:
    x, variances = points[:, 0], plane.covariances(clustering)[:, 0, 0]
    edges = np.histogram_bin_edges(x, "fd")
    if len(edges) > BINS + 1:
        edges = np.linspace(x.min(), x.max(), BINS + 1)
    margin = 0.06 * (edges[-1] - edges[0])
    line = np.linspace(edges[0] - margin, edges[-1] + margin, 400)
    bottom, total = np.zeros(len(edges) - 1), np.zeros(len(line))
    for k in np.unique(clustering.labels):
        colour = style.cluster_colour(k)
        heights = np.histogram(x[clustering.labels == k], edges)[0] / (len(x) * np.diff(edges))
        ax.bar(edges[:-1], heights, np.diff(edges), bottom, align="edge", color=colour, alpha=0.35, linewidth=0)
        offset = line - plane.points(clustering.means)[k]
        density = clustering.weights[k] * np.exp(-(offset**2) / variances[k] / 2) / np.sqrt(2 * np.pi * variances[k])
        ax.plot(line, density, color=colour, linewidth=1.7)
        bottom, total = bottom + heights, total + density
    ax.plot(line, total, color=style.INK, linewidth=1.1)
    ax.set_xlim(line[0], line[-1])


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
        if part["difference"].notna().any():
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
        if name in structures and name != NO_COVARIANCE
    ]
    handles += [
        Line2D([], [], color=style.MUTED, marker=marker, linestyle="", markersize=size, label=name)
        for marker, size, name in (("o", 7.5, "chosen"), ("x", 6, "no value"))
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles), handlelength=2.4)
