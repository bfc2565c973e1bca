"""Tables that are in memory already, as a DataFrame of pandas."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.datasets.columns import PLAIN, as_label, labels, objects, written
from mixtures.datasets.dataset import Categories, Table, is_numeric
from mixtures.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def as_frame(x: Any) -> pd.DataFrame | None:
    """A table with names as a DataFrame: one of Arrow, Polars or another library that gives it, or a structured array.

    None where x is no such table.
    """
    if isinstance(x, np.ndarray) and not x.dtype.names:
        return None
    import pandas as pd

    if isinstance(x, pd.DataFrame):
        return x
    if callable(getattr(x, "to_pandas", None)) and hasattr(x, "columns"):
        return x.to_pandas()
    kinds = getattr(getattr(x, "dtype", None), "names", None)
    return pd.DataFrame({name: x[name].tolist() for name in kinds}) if kinds and x.ndim == 1 else None


def read(frame: Any, label: str | None = None) -> Table:
    """Take the columns of a DataFrame, and its index as the names of its rows; one that counts from 0 has none.

    Parameters
    ----------
    frame : pandas.DataFrame, or what `as_frame` makes one of, or a pandas.Series
    label : str, optional
        The column of class labels, which are kept as they are.

    Raises
    ------
    DataError
        If it is none, or has no rows or no columns.
    """
    import pandas as pd

    if isinstance(frame, pd.Series):
        frame = frame.to_frame("x1" if frame.name is None else frame.name)
    given, frame = frame, as_frame(frame)
    if frame is None:
        raise DataError(f"expected a DataFrame, got {type(given).__name__}: make one of it first")
    if 0 in frame.shape:
        raise DataError(
            f"the DataFrame has {frame.shape[0]} rows and {frame.shape[1]} columns: give at least one of each"
        )
    names = tuple(str(name) for name in frame.columns)
    columns, categories, whole = [], {}, {}
    for j, name in enumerate(names):
        column = frame.iloc[:, j]
        columns.append(labels(_present(column), PLAIN) if name == label else _column(column))
        if is_numeric(columns[-1]) and (own := written(columns[-1], partial(_present, column))) is not None:
            whole[j] = own
        if isinstance(column.dtype, pd.CategoricalDtype):
            levels = [text for level in column.cat.categories if (text := as_label(level)) is not None]
            categories[j] = Categories(tuple(levels), bool(column.cat.ordered))
    return Table(names, tuple(columns), categories=categories, index=_index(frame), written=whole)


def _column(column: pd.Series) -> np.ndarray:
    """Floats where a column holds numbers, else objects."""
    import pandas as pd

    kind = pd.api.types
    if kind.is_numeric_dtype(column) and not (kind.is_bool_dtype(column) or kind.is_complex_dtype(column)):
        return column.to_numpy(dtype=float, na_value=np.nan)
    present = _present(column)
    filled = [value for value in present if value is not None]
    if filled and all(_is_number(value) for value in filled) and not isinstance(column.dtype, pd.CategoricalDtype):
        return np.array([np.nan if value is None else float(value) for value in present])
    return objects([value.strip() or None if isinstance(value, str) else value for value in present])


def _present(column: pd.Series) -> list[Any]:
    """The entries, None where missing, truth values as Python has them."""
    gaps = column.isna().to_numpy()
    values = column.astype(object).tolist()
    return [
        None if gap else bool(value) if isinstance(value, np.bool_) else value
        for gap, value in zip(gaps, values, strict=True)
    ]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal) and not isinstance(value, bool)


def _index(frame: pd.DataFrame) -> np.ndarray | None:
    import pandas as pd

    if isinstance(frame.index, pd.RangeIndex):
        return frame.index.to_numpy().astype(str)
    if isinstance(frame.index, pd.MultiIndex):
        return np.array([", ".join(map(str, row)) for row in frame.index])
    return np.array([as_label(name) or "" for name in frame.index])
