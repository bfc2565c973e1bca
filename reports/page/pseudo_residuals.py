"""Pseudo-residuals of rows in the order of time: whether each row is as probable, given those before it, as the model says."""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.stats import norm

from reports.page.blocks import Cell, Figure, Table, image
from reports.page.cells import error_cell, name_cell
from reports.page.numbers import DASH, fixed
from reports.page.states import times
from reports.page.view import View

FEATURES = 6
"""Features that are drawn."""

LIMIT = 1.96
"""Standard errors beyond which an autocorrelation is counted."""


def pseudo_residuals(view: View) -> list[Figure | Table]:
    """Return the pseudo-residuals of the base, and their moments and autocorrelations by every method."""
    found = {m: tree["pseudo_residuals"].to_dataset() for m, tree in view.trees.items() if "pseudo_residuals" in tree}
    if not found:
        return []
    base = view.base if view.base in found else next(iter(found))
    return [figure(view, base, found[base]), table(view, found)]


def figure(view: View, method: str, found: xr.Dataset) -> Figure:
    """Return the residuals of one method in time, against normal quantiles, and their autocorrelations."""
    from reports.plots.pseudo_residuals import plot_pseudo_residuals

    found = found.isel(feature=slice(FEATURES))
    z = found["z"].transpose("obs", "feature").values
    n = (~np.isnan(z)).sum(0)
    ranks = (np.arange(1, len(z) + 1)[:, None] - 0.5) / n
    drawn = found.assign(
        ordered=(("rank", "feature"), np.sort(z, axis=0)),  # what is missing comes last
        expected=(("rank", "feature"), norm.ppf(np.where(ranks < 1, ranks, np.nan))),
        band=("feature", LIMIT / np.sqrt(n)),
    )
    outside = int((np.abs(found["acf"].values) > LIMIT / np.sqrt(n)).sum())
    counts = [str(name) for name in found["feature"].values if view.kinds[str(name)] == "poisson"]
    drawn_evenly = " A count's probability is drawn evenly between those of less and of no more." if counts else ""
    verb = "is" if outside < 2 else "are"
    seen = f"{outside or 'none'} of the {found['acf'].size} autocorrelations {verb} outside it"
    time, xlabel = times(view.data["index"].values, len(view.lengths))
    return Figure(
        f"Forecast [[pseudo-residual|pseudo-residuals]] of {view.label(method)}: the normal quantile of the probability, given "
        f"the rows before, of a value up to the row's own.{drawn_evenly} Where the model is right they are "
        "standard normal and independent of each other: 95% and 99% of them lie within the dashed lines, the points in the "
        f"middle lie on the line, and each autocorrelation stays in the grey band with probability 95%. Here {seen}.",
        [image(plot_pseudo_residuals(method, drawn, time, xlabel), "", raster=len(z) > 500)],
        alt=f"Pseudo-residuals of {view.label(method)} in time, against normal quantiles, and their autocorrelations; {seen}.",
        slug="pseudo-residuals",
    )


def table(view: View, found: dict[str, xr.Dataset]) -> Table:
    """Return mean and sd of the residuals, and the largest autocorrelation, by feature and method."""
    rows = []
    for name in (str(name) for name in next(iter(found.values()))["feature"].values):
        for method, of in found.items():
            own = of.sel(feature=name)
            acf, n = own["acf"].values, int(own["z"].notnull().sum())
            lag = int(np.argmax(np.abs(acf))) if len(acf) else None
            rows.append(
                [
                    Cell(name),
                    name_cell(view, method),
                    *(
                        error_cell(view.value(method, f"pseudo_{m}", name), view.se(method, f"pseudo_{m}", name))
                        for m in ("mean", "sd")
                    ),
                    Cell(DASH)
                    if lag is None
                    else Cell(fixed(float(acf[lag]), 2), float(acf[lag]), note=f"lag {int(own['lag'][lag])}"),
                    Cell(f"{int((np.abs(acf) > LIMIT / np.sqrt(n)).sum())} of {len(acf)}"),
                ]
            )
    return Table(
        "Pseudo-residuals by method: mean and sd, which the model says are 0 and 1, ± the standard error that they have where "
        "it is right; the autocorrelation furthest from zero; and how many lags lie outside the 95% band, of which one in "
        "twenty is expected to. Estimates from the same rows make them look a little better than they are",
        ["feature", "method", "mean", "sd", "largest autocorrelation", "lags outside"],
        rows,
        fold=len(rows) > 16,
        slug="pseudo-residuals",
    )
