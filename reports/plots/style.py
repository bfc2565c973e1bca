"""The one visual style of every figure: a colour for each method, a palette for clusters, sizes and fonts.

A method keeps its colour, marker and line in all figures. Clusters and chains have their own palettes, so that a colour never
means two things. Both are told apart by readers who do not see all colours.
"""

from __future__ import annotations

import textwrap
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 9.0
"""Width of a full figure in inches; `HALF` stands two abreast."""
HALF = 4.5

INK, MUTED, RULE, ALARM = "#1f2328", "#5b636d", "#d5d9de", "#d1242f"


class Look(NamedTuple):
    """How a method is drawn everywhere."""

    label: str
    colour: str
    marker: str
    line: Any


METHODS = {
    "em": Look("EM", "#d98200", "D", (0, (1, 1))),
    "map": Look("MAP-EM", "#8a6d1f", "d", (0, (1, 1.5))),
    "cavi": Look("CAVI", "#0072b2", "o", (0, (5, 1.5))),
    "cavi-plugin": Look("CAVI plug-in", "#56b4e9", "o", (0, (2, 1))),
    "advi": Look("ADVI", "#c2185b", "^", (0, (4, 1, 1, 1))),
    "advi-fullrank": Look("ADVI full rank", "#7b4fa6", "v", (0, (4, 1, 1, 1, 1, 1))),
    "gibbs": Look("Gibbs", "#00805a", "P", (0, (8, 2))),
    "nuts": Look("NUTS", "#26292e", "s", "-"),
    "laplace": Look("Laplace", "#2a8c9c", "<", (0, (3, 1, 1, 1))),
    "pathfinder": Look("Pathfinder", "#9a7500", ">", (0, (6, 1, 1, 1))),
    "nuts-2": Look("NUTS, second", "#66707c", "H", (0, (6, 1.5))),
    "smc": Look("SMC", "#7a3e1d", "p", (0, (2, 1))),
    "exact": Look("Exact", "#6f7780", "X", "-"),
    "single": Look("one cluster", "#8a8f98", "_", (0, (1, 2))),
    "oracle": Look("oracle", "#a3abb5", "*", "-"),
}
SPARE = ("#6a9f00", "#9e6fc9", "#a65628", "#e377c2")
SPARE_MARKERS = ("h", "p", "<", ">", "H", "8")

CLUSTERS = ("#44aa99", "#cc6677", "#332288", "#ccb04a", "#88ccee", "#882255", "#999933", "#117733")

CHAINS = ("#3a4fd8", "#e8442a", "#8fbf00", "#c837d0", "#00b3d6", "#5c5a00", "#ff8fb1", "#9c9cff")
"""Colours of a sampler's chains, none of them a method's or a cluster's."""

RC: dict[Any, Any] = {
    "figure.dpi": 100,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.5,
    "lines.markersize": 5,
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "mixtures",
}


def look(method: str) -> Look:
    """Return a method's label, colour, marker and line; those of `made_elsewhere` get spare ones in their order."""
    others = _made_elsewhere.get()
    if method in METHODS and method not in others:
        return METHODS[method]
    place = others.index(method) if method in others else zlib.crc32(method.encode())
    spare = SPARE[place % len(SPARE)], SPARE_MARKERS[place % len(SPARE_MARKERS)], (0, (3, 1 + place % 4))
    return Look(shortened(method, 16), *spare)


_made_elsewhere: ContextVar[tuple[str, ...]] = ContextVar("made elsewhere", default=())


@contextmanager
def made_elsewhere(names: Iterable[str]) -> Iterator[None]:
    """Call these methods by the names they were given, of which one may be that of a method of ours, and tell them apart."""
    before = _made_elsewhere.set(tuple(names))
    try:
        yield
    finally:
        _made_elsewhere.reset(before)


def cluster_colour(k: int) -> str:
    """Return the colour of cluster `k`; the palette starts again after eight."""
    return CLUSTERS[k % len(CLUSTERS)]


def chain_colour(chain: int) -> str:
    """Return the colour of a chain; the palette starts again after eight."""
    return CHAINS[chain % len(CHAINS)]


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the project's style and leave the caller's matplotlib settings as they were."""
    import matplotlib as mpl

    with mpl.rc_context(RC):
        yield


@contextmanager
def arviz_drawing() -> Iterator[Any]:
    """Give `arviz` set up for this style: 95% intervals, no windows, its figures closed at the end."""
    import arviz as az
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    backend = mpl.get_backend(auto_select=False)
    before = set(plt.get_fignums())
    settings: dict[Any, Any] = {"stats.ci_prob": 0.95, "plot.backend": "matplotlib", "plot.max_subplots": 400}
    with mpl.rc_context(RC), az.rc_context(settings):
        if backend and backend.lower() != "agg":
            plt.switch_backend("agg")
        try:
            yield az
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
            if backend and backend.lower() != "agg":
                plt.switch_backend(backend)


def panels(
    rows: int, cols: int, *, height: float = 2.3, width: float = WIDTH, **subplots: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `width` inches with (rows, cols) axes, each row `height` inches tall."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, rows * height))
    return figure, figure.subplots(rows, cols, squeeze=False, **subplots)


def dot(number: int) -> float:
    """Return the area of a mark, in square points, that leaves `number` of them to be told apart.

    >>> dot(14), dot(272), dot(2000)
    (26.0, 11.0, 7.0)
    """
    return 26.0 if number < 50 else 11.0 if number < 500 else 7.0


def columns(number: int) -> int:
    """Return how many of `number` small panels stand in a row."""
    return number if number in (1, 2, 4) else 3


def wrapped(name: str, width: int = 22) -> str:
    """Return a long name on several lines, for an axis that is shorter than it."""
    return textwrap.fill(name, width)


def shortened(name: str, width: int = 52) -> str:
    """Return a name with its middle left out where it is longer than `width`."""
    return name if len(name) <= width else f"{name[: width // 2 - 1]}…{name[-(width - width // 2) :]}"


def of_collection(collection: Any) -> Figure:
    """Return the matplotlib figure that an ArviZ plot collection holds."""
    figure = collection.get_viz("figure")
    return figure.item() if hasattr(figure, "item") else figure


def legend(figure: Figure, methods: Iterable[str], *, points: Iterable[str] = ()) -> None:
    """Name the methods above the figure: a line in the method's colour, or its marker where it is in `points`."""
    from matplotlib.lines import Line2D

    points = set(points)
    handles = [
        Line2D([], [], color=look(m).colour, marker=look(m).marker if m in points else "", label=look(m).label,
               linestyle="" if m in points else look(m).line, linewidth=2)
        for m in methods
    ]  # fmt: skip
    columns = legend_columns([handle.get_label() for handle in handles], figure.get_size_inches()[0])
    by_row = [handle for column in range(columns) for handle in handles[column::columns]]  # a legend fills its columns
    figure.legend(handles=by_row, loc="outside upper left", ncols=columns, handlelength=2.2)


def legend_columns(labels: Iterable[object], width: float) -> int:
    """Return in how many columns a legend of these labels fits into a figure of `width` inches."""
    names = [str(label) for label in labels]
    widest = 0.62 + 0.078 * max(map(len, names), default=0)
    together = sum(0.62 + 0.078 * len(name) for name in names)
    return len(names) if together <= width else max(1, int(width / widest))


def veil(number: int) -> float:
    """Return how opaque each of `number` bands is drawn, so that all of them over each other can be seen through."""
    return min(0.13, 0.45 / max(number, 1))


def blank(axes: Iterable[Axes]) -> None:
    """Hide axes that have nothing to show."""
    for ax in axes:
        ax.set_visible(False)
