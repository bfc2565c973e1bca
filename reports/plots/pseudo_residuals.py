"""Pseudo-residuals of one method: in time, against a normal distribution, and their autocorrelations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

LINES = (1.96, 2.58)
"""Quantiles that 95% and 99% of normal values lie within."""


@style.drawing()
def plot_pseudo_residuals(method: str, found: xr.Dataset, time: np.ndarray, xlabel: str) -> Figure:
    """Draw a row of three panels for each feature: the residuals in time, their quantiles, their autocorrelations.

    Parameters
    ----------
    found
        ``z`` (obs, feature), ``ordered`` and ``expected`` (rank, feature), rising residuals and the normal quantiles they are
        held against, ``acf`` (lag, feature), and ``band`` (feature), twice the standard error of an autocorrelation of zero.
    time, xlabel
        When each row is (obs), and what that is.
    """
    features, colour = [str(name) for name in found["feature"].values], style.look(method).colour
    figure, axes = style.panels(len(features), 3, height=2.2, width_ratios=[2, 1, 1.4])
    for row, name in zip(axes, features, strict=True):
        own = found.sel(feature=name)
        z = own["z"].values
        row[0].scatter(time, z, style.dot(len(z)), colour, linewidths=0)
        for line in LINES:
            row[0].axhline(line, color=style.MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
            row[0].axhline(-line, color=style.MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
        row[0].set_ylabel(style.wrapped(style.shortened(name, 24), 14))
        ends = [float(own["expected"].min()), float(own["expected"].max())]
        row[1].plot(ends, ends, color=style.MUTED, linewidth=0.8)
        row[1].scatter(own["expected"], own["ordered"], style.dot(len(z)), colour, linewidths=0)
        band = float(own["band"])
        row[2].axhspan(-band, band, color=style.RULE, alpha=0.6, linewidth=0)
        row[2].axhline(0, color=style.MUTED, linewidth=0.8)
        row[2].vlines(own["lag"], 0, own["acf"], color=colour, linewidth=2)
    for ax, title in zip(axes[0], ("in time", "against normal quantiles", "autocorrelation"), strict=True):
        ax.set_title(title)
    for ax, label in zip(axes[-1], (xlabel, "normal quantile", "lag"), strict=True):
        ax.set_xlabel(label)
    return figure
