"""From a name or a path to a checked data set."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.checks import brief
from mixtures.datasets import builtin, files, frames, series
from mixtures.datasets.checks import check_last, check_values, missing_text
from mixtures.datasets.choosing import Choice, choose
from mixtures.datasets.columns import PLAIN, Spelling
from mixtures.datasets.dataset import Dataset, Table, counted, is_missing, listed, nearest
from mixtures.datasets.kinds import MISSING_VALUES, OF_LEVELS, Asked, encode, encode_like
from mixtures.datasets.simulated import tsmatz
from mixtures.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

REMEDIES = "keep them with --missing model, leave these rows out with --missing drop, or columns with --columns"


def load(
    name_or_path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
    index_column: str | None = None,
    counts: Sequence[str] = (),
    categorical: Sequence[str] = (),
    family: str | None = None,
    missing: str | None = None,
    drop_missing: bool = False,
    na_values: Sequence[str] = (),
    decimal: str = ".",
    thousands: str | None = None,
    like: Dataset | None = None,
    check: files.Check | None = None,
    sequence: str | None = None,
) -> Dataset:
    """Load a built-in data set by name, or a user's own file by path.

    A built-in name goes before a file of the same name. Files: .csv, .tsv, .txt (each also .gz, .bz2 and .xz), .parquet,
    .feather, .npy, and a .zip that holds one of these; the columns of an array, and of a text whose first line holds data, are
    called x1, x2, ... Marks that nobody sees, of no width and of the direction of writing, are dropped from a text.
    Blanks, "NA", "NULL" and their like are missing values, and among numbers ".", "?" and "-" too.

    What a column holds decides what it is. Numbers are Gaussian, unless ``counts`` or ``categorical`` names them. Text, truth
    values and declared categories are categorical, binary where there are two levels; the order of levels is not used. A column
    of text in which all entries differ or all are the same is left out. What is guessed stands in the notes of the data set.

    Parameters
    ----------
    name_or_path : str or path
    label_column : str, optional
        The column of known classes, of any type; built-in sets that have one use it by default. It is no feature. Rows without
        a label are kept.
    columns : sequence of str, optional
        The features, in this order. By default all columns but the label and those that name the rows.
    index_column : str, optional
        The column that names the rows. By default one that is left out because it does so, else their numbers from 1.
    counts, categorical : sequence of str
        Columns that hold counts, and whole numbers that stand for categories.
    family : {"gaussian", "bernoulli", "categorical", "poisson"}, optional
        What every feature is that ``counts`` and ``categorical`` do not name.
    missing : {"error", "drop", "model"}, optional
        What to do about rows with a missing value in a feature: refuse the data (the default for files), leave these rows out,
        or keep them, with NaN.
    drop_missing : bool
        The same as ``missing="drop"``.
    na_values : sequence of str
        Entries that are missing values besides the usual ones, such as "-999".
    decimal : str
        The decimal mark of a text.
    thousands : str, optional
        What parts the thousands in a text.
    like : Dataset, optional
        Take the columns, kinds and levels of this data set, as for new rows of the same table.
    check : callable, optional
        Called with the rows, at most, and the numeric columns, at least, of a file of more than a thousand columns before it is
        read, unless ``columns`` chooses some: what it raises refuses the file.
    sequence : str, optional
        The column that names the sequence of each row, where rows are in the order of time. It is no feature, and rows of one
        sequence stand together; no row may then be left out for a missing value.

    Returns
    -------
    Dataset

    Raises
    ------
    DataError
        If nothing of this name exists, the file cannot be read, or its data cannot be used, such as a level that ``like`` does
        not have; the message is one line.

    Examples
    --------
    >>> data = load("faithful")
    >>> data.x.shape, data.features
    ((272, 2), ('eruptions', 'waiting'))
    >>> load("penguins", columns=["body_mass_g"]).x.mean(axis=0).round(2).tolist()
    [4201.75]
    >>> load("penguins", columns=["island", "sex"]).levels
    {'island': ('Biscoe', 'Dream', 'Torgersen'), 'sex': ('female', 'male')}
    >>> load("faithfull")
    Traceback (most recent call last):
        ...
    mixtures.errors.DataError: no data set or file 'faithfull'; did you mean 'faithful'?
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise DataError(f"name_or_path is {brief(name_or_path)}; expected the name of a data set, or a path")
    name = os.fspath(name_or_path)
    one = {"label_column": label_column, "index_column": index_column, "family": family, "missing": missing}
    for option, value in {**one, "thousands": thousands, "sequence": sequence}.items():
        _check_text(option, "" if value is None else value)
    _check_text("decimal", decimal)
    columns = None if columns is None else _tuple("columns", columns)
    spelling = Spelling(_tuple("na_values", na_values), decimal, thousands)
    asked = Asked(_tuple("counts", counts), _tuple("categorical", categorical), family)
    missing = policy(missing, drop_missing)
    entry = builtin.CATALOGUE.get(name)
    known = None if entry is not None or name not in series.CATALOGUE else series.load_series(name).data
    lengths: tuple[int, ...] = ()
    if entry is not None:
        label_column = label_column or entry.label
        table, source = builtin.read(name, label_column), entry.source
        columns = columns if columns is not None or like is not None else entry.columns
        asked = entry.asked(asked, columns)
        missing = missing or entry.missing
    elif known is not None:
        table, source, lengths = series.as_table(known), known.source, series.CATALOGUE[name].lengths
        label_column = label_column or (None if known.labels is None else "state")
        asked = _counts(asked, series.CATALOGUE[name].kinds, columns)
    else:
        path = Path(name).expanduser()
        if not name or not os.path.exists(path):
            raise DataError(_not_found(name, path))
        table, source = files.read(path, label_column, spelling, None if columns is not None else check), name
        name = path.name.split(".")[0] or path.name
    if sequence is not None:
        table, lengths = _in_sequences(table, sequence, (label_column, index_column, *(columns or ())), missing)
    data = from_table(
        table, name, source, label_column, columns, index_column, asked, missing or "error", spelling, like
    )
    if len(data.x) == sum(lengths):
        data = replace(data, lengths=lengths)
    if known is not None and known.labels is not None:
        return replace(_marginal(known, data), lengths=lengths)
    return _marginal(tsmatz(), data) if name == "tsmatz" and entry is not None else data


