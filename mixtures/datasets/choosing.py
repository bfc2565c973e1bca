"""Which columns of a table are its features, and which name its rows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mixtures.datasets.columns import Spelling, labels
from mixtures.datasets.dataset import Table, is_missing, is_numeric, listed, nearest
from mixtures.datasets.kinds import NOMINAL, Asked, kind_of, levels_of
from mixtures.errors import DataError

# fewer rows whose texts are all different may have them by chance
FEWEST_NAMES = 10


class LeftOut(NamedTuple):
    """Why a column is none of the data, and whether it names the rows."""

    why: str
    names_rows: bool = False


@dataclass(frozen=True)
class Choice:
    """The features, and what was made of the other columns.

    Parameters
    ----------
    places : list of int
        Where the features stand in the table.
    kinds : list of str
        Of each, as `mixtures.datasets.kinds.kind_of` gives it.
    index : ndarray of str, shape (N,)
        The names of the rows.
    notes : tuple of str
    """

    places: list[int]
    kinds: list[str]
    index: np.ndarray
    notes: tuple[str, ...] = ()


def choose(
    table: Table,
    label: str | None,
    columns: Sequence[str] | None,
    index: str | None,
    asked: Asked,
    spelling: Spelling,
    kinds: Sequence[str] | None = None,
) -> Choice:
    """Choose the columns that were named, or else all that are data; ``kinds`` are known where they are given.

    Raises
    ------
    DataError
        If a name is not that of a column, or is given to two ends, or a column cannot be of the kind that was asked for.
    """
    _check_names(table, label, index, asked)
    if columns is None:
        return _all(table, label, index, asked, spelling)
    columns = (columns,) if isinstance(columns, str) else tuple(columns)
    if not columns:
        raise DataError("no columns chosen: name at least one with --columns")
    for column in columns:
        if column not in table.names:
            raise unknown("column", column, table.names, "--columns")
    if label in columns:
        raise DataError(f"column {label!r} is the label: leave it out of --columns or choose another --label-column")
    for option, named in (("--counts", asked.counts), ("--categorical", asked.categorical)):
        if missing := [name for name in named if name not in columns]:
            raise DataError(f"column {missing[0]!r} of {option} is not in --columns: name it in both")
    _check_unique(columns, "in --columns: name it once")
    chosen = {*columns, label}
    _check_unique(
        [name for name in table.names if name in chosen], "in the header: rename one or leave it out of --columns"
    )
    places = [table.names.index(column) for column in columns]
    found = [kind_of(table, j, asked, spelling) for j in places] if kinds is None else list(kinds)
    return Choice(places, found, _row_index(table, index, []))


def _check_names(table: Table, label: str | None, index: str | None, asked: Asked) -> None:
    for option, name in (("--label-column", label), ("--index-column", index)):
        if name is not None and name not in table.names:
            raise unknown(option[2:].replace("-", " "), name, table.names, option)
    for option, named in (("--counts", asked.counts), ("--categorical", asked.categorical)):
        for name in named:
            if name not in table.names:
                raise unknown("column", name, table.names, option)
            if name in (label, index):
                end = "--label-column" if name == label else "--index-column"
                raise DataError(f"column {name!r} is in {option} and the {end}: it cannot be both")


def unknown(what: str, name: str, names: Sequence[str], option: str) -> DataError:
    """The error about a name that is none of a table's, which offers the nearest."""
    near = nearest(name, names)
    hint = f"did you mean {' or '.join(repr(match) for match in near)}?" if near else f"there are {listed(names)}"
    return DataError(f"no {what} {name!r}: {hint} ({option})")


