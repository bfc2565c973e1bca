"""Table cells: a value with its error, a duration, a share, a method marked with its colour."""

from __future__ import annotations

import math

from reports.page.blocks import Cell
from reports.page.numbers import DASH, fixed, khat, number, places, rhat, seconds, with_error
from reports.page.view import View

NO_ERROR = 5e-5
"""An error that four decimals do not show."""


def name_cell(view: View, method: str) -> Cell:
    """Return a method's cell, marked with its colour; the oracle has none."""
    return Cell(view.label(method), method=method) if method in view.methods else Cell(method)


def error_cell(x: float, se: float) -> Cell:
    """Return the cell of a value with its standard error."""
    return Cell(with_error(x, se), None if math.isnan(x) else x)


def hundredths(x: float, se: float) -> Cell:
    """Return a cell to the error where there is one, else to the hundredth; an error below `NO_ERROR` is not written."""
    if math.isnan(x):
        return Cell(DASH)
    return Cell(with_error(x, se) if se >= NO_ERROR else fixed(x, 4 if se > 0 else 2), x)


def interval_cell(median: float, low: float, high: float) -> Cell:
    """Return the cell of a median with its interval below, to two digits of the interval's width."""
    if not high > low:
        return Cell(number(median), None if math.isnan(median) else median)
    decimals = places(high - low)
    return Cell(fixed(median, decimals), median, note=f"{fixed(low, decimals)} to {fixed(high, decimals)}")


def whole(x: float) -> Cell:
    """Return the cell of a number without decimals, such as an effective sample size."""
    return Cell(DASH) if math.isnan(x) else Cell(fixed(x, 0), x)


def rhat_cell(x: float) -> Cell:
    """Return the cell of an R-hat."""
    return Cell(rhat(x), None if math.isnan(x) else x)


def time_cell(x: float | None) -> Cell:
    """Return the cell of a duration; without one, a dash."""
    return Cell(seconds(x), x)


def share(x: float | None) -> Cell:
    """Return a fraction's cell, as a percentage with one decimal, so that a column reads alike."""
    return Cell(DASH if x is None or math.isnan(x) else f"{fixed(100 * x, 1)}%", x)


def khat_cell(view: View, method: str) -> Cell:
    """Return the cell of a variational posterior's k-hat with its 90% interval over resamples of the ratios."""
    found, low, high = (view.value(method, metric, "all") for metric in ("khat", "khat_low", "khat_high"))
    if math.isnan(found):
        return Cell(DASH)
    return Cell(khat(found), found, note="" if math.isnan(low) else f"{khat(low)} to {khat(high)}")
