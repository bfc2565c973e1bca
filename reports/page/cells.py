"""Table cells: a value with its error, a duration, a share, a method marked with its colour."""

from __future__ import annotations

import math

import pandas as pd

from reports.page.blocks import Cell
from reports.page.numbers import DASH, fixed, number, percent, seconds, with_error
from reports.page.view import View


def name_cell(view: View, method: str) -> Cell:
    """Return a method's cell, marked with its colour; the oracle has none."""
    return Cell(view.label(method), method=method) if method in view.methods else Cell(method)


def error_cell(x: float, se: float) -> Cell:
    """Return the cell of a value with its standard error."""
    return Cell(with_error(x, se), None if math.isnan(x) else x)


def hundredths(x: float, se: float) -> Cell:
    """Return a cell to the error where there is one, else to the hundredth."""
    if math.isnan(x):
        return Cell(DASH)
    return Cell(with_error(x, se) if se > 0 else fixed(x, 2), x)


def time_cell(x: float | None) -> Cell:
    """Return the cell of a duration; without one, a dash."""
    return Cell(seconds(x), x)


def share(x: float | None) -> Cell:
    """Return a fraction's cell, as a percentage."""
    return Cell(percent(x), x)


def worst(values: pd.Series | None, target: str | None) -> Cell:
    """Return the cell of a method's worst value with the parameter it belongs to."""
    if values is None or target is None:
        return Cell(DASH)
    return Cell(number(values[target]), float(values[target]), note=f"at {target}")
