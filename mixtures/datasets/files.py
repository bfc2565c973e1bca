"""Tables read from a user's own file: delimited text, Parquet or .npy."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from mixtures.datasets.dataset import DataError, Table

TEXT = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")
SUFFIXES = (*TEXT, ".parquet", ".npy")
# what R, NumPy and pandas write for a missing value
MISSING = ["", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None"]


def read(path: Path) -> Table:
    """Read a table from a file, the format told by the file's extension.

    Raises
    ------
    DataError
        If the file is a folder, unreadable, empty, damaged or of another format.
    """
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder: give a file in it ({', '.join(SUFFIXES)})")
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
    if suffix is None:
        raise DataError(f"the format of {str(path)!r} is not known: give one of {', '.join(SUFFIXES)}")
    try:
        data = path.read_bytes()
        if suffix.endswith(".gz"):
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(path, error) from error
    if not data.strip():
        raise DataError(f"{str(path)!r} is empty: give a file with a header line and at least two rows")
    if suffix == ".npy":
        return _read_npy(path, data)
    if suffix == ".parquet":
        return _read_parquet(path, data)
    return _read_text(path, data, suffix)


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = " ".join(reason.split())[:200]
    return DataError(f"cannot read {str(path)!r}: {reason or type(error).__name__}; check the file or write it again")


def _read_text(path: Path, data: bytes, suffix: str) -> Table:
    import pyarrow as pa
    from pyarrow import csv

    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if b"\0" in data:
        raise DataError(f"{str(path)!r} is not a text file: its name says {suffix}, but it holds binary data")
    header = data.lstrip().splitlines()[0]
    delimiter = "\t" if suffix.startswith(".tsv") else max((",", ";", "\t"), key=lambda d: header.count(d.encode()))
    if suffix.startswith(".txt") and not header.count(delimiter.encode()):
        data, delimiter = re.sub(rb"(?m)^ +| +$", b"", re.sub(rb" +", b" ", data)), " "
    try:
        table = csv.read_csv(
            io.BytesIO(data + b"\n"),  # a header alone needs its line end
            read_options=csv.ReadOptions(use_threads=False),  # several threads do not tell the row of an error
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(null_values=MISSING, strings_can_be_null=True),
        )
    except pa.ArrowInvalid as error:
        raise _unreadable(path, error) from error
    # a quote after a blank is kept as text
    table = table.rename_columns([name.strip().strip('"') for name in table.column_names])
    if all(_is_number(name) for name in table.column_names):
        raise DataError(f"the first line of {str(path)!r} holds only numbers: add a header line of column names")
    return _from_arrow(path, table)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, data: bytes) -> Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # a single file, so that the folder's name is not read as a partition
        table = parquet.ParquetFile(io.BytesIO(data)).read()
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    # pandas keeps a row index that is not 0, 1, 2, ... under this name
    return _from_arrow(path, table.select([n for n in table.column_names if not n.startswith("__index_level_")]))


def _from_arrow(path: Path, table: Any) -> Table:
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError(f"{str(path)!r} has a header but no rows: give a file with at least two rows")
    return Table(tuple(table.column_names), tuple(_column(column) for column in table.columns))


def _column(column: Any) -> np.ndarray:
    """Convert an Arrow column (through DLPack, which unlike ``to_numpy`` does not import pandas)."""
    import pyarrow as pa

    kind = pa.types
    numeric = (kind.is_integer, kind.is_floating, kind.is_decimal, kind.is_null)
    if not any(is_kind(column.type) for is_kind in numeric):
        values = np.empty(len(column), dtype=object)
        values[:] = column.to_pylist()
        return values
    present = np.from_dlpack(column.is_valid().cast(pa.uint8()).combine_chunks()).astype(bool)
    values = np.full(len(column), np.nan)
    if present.any():
        values[present] = np.from_dlpack(column.drop_null().cast(pa.float64(), safe=False).combine_chunks())
    return values


def _read_npy(path: Path, data: bytes) -> Table:
    try:
        x = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise _unreadable(path, error) from error
    if x.dtype.kind not in "fiu" or x.ndim not in (1, 2):
        raise DataError(
            f"{str(path)!r} holds a {x.ndim}-D array of {x.dtype.name}: give a 1-D or 2-D array of real numbers"
        )
    if x.size == 0:
        raise DataError(f"{str(path)!r} is empty, shape {x.shape}: give an array with at least two rows")
    x = np.asarray(x, dtype=np.float64).reshape(len(x), -1)
    return Table(tuple(f"x{j}" for j in range(1, x.shape[1] + 1)), tuple(x.T))


def siblings(path: Path) -> list[str]:
    """Return the names of the readable files in a path's folder; none where the folder cannot be listed."""
    try:
        return sorted(name for name in os.listdir(path.parent) if name.lower().endswith(SUFFIXES))
    except (OSError, ValueError):
        return []
