"""Leave-one-out scores as differences from the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def plot_compare(table: pd.DataFrame) -> Figure:
    """Draw `elpd_diff` and its standard error `dse`, the best first, with ArviZ.

    Parameters
    ----------
    table
        Indexed by what each score is called, with a column `method` besides those of `arviz.compare`.
    """
    with style.arviz_drawing() as az:
        collection = az.plot_compare(
            table.drop(columns="method"),
            visuals={
                "title": False,
                "labels": {"size": 9.5},
                "ticklabels": {"size": 9.5},
                "error_bar": {"color": style.INK, "width": 1.4},
                "point_estimate": {"color": style.INK, "size": 36},
                "ref_line": {"color": style.MUTED},
            },
        )
        figure = style.of_collection(collection)
        figure.set_size_inches(style.HALF, 1.2 + 0.35 * len(table))
        ax = figure.axes[0]
        for tick, method in zip(ax.get_yticklabels(), table["method"], strict=True):
            tick.set_color(style.look(method).colour)
        ax.locator_params(axis="x", nbins=5)
        ax.set(title="LOO", xlabel="elpd, difference from the best (nats)", ylim=(0.5, len(table) + 0.5))
        ax.tick_params(axis="y", length=0)
    return figure
