"""Discrete data that come with the package: their columns as codes; SOURCES.md has the provenance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixtures.datasets import files
from mixtures.datasets.dataset import DataError, is_missing, is_numeric, nearest

NAMES = ("carcinoma", "cheating", "election", "alzheimer", "deaths")


class Coded(NamedTuple):
    """Columns of one table as codes.

    Attributes
    ----------
    x : ndarray, shape (N, D)
        Codes 0..C_d - 1, by the sorted levels of each column; NaN for a gap.
    levels : tuple of tuple
        The levels of each column, in order.
    rows : ndarray of int, shape (N,)
        The rows of the table, counted from zero, that were kept: those without a gap in these columns, or all.
    """

    x: np.ndarray
    levels: tuple[tuple[float | str, ...], ...]
    rows: np.ndarray


def coded(name: str, columns: Sequence[str] | None = None, *, missing: bool = False) -> Coded:
    """Some columns of a discrete data set as codes, rows with a gap in one of them left out, or kept with NaN.

    Parameters
    ----------
    name : str
        One of "carcinoma", "cheating", "election", "alzheimer" and "deaths".
    columns : sequence of str, optional
        By default all.
    missing : bool
        Whether to keep rows with gaps.

    Raises
    ------
    DataError
        If there is no such data set, or it has no such column.

    Examples
    --------
    >>> coded("cheating", ["LIEEXAM", "FRAUD"]).levels
    ((1.0, 2.0), (1.0, 2.0))
    """
    if name not in NAMES:
        raise DataError(f"{name!r} is no discrete data set of the package: give one of {', '.join(NAMES)}")
    table = files.read(Path(__file__).with_name(f"{name}.csv"))
    found = dict(zip(table.names, table.columns, strict=True))
    chosen = table.names if columns is None else columns
    for column in chosen:
        if column not in found:
            raise DataError(f"{name} has no column {column!r}; near it are {nearest(column, found)}")
    gaps = np.array([is_missing(found[column]) for column in chosen])
    rows = np.arange(gaps.shape[1]) if missing else np.flatnonzero(~gaps.any(axis=0))
    x, levels = np.full((len(rows), len(chosen)), np.nan), []
    for d, column in enumerate(chosen):
        seen = ~gaps[d, rows]
        v = found[column][rows[seen]]
        own, x[seen, d] = np.unique(v if is_numeric(v) else v.astype(str), return_inverse=True)
        levels.append(tuple(own.tolist()))
    return Coded(x, tuple(levels), rows)
