"""Clusters as pictures, where every column of the data is a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACROSS = 10
"""Clusters in a row; more stand on a second one."""

WIDEST = 1.0
"""Inches of a picture at most."""


@style.drawing()
def plot_tiles(
    pictures: Mapping[str, np.ndarray], shape: tuple[int, int], shares: Mapping[str, Sequence[float]], label: str
) -> Figure:
    """Draw one row a method, one picture a cluster, with the share of the rows in it.

    Parameters
    ----------
    pictures
        Method -> values (cluster, pixel), pixels row by row.
    shape
        Rows and columns of a picture.
    shares
        Method -> share of the rows in every cluster.
    label
        What the values are.
    """
    K, (high, wide) = len(next(iter(pictures.values()))), shape
    across = min(K, ACROSS)
    down = -(-K // across)
    inch = min(WIDEST, (style.WIDTH - 2.2) / (1.1 * across)) / wide  # of a pixel
    gap, head = 0.1 * wide, max(0.26 / inch, 0.1 * high)  # in pixels
    sheet = across * (wide + gap), len(pictures) * down * (high + head)
    figure, axes = style.panels(1, 1)
    figure.set_size_inches(sheet[0] * inch + 2.2, max(1.9, sheet[1] * inch + 0.1))
    ax = axes[0, 0]
    every = np.concatenate([own.ravel() for own in pictures.values()])
    ends = (0.0, 1.0) if every.min() >= 0 and every.max() <= 1 else (float(every.min()), float(every.max()))
    middles = []
    for m, (method, values) in enumerate(pictures.items()):
        for k, own in enumerate(values):
            x, y = (k % across) * (wide + gap), (m * down + k // across) * (high + head) + head
            image = ax.imshow(own.reshape(shape), extent=(x, x + wide, y + high, y), cmap="Greys", vmin=ends[0], vmax=ends[1],
                              interpolation="nearest")  # fmt: skip
            ax.plot([x, x + wide, x + wide, x, x], [y, y, y + high, y + high, y], color=style.RULE, linewidth=0.6)
            ax.text(x + wide / 2, y - 0.03 / inch, f"{k}: {100 * shares[method][k]:.0f}%", fontsize=8, ha="center",
                    in_layout=False)  # fmt: skip
        middles.append((m + 0.5) * down * (high + head) + head / 2)
    ax.set(
        xlim=(-0.02 * wide, sheet[0] - gap + 0.02 * wide), ylim=(sheet[1] + 0.02 * high, 0), xticks=[], aspect="equal"
    )
    ax.set_yticks(middles, [style.wrapped(style.look(method).label, 9) for method in pictures], weight="bold")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    figure.colorbar(image, ax=ax, label=label, shrink=min(1.0, 2.2 / figure.get_size_inches()[1]), aspect=16, pad=0.03)
    return figure
