"""Tables read from a user's own file: delimited text, packed or not, Parquet, Feather or .npy."""

from __future__ import annotations

import bz2
import codecs
import csv as python_csv
import gzip
import io
import json
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from mixtures.datasets import limits, text
from mixtures.datasets.columns import (
    PLAIN,
    Spelling,
    as_label,
    blanked,
    declared,
    entry,
    from_arrow,
    labels,
    numbers,
    objects,
    texts,
    written,
)
from mixtures.datasets.dataset import Table, listed
from mixtures.errors import DataError
from mixtures.memory import check_memory

TEXT = (".csv", ".tsv", ".txt")
ARROW = (".parquet", ".feather")
PACKED = (".gz", ".bz2", ".xz")
ARCHIVE = ".zip"
TABLES = (*TEXT, *ARROW, ".npy")
SUFFIXES = (*TABLES, *(text + packed for text in TEXT for packed in PACKED), ARCHIVE)
TABLE = "export the table as CSV"
# What a file begins with, what it then holds, and what to do where its name says otherwise.
SIGNATURES = {
    rb"\x1f\x8b": ("gzip data", "name it *.csv.gz"),
    rb"BZh[1-9]1AY": ("bzip2 data", "name it *.csv.bz2"),
    rb"\xfd7zXZ": ("xz data", "name it *.csv.xz"),
    rb"PK\x03\x04": (
        "a zip archive, as a spreadsheet or .npz is one",
        f"{TABLE}, or name it *.zip if it holds one",
    ),
    rb"PAR1": ("Parquet", "name it *.parquet"),
    rb"ARROW1|FEA1": ("Feather", "name it *.feather"),
    rb"\x93NUMPY": ("an array of NumPy", "name it *.npy"),
    rb"\s*<(?i:!doctype|html|\?xml|table)": ("HTML or XML", TABLE),
    rb"\s*\[?\s*\{\s*\"": ("JSON", TABLE),
    rb"(?i:\s*@relation\s)": ("ARFF", TABLE),
    rb"(?i:\s*(insert into|create table)\s)": ("SQL", TABLE),
    rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an old document of Office, such as .xls", TABLE),
    rb"\x89HDF\r\n\x1a\n": ("HDF5", TABLE),
    rb"SQLite format 3\x00": ("a database of SQLite", TABLE),
    rb"%PDF-": ("PDF", TABLE),
    rb"\{\\rtf": ("RTF", TABLE),
    rb"<stata_dta>": ("Stata", TABLE),
    rb"\$FL[23]@": ("SPSS", TABLE),
    rb"\x80[\x02-\x05][\x95c}\](]": ("a pickle of Python", f"{TABLE}, or save the array by numpy.save"),
    rb"version https://git-lfs\.": ("a pointer of Git LFS in the place of the data", "fetch these by git lfs pull"),
}
FORMATS = f"{', '.join(TEXT)} (also {', '.join(PACKED)}), {', '.join(ARROW)}, .npy, or a .zip that holds one of these"
# Tables of fewer columns are read in less time than a glance at their size would save.
WIDE = 1000
# Refuses what has at most so many rows and at least so many columns of numbers.
Check = Callable[[int, int], object]
# What ends a text of DOS, and what ends a page.
END = b"\x1a\x0c"
# Marks that nobody sees: of the order of bytes, of no width, and of the direction of writing.
UNSEEN = re.compile(
    "|".join("\ufeff\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069").encode()
)
# How pandas names the column of an index that has no name.
NAMELESS_INDEX = "__index_level_"
# what NumPy raises for a header that is none
UNREADABLE_ARRAY = (
    ValueError,
    EOFError,
    MemoryError,
    OverflowError,
    TypeError,
    RecursionError,
    SyntaxError,
    TokenError,
)


