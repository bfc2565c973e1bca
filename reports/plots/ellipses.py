"""The fitted clusters over the data: one column a method, one row a pair of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

GHOSTS = 25
"""Posterior draws whose ellipses are drawn thin behind the mean's."""


def outline(mean: np.ndarray, covariance: np.ndarray, prob: float = 0.95) -> np.ndarray:
    """Return 73 points (73, 2) of the ellipse that holds `prob` of a two-dimensional normal.

    Examples
    --------
    >>> import numpy as np
    >>> radius = np.linalg.norm(outline(np.zeros(2), np.eye(2), 0.95), axis=1)
    >>> bool(np.allclose(radius, 2.4477468306808166))
    True
    """
    angle = np.linspace(0, 2 * np.pi, 73)
    radius = np.sqrt(-2 * np.log1p(-prob))
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    return mean + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1) @ root.T


@style.drawing()
def plot_ellipses(x: xr.DataArray, trees: Mapping[str, xr.DataTree], pairs: Sequence[tuple[str, str]]) -> Figure:
    """Draw the data coloured by most probable cluster, and each cluster's 95% ellipse.

    Parameters
    ----------
    x
        Data (obs, feature), at most a few thousand rows.
    trees
        Method -> tree with `posterior` (weights, means, covariances) and `clusters/responsibilities` for these rows.
    pairs
        Pairs of feature names, one row of panels each.
    """
    columns = len(trees) if len(pairs) > 1 or len(trees) != 4 else 2
    rows = -(-len(pairs) * len(trees) // columns)
    height = {1: 4.2, 2: 3.5}.get(columns, 2.7)
    figure, axes = style.panels(
        rows, columns, height=height, width=style.WIDTH if columns > 1 else 6, sharex="row", sharey="row"
    )
    cells = [(pair, method) for pair in pairs for method in trees]
    for place, (ax, (pair, method)) in enumerate(zip(axes.flat, cells, strict=False)):
        posterior = trees[method]["posterior"].to_dataset()
        r = trees[method]["clusters"].to_dataset()["responsibilities"]
        best, certain = r.argmax("cluster").values, r.max("cluster").values
        points = x.sel(feature=list(pair)).values
        colours = [style.cluster_colour(k) for k in best]
        ax.scatter(*points.T, s=9, c=colours, alpha=0.25 + 0.5 * certain**4, linewidths=0, rasterized=True)
        means = posterior["means"].sel(feature=list(pair))
        covariances = posterior["covariances"].sel(feature=list(pair), feature_=list(pair))
        flat_means = means.stack(s=("chain", "draw")).transpose("s", "cluster", "feature").values
        flat_covariances = covariances.stack(s=("chain", "draw")).transpose("s", "cluster", ...).values
        for k in range(means.sizes["cluster"]):
            colour = style.cluster_colour(k)
            if len(flat_means) > 1:
                for s in range(0, len(flat_means), -(-len(flat_means) // GHOSTS)):
                    ax.plot(
                        *outline(flat_means[s, k], flat_covariances[s, k]).T, color=colour, alpha=0.2, linewidth=0.6
                    )
            centre, shape = flat_means[:, k].mean(0), flat_covariances[:, k].mean(0)
            ax.plot(*outline(centre, shape).T, color="white", linewidth=3.2)
            ax.plot(*outline(centre, shape).T, color=colour, linewidth=1.9)
            ax.text(*centre, str(k), color=colour, weight="bold", ha="center", va="center",
                    bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colour})  # fmt: skip
        if place < columns or len(pairs) == 1:
            ax.set_title(style.look(method).label)
        if place // columns == rows - 1 or len(pairs) > 1:
            ax.set_xlabel(style.shortened(pair[0], min(30, 100 // columns)))
        if place % columns == 0:
            ax.set_ylabel(style.shortened(pair[1], 30))
        low, high = points.min(0), points.max(0)
        margin = 0.15 * (high - low)
        ax.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]))
        ax.locator_params(nbins=5)
    style.blank(axes.flat[len(cells) :])
    return figure
