"""How often two points share a cluster: label-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


@style.drawing()
def plot_coclustering(matrices: Mapping[str, np.ndarray]) -> Figure:
    """Draw one heat map a method of the probabilities (obs, obs) that two points share a cluster, in the order given."""
    number = len(matrices)
    columns = 4 if number in (7, 8) else style.columns(number)
    height = {1: 3.6, 2: 3.6, 3: 2.75}.get(columns, 2.2)
    figure, axes = style.panels(-(-number // columns), columns, height=height, sharex=True, sharey=True)
    for place, (ax, (method, matrix)) in enumerate(zip(axes.flat, matrices.items(), strict=False)):
        image = ax.imshow(matrix, vmin=0, vmax=1, cmap="Blues", interpolation="antialiased")
        ax.set_title(style.look(method).label)
        ax.locator_params(nbins=3)
        ax.spines[:].set_visible(False)
        if place + columns >= number:
            ax.set_xlabel("point")
            ax.tick_params(labelbottom=True)
        if place % columns == 0:
            ax.set_ylabel("point")
    style.blank(axes.flat[number:])
    figure.colorbar(image, ax=axes, label="probability", shrink=0.75, aspect=18, pad=0.02)
    return figure
