"""What each method cost in seconds, compiling and running apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@style.drawing()
def plot_cost(table: pd.DataFrame) -> Figure:
    """Draw `compile` and `run` seconds, indexed by method, as dots on a logarithmic axis."""
    figure, axes = style.panels(1, 1, height=1.1 + 0.36 * len(table), width=6.5)
    ax = axes[0, 0]
    for y, (method, row) in enumerate(table.iterrows()):
        look = style.look(str(method))
        ax.plot(row["run"], y, "o", color=look.colour, markersize=7, clip_on=False)
        if row["compile"] > 0:
            ring = {"fillstyle": "none", "markeredgewidth": 1.5, "clip_on": False}
            ax.plot(row["compile"], y, "o", color=look.colour, markersize=11, **ring)
    ax.plot([], [], "o", color=style.MUTED, markersize=7, label="run")
    ax.plot([], [], "o", color=style.MUTED, markersize=11, fillstyle="none", markeredgewidth=1.5, label="compile")
    ax.set(xscale="log", xlabel="seconds (logarithmic)", ylim=(len(table) - 0.5, -0.5), yticks=range(len(table)))
    ax.set_yticklabels([style.look(str(m)).label for m in table.index])
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x")
    shown = table.to_numpy()[table.to_numpy() > 0]
    ax.set_xlim(10 ** np.floor(np.log10(shown.min())), 10 ** np.ceil(np.log10(1.01 * shown.max())))
    ax.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    ax.xaxis.set_minor_formatter("")
    figure.legend(loc="outside upper left", ncols=2)
    return figure
