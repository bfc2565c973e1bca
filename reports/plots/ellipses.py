"""The fitted clusters over the data: for each pair of features one panel a method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style
from reports.plots.regions import outline

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

GHOSTS = 25
"""Posterior draws of which each has its own thin ellipse."""


def ellipse(mean: np.ndarray, covariance: np.ndarray, prob: float) -> np.ndarray:
    """Return 73 points (73, 2) of the ellipse that holds `prob` of a two-dimensional normal.

    Examples
    --------
    >>> import numpy as np
    >>> radius = np.linalg.norm(ellipse(np.zeros(2), np.eye(2), 0.95), axis=1)
    >>> bool(np.allclose(radius, 2.4477468306808166))
    True
    """
    angle = np.linspace(0, 2 * np.pi, 73)
    radius = np.sqrt(-2 * np.log1p(-prob))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    return mean + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ root.T


@style.drawing()
def plot_ellipses(
    x: xr.DataArray,
    trees: Mapping[str, xr.DataTree],
    regions: Mapping[tuple[str, str], Mapping[str, xr.Dataset]],
    prob: float,
) -> Figure:
    """Draw the data coloured by most probable cluster, each cluster's region, and its ellipse under single draws.

    Parameters
    ----------
    x
        Data (obs, feature), at most a few thousand rows; those with a gap are no points.
    trees
        Method -> tree with `posterior` (means, covariances) and `clusters/responsibilities` for these rows.
    regions
        Pair of features -> method -> for every `cluster` what `reports.plots.regions.outline` draws.
    prob
        Probability that the ellipses of single draws hold.
    """
    columns = style.columns(len(trees)) if len(trees) < 5 else 3
    each = -(-len(trees) // columns)
    figure, axes = style.panels(
        each * len(regions),
        columns,
        height={1: 4.2, 2: 3.5}.get(columns, 2.7),
        width=style.WIDTH if columns > 1 else 6,
    )
    for block, (pair, of) in enumerate(regions.items()):
        panels = axes[block * each : (block + 1) * each].ravel()
        points = x.sel(feature=list(pair)).values
        low, high = np.nanmin(points, 0), np.nanmax(points, 0)
        margin = 0.15 * (high - low)
        for place, (ax, method) in enumerate(zip(panels, trees, strict=False)):
            r = trees[method]["clusters"].to_dataset()["responsibilities"]
            best, certain = r.argmax("cluster").values, r.max("cluster").values
            colours = [style.cluster_colour(k) for k in best]
            ax.scatter(
                *points.T,
                s=style.dot(len(points)),
                c=colours,
                alpha=0.25 + 0.5 * certain**4,
                linewidths=0,
                rasterized=True,
            )
            means, covariances = _flat(trees[method], pair)
            for k in range(means.shape[1]):
                colour, centre = style.cluster_colour(k), np.median(means[:, k], 0)
                for s in range(0, len(means), -(-len(means) // GHOSTS)) if len(means) > 1 else ():
                    ax.plot(*ellipse(means[s, k], covariances[s, k], prob).T, color=colour, alpha=0.2, linewidth=0.6)
                outline(ax, of[method].isel(cluster=k), colour, halo=True)
                ax.text(*centre, str(k), color=colour, weight="bold", ha="center", va="center", clip_on=True,
                        bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour})  # fmt: skip
            ax.set(
                title=style.look(method).label,
                xlim=(low[0] - margin[0], high[0] + margin[0]),
                ylim=(low[1] - margin[1], high[1] + margin[1]),
            )
            if place + columns >= len(trees):
                ax.set_xlabel(style.shortened(pair[0], min(30, 100 // columns)))
            if place % columns == 0:
                ax.set_ylabel(style.shortened(pair[1], 30))
            ax.locator_params(nbins=5)
        style.blank(panels[len(trees) :])
    return figure


def _flat(tree: xr.DataTree, pair: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Return means (S, K, 2) and covariances (S, K, 2, 2) of all draws in two features."""
    of = list(pair)
    posterior = tree["posterior"].to_dataset().sel(feature=of, feature_=of).stack(s=("chain", "draw"))
    means = posterior["means"].transpose("s", "cluster", "feature").values
    return means, posterior["covariances"].transpose("s", "cluster", ...).values
