"""The states of a hidden Markov model in time: which rows are in each, how the chain moves, how long it stays."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from mixtures.datasets.dataset import counted
from mixtures.rows.sequences import Sequences
from reports.metrics.chain import dwell_times
from reports.metrics.summary import INTERVAL
from reports.page import quantities
from reports.page.blocks import Cell, Figure, Notice, Section, Table, image
from reports.page.cells import error_cell, interval_cell, name_cell, share
from reports.page.numbers import DASH, fixed, number
from reports.page.trust import no_fit
from reports.page.view import View
from reports.page.words import listing, literal

LONGEST = 2000
"""Rows of a series that are drawn, from the first."""

FEATURES = 3
"""Features that are drawn in time, those that part the states best."""

STEPS = 60
"""Steps up to which lengths of visits are drawn."""


def states(view: View) -> Section | None:
    """Transitions, long-run shares and dwell times of the states; nothing where rows have no order."""
    if not view.ordered:
        return None
    section = Section(
        "states",
        "States in time",
        "How the series moves between its states, in which it is in the long run, and how long it stays in each: "
        "[[hidden-markov|the chain]] as every method sees it, and as the data show it.",
    )
    if not view.trees:
        return no_fit(section)
    if view.n_clusters == 1:
        section.blocks.append(
            Notice("With one state there are no transitions: the rows are independent of each other.")
        )
        return section
    section.blocks += [transitions_figure(view), chain_table(view), dwell_figure(view)]
    return section


def lengths_words(view: View) -> str:
    """Return in how many sequences the points are, and how long these are."""
    if not view.ordered:
        return ""
    if len(view.lengths) == 1:
        return " in one sequence"
    low, high = min(view.lengths), max(view.lengths)
    return f" in {len(view.lengths)} sequences of {f'{low} each' if low == high else f'{low} to {high}'}"


def overview(view: View) -> Figure:
    """Return the series in the colours of the states, and the states' probabilities by every method."""
    from reports.plots.series import plot_series

    features = shown_features(view)
    n = min(LONGEST, view.data.sizes["obs"])
    base = view.trees[view.base]["clusters"].to_dataset()["responsibilities"].isel(obs=slice(n))
    time, xlabel = times(view.data["index"].values, len(view.lengths))
    edges = view.edges[:-1]
    series = xr.Dataset(
        {
            "x": view.data["x"].sel(feature=features).isel(obs=slice(n)),
            "time": ("obs", time[:n]),
            "best": base.argmax("cluster"),
            "certain": base.max("cluster"),
            "edge": ("sequence", edges[edges < n]),
        }
    )
    strips = {m: tree["clusters"].to_dataset()["responsibilities"].isel(obs=slice(n)) for m, tree in view.trees.items()}
    levels = view.manifest["model"]["levels"]
    d, total = view.data.sizes["feature"], view.data.sizes["obs"]
    some = (
        f" Shown are {literal(listing(features))}, of {d} features those that part the states best."
        if len(features) < d
        else ""
    )
    first = f" Of {total} rows the first {n} are drawn." if n < total else ""
    several = " Upright lines: where a sequence begins." if len(view.lengths) > 1 else ""
    role = ", the reference" if view.base == view.reference else ""
    drawing = plot_series(series, strips, {f: levels[f] for f in features if f in levels}, xlabel)
    return Figure(
        f"The series, each row in the colour of its most probable state by {view.label(view.base)}{role}, fainter where that "
        "is less certain. Below, one strip a method: the [[smoothed|smoothed probabilities]] of the states, stacked. Where "
        f"methods agree, the strips look alike.{several}{some}{first}",
        [image(drawing, "", raster=True)],
        alt=f"The series in the colours of its states. {agreement_words(view)}",
        slug="answer",
    )


def agreement_words(view: View) -> str:
    """Return how many rows each method puts in each state, and how many of them elsewhere than the base does."""
    best = {m: tree["clusters"]["responsibilities"].argmax("cluster").values for m, tree in view.trees.items()}
    said = []
    for method, own in best.items():
        sizes = np.bincount(own, minlength=view.n_clusters)
        words = f"{view.label(method)}: {' + '.join(map(str, sizes))} rows"
        if method != view.base:
            words += f", {int((own != best[view.base]).sum())} in another state than by {view.label(view.base)}"
        said.append(words)
    return f"Most probable states by method. {'; '.join(said)}."


def shown_features(view: View) -> list[str]:
    """Return the features that part the states best, in the data's order."""
    from reports.metrics.parameters import separation

    apart = separation(view.trees[view.base]["posterior"].to_dataset())
    best = sorted(apart, key=lambda feature: -apart[feature])[:FEATURES]
    return [feature for feature in view.kinds if feature in best]


def times(names: np.ndarray, sequences: int) -> tuple[np.ndarray, str]:
    """Return the time of every row, and what it is: in one sequence the rows' names, if they are numbers in equal steps."""
    rows = np.arange(1.0, len(names) + 1)
    try:
        values = np.array([float(name) for name in names])
    except ValueError:
        return rows, "row"
    steps = np.diff(values)
    if sequences == 1 and len(steps) and (steps > 0).all() and np.ptp(steps) < 1e-9 * abs(steps[0]):
        return values, "row" if np.array_equal(values, rows) else "time"
    return rows, "row"


