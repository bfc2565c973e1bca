"""The columns that a comparison was given: numbers, counts and codes, whatever they came in."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.datasets import from_frame
from mixtures.datasets.frames import as_frame
from mixtures.datasets.series import lengths_of
from mixtures.rows.arrays import check_matrix
from mixtures.rows.sequences import Sequences
from mixtures.tables import KINDS, unknown

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Given:
    """Columns as numbers, and what they are.

    Parameters
    ----------
    x : ndarray, shape (N, D)
    features : tuple of D str
    kinds : tuple of D str
        Of `mixtures.tables.KINDS`.
    levels : dict
        By categorical or binary feature, the names of its levels in the order of its codes.
    index : ndarray of str, shape (N,)
        The names of the rows.
    notes : tuple of str
        What was guessed.
    """

    x: np.ndarray
    features: tuple[str, ...]
    kinds: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    index: np.ndarray
    notes: tuple[str, ...] = ()


def read(
    x: Any,
    features: Sequence[str] | None = None,
    kinds: Sequence[str] | Mapping[str, str] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    index: Sequence[Any] | np.ndarray | None = None,
    missing: bool = False,
) -> Given:
    """Check the columns that were given, of an array or a DataFrame, whose types say what they are where ``kinds`` does not.

    ``missing`` says whether values may be.

    Raises
    ------
    ValueError
        If shapes do not agree, a value is infinite, or missing where none may be, a code has no level, or what should be
        counts are none.
    """
    notes: tuple[str, ...] = ()
    levels = dict(levels or {})
    frame = as_frame(x)
    if frame is not None:
        x = frame
        names = [str(name) for name in (x.columns if features is None else features)]
        if len(names) != x.shape[1]:
            raise ValueError(f"features has {len(names)} names for {x.shape[1]} columns")
        own = _of_frame(x.set_axis(names, axis=1), _named(kinds, names) if kinds is not None else {}, levels, missing)
        x, features, kinds, levels, notes = own.x, own.features, own.kinds, own.levels | levels, own.notes
        index = own.index if index is None else index
    x = check_matrix(x, missing)
    names = [f"x{i}" for i in range(x.shape[1])] if features is None else [str(name) for name in features]
    if len(names) != x.shape[1] or len(set(names)) != len(names):
        raise ValueError(f"features has {len(set(names))} distinct names for {x.shape[1]} columns")
    if index is not None and len(index) != len(x):
        raise ValueError(f"index has {len(index)} entries for {len(x)} rows")
    found = tuple(_named(kinds, names).values())
    rows = np.arange(1, len(x) + 1).astype(str) if index is None else np.array([str(name) for name in index])
    if missing and (nowhere := np.isnan(x).all(0)).any():
        raise ValueError(f"feature {names[int(np.argmax(nowhere))]!r} is missing in all rows; leave it out")
    for j in np.flatnonzero(np.array(found) == "poisson"):
        _refuse(x[:, j], names[j], np.inf, "a count, a whole number of at least 0")
    return Given(x, tuple(names), found, _levels(x, found, names, levels), rows, notes)


def names_of_series(features: Sequence[Any], index: Sequence[Any], N: int, D: int) -> tuple[list[str], list[str]]:
    """Names of the D features and N rows of a series as text; numbered where there are none, of the rows still none.

    Raises
    ------
    ValueError
        If there are names, and not one each.
    """
    columns, rows = [str(name) for name in features], [str(name) for name in index]
    if columns and (len(columns) != D or len(set(columns)) != D):
        raise ValueError(f"features has {len(set(columns))} distinct names for {D} columns")
    if rows and len(rows) != N:
        raise ValueError(f"index has {len(rows)} entries for {N} rows")
    return columns or [f"x{j}" for j in range(1, D + 1)], rows


def in_sequences(x: Any, sequences: bool | str | Sequence[int]) -> tuple[Any, bool | Sequence[int]]:
    """Columns without the one that names the sequence of each row, and the lengths, True for one sequence, False for none.

    Raises
    ------
    ValueError
        If a column is named and x is no DataFrame that has it, or its rows are not sorted by it.
    """
    if isinstance(x, Sequences):
        return x.x, x.lengths.tolist()
    if not isinstance(sequences, str):
        return x, sequences
    x = as_frame(x)
    if x is None or sequences not in x.columns:
        raise ValueError(
            f"sequences names the column {sequences!r}, and x is no DataFrame that has it; give the lengths"
        )
    return x.drop(columns=sequences), lengths_of(x[sequences].tolist(), sequences)


def _named(kinds: Sequence[str] | Mapping[str, str] | None, features: Sequence[str]) -> dict[str, str]:
    """The kind of each feature: all numbers by default, and where only some are named."""
    if kinds is None or isinstance(kinds, Mapping):
        given = kinds or {}
        for name in given:
            if name not in features:
                raise ValueError(unknown("feature", str(name), features))
        kinds = [given.get(name, "gaussian") for name in features]
    if len(kinds) != len(features):
        raise ValueError(f"kinds has {len(kinds)} entries for {len(features)} columns")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(unknown("kind of column", kind, KINDS))
    return dict(zip(features, kinds, strict=True))


def _levels(
    x: np.ndarray, kinds: Sequence[str], features: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """The names of levels by categorical or binary feature; where none are given, their codes."""
    found = {}
    for j, (name, kind) in enumerate(zip(features, kinds, strict=True)):
        if kind in ("categorical", "bernoulli"):
            high = 1 if kind == "bernoulli" else max(1, int(np.nanmax(x[:, j])))
            own = tuple(str(level) for level in levels.get(name, range(high + 1)))
            if len(set(own)) < len(own) or (kind == "bernoulli" and len(own) != 2) or not all(own):
                raise ValueError(f"{name!r} has the levels {own}; expected distinct names, of a binary feature two")
            _refuse(x[:, j], name, len(own) - 1, f"a code of its {len(own)} levels, 0 to {len(own) - 1}")
            found[name] = own
    return found


def _refuse(column: np.ndarray, name: str, most: float, expected: str) -> None:
    bad = np.flatnonzero((column < 0) | (column > most) | (~np.isnan(column) & (column != np.floor(column))))
    if bad.size:
        raise ValueError(f"feature {name!r} is {column[bad[0]]:.15g} in row {bad[0] + 1}; expected {expected}")


def _of_frame(
    frame: pd.DataFrame, kinds: Mapping[str, str], levels: Mapping[str, Sequence[str]], missing: bool
) -> Given:
    """A DataFrame's columns by their types, or by their kinds; numbers with levels are codes already."""
    codes = {name for name in levels if name in frame and frame[name].dtype.kind in "iuf"}
    other = {name: kind for name, kind in kinds.items() if name not in codes}
    data = from_frame(
        frame,
        counts=[name for name, kind in other.items() if kind == "poisson"],
        categorical=[name for name, kind in other.items() if kind in ("categorical", "bernoulli")],
        missing="model" if missing else "error",
    )
    found = dict(zip(data.features, data.kinds, strict=True)) | dict.fromkeys(codes, "categorical")
    found |= {name: kinds[name] for name in codes if name in kinds}
    for note in data.notes:
        if note.startswith("left out"):
            warnings.warn(f"{note}; leave it out of the DataFrame, or name its kind", stacklevel=7)
    return Given(data.x, data.features, tuple(found.values()), dict(data.levels), data.index, data.notes)
