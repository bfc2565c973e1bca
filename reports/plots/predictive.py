"""Posterior predictive check of one method, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

REPLICATED = 40
"""Replicated data sets shown."""


@style.drawing()
def plot_predictive(method: str, tree: xr.DataTree) -> Figure:
    """Draw distribution functions of replicated data sets under the observed one.

    Unlike kernel densities they have no edge effects and need no bandwidth. ArviZ's plot has an artist for each of them, and
    takes ten times as long.

    Parameters
    ----------
    tree
        `posterior_predictive` and `observed_data`, each with one variable a feature, dims (chain, draw, obs) and (obs,).
    """
    from matplotlib.collections import LineCollection

    look = style.look(method)
    observed, predicted = tree["observed_data"].to_dataset(), tree["posterior_predictive"].to_dataset()
    names = list(observed.data_vars)
    columns = style.columns(len(names))
    rows = -(-len(names) // columns)
    width = style.HALF if columns < 3 else style.WIDTH
    figure, axes = style.panels(rows, columns, height=1.6 + 0.6 / rows, width=width)
    for ax, name in zip(axes.flat, names, strict=False):
        x = observed[name].values
        replicated = predicted[name].transpose("chain", "draw", ...).values.reshape(-1, x.size)
        some = np.linspace(0, len(replicated), min(len(replicated), REPLICATED), endpoint=False).astype(int)
        lines = [_steps(each) for each in replicated[some]]
        ax.add_collection(LineCollection(lines, colors=look.colour, alpha=0.25, linewidths=0.7))
        ax.plot(*_steps(x).T, color=style.INK, linewidth=1.8)
        low, high = float(np.nanmin(x)), float(np.nanmax(x))
        ax.set(xlabel=style.shortened(str(name), 24), yticks=[0, 0.5, 1],
               xlim=(low - 0.4 * (high - low), high + 0.4 * (high - low)))  # fmt: skip
        ax.locator_params(axis="x", nbins=4)
        ax.tick_params(axis="y", length=0)
        ax.spines["left"].set_visible(False)
    for ax in axes[:, 0]:
        ax.set_ylabel("ECDF")
    style.blank(axes.flat[len(names) :])
    figure.suptitle(look.label, x=0.01, ha="left", weight="bold", size=10)
    return figure


def _steps(x: np.ndarray) -> np.ndarray:
    """Return the corners (2 N, 2) of the empirical distribution function of points, of those that are known."""
    x = np.sort(x[~np.isnan(x)])
    shares = np.linspace(0, 1, len(x) + 1)
    return np.stack([np.repeat(x, 2), np.repeat(shares, 2)[1:-1]], axis=1)
