"""From a name or a path to a checked data set."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mixtures.datasets import builtin, files
from mixtures.datasets.checks import check_values, missing_text
from mixtures.datasets.dataset import DataError, Dataset, Table, is_missing, is_numeric, listed, nearest
from mixtures.datasets.simulated import tsmatz


def load(
    name_or_path: str | os.PathLike[str],
    *,
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
    drop_missing: bool = False,
) -> Dataset:
    """Load a built-in data set by name, or a user's own file by path.

    A built-in name goes before a file of the same name. Files: .csv, .tsv, .txt (each also .gz), .parquet, .npy;
    the columns of an array are called x1, x2, ...

    Parameters
    ----------
    name_or_path : str or path
    label_column : str, optional
        The column of known classes, of any type; built-in sets that have one use it by default.
    columns : sequence of str, optional
        The features, in this order. By default all columns but the label, which must then be numeric.
    drop_missing : bool
        Leave out the rows with a missing value in a chosen column. ``penguins`` always does.

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
    entry = builtin.CATALOGUE.get(name)
    if entry is not None:
        table, source = builtin.read(name), entry.source
        label_column = label_column or entry.label
        columns = columns if columns is not None else entry.columns
        drop_missing = drop_missing or entry.drop_missing
    else:
        path = Path(name).expanduser()
        if not os.path.exists(path):
            raise DataError(_not_found(name, path))
        table, source = files.read(path), name
        name = path.name.split(".")[0] or path.name
    features = _features(table, label_column, columns)
    x, labels = _values(table, features, label_column, drop_missing)
    check_values(x, features)
    if name == "tsmatz" and entry is not None:
        return _marginal(tsmatz(), features, labels)
    return Dataset(name, x, features, labels, source)


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


def _features(table: Table, label: str | None, columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the feature columns, once the choice of columns is known to make sense."""
    if label is not None and label not in table.names:
        raise _unknown("label column", label, table.names, "--label-column")
    if columns is None:
        _check_unique(table.names, "in the header: rename one")
        return _all_numeric(table, label)
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
    for column in columns:
        if not is_numeric(table[column]):
            raise DataError(f"{_not_a_number(table, column)}: leave it out of --columns, or make it the --label-column")
    return columns


def _all_numeric(table: Table, label: str | None) -> tuple[str, ...]:
    features = tuple(name for name in table.names if name != label)
    numeric = [name for name in features if name and is_numeric(table[name])]
    choose = f"choose the numeric columns with --columns{' ' + ','.join(numeric) if 0 < len(numeric) <= 8 else ''}"
    if "" in features:
        raise DataError(f"column {table.names.index('') + 1} has no name (row numbers?): name it, or {choose}")
    text = [name for name in features if name not in numeric]
    if not features:
        raise DataError(f"no column is left beside the label {label!r}: choose another --label-column")
    if len(text) == 1:
        raise DataError(f"{_not_a_number(table, text[0])}: {choose}, or make it the --label-column")
    if text:
        raise DataError(f"non-numeric columns {listed(text)}: {choose}, or make one of them the --label-column")
    return features


def _check_unique(names: Iterable[str], remedy: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DataError(f"duplicated columns: {name!r} stands twice {remedy}")
        seen.add(name)


def _not_a_number(table: Table, name: str) -> str:
    """Name a non-numeric column by the first entry that is to blame."""
    for row, value in enumerate(table[name], start=1):
        try:
            float("x" if isinstance(value, bool) else value or "nan")
        except (TypeError, ValueError):
            comma = ", a decimal comma: write points" if re.fullmatch(r"[-+]?\d*,\d+", str(value).strip()) else ""
            return f"non-numeric column {name!r} ({str(value)[:30]!r} in row {row}{comma})"
    return f"non-numeric column {name!r}"


def _values(
    table: Table, features: Sequence[str], label: str | None, drop_missing: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return x (N, D) and the labels (N,), with rows that miss a value left out on request."""
    chosen = [*features] if label is None else [*features, label]
    missing = np.column_stack([is_missing(table[name]) for name in chosen])
    incomplete = missing.any(axis=1)
    if incomplete.any() and not drop_missing:
        raise DataError(
            f"{missing_text(missing, chosen)}: leave these rows out with --drop-missing, or columns with --columns"
        )
    if incomplete.all():
        raise DataError(
            f"no row is left without a missing value: {missing_text(missing, chosen)}; "
            "choose columns with fewer gaps with --columns"
        )
    x = np.column_stack([table[name][~incomplete] for name in features])
    labels = None if label is None else np.array([_text(value) for value in table[label][~incomplete]])
    return x, labels


def _text(value: object) -> str:
    """Write a class label, whole numbers without a decimal point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _marginal(data: Dataset, features: tuple[str, ...], labels: np.ndarray | None) -> Dataset:
    """Return a simulated data set in some of its features: the truth is the marginal mixture."""
    assert data.truth is not None
    j = [data.features.index(name) for name in features]
    truth = data.truth | {
        "means": data.truth["means"][:, j],
        "covariances": data.truth["covariances"][:, j][:, :, j],
    }
    return Dataset(data.name, data.x[:, j], features, labels, data.source, truth)