def read(path: Path, label: str | None = None, spelling: Spelling = PLAIN, check: Check | None = None) -> Table:
    """Read a table from a file, the format told by the file's extension.

    Parameters
    ----------
    path : Path
    label : str, optional
        The column of class labels, which are kept as they are.
    spelling : Spelling
        How numbers and missing ones are written.
    check : callable, optional
        Refuses what is too wide for its rows: see `mixtures.datasets.load`.

    Raises
    ------
    DataError
        If the file is a folder, unreadable, empty, damaged or of another format.
    """
    if path.is_dir():
        raise DataError(f"{str(path)!r} is a folder: give a file in it ({FORMATS})")
    suffix = _suffix(path.name, SUFFIXES)
    if not suffix:
        raise DataError(f"the format of {str(path)!r} is not known: give one of {FORMATS}")
    try:
        data = limits.read_file(path)
        data, suffix = _of_archive(path, data) if suffix == ARCHIVE else (_unpacked(path, data, suffix), suffix)
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError) as error:
        raise _unreadable(path, error) from error
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        raise _empty(path)
    _check_format(path, data, suffix)
    if suffix == ".npy":
        return _read_npy(path, data, label, spelling, check)
    if suffix in ARROW:
        return _read_arrow(path, data, suffix, label, spelling, check)
    return _read_text(path, data, suffix, label, spelling, check)


def _suffix(name: str, suffixes: tuple[str, ...]) -> str:
    """Which of the suffixes a file's name has, "" where none."""
    return next((suffix for suffix in suffixes if name.lower().endswith(suffix)), "")


def _unpacked(path: Path, data: bytes, suffix: str) -> bytes:
    """The bytes of the file, unpacked.

    Raises
    ------
    DataError
        If they are more than memory holds.
    OSError, EOFError, zlib.error, lzma.LZMAError
        If they are damaged.
    """
    packed = io.BytesIO(data)
    for end, opened in ((".gz", gzip.open), (".bz2", bz2.open), (".xz", lzma.open)):
        if suffix.endswith(end):
            with opened(packed) as file:
                return limits.unpack(path, packed, file)
    return data


def _of_archive(path: Path, data: bytes) -> tuple[bytes, str]:
    """The bytes and the suffix of the one table in an archive.

    That is the file whose name has a table's suffix; a file that is alone needs none where the archive is called *.csv.zip.

    Raises
    ------
    DataError
        If it holds no table, or several, or if the table is more than memory holds.
    EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile
        If it is damaged.
    ValueError
        If the table is under a password, or its compression is not known.
    """
    packed = io.BytesIO(data)
    try:
        with zipfile.ZipFile(packed) as archive:
            inside = [name for name in archive.namelist() if not name.endswith("/") and not _hidden(name)]
            tables = [name for name in inside if _suffix(name, TABLES)]
            if not tables and len(inside) == 1 and _suffix(path.stem, TABLES):
                tables = inside
            if len(tables) != 1:
                what = f"{len(tables)} tables" if tables else "no table"
                names = listed(tables or inside, 3)
                raise DataError(
                    f"{str(path)!r} holds {what}{f' ({names})' if names else ''}: put one alone into it "
                    f"({', '.join(TABLES)})"
                )
            with archive.open(tables[0]) as member:
                return limits.unpack(path, packed, member), _suffix(tables[0], TABLES) or _suffix(path.stem, TABLES)
    except (RuntimeError, NotImplementedError) as error:  # a password, an unknown compression
        raise ValueError(str(error)) from error


def _hidden(name: str) -> bool:
    """Whether a file of an archive is what systems leave in folders."""
    return name.startswith("__MACOSX/") or name.rsplit("/", 1)[-1].startswith(".") or name.endswith("/Thumbs.db")


def _empty(path: Path) -> DataError:
    return DataError(f"{str(path)!r} is empty: give a file with a header line and at least two rows")


def _check_format(path: Path, data: bytes, suffix: str) -> None:
    """Refuse a file that holds another format than its name says."""
    for start, (what, remedy) in SIGNATURES.items():
        if not re.match(start, data.removeprefix(codecs.BOM_UTF8)):
            continue
        if suffix.endswith(PACKED) and f"*.csv{suffix[4:]}" in remedy:
            raise DataError(f"{str(path)!r} holds {what} once it is unpacked: it was packed twice, unpack it once")
        if not remedy.endswith(f"*{suffix}"):
            raise DataError(f"{str(path)!r} holds {what}, and its name says {suffix}: {remedy}")


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = " ".join(reason.split())[:200]
    return DataError(f"cannot read {str(path)!r}: {reason or type(error).__name__}; check the file or write it again")


