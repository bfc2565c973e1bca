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
    figure, axes = style.panels(1, len(matrices), height=2.75 if len(matrices) > 2 else 3.6, sharey=True)
    for ax, (method, matrix) in zip(axes.flat, matrices.items(), strict=True):
        image = ax.imshow(matrix, vmin=0, vmax=1, cmap="Blues", interpolation="antialiased")
        ax.set(title=style.look(method).label, xlabel="point")
        ax.locator_params(nbins=4)
        ax.spines[:].set_visible(False)
    axes.flat[0].set_ylabel("point")
    figure.colorbar(image, ax=axes, label="probability", shrink=0.75, aspect=18, pad=0.02)
    return figure
