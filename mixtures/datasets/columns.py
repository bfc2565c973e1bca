"""One column of a file: numbers with gaps, text, or class labels; and the ways in which people write these."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from string import ascii_letters
from typing import Any

import numpy as np

from mixtures.datasets.dataset import Categories
from mixtures.errors import DataError

# what R, NumPy, pandas and databases write for a missing value, and what stands for one only among numbers
MISSING = (
    "", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "NULL", "null", "None", "\\N", "(null)", "[NULL]",
)  # fmt: skip
AMONG_NUMBERS = (
    ".", "?", "-", "\u2013", "\u2014", "#NA", "#NULL!", "1.#QNAN", "-1.#IND", "1.#IND", "-1.#QNAN", "._",
    *(f".{letter}" for letter in ascii_letters),
)  # fmt: skip  # spreadsheets, SPSS, C of Windows, SAS, Stata
# whole numbers from here on share their floats
WHOLE = 2.0**53
# what parts thousands as another mark does: no-break, narrow no-break and thin spaces, and the apostrophe that is typeset
ALIKE = {" ": "[\u00a0\u202f\u2009]", "'": "\u2019"}


@dataclass(frozen=True)
class Spelling:
    """How a text writes numbers, and what it writes for a missing one.

    Parameters
    ----------
    na_values : tuple of str
        Entries that are missing besides the usual ones.
    decimal : str
        The decimal mark.
    thousands : str, optional
        What parts the thousands.

    Raises
    ------
    DataError
        If a mark is not one character, is a digit or a sign, or both are the same.
    """

    na_values: tuple[str, ...] = ()
    decimal: str = "."
    thousands: str | None = None

    def __post_init__(self) -> None:
        for option, mark in (("--decimal", self.decimal), ("--thousands", self.thousands)):
            if mark is None:
                continue
            if len(mark) != 1 or mark.isalnum() or mark in '+-"\n\t':
                raise DataError(f"{option} is {mark!r}; expected one mark, such as a comma or a point")
        if self.decimal == self.thousands:
            raise DataError(f"--decimal and --thousands are both {self.decimal!r}: the same mark cannot do for both")

    @cached_property
    def missing_numbers(self) -> list[float]:
        """Those of ``na_values`` that are numbers, such as -999."""
        found = []
        for text in self.na_values:
            try:
                found.append(float(text))
            except ValueError:
                continue
        return found

    @cached_property
    def plain(self) -> bool:
        """Whether numbers are written as programs write them."""
        return self.decimal == "." and self.thousands is None


PLAIN = Spelling()


def numbers(column: Any, spelling: Spelling) -> tuple[np.ndarray, Counter[str]] | None:
    """Read a text column as floats, NaN where missing.

    Parameters
    ----------
    column : pyarrow.Array or pyarrow.ChunkedArray of string
    spelling : Spelling

    Returns
    -------
    values : ndarray, shape (N,)
    codes : Counter of str
        Entries taken as missing that are neither empty nor one of `MISSING`, and how often they stand there.
    None
        In place of both, if an entry is no number.
    """
    import pyarrow as pa
    from pyarrow import compute as pc

    if spelling.plain:
        try:
            return blanked(_floats(column.cast(pa.float64())), spelling)
        except pa.ArrowInvalid:
            pass
    text = pc.utf8_trim_whitespace(column)
    usual = pc.is_in(text, value_set=strings(MISSING))
    missing = pc.or_(usual, pc.is_in(text, value_set=strings([*AMONG_NUMBERS, *spelling.na_values])))
    present = text.filter(pc.invert(missing))
    codes = Counter(text.filter(pc.and_not(missing, usual)).to_pylist())
    if not len(present) and any(code in AMONG_NUMBERS for code in codes):
        return None
    try:
        found = _floats(_as_programs_write(present, spelling).cast(pa.float64()))
    except pa.ArrowInvalid:
        return None
    values = np.full(len(text), np.nan)
    values[~_flags(missing)], further = blanked(found, spelling)
    return values, codes + further


def blanked(values: np.ndarray, spelling: Spelling) -> tuple[np.ndarray, Counter[str]]:
    """Floats with NaN in place of the numbers that stand for a missing value, and how often each did."""
    codes: Counter[str] = Counter()
    for number in spelling.missing_numbers:
        if count := int((values == number).sum()):
            values = np.where(values == number, np.nan, values)
            codes[f"{number:.15g}"] = count
    return values, codes


def _as_programs_write(text: Any, spelling: Spelling) -> Any:
    """Numbers with a decimal point and without marks between thousands; what is spelled otherwise becomes no number."""
    from pyarrow import compute as pc

    text = pc.replace_substring(text, "\u2212", "-")  # the sign that typesetters use
    mark, parts = re.escape(spelling.decimal), spelling.thousands
    if parts is not None:
        if parts in ALIKE:
            text = pc.replace_substring_regex(text, ALIKE[parts], parts)
        between = r"\d{2,3}" if parts == "," else r"\d{3}"  # in India 1,00,000
        digits = rf"[1-9]\d{{0,2}}({re.escape(parts)}{between})*{re.escape(parts)}\d{{3}}"
        grouped = pc.match_substring_regex(text, rf"^[-+]?{digits}({mark}\d*)?$")
        text = pc.if_else(grouped, pc.replace_substring(text, parts, ""), text)
    if spelling.decimal != ".":
        text = pc.replace_substring(pc.replace_substring(text, ".", "?"), spelling.decimal, ".")
    return text


def from_arrow(column: Any, spelling: Spelling) -> tuple[np.ndarray, Counter[str]]:
    """Convert a typed Arrow column to floats (NaN is missing) where it holds numbers, else to objects (None is missing)."""
    import pyarrow as pa
    from pyarrow import compute as pc

    kind = pa.types
    if kind.is_run_end_encoded(column.type):
        column = pa.chunked_array([pc.run_end_decode(chunk) for chunk in column.chunks])
    if not any(is_kind(column.type) for is_kind in (kind.is_integer, kind.is_floating, kind.is_decimal, kind.is_null)):
        return objects([entry(value, spelling) for value in column.to_pylist()]), Counter()
    values = np.full(len(column), np.nan)
    present = _flags(column.is_valid())
    if present.any():
        filled = column.drop_null()
        if kind.is_decimal(column.type):  # of which the nearest float is found through text
            filled = filled.cast(pa.string())
        values[present] = _floats(filled.cast(pa.float64(), safe=False))
    return blanked(values, spelling)


def declared(column: Any) -> Categories:
    """The categories that the type of an Arrow column declares, in their order."""
    found = {
        label: None for chunk in column.chunks for level in chunk.dictionary.to_pylist() if (label := as_label(level))
    }
    return Categories(tuple(found), column.type.ordered)


def entry(value: Any, spelling: Spelling) -> Any:
    """An entry that is no number, text without blanks around it, and None where missing."""
    if not isinstance(value, str):
        return value
    value = value.strip()
    return None if value in MISSING or value in spelling.na_values else value


def texts(column: Any, spelling: Spelling) -> np.ndarray:
    """Entries of a text column without blanks around them, None where missing."""
    from pyarrow import compute as pc

    gaps = {*MISSING, *spelling.na_values}
    return objects([None if entry in gaps else entry for entry in pc.utf8_trim_whitespace(column).to_pylist()])


def labels(values: Sequence[Any] | np.ndarray, spelling: Spelling) -> np.ndarray:
    """Write class labels as text, whole numbers without a decimal point whatever their length; None where missing.

    >>> labels([2**53 + 1, 1.0, "1.0", "a", None, float("nan")], Spelling()).tolist()
    ['9007199254740993', '1', '1', 'a', None, None]
    """
    return objects([as_label(value, spelling) for value in values])


def as_label(value: Any, spelling: Spelling = PLAIN) -> str | None:
    """An entry as the text of a class or a level, None where it is missing."""
    if value is None or value != value:
        return None
    whole = isinstance(value, float) and value.is_integer()
    text = str(int(value)) if whole else re.sub(r"^([-+]?\d+)\.0*$", r"\1", str(value).strip())
    return None if text in MISSING or text in spelling.na_values else text


def written(values: np.ndarray, entries: Callable[[], Sequence[Any]]) -> np.ndarray | None:
    """The labels that stand in a column of numbers where its floats may take different ones for one; else None.

    Parameters
    ----------
    values : ndarray, shape (N,)
        The floats, NaN where missing.
    entries : callable
        What stands there.
    """
    if not (np.abs(values) >= WHOLE).any():
        return None
    return objects(
        [None if gap else as_label(own) for gap, own in zip(np.isnan(values).tolist(), entries(), strict=True)]
    )


def strings(values: Sequence[str]) -> Any:
    """An Arrow array of strings (by its buffers, for ``pyarrow.array`` imports pandas)."""
    import pyarrow as pa

    data = [value.encode() for value in values]
    offsets = np.cumsum([0, *map(len, data)], dtype=np.int32)
    return pa.StringArray.from_buffers(len(data), pa.py_buffer(offsets), pa.py_buffer(b"".join(data)))


def objects(values: Sequence[Any]) -> np.ndarray:
    """An array of objects, one an entry even where these are sequences."""
    return np.fromiter(values, dtype=object, count=len(values))


def _floats(column: Any) -> np.ndarray:
    """A column of float64 without gaps (through DLPack, which unlike ``to_numpy`` does not import pandas)."""
    return np.from_dlpack(_whole(column)) if len(column) else np.empty(0)


def _flags(column: Any) -> np.ndarray:
    import pyarrow as pa

    return np.from_dlpack(_whole(column.cast(pa.uint8()))).astype(bool)


def _whole(column: Any) -> Any:
    return column.combine_chunks() if hasattr(column, "combine_chunks") else column