def _read_text(
    path: Path, data: bytes, suffix: str, label: str | None, spelling: Spelling, check: Check | None
) -> Table:
    import pyarrow as pa
    from pyarrow import csv

    try:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # the "Unicode text" of Excel
            data = data.decode("utf-16").encode()
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{str(path)!r} is not UTF-8 text (byte {error.start}): save it as UTF-8") from error
    if b"\0" in data:
        raise DataError(f"{str(path)!r} is not a text file: its name says {suffix}, but it holds binary data")
    data = data.rstrip(END)
    if not data.isascii():
        data = UNSEEN.sub(b"", data)
    data = re.sub(rb'\\"(?=[^,;\t|\r\n])', b'""', data)  # as write.table of R writes a quote within a text
    try:
        if check and (wide := text.extent(data, suffix, spelling, WIDE)):
            rows, names = wide
            check(rows, len(names) - (label in names))
        form = text.layout(data, suffix, spelling)
    except python_csv.Error as error:
        raise _unreadable(path, error) from error
    if not form.names:
        raise _empty(path)
    delimiter = form.delimiter
    data, of_end = text.without_empty_end(data[form.start :], delimiter)
    of_gaps = text.empty_lines(data) if len(form.names) == 1 else ""
    if delimiter == text.BLANKS:
        data = text.single_blanks(data)
    places = [str(j) for j in range(len(form.names))]
    try:
        table = csv.read_csv(
            io.BytesIO(data + b"\n"),  # a header alone needs its line end
            # several threads do not tell the row of an error
            read_options=csv.ReadOptions(use_threads=False, column_names=places),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(places, pa.string()), null_values=[]),
        )
    except pa.ArrowInvalid as error:
        raise _unreadable(path, error) from error
    table = table.slice(form.lines)
    _check_rows(path, table)
    columns, codes, whole = [], {}, {}
    for j, (name, column) in enumerate(zip(form.names, table.columns, strict=True)):
        read = None if name == label else numbers(column, spelling)
        if read is None:
            values = texts(column, spelling)
            columns.append(labels(values, spelling) if name == label else values)
        else:
            columns.append(read[0])
            codes[j] = read[1]
            whole[j] = written(read[0], column.to_pylist)
    notes = tuple(note for note in (form.note, of_gaps, of_end) if note)
    return Table(form.names, tuple(columns), codes, notes, written=_known(whole))


def _known(whole: dict[int, np.ndarray | None]) -> dict[int, np.ndarray]:
    return {j: own for j, own in whole.items() if own is not None}


def _read_arrow(
    path: Path, data: bytes, suffix: str, label: str | None, spelling: Spelling, check: Check | None
) -> Table:
    import pyarrow as pa
    from pyarrow import feather, parquet

    try:
        stream = io.BytesIO(data)  # so that no folder's name is read as a partition
        source = None if suffix == ".feather" else parquet.ParquetFile(stream)
        if source:
            _weigh(path, source.metadata.num_rows, source.schema_arrow, label, check)
            table = source.read()
        else:
            if data.startswith(b"ARROW1"):  # its first version says nothing of its size
                _weigh(path, *_feather(data), label, check)
            table = feather.read_table(stream)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    _check_rows(path, table)
    of_index = [name for name in _of_index(table.schema) if table.column_names.count(name) == 1]
    kept = [(j, name) for j, name in enumerate(table.column_names) if not name.startswith(NAMELESS_INDEX)]
    names = tuple(name for _, name in kept)
    columns, codes, categories, whole = [], {}, {}, {}
    for j, (place, name) in enumerate(kept):
        column = table.column(place)
        if name == label:
            columns.append(labels(column.to_pylist(), spelling))
        else:
            values, codes[j] = from_arrow(column, spelling)
            columns.append(values)
            if pa.types.is_integer(column.type) or pa.types.is_decimal(column.type):
                whole[j] = written(values, column.to_pylist)
            if pa.types.is_dictionary(column.type):
                categories[j] = declared(column)
    index = None
    if of_index:
        parts = zip(*(table.column(name).to_pylist() for name in of_index), strict=True)
        index = np.array([", ".join(as_label(part) or "" for part in row) for row in parts])
    of_rows, exact = tuple(of_index), _known(whole)
    return Table(names, tuple(columns), codes, categories=categories, index=index, of_index=of_rows, written=exact)


