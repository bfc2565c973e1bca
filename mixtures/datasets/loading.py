"""From a name or a path to a checked data set."""

from __future__ import annotations

import os
import re
import shlex
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mixtures.datasets import builtin, files
from mixtures.datasets.checks import check_values, missing_text
from mixtures.datasets.columns import AMONG_NUMBERS, PLAIN, Spelling, numbers, strings
from mixtures.datasets.dataset import DataError, Dataset, Table, counted, is_missing, is_numeric, listed, nearest
from mixtures.datasets.simulated import tsmatz

# decimal mark and what parts thousands, as people write them
SPELLINGS = ((".", ","), (".", " "), (".", "'"), (",", None), (",", "."), (",", " "))


def load(
    name_or_path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
    drop_missing: bool = False,
    na_values: Sequence[str] = (),
    decimal: str = ".",
    thousands: str | None = None,
    check: files.Check | None = None,
) -> Dataset:
    """Load a built-in data set by name, or a user's own file by path.

    A built-in name goes before a file of the same name. Files: .csv, .tsv, .txt (each also .gz, .bz2, .xz and .zip),
    .parquet, .feather, .npy; the columns of an array, and of a text whose first line holds data, are called x1, x2, ...
    Blanks, "NA" and their like are missing values, and among numbers ".", "?" and "-" too. What is guessed stands in the
    notes of the data set.

    Parameters
    ----------
    name_or_path : str or path
    label_column : str, optional
        The column of known classes, of any type; built-in sets that have one use it by default. Rows without a label are
        kept.
    columns : sequence of str, optional
        The features, in this order. By default all columns but the label and unnamed row numbers, which must then be numeric.
    drop_missing : bool
        Leave out the rows with a missing value in a feature. ``penguins`` always does.
    na_values : sequence of str
        Entries that are missing values besides the usual ones, such as "-999".
    decimal : str
        The decimal mark of a text.
    thousands : str, optional
        What parts the thousands in a text.
    check : callable, optional
        Called with the rows, at most, and the numeric columns, at least, of a file of more than a thousand columns before it is
        read, unless ``columns`` chooses some: what it raises refuses the file.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If nothing of this name exists, the file cannot be read, or its data cannot be used; the message is one line.

    Examples
    --------
    >>> data = load("faithful")
    >>> data.x.shape, data.features
    ((272, 2), ('eruptions', 'waiting'))
    >>> load("penguins", columns=["body_mass_g"]).x.mean(axis=0).round(2).tolist()
    [4201.75]
    >>> load("faithfull")
    Traceback (most recent call last):
        ...
    mixtures.datasets.dataset.DataError: no data set or file 'faithfull'; did you mean 'faithful'?
    """
    name = os.fspath(name_or_path)
    spelling = Spelling((na_values,) if isinstance(na_values, str) else tuple(na_values), decimal, thousands)
    entry = builtin.CATALOGUE.get(name)
    if entry is not None:
        label_column = label_column or entry.label
        table, source = builtin.read(name, label_column), entry.source
        columns = columns if columns is not None else entry.columns
        drop_missing = drop_missing or entry.drop_missing
    else:
        path = Path(name).expanduser()
        if not os.path.exists(path):
            raise DataError(_not_found(name, path))
        table, source = files.read(path, label_column, spelling, None if columns is not None else check), name
        name = path.name.split(".")[0] or path.name
    places, notes = _places(table, label_column, columns, spelling)
    features = tuple(table.names[j] for j in places)
    x, labels = _values(table, places, label_column, drop_missing)
    check_values(x, features)
    if name == "tsmatz" and entry is not None:
        return _marginal(tsmatz(), features, labels)
    notes = (*table.notes, *notes, *_missing_codes(table, places))
    if labels is not None and (unknown := int((labels == "").sum())):
        notes = (
            *notes,
            f"{counted(unknown, 'row')} without a label in {label_column!r}: fitted like the others",
        )
    return Dataset(name, x, features, labels, source, notes=notes)


def _not_found(name: str, path: Path) -> str:
    near = nearest(name, builtin.names())
    if os.sep in name or path.suffix:
        near = [str(path.with_name(match)) for match in nearest(path.name, files.siblings(path))] or near
    if near:
        return f"no data set or file {name!r}; did you mean {' or '.join(repr(match) for match in near)}?"
    return f"no data set or file {name!r}: give a path, or one of {', '.join(builtin.names())}"


