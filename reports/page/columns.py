"""What the columns of the data are, and whether they can tell so many clusters apart."""

from __future__ import annotations

import numpy as np

from reports.page.blocks import Cell, Download, Notice, Table
from reports.page.numbers import number
from reports.page.view import View
from reports.page.words import literal

TAKEN = {
    "gaussian": "numbers (Gaussian)",
    "poisson": "counts (Poisson)",
    "categorical": "categories",
    "bernoulli": "two levels (binary)",
}
"""What a column of each kind was taken as."""

MOST_LEVELS = 6
"""Levels of a column that are shown."""

LARGEST = 100_000
"""Numbers in a table that the page holds to be downloaded; a larger one stands beside it alone."""


def columns(view: View) -> Table:
    """Return what every column was taken as, and what is in it."""
    levels = view.manifest["model"]["levels"]
    rows, gaps = [], bool(np.isnan(view.data["x"].values).any())
    for name, kind in view.kinds.items():
        column = view.data["x"].sel(feature=name).values
        rows.append(
            [
                Cell(literal(name)),
                Cell(TAKEN[kind]),
                Cell(_levels(column, levels[name]) if name in levels else _range(column)),
                *([Cell(str(missing := int(np.isnan(column).sum())), missing)] if gaps else []),
            ]
        )
    in_brackets = ". In brackets, the rows that have a level" if levels else ""
    whole = "" if gaps else ". No value is missing"
    return Table(
        f"Columns of the data and what they were taken as{in_brackets}{whole}",
        ["column", "taken as", "values", *(["missing"] if gaps else [])],
        rows,
        fold=len(rows) > 20,
        slug="columns",
    )


def _range(column: np.ndarray) -> str:
    return f"{number(float(np.nanmin(column)))} to {number(float(np.nanmax(column)))}"


def _levels(column: np.ndarray, levels: list[str]) -> str:
    """The levels with the rows that have each, the first of many."""
    count = np.bincount(column[~np.isnan(column)].astype(int), minlength=len(levels))
    said = [f"{level} ({n})" for level, n in zip(levels[:MOST_LEVELS], count, strict=False)]
    more = [f"{len(levels) - MOST_LEVELS} more"] if len(levels) > MOST_LEVELS else []
    return literal(", ".join([*said, *more]))


def identification(view: View) -> str | None:
    """Return why the data cannot tell the parameters of so many clusters, where every column has levels; else None.

    A table of C cells has C - 1 free shares, whatever the rows (Goodman 1974, *Biometrika* 61:215-231).
    """
    model = view.manifest["model"]
    parameters, cells, patterns = model["n_parameters"], model["n_cells"], model["n_patterns"]
    if patterns is None or view.n_clusters == 1:
        return None
    if cells is not None and parameters > cells - 1:
        return (
            f"Not identified: the model has {parameters} free parameters, and a table of {cells} cells can tell at most "
            f"{cells - 1}. Other parameters have the same likelihood, and what sets them apart is the prior. Take fewer "
            "clusters or more columns."
        )
    if parameters > patterns:
        return (
            f"More parameters than patterns: the model has {parameters} free parameters, and the rows show {patterns} "
            "different patterns. The likelihood may be highest at more than one point; estimates of 0 or 1 are then common, "
            "and the prior decides much of the posterior."
        )
    return None


def notices(view: View) -> list[Notice]:
    """Return the notice that the data cannot tell the parameters, if it is due."""
    said = identification(view)
    return [Notice(said, "warn")] if said else []


def memberships(view: View) -> list[Download | Notice]:
    """Return the table of every row's cluster, to be downloaded, or where it stands if it is large."""
    from reports.comparison.memberships import as_csv, by_method, of_results
    from reports.comparison.results import MEMBERSHIPS

    table, method = of_results(view.manifest, view.data, view.trees), by_method(view.manifest)
    if table is None or method is None:
        return []
    text = (
        f"a row for each row of the data by its name, with the most probable cluster and the probability of each, by "
        f"{view.label(method)}"
    )
    if table.size > LARGEST:
        return [Notice(f"{MEMBERSHIPS}, beside this page in the results folder: {text}.")]
    return [Download(MEMBERSHIPS, as_csv(table), f"{text}.")]
