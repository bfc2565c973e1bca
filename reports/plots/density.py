"""The fitted density over a histogram, for one feature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@style.drawing()
def plot_density(x: xr.DataArray, curves: Mapping[str, xr.Dataset]) -> Figure:
    """Draw data, density and components, one panel a method.

    Parameters
    ----------
    x
        Data (obs,), named after its feature.
    curves
        Method -> `density`, `low`, `high` (grid) and `parts` (cluster, grid): posterior mean, 95% band of the density,
        and the posterior mean of weight times component density. A point estimate has no band.
    """
    columns = len(curves) if len(curves) < 4 else 2 if len(curves) == 4 else 3
    rows = -(-len(curves) // columns)
    figure, axes = style.panels(rows, columns, height=2.7, sharex=True, sharey=True)
    for place, (ax, (method, curve)) in enumerate(zip(axes.flat, curves.items(), strict=False)):
        grid = curve["grid"]
        ax.hist(x, bins=min(60, max(12, int(2 * len(x) ** 0.5))), density=True, color="#e4e7eb", label="data")
        if "low" in curve:
            ax.fill_between(grid, curve["low"], curve["high"], color=style.look(method).colour, alpha=0.2, linewidth=0,
                            label="95% band")  # fmt: skip
        for k, part in enumerate(curve["parts"]):
            ax.plot(
                grid, part, color=style.cluster_colour(k), linewidth=1.2, linestyle=(0, (4, 1.5)), label=f"cluster {k}"
            )
        ax.plot(grid, curve["density"], color=style.look(method).colour, linewidth=1.8, label="density")
        ax.plot(x, 0 * x, "|", color=style.MUTED, markersize=6, alpha=0.5, clip_on=False)
        ax.set_title(style.look(method).label)
        if place + columns >= len(curves):
            ax.set_xlabel(str(x.name))
            ax.tick_params(labelbottom=True)
        if place % columns == 0:
            ax.set_ylabel("density")
        ax.locator_params(axis="x", nbins=6)
    style.blank(axes.flat[len(curves) :])
    handles, labels = axes.flat[len(curves) - 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=style.legend_columns(labels, style.WIDTH))
    return figure