def _unknown(what: str, name: str, names: Sequence[str], option: str) -> DataError:
    near = nearest(name, names)
    hint = f"did you mean {' or '.join(repr(match) for match in near)}?" if near else f"there are {listed(names)}"
    return DataError(f"no {what} {name!r}: {hint} ({option})")


def _places(
    table: Table, label: str | None, columns: Sequence[str] | None, spelling: Spelling
) -> tuple[list[int], tuple[str, ...]]:
    """Return where the features stand in the table, and what is to be said of the others, if the choice makes sense."""
    if label is not None and label not in table.names:
        raise _unknown("label column", label, table.names, "--label-column")
    if columns is None:
        return _all_numeric(table, label, spelling)
    columns = (columns,) if isinstance(columns, str) else tuple(columns)
    if not columns:
        raise DataError("no columns chosen: name at least one with --columns")
    for column in columns:
        if column not in table.names:
            raise _unknown("column", column, table.names, "--columns")
    if label in columns:
        raise DataError(f"column {label!r} is the label: leave it out of --columns or choose another --label-column")
    _check_unique(columns, "in --columns: name it once")
    chosen = {*columns, label}
    _check_unique(
        [name for name in table.names if name in chosen], "in the header: rename one or leave it out of --columns"
    )
    places = [table.names.index(column) for column in columns]
    for j in places:
        if not is_numeric(table.columns[j]):
            remedy = _respelled(table, j, spelling) or "leave it out of --columns, or make it the --label-column"
            raise DataError(f"{_not_a_number(table, j, spelling)}: {remedy}")
    return places, ()


def _all_numeric(table: Table, label: str | None, spelling: Spelling) -> tuple[list[int], tuple[str, ...]]:
    """Return all columns but the label and row numbers without a name, if they are numeric."""
    left_out = {j: why for j, name in enumerate(table.names) if name != label and (why := _row_names(table, j))}
    places = [j for j, name in enumerate(table.names) if name != label and j not in left_out]
    _check_unique([table.names[j] for j in places if table.names[j]], "in the header: rename one")
    numeric = [table.names[j] for j in places if table.names[j] and is_numeric(table.columns[j])]
    names = ",".join(f'"{name}"' if "," in name else name for name in numeric)
    choose = f"choose the numeric columns with --columns{f' {shlex.quote(names)}' if 0 < len(numeric) <= 8 else ''}"
    unnamed = [j for j in places if not table.names[j]]
    if unnamed:
        raise DataError(f"column {unnamed[0] + 1} has no name: name it, or {choose}")
    if not places:
        beside = "" if label is None else f" beside the label {label!r}: choose another --label-column"
        raise DataError(f"no column of data is left{beside}")
    text = [j for j in places if not is_numeric(table.columns[j])]
    for j in text:
        if remedy := _respelled(table, j, spelling):
            raise DataError(f"{_not_a_number(table, j, spelling)}: {remedy}")
    if len(text) == 1:
        raise DataError(f"{_not_a_number(table, text[0], spelling)}: {choose}, or make it the --label-column")
    if text:
        names = listed([table.names[j] for j in text])
        raise DataError(f"non-numeric columns {names}: {choose}, or make one of them the --label-column")
    notes = [f"left out {_called(table, j)}: {why}" for j, why in left_out.items()]
    for j in places:
        if len(places) > 1 and (first := _counts_from(table.columns[j])) is not None:
            notes.append(
                f"kept {table.names[j]!r}, which counts the rows from {first}: leave it out with --columns if it only "
                "numbers them"
            )
    return places, tuple(notes)


def _called(table: Table, place: int) -> str:
    return repr(table.names[place]) if table.names[place] else f"column {place + 1}, which has no name"


def _row_names(table: Table, place: int) -> str | None:
    """Say why a column without a name, or with that which programs give to such a one, is none of the data; else None."""
    if not re.fullmatch(r"(Unnamed: \d+(_level_\d+)?|\.\.\.\d+)?(\.\d+)?", table.names[place]):
        return None
    column = table.columns[place]
    if is_missing(column).all():
        return "it is empty"
    if is_missing(column).any() or len(set(column.tolist())) < len(column):
        return None
    if not is_numeric(column):
        return "it names the rows" if place == 0 else None
    if not (column == np.floor(column)).all():
        return None
    numbers_them = column.min() in (0, 1) and np.ptp(column) == len(column) - 1
    return "it numbers the rows" if numbers_them else "its whole numbers are all different, as row numbers are"