def _all(table: Table, label: str | None, index: str | None, asked: Asked, spelling: Spelling) -> Choice:
    """All columns but the label and those that name the rows, are empty of news or have no name."""
    kept = [j for j, name in enumerate(table.names) if name not in (label, index)]
    named = {*asked.counts, *asked.categorical}
    left_out = {j: found for j in kept if (found := _row_names(table, j))}
    once = [name for name in table.names if name and name in (label, index)]
    once += [table.names[j] for j in kept if j not in left_out and table.names[j]]
    _check_unique(once, "in the header: rename one")
    _refuse_unnamed(table, [j for j in kept if j not in left_out])
    kinds = {j: kind_of(table, j, asked, spelling) for j in kept if j not in left_out}
    of_text = [j for j, kind in kinds.items() if kind == NOMINAL and table.names[j] not in named]
    left_out |= {j: found for j in of_text if (found := _no_news(table, j))}
    places = [j for j in kept if j not in left_out]
    if not places:
        beside = "" if label is None else f" beside the label {label!r}: choose another --label-column"
        others = "; ".join(f"{_called(table, j)}: {found.why}" for j, found in left_out.items())
        raise DataError(f"no column of data is left{beside}{f' ({others})' if others else ''}")
    notes = [f"left out {_called(table, j)}: {found.why}" for j, found in left_out.items()]
    for j in places:
        if len(places) > 1 and is_numeric(table.columns[j]) and (first := _counts_from(table.columns[j])) is not None:
            notes.append(
                f"kept {table.names[j]!r}, which counts the rows from {first}: leave it out with --columns if it only "
                "numbers them"
            )
    names_rows = [j for j, found in left_out.items() if found.names_rows]
    return Choice(places, [kinds[j] for j in places], _row_index(table, index, names_rows), tuple(notes))


def _refuse_unnamed(table: Table, places: Sequence[int]) -> None:
    unnamed = [j for j in places if not table.names[j]]
    if not unnamed:
        return
    numeric = [table.names[j] for j in places if table.names[j] and is_numeric(table.columns[j])]
    names = ",".join(f'"{name}"' if "," in name else name for name in numeric)
    choose = f"choose the numeric columns with --columns{f' {shlex.quote(names)}' if 0 < len(numeric) <= 8 else ''}"
    raise DataError(f"column {unnamed[0] + 1} has no name: name it, or {choose}")


def _row_index(table: Table, index: str | None, names_rows: Sequence[int]) -> np.ndarray:
    """The names of the rows: the column asked for, the source's own, a column left out for it, or numbers."""
    n = len(table.columns[0])
    is_named = table.index is not None and not np.array_equal(table.index, np.arange(n).astype(str))
    if index is not None:
        column = table.as_written([index])[index]
    elif names_rows and not is_named:
        column = table.columns[names_rows[0]]
    else:
        return np.arange(1, n + 1).astype(str) if table.index is None else table.index
    return np.array(["" if name is None else name for name in labels(column.tolist(), Spelling())])


def _called(table: Table, place: int) -> str:
    return repr(table.names[place]) if table.names[place] else f"column {place + 1}, which has no name"


def _row_names(table: Table, place: int) -> LeftOut | None:
    """Say why a column of the index, or one without a name, or with that which programs give to such a one, is no data."""
    if table.names[place] in table.of_index:
        return LeftOut("it was the index of the DataFrame", True)
    if not re.fullmatch(r"(Unnamed: \d+(_level_\d+)?|\.\.\.\d+)?(\.\d+)?", table.names[place]):
        return None
    column = table.columns[place]
    if is_missing(column).all():
        return LeftOut("it is empty")
    if is_missing(column).any() or len(set(column.tolist())) < len(column):
        return None
    if not is_numeric(column):
        return LeftOut("it names the rows", True) if place == 0 else None
    if not (column == np.floor(column)).all():
        return None
    numbers_them = column.min() in (0, 1) and np.ptp(column) == len(column) - 1
    return LeftOut(
        "it numbers the rows" if numbers_them else "its whole numbers are all different, as row numbers are", True
    )


def _no_news(table: Table, place: int) -> LeftOut | None:
    """Say why a column of text tells nothing of clusters: every row has its own, or all have the same; else None."""
    column = table.columns[place]
    present = column[~is_missing(column)]
    levels = levels_of(present)
    if len(levels) == 1:
        return LeftOut(f"{levels[0]!r} is its only level")
    if len(levels) == len(present) >= FEWEST_NAMES:
        return LeftOut("its entries are all different, as names of rows are", len(present) == len(column))
    return None


def _counts_from(column: np.ndarray) -> int | None:
    """Return the number, 0 or 1, from which a column of three or more entries counts its rows; else None."""
    first = column[0]
    return (
        int(first)
        if len(column) > 2 and first in (0, 1) and np.array_equal(column - first, np.arange(len(column)))
        else None
    )


def _check_unique(names: Iterable[str], remedy: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"duplicated columns: {name!r} stands twice {remedy}")
        seen.add(name)
