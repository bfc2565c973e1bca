"""What is missing of the data: how much, where, and which columns are missing together."""

from __future__ import annotations

import numpy as np

from reports.page.blocks import Cell, Notice, Section, Table
from reports.page.numbers import DASH, number, percent
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
    section.blocks += [by_column(gaps, names, x.values, [view.kinds[name] for name in names]), patterns(gaps, names)]
    return section


def by_column(gaps: np.ndarray, names: list[str], x: np.ndarray, kinds: list[str]) -> Table:
    """Return how much of every column is missing, and how far the other columns differ between rows with and without it."""
    rows = []
    x = np.where(np.array(kinds) == "categorical", np.nan, x)  # codes have no mean
    for j, name in enumerate(names):
        n = int(gaps[:, j].sum())
        other, difference = _largest_difference(gaps[:, j], x, j)
        rows.append(
            [
                Cell(literal(name)),
                Cell(str(n) if n else DASH, n),
                Cell(percent(n / len(gaps)) if n else DASH, n / len(gaps)),
                Cell(literal(names[other]) if other is not None else DASH),
                Cell(number(difference, 2) if other is not None else DASH, None if other is None else abs(difference)),
            ]
        )
    return Table(
        "Missing values by column. Last: the column whose mean differs most between the rows in which this one is missing and "
        "the others, in standard deviations. A large difference says that values are not missing completely at random, which "
        "the model allows for through that column",
        ["column", "missing", "share", "differs most in", "difference"],
        rows,
        fold=len(rows) > 20,
        slug="missing-columns",
    )


def _largest_difference(gap: np.ndarray, x: np.ndarray, own: int) -> tuple[int | None, float]:
    """The other column whose mean differs most between rows with a gap here and without, and by how many sds."""
    found: tuple[int | None, float] = None, 0.0
    for j in range(x.shape[1]):
        seen = ~np.isnan(x[:, j])
        with_, without = x[gap & seen, j], x[~gap & seen, j]
        if j == own or len(with_) < 2 or len(without) < 2 or (sd := float(x[seen, j].std())) == 0:
            continue
        difference = float(with_.mean() - without.mean()) / sd
        if found[0] is None or abs(difference) > abs(found[1]):
            found = j, difference
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
