"""Outlines of highest-density regions, for the plots that show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

OUTER, INNER = 1.1, 1.8
"""Line widths of the largest region and of those inside it."""


def outline(
    ax: Axes, region: xr.Dataset, colour: str, *, halo: bool = False, inner: bool = True, line: Any = "-"
) -> None:
    """Draw where the regions of one density end.

    Parameters
    ----------
    region
        `density` (i, j) on the grids `across` (i) and `up` (j), and `level` (prob), rising probabilities: the density where
        the region of that probability ends; a missing one is not drawn.
    halo
        Whether a white rim sets the lines off from what they cross.
    inner
        Whether the regions inside the largest are drawn too.
    """
    from matplotlib.patheffects import withStroke

    widths = {
        float(level): OUTER if place == region.sizes["prob"] - 1 else INNER
        for place, level in enumerate(region["level"].values)
        if np.isfinite(level) and (inner or place == region.sizes["prob"] - 1)
    }
    levels = sorted(widths)
    if not levels:
        return
    lines = ax.contour(
        region["across"],
        region["up"],
        region["density"].transpose("j", "i"),
        levels=levels,
        colors=colour,
        linewidths=[widths[level] for level in levels],
        linestyles=[line],
    )
    lines.set_path_effects([withStroke(linewidth=3, foreground="white")] if halo else [])