def _counts_from(column: np.ndarray) -> int | None:
    """Return the number, 0 or 1, from which a column of three or more entries counts its rows; else None."""
    first = column[0]
    return (
        int(first)
        if len(column) > 2 and first in (0, 1) and np.array_equal(column - first, np.arange(len(column)))
        else None
    )


def _missing_codes(table: Table, places: Sequence[int]) -> list[str]:
    """Say which entries of the features were taken as missing without saying so."""
    found = [(code, table.names[j], n) for j in places for code, n in table.codes.get(j, {}).items()]
    said = [f"{code!r} in {name!r} ({n})" for code, name, n in found[:6]]
    more = [f"{len(found) - 6} more"] if len(found) > 6 else []
    return [f"counted as missing: {', '.join([*said, *more])}"] if found else []


def _check_unique(names: Iterable[str], remedy: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"duplicated columns: {name!r} stands twice {remedy}")
        seen.add(name)


def _not_a_number(table: Table, place: int, spelling: Spelling) -> str:
    """Name a non-numeric column by the first entry that is to blame."""
    values = table.columns[place]
    present = np.flatnonzero(~is_missing(values))
    row, why = int(present[0]), ""
    if all(isinstance(value, str) for value in values[present]):
        rows = range(len(present) + 1)
        number = bisect_left(rows, True, key=lambda n: _floats(["0", *values[present[:n]]], spelling) is None)
        if number in rows:
            row = int(present[number - 1])
        elif values[row] not in AMONG_NUMBERS:
            why = ", which is stored as text"
    return f"non-numeric column {table.names[place]!r} ({str(values[row])[:30]!r} in row {row + 1}{why})"


def _respelled(table: Table, place: int, asked: Spelling) -> str | None:
    """Return the options under which a text column holds numbers, with what they make of its first entry; else None."""
    values = [value for value in table.columns[place] if value is not None]
    if not all(isinstance(value, str) and len(value) < 40 for value in values):
        return None
    entry = next((value for value in values if re.search(r"[^-+\d]", value) and value not in AMONG_NUMBERS), None)
    if entry is None:
        return None
    if _floats(values, PLAIN) is not None:
        return None if asked.plain else "leave out --decimal and --thousands"
    found: dict[float, str] = {}
    for decimal, thousands in SPELLINGS:
        spelling = Spelling((), decimal, thousands)
        if _floats(values, spelling) is not None:
            number = float(_floats([entry], spelling)[0])  # type: ignore[index]
            marks = [f"--decimal {shlex.quote(decimal)}"] * (decimal != ".")
            marks += [f"--thousands {shlex.quote(thousands)}"] if thousands else []
            found.setdefault(number, f"{' '.join(marks)} (as {number:.15g})")
    return f"read it with {' or '.join(found.values())}" if found else None


def _floats(values: Sequence[str], spelling: Spelling) -> np.ndarray | None:
    read = numbers(strings(values), spelling)
    return None if read is None else read[0]


def _values(
    table: Table, places: Sequence[int], label: str | None, drop_missing: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return x (N, D) and the labels (N,), empty where not known, with rows that miss a value left out on request."""
    names = [table.names[j] for j in places]
    x = np.column_stack([table.columns[j] for j in places])
    missing = np.isnan(x)
    incomplete = missing.any(axis=1)
    if incomplete.any() and not drop_missing:
        raise DataError(
            f"{missing_text(missing, names)}: leave these rows out with --drop-missing, or columns with --columns"
        )
    if incomplete.all():
        raise DataError(
            f"no row is left without a missing value: {missing_text(missing, names)}; "
            "choose columns with fewer gaps with --columns"
        )
    if label is None:
        return x[~incomplete], None
    known = table[label][~incomplete]
    if is_missing(known).all():
        raise DataError(f"no row has a label in {label!r}: choose another --label-column, or none")
    return x[~incomplete], np.array(["" if value is None else str(value) for value in known])


def _marginal(data: Dataset, features: tuple[str, ...], labels: np.ndarray | None) -> Dataset:
    """Return a simulated data set in some of its features: the truth is the marginal mixture."""
    assert data.truth is not None
    j = [data.features.index(name) for name in features]
    truth = data.truth | {
        "means": data.truth["means"][:, j],
        "covariances": data.truth["covariances"][:, j][:, :, j],
    }
    return Dataset(data.name, data.x[:, j], features, labels, data.source, truth)