def _of_index(schema: Any) -> list[str]:
    """The columns that were the index of a DataFrame, by what pandas notes of it."""
    try:
        noted = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))["index_columns"]
    except (ValueError, KeyError):
        return [name for name in schema.names if name.startswith(NAMELESS_INDEX)]
    return [name for name in noted if isinstance(name, str)]


def _feather(data: bytes) -> tuple[int, Any]:
    """Rows and schema of a Feather file, without unpacking its columns."""
    import pyarrow as pa
    from pyarrow import dataset

    source = dataset.IpcFileFormat().make_fragment(pa.BufferReader(data))
    return source.count_rows(), source.physical_schema


def _weigh(path: Path, rows: int, schema: Any, label: str | None, check: Check | None) -> None:
    """Refuse a table of more cells than memory holds, or too wide for its rows."""
    import pyarrow as pa

    check_memory(16 * rows * len(schema), repr(str(path)), "give fewer rows")
    if check and len(schema) > WIDE:
        kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
        own = [field for field in schema if field.name != label and not field.name.startswith(NAMELESS_INDEX)]
        check(rows, sum(any(is_kind(field.type) for is_kind in kinds) for field in own))


def _check_rows(path: Path, table: Any) -> None:
    if table.num_rows == 0 or table.num_columns == 0:
        raise DataError(f"{str(path)!r} has a header but no rows: give a file with at least two rows")


def _read_npy(path: Path, data: bytes, label: str | None, spelling: Spelling, check: Check | None) -> Table:
    shape = limits.check_array(path, io.BytesIO(data), len(data))
    if check and len(shape) == 2 and shape[1] > WIDE:
        check(shape[0], shape[1] - (label is not None))
    try:
        x = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    except UNREADABLE_ARRAY as error:
        raise _unreadable(path, error) from error
    if (
        x.dtype.names
        and x.ndim == 1
        and all(x[name].ndim == 1 and x[name].dtype.kind in "fiubSU" for name in x.dtype.names)
    ):
        return _of_fields(x, label, spelling)
    if x.dtype.kind not in "fiu" or x.ndim not in (1, 2):
        raise DataError(
            f"{str(path)!r} holds a {x.ndim}-D array of {x.dtype.name}: give a 1-D or 2-D array of real numbers"
        )
    if x.size == 0:
        raise DataError(f"{str(path)!r} is empty, shape {x.shape}: give an array with at least two rows")
    x = x.reshape(len(x), -1)
    names = tuple(f"x{j}" for j in range(1, x.shape[1] + 1))
    columns, codes, whole = [], {}, {}
    for j, name in enumerate(names):
        if name == label:
            columns.append(labels(x[:, j].tolist(), spelling))
        else:
            values, codes[j] = blanked(x[:, j].astype(np.float64), spelling)
            columns.append(values)
            whole[j] = written(values, x[:, j].tolist)
    return Table(names, tuple(columns), codes, written=_known(whole))


def _of_fields(x: np.ndarray, label: str | None, spelling: Spelling) -> Table:
    """The table that a structured array (N,) holds; fields of bytes are UTF-8."""
    columns, codes, whole = [], {}, {}
    for j, name in enumerate(x.dtype.names or ()):
        if name != label and x[name].dtype.kind in "fiu":
            values, codes[j] = blanked(x[name].astype(np.float64), spelling)
            whole[j] = written(values, x[name].tolist)
        else:
            own = [value.decode(errors="replace") if isinstance(value, bytes) else value for value in x[name].tolist()]
            values = labels(own, spelling) if name == label else objects([entry(value, spelling) for value in own])
        columns.append(values)
    return Table(x.dtype.names or (), tuple(columns), codes, written=_known(whole))


def siblings(path: Path) -> list[str]:
    """Return the names of the readable files in a path's folder; none where the folder cannot be listed."""
    try:
        return sorted(name for name in os.listdir(path.parent) if name.lower().endswith(SUFFIXES))
    except (OSError, ValueError):
        return []
