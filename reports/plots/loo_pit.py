"""LOO-PIT: is each point where the rest of the data says it should be?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from matplotlib.figure import Figure


def plot_loo_pit(method: str, tree: xr.DataTree, band: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Figure:
    """Draw the ECDF of the LOO-PIT values less that of uniform ones, with ArviZ, over the band of uniform ones.

    Parameters
    ----------
    tree
        Group `loo_pit` with one variable a feature, (obs,), values in [0, 1].
    band
        Values in [0, 1], and the lowest and highest ECDF there of as many uniform numbers, less the value.
    """
    look = style.look(method)
    names = list(tree["loo_pit"].data_vars)
    columns = style.columns(len(names))
    rows = -(-len(names) // columns)
    width = style.HALF if columns < 3 else style.WIDTH
    with style.arviz_drawing() as az:
        collection = az.plot_ecdf_pit(
            tree,
            group="loo_pit",
            sample_dims=["obs"],
            col_wrap=columns,
            visuals={
                "ecdf_lines": {"color": look.colour},
                "suspicious_points": {"color": style.ALARM},
                "p_value_text": {"size": 8.5},
                "title": {"size": 9.5},
            },
            figure_kwargs={"figsize": (width, 0.6 + 1.6 * rows), "sharex": True, "sharey": True},
        )
        figure = style.of_collection(collection)
        figure.suptitle(look.label, x=0.01, ha="left", weight="bold", size=10)
        for ax, name in zip(figure.axes, names, strict=False):
            ax.fill_between(*band, color=style.RULE, alpha=0.6, linewidth=0, zorder=0)
            ax.set(title=style.shortened(str(name), 24), xlabel="LOO-PIT", ylabel="")
            for text in ax.texts:
                text.set_text(text.get_text().split("(")[0].replace("p=0.00", "p < 0.01").replace("=", " = "))
        for ax in figure.axes[::columns]:
            ax.set_ylabel("ECDF − PIT")
    return figure
