"""How long states last: visits on the most probable path beside the geometric distributions that the model says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@style.drawing()
def plot_dwell(observed: Mapping[int, np.ndarray], expected: xr.Dataset, method: str) -> Figure:
    """Draw one panel a state: the share of visits that last at least so many steps.

    Parameters
    ----------
    observed
        State -> lengths of its visits (n,), in steps.
    expected
        ``low``, ``median`` and ``high`` (cluster, steps) of that share under the model, the band missing for a point estimate.
    method
        Whose path and parameters they are.
    """
    K = expected.sizes["cluster"]
    columns = style.columns(K)
    rows = -(-K // columns)
    figure, axes = style.panels(rows, columns, height=2.3, sharey=True)
    steps, colour = expected["steps"].values, style.look(method).colour
    for k, ax in zip(range(K), axes.flat, strict=False):
        own = expected.isel(cluster=k)
        ax.fill_between(steps, own["low"], own["high"], step="mid", color=colour, alpha=0.2, linewidth=0)
        ax.plot(steps, own["median"], drawstyle="steps-mid", color=colour, linestyle=(0, (4, 2)), label="the model")
        lengths = observed.get(k, np.empty(0))
        if len(lengths):
            shares = (lengths[:, None] >= steps).mean(0)
            ax.plot(steps, shares, drawstyle="steps-mid", color=style.INK, linewidth=1.8, label="the path")
        ax.set_title(f"state {k} ({len(lengths)} visit{'' if len(lengths) == 1 else 's'})")
        ax.set(ylim=(-0.03, 1.03))
    for ax in axes[-1]:
        ax.set_xlabel("steps")
    for ax in axes[:, 0]:
        ax.set_ylabel("share at least so long")
    style.blank(axes.flat[K:])
    axes.flat[0].legend(loc="upper right")
    return figure