def transitions_figure(view: View) -> Figure:
    """Return the transition matrices of all methods, with their intervals."""
    from reports.plots.transitions import plot_transitions

    matrices = {m: quantiles(tree["posterior"].to_dataset()["transitions"]) for m, tree in view.trees.items()}
    stay = []
    for method, matrix in matrices.items():
        own = np.diagonal(matrix.sel(quantile=0.5).transpose("cluster", "cluster_").values)
        stay.append(f"{view.label(method)} {', '.join(fixed(float(p), 2) for p in own)}")
    return Figure(
        "Transition probabilities, from the state of a row to the state of a column: medians, with the central 90% interval "
        "below each. On the diagonal is the probability to stay. A point estimate has no intervals.",
        [image(plot_transitions(matrices), "")],
        alt=f"Transition matrices by method. Median probabilities to stay, state by state: {'; '.join(stay)}.",
        slug="transitions",
    )


def quantiles(values: xr.DataArray) -> xr.DataArray:
    """Return median and central 90% interval over draws (quantile, ...); a single draw has no interval."""
    found = values.quantile([INTERVAL[0], 0.5, INTERVAL[1]], ("chain", "draw"))
    single = values.sizes["chain"] * values.sizes["draw"] == 1
    return found.where(found["quantile"] == 0.5) if single else found


def chain_table(view: View) -> Table:
    """Return the long-run shares and the dwell times of the states, by the parameters and on the most probable path."""
    rows = []
    found = {m: tree["chain"].to_dataset() for m, tree in view.trees.items()}
    shares = {m: quantiles(of["stationary"]) for m, of in found.items()}
    stay = {m: quantiles(1 - 1 / of["dwell"]) for m, of in found.items()}
    for k in range(view.n_clusters):
        for method in view.trees:
            target = f"cluster {k}"
            visits = view.value(method, "visits", target)
            rows.append(
                [
                    Cell(f"state {k}"),
                    name_cell(view, method),
                    _interval(shares[method].isel(cluster=k)),
                    share(view.value(method, "class_share", target)),
                    _dwell(stay[method].isel(cluster=k)),
                    Cell(DASH if math.isnan(visits) else fixed(visits, 0), visits),
                    error_cell(view.value(method, "dwell_observed", target), view.se(method, "dwell_observed", target)),
                ]
            )
    head = [
        "state",
        "method",
        "share in the long run",
        "share of these rows",
        "expected dwell time",
        "visits",
        "their mean length",
    ]
    return Table(
        "The states of the chain. From the transitions: the [[stationary|stationary distribution]], to be held against the "
        "share of these rows by smoothed probabilities, and the [[dwell-time|expected dwell time]] in steps, medians with the "
        "central 90% interval below. On the [[viterbi|most probable path]]: how many visits there are to a state, and their "
        "mean length ± standard error. The path leaves out short visits, so that its visits tend to be longer than expected; "
        "those at the ends of a sequence are cut short",
        head,
        rows,
        slug="chain",
    )


def _interval(of: xr.DataArray) -> Cell:
    low, median, high = of.transpose("quantile").values
    return interval_cell(float(median), float(low), float(high))


def _dwell(stay: xr.DataArray) -> Cell:
    """The expected dwell time of a state that is stayed in with these probabilities (quantile)."""
    low, median, high = stay.transpose("quantile").values
    if median == 1:
        return Cell("never left", math.inf)
    steps = [math.inf if p == 1 else 1 / (1 - p) for p in (median, low, high)]
    if math.isinf(steps[2]):
        return Cell(number(steps[0]), steps[0], note=f"{number(steps[1])} to ∞")
    return interval_cell(*steps)


def dwell_figure(view: View) -> Figure:
    """Return the lengths of visits on the most probable path of the base beside those that its transitions say."""
    from reports.plots.dwell import plot_dwell

    base = view.base
    path = view.trees[base]["path"].to_dataset()["states"].values
    visits = dwell_times(path, Sequences(np.zeros((len(path), 1)), view.lengths).edges)
    observed = {k: np.array([length for state, length in visits if state == k]) for k in range(view.n_clusters)}
    longest = max(length for _, length in visits)
    steps = np.arange(1, min(STEPS, longest + 2) + 1)
    A = quantities.thinned(view.trees[base]["posterior"].to_dataset())["transitions"].values
    stay = np.diagonal(A, axis1=-2, axis2=-1).reshape(-1, view.n_clusters)
    shares = stay[..., None] ** (steps - 1)  # (draw, cluster, steps)
    low, median, high = np.quantile(shares, [0.05, 0.5, 0.95], axis=0)
    if len(shares) == 1:
        low = high = np.full_like(median, np.nan)
    dims = ("cluster", "steps")
    expected = xr.Dataset({"low": (dims, low), "median": (dims, median), "high": (dims, high)}, coords={"steps": steps})
    means = [
        f"state {k}: {counted(len(own), 'visit')} of {number(float(own.mean()), 3)} steps on average"
        for k, own in observed.items()
        if len(own)
    ]
    return Figure(
        "How long visits to each state last: the share of at least so many steps on the most probable path of "
        f"{view.label(base)} (thick), and under its transitions, a geometric distribution (dashed, with the central 90% band "
        "of the posterior). A path that leaves the band from the second step on speaks against a chain that does not remember "
        "how long it has stayed; few visits make a coarse line.",
        [image(plot_dwell(observed, expected, base), "")],
        alt=f"Lengths of visits on the most probable path; {'; '.join(means)}.",
        slug="dwell",
    )
