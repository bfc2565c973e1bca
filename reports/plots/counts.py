"""One count: how often each number was seen, and how often each method expects it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@style.drawing()
def plot_counts(observed: np.ndarray, expected: Mapping[str, np.ndarray], name: str) -> Figure:
    """Draw the observed share of every count as a bar, and every method's predictive probability of it.

    Parameters
    ----------
    observed
        Share of each of the counts 0, 1, ...
    expected
        Method -> predictive probability of the same counts.
    name
        Of the counts.
    """
    figure, axes = style.panels(1, 1, height=3.6)
    ax, x = axes[0, 0], np.arange(len(observed))
    ax.bar(x, observed, 0.92, color="#e4e7eb")
    spread = 0.6 if len(x) <= 30 else 0.0
    for m, (method, p) in enumerate(expected.items()):
        look = style.look(method)
        place = x + spread * ((m + 0.5) / len(expected) - 0.5)
        if len(x) <= 60:
            ax.plot(place, p, look.marker, color=look.colour, markersize=4.5 if len(x) <= 30 else 3)
        else:
            ax.plot(x, p, color=look.colour, linestyle=look.line)
    ax.set(xlabel=style.shortened(name, 60), ylabel="share of the rows", xlim=(-0.7, len(x) - 0.3))
    ax.locator_params(axis="x", integer=True, nbins=14)
    style.legend(figure, list(expected), points=list(expected) if len(x) <= 60 else ())
    return figure
