"""A linear dynamical system on the page: what it says of the series in time, and whether its innovations look like noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from mixtures.datasets.dataset import counted
from reports.metrics.ahead import LIMIT
from reports.page.blocks import Cell, Facts, Figure, Notice, Section, Table, image
from reports.page.cells import error_cell, name_cell
from reports.page.numbers import DASH, fixed, number
from reports.page.scores import leave_future_out
from reports.page.states import times
from reports.page.words import listing, literal, symbols
from reports.validation.identified import DRAWS

if TYPE_CHECKING:
    from reports.page.validation_view import ValidationView

FEATURES = 4
"""Features that are drawn in time."""

CERTAIN = 1.96
"""Of independent innovations, 95% of autocorrelations lie within so many over the root of their number."""

SHOWN = 400
"""Draws of which eigenvalues are drawn."""


def dynamics(view: ValidationView) -> Section | None:
    """The signal and its forecast by every method, the eigenvalues of a latent system, and the innovations."""
    facts = view.manifest.get("dynamics")
    series = {m: tree["series"].to_dataset() for m, tree in view.trees.items() if "series" in tree.children}
    if facts is None or not series:
        return None
    base = view.reference if view.reference in series else next(iter(series))
    assert base is not None
    section = Section(
        "dynamics",
        "The system in time",
        "What the model says of the series itself. None of it depends on the coordinates that latent states happen to have.",
    )
    section.blocks += [model(facts), *graph(facts), signal_figure(view, series, base), signal_table(view, series, base)]
    if facts["latent"]:
        section.blocks.append(eigenvalue_figure(view))
    section.blocks += [innovation_figure(view, series), *prediction(view)]
    return section


def model(facts: dict[str, Any]) -> Facts:
    """Return what model it is, and what of it is free."""
    lengths = facts["lengths"]
    rows = f"{sum(lengths)} in {counted(len(lengths), 'sequence')}" if len(lengths) > 1 else str(sum(lengths))
    free = str(facts["free"])
    if facts["identified"] != facts["free"]:
        free += f", of which the likelihood tells {facts['identified']} apart: coordinates of the states are free"
    return Facts(
        [
            ("Linear dynamical system", literal(facts["name"])),
            ("Equations", literal("; ".join(facts["equations"]))),
            *([("Matrices, ? free", literal("; ".join(facts["matrices"])))] if facts.get("matrices") else []),
            *(("Prior", literal(symbols(text))) for text in facts.get("priors", ())),
            ("States and features", f"{facts['states']} and {len(facts['features'])}"),
            ("Rows", rows),
            ("Missing values", str(facts["missing"])),
            ("Free numbers of the model", free),
        ]
    )


def graph(facts: dict[str, Any]) -> list[Figure]:
    """Return what depends on what, where the results say what of the model is free."""
    from reports.plots.dynamics import plot_graph

    unknown: dict[str, bool] = facts.get("unknown", {})
    if not unknown:
        return []
    free, known = ([letter for letter, own in unknown.items() if own is which] for which in (True, False))
    said = f"Estimated: {listing(free)}" + (f"; known: {listing(known)}." if known else ".")
    without = "" if "m0" in unknown else " The start z_1 has no parameters of its own."
    return [
        Figure(
            "Graph of the model: states z in a chain, each row x seen through its state. Shaded: observed. In a circle: "
            f"estimated; without one: known.{without}",
            [image(plot_graph(unknown), "")],
            alt=f"Graph of the model. {said}",
            slug="graph",
        )
    ]


def signal_figure(view: ValidationView, series: dict[str, xr.Dataset], base: str) -> Figure:
    """Return the rows of the first sequence, the smoothed signal and the forecast."""
    from reports.plots.dynamics import plot_signal

    lengths, features = view.manifest["dynamics"]["lengths"], view.manifest["dynamics"]["features"][:FEATURES]
    first = slice(0, lengths[0])
    own = {}
    for method, found in series.items():
        kept = found.isel(obs=first).sel(feature=features)
        own[method] = kept.isel(sequence=0) if "sequence" in kept.sizes else kept
    x = view.data["x"].isel(obs=first).sel(feature=features)
    time, xlabel = times(view.data["index"].values, len(lengths))
    several = f" Of {len(lengths)} sequences the first is drawn." if len(lengths) > 1 else ""
    some = f" Drawn are the first {len(features)} features." if len(features) < len(view.data["feature"]) else ""
    ahead = (
        " Right of the upright line, the forecast: median, and where 50% and 95% of the rows to come should lie."
        if "forecast" in series[base]
        else ""
    )
    role = ", the reference" if base == view.reference else ""
    return Figure(
        f"Dots: the rows. Lines: the mean of the signal C z given all rows, by each method. The band holds 95% of the signal "
        f"by {view.label(base)}{role}, normal approximation.{ahead} Where methods agree, the lines lie on each other."
        f"{several}{some}",
        [image(plot_signal(x, time[first], own, base, xlabel), "", raster=sum(lengths) > 500)],
        alt=f"Series, smoothed signal and forecast. {agreement_words(view, series, base)}",
        slug="signal",
    )


def apart(own: xr.Dataset, truth: xr.Dataset) -> dict[str, float]:
    """Return how far signals and forecasts of a method are from those of another.

    ``shift`` is the largest difference of the means of C z in sds of the other, ``low`` and ``high`` the smallest and largest
    ratio of sds, and ``forecast`` the largest difference of the forecasts' medians over a quarter of the width of 95%.
    """
    shift = np.abs(own["signal"] - truth["signal"]) / truth["signal_sd"]
    ratio = own["signal_sd"] / truth["signal_sd"]
    found = {"shift": float(shift.max()), "low": float(ratio.min()), "high": float(ratio.max())}
    if "forecast" in own and "forecast" in truth:
        width = (truth["forecast"].isel(quantile=-1) - truth["forecast"].isel(quantile=0)) / 4
        gap = np.abs(own["forecast"].sel(quantile=0.5) - truth["forecast"].sel(quantile=0.5)) / width
        found["forecast"] = float(gap.max())
    return found


def agreement_words(view: ValidationView, series: dict[str, xr.Dataset], base: str) -> str:
    """Return how far the smoothed signal of each method is from that of the base, at most."""
    said = [f"{view.label(m)} {fixed(apart(own, series[base])['shift'], 2)}" for m, own in series.items() if m != base]
    if not said:
        return ""
    return f"Largest difference of the smoothed signal from {view.label(base)}'s, in its sds: {listing(said)}."


def signal_table(view: ValidationView, series: dict[str, xr.Dataset], base: str) -> Table:
    """Return how far signal and forecast of each method are from those of the base, and what the innovations say."""
    rows = []
    for method, own in series.items():
        cells = [name_cell(view, method)]
        if method == base:
            cells += [Cell(DASH)] * 3
        else:
            gaps = apart(own, series[base])
            ahead = gaps.get("forecast")
            cells += [
                Cell(fixed(gaps["shift"], 2), gaps["shift"]),
                Cell(f"{fixed(gaps['low'], 2)} to {fixed(gaps['high'], 2)}"),
                Cell(DASH) if ahead is None else Cell(fixed(ahead, 2), ahead),
            ]
        p = float(min(portmanteau(own).values()))
        cells.append(Cell(number(p, 2), p, tone="bad" if p < 0.01 else ""))
        rows.append(cells)
    caption = (
        f"Signal and forecast against {view.label(base)}: the largest difference of the smoothed means in its sds, the range "
        f"of the ratios of their sds, and the largest difference of the forecasts' medians in sds of its forecast; by {DRAWS} "
        "draws of a posterior. A point estimate leaves the uncertainty of the parameters out, so that its sds are too small. "
        f"{_singular(view, series)}Last, the p-value of Ljung and Box's test that standardised innovations are uncorrelated, "
        "of the worst feature"
    )
    head = ["method", "shift of the signal", "ratio of its sds", "shift of the forecast", "p, innovations uncorrelated"]
    return Table(caption, head, rows, slug="signal")


def _singular(view: ValidationView, series: dict[str, xr.Dataset]) -> str:
    """What EM does to a free start of one sequence."""
    facts = view.manifest["dynamics"]
    if "em" not in series or len(facts["lengths"]) > 1 or not facts.get("unknown", {}).get("P0"):
        return ""
    return "EM estimates the free variance P0 of a single first state as zero, and with it the sd of the first rows. "


def prediction(view: ValidationView) -> list[Table | Notice]:
    """Return whether methods give the next row the same density, and how well they predict every row from those before it."""
    if not view.has("next_density_tv", "lfo_log_density"):
        return []
    base, rows = view.reference, []
    halves = view.value(base, "next_density_halves") if base else math.nan
    for method in view.trees:
        gap, score = view.value(method, "next_density_tv"), view.value(method, "lfo_log_density")
        shown = halves if method == base else gap
        rows.append(
            [
                name_cell(view, method),
                Cell(fixed(shown, 3), shown) if math.isfinite(shown) else Cell(DASH),
                Cell("reference" if method == base else density_word(gap, halves) if math.isfinite(gap) else DASH),
                error_cell(score, view.se(method, "lfo_log_density")),
            ]
        )
    named = view.label(base) if base else ""
    caption = (
        f"Prediction. Total variation between each method's density of the next row and that of {named}, "
        f"the largest of all features; for {named} itself that of two halves of its draws. At {LIMIT} the probabilities of no "
        f"event differ by more than {LIMIT}. Last, the leave-future-out score ± standard error, in nats a row"
        if base
        else "Prediction: the leave-future-out score ± standard error, in nats a row"
    )
    head = ["method", "total variation, next row", "density of the next row", "leave-future-out"]
    return [Table(caption, head, rows, slug="next-row"), *leave_future_out(view)]


def density_word(gap: float, halves: float) -> str:
    """Return whether two densities of the next row agree, as far as Monte Carlo error lets one tell."""
    if gap <= LIMIT:
        return "agrees"
    return "differs" if gap - halves > LIMIT else "cannot tell"


def portmanteau(own: xr.Dataset) -> dict[str, float]:
    """Return by feature the p-value of Ljung & Box (1978, *Biometrika* 65:297-303) for the autocorrelations of innovations."""
    from scipy.stats import chi2

    found = {}
    for name in own["feature"].values:
        r = own["autocorrelation"].sel(feature=name).values
        r = r[np.isfinite(r)]
        n = int(np.isfinite(own["innovation"].sel(feature=name)).sum())
        statistic = n * (n + 2) * (r**2 / (n - np.arange(1, len(r) + 1))).sum()
        found[str(name)] = float(chi2.sf(statistic, len(r)))
    return found


def eigenvalue_figure(view: ValidationView) -> Figure:
    """Return the eigenvalues of the transition by every method."""
    from reports.plots.dynamics import plot_eigenvalues

    found = {}
    for method, tree in view.trees.items():
        posterior = tree["posterior"].to_dataset()
        size = posterior["eigenvalue modulus"].values
        angle = posterior["eigenvalue angle"].values if "eigenvalue angle" in posterior else np.zeros_like(size)
        values = (size * np.exp(1j * angle)).reshape(-1, size.shape[-1])
        found[method] = values[:: max(1, len(values) // SHOWN)]
    inside = [f"{view.label(m)} {number(float(np.abs(v).max(1).mean()), 3)}" for m, v in found.items()]
    return Figure(
        "Eigenvalues of the transition A in the upper half of the complex plane, one panel a method: distance from zero is how "
        "much of a movement is left after a step, the angle how fast it turns. On the curve a movement never dies down; beyond "
        "it, the system explodes. Of a pair of conjugates the upper one is drawn.",
        [image(plot_eigenvalues(found), "", raster=True)],
        alt=f"Eigenvalues of the transition. Mean of the largest modulus: {listing(inside)}.",
        slug="eigenvalues",
    )


def innovation_figure(view: ValidationView, series: dict[str, xr.Dataset]) -> Figure:
    """Return the autocorrelations of standardised innovations."""
    from reports.plots.dynamics import plot_autocorrelations

    features = view.manifest["dynamics"]["features"][:FEATURES]
    n = int(np.isfinite(next(iter(series.values()))["innovation"].values).sum(0).min())
    limit = CERTAIN / np.sqrt(max(n, 1))
    own = {m: found[["autocorrelation"]].sel(feature=features) for m, found in series.items()}
    beyond = [
        f"{view.label(m)} {int((np.abs(found['autocorrelation']) > limit).sum())} of {found['autocorrelation'].size}"
        for m, found in own.items()
    ]
    return Figure(
        "Autocorrelations of the standardised innovations, the errors of one-step-ahead forecasts, by lag, means over draws. "
        f"If the model is right, about 95% of them lie in the grey band (± {fixed(limit, 2)}). What stands out by all methods "
        "alike is a fault of the model, not of a method.",
        [image(plot_autocorrelations(own, limit), "")],
        alt=f"Autocorrelations of innovations. Beyond the band: {listing(beyond)}.",
        slug="innovations",
    )