def from_frame(
    frame: pd.DataFrame,
    *,
    name: str = "data",
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
    index_column: str | None = None,
    counts: Sequence[str] = (),
    categorical: Sequence[str] = (),
    family: str | None = None,
    missing: str | None = None,
    drop_missing: bool = False,
    like: Dataset | None = None,
) -> Dataset:
    """Take a DataFrame as `load` takes a file: the types of its columns say what they are, its index names the rows.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of numbers, text, truth values and categories; a table of Arrow or Polars and a structured array will do too.
    name : str
        For titles.
    label_column, columns, index_column, counts, categorical, family, missing, drop_missing, like
        As in `load`.

    Raises
    ------
    DataError
        If the data cannot be used.

    Examples
    --------
    >>> import pandas as pd
    >>> data = from_frame(pd.DataFrame({"kg": [1.5, 2, 4], "smokes": [True, False, True]}, index=["u", "v", "w"]))
    >>> data.kinds, data.levels["smokes"], data.index.tolist()
    (('gaussian', 'bernoulli'), ('False', 'True'), ['u', 'v', 'w'])
    """
    asked = Asked(_tuple("counts", counts), _tuple("categorical", categorical), family)
    missing = policy(missing, drop_missing) or "error"
    table = frames.read(frame, label_column)
    return from_table(table, name, "", label_column, columns, index_column, asked, missing, PLAIN, like)


def policy(missing: str | None, drop_missing: bool = False) -> str | None:
    """What to do about missing values, if it was said.

    Raises
    ------
    DataError
        If there is no such way, or two are asked for.
    """
    if missing is not None and missing not in MISSING_VALUES:
        raise DataError(f"--missing is {missing!r}; expected one of {', '.join(MISSING_VALUES)}")
    if drop_missing and missing not in (None, "drop"):
        raise DataError(f"--drop-missing and --missing {missing} contradict each other: give one of them")
    return "drop" if drop_missing else missing


