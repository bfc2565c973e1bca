"""Posterior predictive check of one method, feature by feature."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def plot_predictive(method: str, tree: xr.DataTree) -> Figure:
    """Draw distribution functions of replicated data sets under the observed one, with ArviZ.

    Unlike kernel densities they have no edge effects and need no bandwidth.

    Parameters
    ----------
    tree
        `posterior_predictive` and `observed_data`, each with one variable a feature, dims (chain, draw, obs) and (obs,).
    """
    look = style.look(method)
    names = list(tree["observed_data"].data_vars)
    columns = style.columns(len(names))
    rows = -(-len(names) // columns)
    width = style.HALF if columns < 3 else style.WIDTH
    with style.arviz_drawing() as az:
        collection = az.plot_ppc_dist(
            tree,
            kind="ecdf",
            num_samples=40,
            col_wrap=columns,
            visuals={
                "predictive_dist": {"color": look.colour, "alpha": 0.25, "width": 0.7},
                "observed_dist": {"color": style.INK, "width": 1.8},
                "title": {"size": 9.5},
            },
            figure_kwargs={"figsize": (width, 0.6 + 1.6 * rows)},
        )
        figure = style.of_collection(collection)
        figure.suptitle(look.label, x=0.01, ha="left", weight="bold", size=10)
        for ax, name in zip(figure.axes, names, strict=False):
            x = tree["observed_data"][name]
            low, high = float(x.min()), float(x.max())
            ax.set(title="", xlabel=style.shortened(str(name), 24), yticks=[0, 0.5, 1],
                   xlim=(low - 0.4 * (high - low), high + 0.4 * (high - low)))  # fmt: skip
            ax.locator_params(axis="x", nbins=4)
        for ax in figure.axes[::columns]:
            ax.set_ylabel("ECDF")
    return figure
