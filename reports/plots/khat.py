"""Pareto k-hat of leave-one-out, point by point."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_khat(method: str, elpd: Any, title: str) -> Figure:
    """Draw the k-hat of every point of one method's `arviz.loo(..., pointwise=True)`, with ArviZ."""
    look = style.look(method)
    with style.arviz_drawing() as az:
        collection = az.plot_khat(
            elpd,
            hline_values=[elpd.good_k],
            color=look.colour,
            visuals={
                "khat": {"marker": ".", "size": 14, "alpha": 0.6},
                "hlines": {"color": style.MUTED},
                "xlabel": {"text": "point", "size": 9.5},
                "ylabel": {"text": "Pareto k-hat", "size": 9.5},
            },
            figure_kwargs={"figsize": (style.HALF, 2.3)},
        )
        figure = style.of_collection(collection)
        ax, khat = figure.axes[0], elpd.pareto_k.values
        khat = khat[np.isfinite(khat)]  # where all weights are equal there is none
        ax.set(title=title, ylim=(khat.min(initial=0) - 0.05, khat.max(initial=elpd.good_k) + 0.1))
        ax.text(
            1.01, elpd.good_k, "limit", transform=ax.get_yaxis_transform(), va="center", color=style.MUTED, fontsize=8
        )
    return figure