def _counts(asked: Asked, kinds: dict[str, str], columns: Sequence[str] | None) -> Asked:
    """What is asked of the columns of a series, with those that are counts by default."""
    own = [name for name, kind in kinds.items() if kind == "poisson" and (columns is None or name in columns)]
    named = {*asked.counts, *asked.categorical}
    extra = tuple(name for name in own if name not in named) if asked.family is None else ()
    return replace(asked, counts=(*asked.counts, *extra))


def _in_sequences(
    table: Table, column: str, others: Sequence[str | None], missing: str | None
) -> tuple[Table, tuple[int, ...]]:
    """The table without the column that names sequences, and their lengths."""
    if column not in table.names:
        near = nearest(column, table.names)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else f"; choose from {listed(table.names)}"
        raise DataError(f"there is no column {column!r} for --sequence{hint}")
    if table.names.count(column) > 1:
        raise DataError(f"duplicated columns: {column!r} of --sequence stands twice in the header: rename one")
    if column in others:
        raise DataError(f"column {column!r} of --sequence is named for something else too; give it to one option")
    if missing == "drop":
        raise DataError(
            "a row that is left out would bring its neighbours together as if no time had passed; keep gaps with "
            "--missing model"
        )
    place = table.names.index(column)
    found = series.lengths_of(table.as_written([column]).columns[place].tolist(), column)
    kept = [j for j in range(len(table.names)) if j != place]
    places = {old: new for new, old in enumerate(kept)}
    own = replace(
        table,
        names=tuple(table.names[j] for j in kept),
        columns=tuple(table.columns[j] for j in kept),
        codes={places[j]: codes for j, codes in table.codes.items() if j in places},
        categories={places[j]: known for j, known in table.categories.items() if j in places},
        written={places[j]: text for j, text in table.written.items() if j in places},
    )
    return own, found


def _tuple(option: str, names: Any) -> tuple[str, ...]:
    """One name, or several; else a DataError."""
    if isinstance(names, str):
        return (names,)
    if not isinstance(names, Iterable) or isinstance(names, bytes):
        raise DataError(f"{option} is {brief(names)}; expected a list of strings")
    found = tuple(names)
    for name in found:
        _check_text(f"a name in {option}", name)
    return found


def _check_text(option: str, value: Any) -> None:
    if not isinstance(value, str):
        raise DataError(f"{option} is {brief(value)}; expected a string")


def from_table(
    table: Table,
    name: str,
    source: str,
    label: str | None,
    columns: Sequence[str] | None,
    index: str | None,
    asked: Asked,
    missing: str,
    spelling: Spelling,
    like: Dataset | None,
) -> Dataset:
    """Make a checked data set of a table."""
    if like is not None:
        columns = like.features
        asked = Asked()
        of_levels = [
            name for name, kind in zip(columns, like.kinds, strict=True) if kind in ("bernoulli", "categorical")
        ]
    else:
        of_levels = [name for name in table.names if asked.kind(name) in OF_LEVELS]
    table = table.as_written({*of_levels, ""})
    choice = choose(table, label, columns, index, asked, spelling, None if like is None else like.kinds)
    rows, notes = _rows(table, choice, missing)
    features = tuple(table.names[j] for j in choice.places)
    if like is not None:
        found = encode_like(table, choice.places, like.kinds, like.levels, rows)
    else:
        named = [feature for feature in features if asked.kind(feature) is not None]
        found = encode(table, choice.places, choice.kinds, rows, named)
    check_values(found.x, features, found.kinds, gaps=True, varies=like is None)
    if like is None:
        check_last(found.x, found.kinds, str(choice.index[rows][-1]))
    labels = _labels(table, label, rows)
    notes = (*table.notes, *choice.notes, *_missing_codes(table, choice.places), *notes, *found.notes)
    if labels is not None and (unknown := int((labels == "").sum())):
        notes = (*notes, f"{counted(unknown, 'row')} without a label in {label!r}: fitted like the others")
    if labels is not None and len(labels) > 2 and (alike := _told_by_none(labels[labels != ""])):
        notes = (*notes, f"{alike} in {label!r}: how well clusters recover classes cannot be told")
    return Dataset(
        name,
        found.x,
        features,
        labels,
        source,
        None,
        notes,
        found.kinds,
        found.levels,
        choice.index[rows],
        np.delete(choice.index, rows),
    )


