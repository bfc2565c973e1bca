"""Numbers as they come, as an array of floats, and what in them is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from mixtures.errors import FeatureError


def as_matrix(x: Any) -> np.ndarray:
    """``x`` as a matrix (N, D) of float32 or float64; see `as_real`.

    Raises
    ------
    ValueError
        If it has no row, no column, or another shape.
    """
    x = as_real(x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x has shape {x.shape}; expected a matrix (N, D) with at least one row and one column")
    return x


def is_array(x: Any) -> bool:
    """Whether x is one array (or nested sequence of numbers), not an iterable of blocks."""
    if isinstance(x, np.ndarray | memoryview) or hasattr(x, "__array__") or hasattr(x, "toarray"):
        return True
    if isinstance(x, list | tuple) and len(x):
        first = x[0][0] if isinstance(x[0], tuple) and len(x[0]) else x[0]
        return np.ndim(first) < 2
    return not isinstance(x, Iterable)


def as_real(x: Any, name: str = "x") -> np.ndarray:
    """``x`` as an array of float32 or float64 in which what is masked, or missing in a pandas frame, is NaN.

    Raises
    ------
    ValueError
        If x, which the message calls by its ``name``, is complex or sparse, or holds dates or other things than numbers.
    """
    if hasattr(x, "toarray"):
        raise ValueError(f"{name} is sparse; expected a dense array, such as {name}.toarray()")
    try:
        x = np.asanyarray(x) if isinstance(x, np.ma.MaskedArray) else np.asarray(x)
    except (TypeError, ValueError) as error:  # rows of unequal lengths among them
        raise ValueError(f"{name} is no array of numbers ({str(error).split('. ')[0]})") from error
    _refuse_dates(x.dtype, name)
    if x.dtype.kind == "c":
        raise ValueError(f"{name} is complex ({x.dtype}); expected real numbers")
    if x.dtype not in (np.float32, np.float64):
        try:
            x = _without_marks(x).astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} holds entries that are no real numbers ({error})") from error
    return x.filled(np.nan) if isinstance(x, np.ma.MaskedArray) else x


def _without_marks(x: np.ndarray) -> np.ndarray:
    """Objects with NaN in the place of pandas' mark for what is missing, which is no number."""
    pandas = sys.modules.get("pandas")
    if x.dtype.kind != "O" or pandas is None:
        return x
    return np.where([entry is pandas.NA for entry in x.flat], np.nan, x.ravel()).reshape(x.shape)


def unmasked(x: Any, name: str = "X") -> Any:
    """``x`` as it is, but for a masked array: that with NaN in place of what is masked, which other libraries would show.

    Raises
    ------
    ValueError
        If x, which the message calls by its ``name``, holds dates, which other libraries would take for numbers.
    """
    if isinstance(x, np.ndarray):
        _refuse_dates(x.dtype, name)
    else:
        for dtype in getattr(x, "dtypes", ()) if hasattr(x, "columns") else ():
            _refuse_dates(dtype, name)
    return as_real(x) if isinstance(x, np.ma.MaskedArray) else x


def _refuse_dates(dtype: Any, name: str) -> None:
    if getattr(dtype, "kind", "") in ("m", "M"):
        raise ValueError(
            f"{name} holds dates or times ({dtype}); expected numbers, such as the days since the first of them"
        )


def check_matrix(x: np.ndarray, missing: bool = False) -> np.ndarray:
    """``x`` as a float64 array (N, D) that is finite, but for NaN where values may be ``missing``; else a ValueError."""
    if not (is_array(x) or isinstance(x, str)):
        raise ValueError(f"x is a {type(x).__name__}, as of blocks; expected one array (N, D)")
    rows = as_matrix(x)
    refuse_missing(rows, missing=missing)
    return rows.astype(np.float64, copy=False)


def refuse_missing(x: np.ndarray, start: int = 0, missing: bool = False) -> None:
    """Refuse values that are not finite, or, where values may be ``missing``, infinite; ``start`` numbers the first row."""
    bad = np.isinf(x) if missing else ~np.isfinite(x)
    if bad.any():
        row = start + int(np.argmax(bad.any(axis=1)))
        what = "infinite" if missing else "missing or infinite"
        other = ", or give missing=True to the family's from_data, which integrates over missing values"
        raise ValueError(
            f"x has {int(bad.sum())} {what} values, the first in row {row}; leave those rows out"
            f"{other if np.isnan(x).any() and not missing else ''}"
        )


def refuse_unseen(x: np.ndarray) -> None:
    """Refuse a feature of x (N, D) that is missing in all rows.

    Raises
    ------
    FeatureError
    """
    never = np.flatnonzero(np.isnan(x).all(0))
    if len(never):
        raise FeatureError("{0} is missing in all rows; leave it out", never[:1].tolist())
