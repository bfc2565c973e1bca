"""Posterior marginals of the methods laid over each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from reports.plots import style

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


def plot_marginals(
    trees: Mapping[str, xr.DataTree],
    points: Mapping[str, Mapping[str, float]],
    frames: Mapping[str, tuple[float, float]],
) -> Figure:
    """Draw the kernel density of every scalar variable of `posterior`, one line a method, with ArviZ.

    A method in `points` (method -> variable -> value) has no density: its value is a dotted upright line. `frames` ends
    the axis of each variable.
    """
    names = [str(name) for name in next(iter(trees.values()))["posterior"].data_vars]
    columns = style.columns(len(names))
    rows = -(-len(names) // columns)
    titles = {name: style.wrapped(style.shortened(name, 58), 30) for name in names}
    lines = max(title.count("\n") for title in titles.values())
    with style.arviz_drawing() as az:
        collection = az.plot_dist(
            {style.look(m).label: tree for m, tree in trees.items()},
            kind="kde",
            col_wrap=columns,
            aes={"color": ["model"]},
            color=[style.look(m).colour for m in trees],
            visuals={
                "credible_interval": False,
                "point_estimate": False,
                "point_estimate_text": False,
                "title": {"size": 9.5},
            },
            figure_kwargs={"figsize": (style.WIDTH, 0.5 + (1.55 + 0.17 * lines) * rows)},
        )
        figure = style.of_collection(collection)
        for ax, name in zip(figure.axes, names, strict=False):
            for line, method in zip(ax.lines, trees, strict=False):
                line.set_linestyle(style.look(method).line)
            for method, values in points.items():
                ax.axvline(values[name], color=style.look(method).colour, linestyle=style.look(method).line)
            ax.set(title=titles[name], xlabel="value", yticks=[], xlim=frames[name])
            ax.locator_params(axis="x", nbins=4)
        for ax in figure.axes[::columns]:
            ax.set_ylabel("density")
        style.legend(figure, [*trees, *points])
    return figure