def _not_found(name: str, path: Path) -> str:
    near = nearest(name, [*builtin.names(), *series.CATALOGUE])
    name = name if len(name) <= 120 else f"{name[:80]}...{name[-30:]}"
    if os.sep in name or path.suffix:
        near = [str(path.with_name(match)) for match in nearest(path.name, files.siblings(path))] or near
    if near:
        return f"no data set or file {name!r}; did you mean {' or '.join(repr(match) for match in near)}?"
    return f"no data set or file {name!r}: give a path, or one of {', '.join([*builtin.names(), *series.CATALOGUE])}"


def _missing_codes(table: Table, places: Sequence[int]) -> list[str]:
    """Say which entries of the features were taken as missing without saying so."""
    found = [(code, table.names[j], n) for j in places for code, n in table.codes.get(j, {}).items()]
    said = [f"{code!r} in {name!r} ({n})" for code, name, n in found[:6]]
    more = [f"{len(found) - 6} more"] if len(found) > 6 else []
    return [f"counted as missing: {', '.join([*said, *more])}"] if found else []


def _rows(table: Table, choice: Choice, missing: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Which rows count, (N,) of int, and what is to be said of those with missing values."""
    names = [table.names[j] for j in choice.places]
    gaps = np.column_stack([is_missing(table.columns[j]) for j in choice.places])
    if gaps.all(axis=0).any() and len(gaps):
        empty = [name for name, all_gaps in zip(names, gaps.all(axis=0), strict=True) if all_gaps]
        raise DataError(f"no value in column {listed(empty)}: {missing_text(gaps, names)}; leave it out with --columns")
    incomplete = gaps.any(axis=1)
    if not incomplete.any() or missing == "model":
        nothing = choice.index[gaps.all(axis=1)]
        said = f"{counted(len(nothing), 'row')} without any value: kept, and predicted by the model"
        return np.arange(len(gaps)), (f"{said} ({shown(nothing)})",) if len(nothing) else ()
    if missing == "error":
        raise DataError(f"{missing_text(gaps, names)}: {REMEDIES}")
    if incomplete.all():
        raise DataError(
            f"no row is left without a missing value: {missing_text(gaps, names)}; "
            "choose columns with fewer gaps with --columns"
        )
    out = choice.index[incomplete]
    return np.flatnonzero(~incomplete), (f"left out {counted(len(out), 'row')} with missing values: {shown(out)}",)


def shown(index: np.ndarray, most: int = 20) -> str:
    """Names of rows, the first of many.

    >>> shown(np.array(["4", "272"])), shown(np.arange(30).astype(str), most=2)
    ('4, 272', '0, 1 and 28 more')
    """
    text = ", ".join(index[:most].tolist())
    return text if len(index) <= most else f"{text} and {len(index) - most} more"


def _labels(table: Table, label: str | None, rows: np.ndarray) -> np.ndarray | None:
    """The labels (N,), empty where not known."""
    if label is None:
        return None
    known = table[label][rows]
    if is_missing(known).all():
        raise DataError(f"no row has a label in {label!r}: choose another --label-column, or none")
    return np.array(["" if value is None else str(value) for value in known])


def _told_by_none(known: np.ndarray) -> str:
    """What is wrong with labels of which no two rows share one, or all do; "" where nothing is."""
    classes = len(np.unique(known))
    if len(known) == 1:
        return "only 1 row has a label"
    if classes == len(known):
        return f"each of {len(known)} rows has another label"
    return "all rows have the same label" if classes == 1 else ""


def _marginal(whole: Dataset, data: Dataset) -> Dataset:
    """A simulated data set in some of its features: the truth is the marginal mixture."""
    assert whole.truth is not None
    j = [whole.features.index(name) for name in data.features]
    truth = whole.truth | {
        "means": whole.truth["means"][:, j],
        "covariances": whole.truth["covariances"][:, j][:, :, j],
    }
    return replace(data, source=whole.source, truth=truth)
