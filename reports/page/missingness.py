"""What is missing of the data: how much, where, and which columns are missing together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from reports.page.blocks import Cell, Notice, Section, Table
from reports.page.numbers import DASH, percent, with_error
from reports.page.view import View
from reports.page.words import listing, literal

MOST_PATTERNS = 20
"""Patterns of gaps that the table shows, the most frequent ones."""


def missingness(view: View) -> Section | None:
    """Return what is missing and how it was dealt with; nothing where no value is."""
    x = view.data["x"].transpose("obs", "feature")
    gaps = np.isnan(x.values)
    if not gaps.any():
        return None
    names = [str(name) for name in x["feature"].values]
    rows, entries = int(gaps.any(1).sum()), int(gaps.sum())
    section = Section(
        "missingness",
        "Missing values",
        f"{entries} of {gaps.size} values are missing ({percent(entries / gaps.size)}), in {rows} of {len(gaps)} rows. No row "
        "was left out and no value filled in: every method integrates over what is missing, so that likelihoods, evidences and "
        "scores are those of the values that were seen.",
    )
    section.blocks.append(
        Notice(
            "This assumes that values are missing at random: that one is missing may depend on the values that were seen, but "
            "not on the value itself. The data alone cannot show whether that holds. Where it does not, as where high incomes "
            "are not reported, every result here may be biased.",
            "warn",
        )
    )
    if nothing := int(gaps.all(1).sum()):
        which = view.data["index"].values[gaps.all(1)]
        said = listing([literal(str(name)) for name in which[:5]]) + (", ..." if nothing > 5 else "")
        section.blocks.append(
            Notice(
                f"Rows of which nothing was seen: {nothing} ({said}). They are kept, move no parameter, and have the weights "
                "of the clusters for their probabilities."
            )
        )
    if view.numbers and len(view.numbers) > 1 and gaps[:, np.isin(names, view.numbers)].any() and "cavi" in view.trees:
        section.blocks.append(
            Notice(
                "CAVI averages over a missing value of correlated numbers under its own posterior of the parameters, and then "
                "counts it as seen: its posterior is narrower than it would be for the same values without that step."
            )
        )
    levels = {name: view.manifest["model"]["levels"][name] for name in names if view.kinds[name] == "categorical"}
    section.blocks += [by_column(gaps, names, x.values, levels), patterns(gaps, names)]
    return section


def by_column(gaps: np.ndarray, names: list[str], x: np.ndarray, levels: Mapping[str, Sequence[str]]) -> Table:
    """Return how much of every column is missing, and how far the other columns differ between rows with and without it."""
    rows = []
    shown = list(_with_means(names, x, levels))
    for j, name in enumerate(names):
        n = int(gaps[:, j].sum())
        other, difference, error = _largest_difference(gaps[:, j], [(label, v) for label, i, v in shown if i != j])
        rows.append(
            [
                Cell(literal(name)),
                Cell(str(n), n),
                Cell(percent(n / len(gaps)), n / len(gaps)),
                Cell(literal(other) if other else DASH),
                Cell(with_error(difference, error) if other else DASH, abs(difference) if other else None),
            ]
        )
    return Table(
        "Missing values by column. Last: the column whose mean, or the level whose share, differs most between the rows in "
        "which this one is missing and the others, in standard deviations, ± standard error. A difference of several errors "
        "says that values are not missing completely at random, which the model allows for through that column",
        ["column", "missing", "share", "differs most in", "difference"],
        rows,
        fold=len(rows) > 20,
        slug="missing-columns",
    )


def _with_means(
    names: list[str], x: np.ndarray, levels: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, int, np.ndarray]]:
    """What has a mean, with its name and its column: numbers, and of categories whether each level is there."""
    for j, name in enumerate(names):
        if name not in levels:
            yield name, j, x[:, j]
        for code, level in enumerate(levels.get(name, ())):
            yield f"{name} = {level}", j, np.where(np.isnan(x[:, j]), np.nan, x[:, j] == code)


def _largest_difference(gap: np.ndarray, others: list[tuple[str, np.ndarray]]) -> tuple[str, float, float]:
    """What differs most in its mean between rows with a gap here and without, by how many sds, and the standard error."""
    found = "", 0.0, math.nan
    for name, v in others:
        seen = ~np.isnan(v)
        with_, without = v[gap & seen], v[~gap & seen]
        if len(with_) < 2 or len(without) < 2 or (sd := float(v[seen].std())) == 0:
            continue
        difference = float(with_.mean() - without.mean()) / sd
        if not found[0] or abs(difference) > abs(found[1]):
            found = name, difference, math.sqrt(1 / len(with_) + 1 / len(without))
    return found


def patterns(gaps: np.ndarray, names: list[str]) -> Table:
    """Return which columns are missing together, and in how many rows."""
    keys, count = np.unique(gaps, axis=0, return_counts=True)
    order = np.argsort(-count, kind="stable")
    body = [
        [
            *(Cell("missing" if gap else "·", int(gap)) for gap in keys[g]),
            Cell(str(count[g]), int(count[g])),
            Cell(percent(count[g] / len(gaps)), float(count[g] / len(gaps))),
        ]
        for g in order[:MOST_PATTERNS]
    ]
    rest = f"; the {MOST_PATTERNS} most frequent of {len(order)}" if len(order) > MOST_PATTERNS else ""
    return Table(
        f"Patterns of gaps: the columns that are missing together{rest}",
        [*map(literal, names), "rows", "share"],
        body,
        fold=len(body) > 10,
        slug="missing-patterns",
    )
