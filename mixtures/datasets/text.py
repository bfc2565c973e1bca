"""Delimited text as people export it: what parts its columns, and whether its first line names them."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, replace

import numpy as np

from mixtures.datasets.columns import AMONG_NUMBERS, MISSING, Spelling, numbers, strings
from mixtures.datasets.dataset import counted
from mixtures.errors import DataError

DELIMITERS = ("\t", ";", ",", "|")  # the first that parts all lines alike
ODD_MARKS = ":~^!&\x01\x1f"
BLANKS = " "  # any number of blanks and tabs
SAMPLED_LINES = 50
MOST_TITLES = 5  # lines above a table
GLANCE = 4  # lines that tell the size of a wide table
WHOLE = re.compile(r"[-+]?\d+")
NAMELESS = re.compile(rb"(?m)^(?:\xef\xbb\xbf)?[ \t]*[,;|\t][ \t,;|]*\r?$")
SKIPPED = re.compile(
    rb"(?:(?:[ \t,;|]*|sep=[^\n])\r?\n)*"
)  # before the names: empty lines, and what tells a spreadsheet the mark
LINE_END = re.compile(rb"\r\n?|\n")
NAMED = re.compile(r"[b-dg-hj-mo-su-xz]", re.IGNORECASE)  # a letter of no number's, not even of 1e5, inf and nan


@dataclass(frozen=True)
class Layout:
    """How a text is laid out.

    Parameters
    ----------
    delimiter : str
    names : tuple of str
        Of the columns; x1, x2, ... where the text has none.
    lines : int
        Lines of the text, from ``start`` on, that are not data: 1 if it begins with names, else 0.
    start : int
        Where the table begins: the bytes before it are comments, or names that are fewer than the columns.
    note : str
        What was guessed of the first line, if there was a choice.
    """

    delimiter: str
    names: tuple[str, ...]
    lines: int
    start: int = 0
    note: str = ""


def layout(data: bytes, suffix: str, spelling: Spelling) -> Layout:
    """Tell how a text in UTF-8 is laid out by its first lines.

    Raises
    ------
    csv.Error
        If an entry of these lines is longer than 128 kB.
    """
    comment, start = _comments(data)
    lines = _first_lines(data, start)
    if title := _title(lines, suffix, spelling):
        table = layout(data[start + len(title.encode()) :], suffix, spelling)
        top, *more = title.strip().splitlines()
        said = f"left out what stands above the names of the columns: {top.strip()[:40]!r}{' and more' if more else ''}"
        note = f"{said}; {table.note}" if table.note else said
        return replace(table, start=start + len(title.encode()) + table.start, note=note)
    delimiter = _delimiter(lines, suffix, spelling)
    records = _records(lines, delimiter)
    names = _records(comment, delimiter)[0] if comment.strip() else []
    _refuse_odd_marks(lines, records)
    if records and len(names) == len(records[0]):
        return Layout(delimiter, tuple(names), 0, start)
    first, *below = records or [[]]
    widths = {len(row) - len(first) for row in below}
    if first and len(widths) == 1 and (beyond := widths.pop()) > 0:
        after = start + len(lines.splitlines(keepends=True)[0].encode())
        if not any(entry for row in below for entry in row[-beyond:]):
            return Layout(delimiter, (*first, *[""] * beyond), 0, after)
        if beyond == 1 and _are_row_names([row[0] for row in below], lines, spelling):
            return Layout(delimiter, ("", *first), 0, after)
    nameless = not comment and NAMELESS.search(data, 0, start) is not None
    return _by_first_line(delimiter, first, below, start, spelling, nameless)


def extent(data: bytes, suffix: str, spelling: Spelling, least: int) -> tuple[int, list[str]] | None:
    """At most how many rows a text has, and the heads of the columns that hold numbers in the first lines below these.

    None of a table of ``least`` columns or fewer.

    Raises
    ------
    csv.Error
        See `layout`.
    """
    _, start = _comments(data)
    end = data.find(b"\n", start) + 1 or len(data)
    if max(data.count(mark.encode(), start, end) for mark in (*DELIMITERS, BLANKS)) < least:
        return None
    lines = _first_lines(data, start, GLANCE)
    delimiter = _delimiter(lines, suffix, spelling)
    first, *below = _records(lines, delimiter) or [[]]
    names = [name for name, *column in zip(first, *below, strict=False) if all(_is_number(e, spelling) for e in column)]
    is_named = not all(_is_number(entry, spelling) for entry in first)
    return data.rstrip().count(b"\n", start) + (not is_named), names


def without_empty_end(data: bytes, delimiter: str) -> tuple[bytes, str]:
    """A text without those lines at its end that hold no entry, as spreadsheets write them; and a word on them."""
    kept = data.rstrip(f" \t\r\n{delimiter}".encode())
    end = LINE_END.search(data, len(kept))
    if end is None:
        return data, ""
    lines = sum(delimiter.encode() in line for line in data[end.end() :].splitlines())
    return data[: end.end()], f"left out {counted(lines, 'line')} without any entry at the end" if lines else ""


def empty_lines(data: bytes) -> str:
    """A word on empty lines, which are no rows, though in a single column each may be meant as a missing value."""
    lines = len(re.findall(rb"\n[ \t]*\r?(?=\n)", data))
    return f"left out {counted(lines, 'empty line')}: write NA where a value is missing" if lines else ""


def _is_number(entry: str, spelling: Spelling) -> bool:
    """Whether Python reads an entry as a number; `_value` knows more, and takes longer."""
    entry = entry.replace(spelling.thousands or " ", "").replace(spelling.decimal, ".")
    try:
        return bool(np.isfinite(float(entry)))
    except ValueError:
        return False


def _title(lines: str, suffix: str, spelling: Spelling) -> str:
    """The lines above those of a table, "" where there are none: they have other numbers of entries than all that follow.

    What follows begins with names, none of them a number, and has numbers below.
    """
    rows = [line for line in lines.splitlines(keepends=True) if line.strip()]
    if len(rows) < 4 or any("\n" in entry for entry in re.findall(r'"[^"]*"', lines)):
        return ""
    plain = [re.sub(r'"[^"]*"', "x", row) for row in rows]
    marks = ("\t",) if suffix.startswith(".tsv") else tuple(mark for mark in DELIMITERS if mark != spelling.decimal)
    counts = {mark: [row.count(mark) * (mark in row.strip(f" {mark}\r\n")) for row in plain] for mark in marks} | {
        BLANKS: [len(r.split()) - 1 for r in plain]
    }
    for mark, own in counts.items():
        above = len(own) - next((i for i, count in enumerate(reversed(own)) if count != own[-1]), len(own))
        if own[-1] and not above:
            return ""
        if not (own[-1] and above <= MOST_TITLES and len(own) - above > 2):
            continue
        names, *below = _records("".join(rows[above:]), mark)
        of_names = not any(_is_number(name, spelling) for name in names)
        if of_names and any(all(_is_number(e, spelling) for e in column) for column in zip(*below, strict=False)):
            return lines[: lines.index(rows[above], len("".join(rows[:above])))]
    return ""


def _comments(data: bytes) -> tuple[str, int]:
    """The last of the lines that begin with #, where NumPy writes the names, without that sign; and where the table begins."""
    comment, start = b"", 3 if data.startswith(b"\xef\xbb\xbf") else 0
    while True:
        start += len(SKIPPED.match(data, start).group())  # type: ignore[union-attr]
        if not data.startswith(b"#", start):
            return comment.decode(), start
        end = data.find(b"\n", start) + 1 or len(data)
        comment, start = data[start:end].lstrip(b"#").strip(), end


def _first_lines(data: bytes, start: int, lines: int = SAMPLED_LINES) -> str:
    end = start
    for _ in range(lines):
        end = data.find(b"\n", end) + 1
        if not end:
            return data[start:].decode()
    return data[start:end].decode()


def _records(text: str, delimiter: str) -> list[list[str]]:
    """Rows of entries without blanks around them; a quoted entry that the sample cuts off ends with it."""
    if delimiter == BLANKS:
        text = single_blanks(text.encode()).decode()
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=delimiter != BLANKS)
    return [[entry.strip() for entry in row] for row in rows if row]


def single_blanks(data: bytes) -> bytes:
    """A text with one blank between entries, and none around its lines."""
    return re.sub(rb"(?m)^ +| +(?=\r?$)", b"", re.sub(rb"[ \t]+", b" ", data))


def _plain(lines: str) -> list[str]:
    """The lines that hold something, with nothing between quotes."""
    return [line for line in re.sub(r'"[^"]*"', '""', lines).splitlines() if line.strip()] or [""]


def _delimiter(lines: str, suffix: str, spelling: Spelling) -> str:
    """What parts the columns; in a .tsv a tab, unless there is none and another mark stands equally often in all lines."""
    if not suffix.startswith(".tsv"):
        return _guessed(lines, suffix, spelling)
    plain = _plain(lines)
    others = [mark for mark in DELIMITERS[1:] if mark != spelling.decimal and mark in plain[0]]
    alike = [mark for mark in others if len({line.count(mark) for line in plain}) == 1]
    return alike[0] if alike and "\t" not in lines else "\t"


def _refuse_odd_marks(lines: str, records: list[list[str]]) -> None:
    """Refuse what has one column, and in all lines equally often a mark that parts columns nowhere here."""
    if len(records) < 3 or any(len(row) > 1 for row in records):
        return
    plain = _plain(lines)
    mark = next((m for m in ODD_MARKS if m in plain[0] and len({line.count(m) for line in plain}) == 1), None)
    if mark:
        raise DataError(
            f"the columns seem to be parted by {mark!r}, as in {plain[0][:30]!r}: part them by commas, semicolons, tabs, "
            "bars or blanks"
        )


def _guessed(lines: str, suffix: str, spelling: Spelling) -> str:
    """What parts the columns: a mark that stands equally often in all lines, once quoted entries are put aside.

    The line of names may hold one less, where it does not name R's row names.
    """
    plain = _plain(lines)
    marks = [mark for mark in DELIMITERS if mark != spelling.decimal]
    if spelling.decimal in DELIMITERS and re.search(rf'"[-+]?\d*{re.escape(spelling.decimal)}\d+"', lines):
        marks.append(spelling.decimal)  # numbers that hold it are quoted
    words, *of_others = (len(line.split()) for line in plain)
    blank = len(set(of_others)) == 1 and of_others[0] > 1 and words in (of_others[0], of_others[0] - 1)
    for mark in marks:
        first, *others = (line.count(mark) for line in plain)
        if len(set(others)) == 1 and others[0] >= 1 and first in (others[0], max(others[0] - 1, 1)):
            finer = mark == "\t" and blank and of_others[0] > others[0] + 1
            if finer and all(_is_number(word, spelling) for line in plain[1:] for word in line.split()):
                return BLANKS  # a tab that stands for a blank in every line
            return mark
    most = max(marks, key=plain[0].count)
    if plain[0].count(most) and not (blank and (suffix.startswith(".txt") or most == "\t")):
        return most
    return BLANKS if blank or suffix.startswith(".txt") else ";"


def _are_row_names(starts: list[str], lines: str, spelling: Spelling) -> bool:
    """Whether rows begin with what R and pandas write there, with no name above it: their number, a quoted name, or a text."""
    quoted = all(line.lstrip().startswith('"') for line in lines.splitlines()[1:] if line.strip())
    numbered = all(start.isdecimal() for start in starts)
    named = numbered or bool(np.isnan(_read(starts, spelling)).all())
    return quoted or (named and len(set(starts)) == len(starts))


def _by_first_line(
    delimiter: str, first: list[str], below: list[list[str]], start: int, spelling: Spelling, nameless: bool
) -> Layout:
    """The layout of a table without a word on its names: whether the first line holds them is told by its entries.

    ``nameless`` says that a line of marks alone stands above it; names that are all numbers are then asked for.
    """
    if below and _is_data(first, below, spelling, nameless):
        names = tuple(f"x{j}" for j in range(1, len(first) + 1))
        said = f"the first line was taken as data, for it holds numbers: the columns are called {names[0]}"
        said += f" to {names[-1]}" if len(names) > 1 else ""
        return Layout(delimiter, names, 0, start, note=said)
    if len(set(first)) < len(first):
        _refuse_two_lines(first, below, spelling)
    numeric = next((name for name in first if _value(name, spelling) is not None), None)
    if nameless and below and all(_value(name, spelling) is not None for name in first):
        raise DataError(
            f"the columns' names are empty, and numbers, such as {numeric!r}, stand below them: write the names, or remove the "
            "empty line if these are the names"
        )
    said = (
        f"the first line was taken as the columns' names, such as {numeric!r}" if numeric is not None and below else ""
    )
    return Layout(delimiter, tuple(first), 1, start, note=said)


def _refuse_two_lines(first: list[str], below: list[list[str]], spelling: Spelling) -> None:
    """Refuse names in two lines, as pandas writes columns of several levels, where those of the first are no names alone.

    The second line then has text above all columns of numbers.
    """
    if not below:
        return
    second, *rows = below
    columns = [[row[j] if j < len(row) else "" for row in rows] for j in range(len(first))]
    of_numbers = [j for j, column in enumerate(columns) if not np.isnan(_read(column, spelling)).all()]
    pairs = [(first[j], second[j]) for j in of_numbers if j < len(second) and (first[j] or second[j])]
    if pairs and all(_value(under, spelling) is None and not _is_gap(under, spelling) for _, under in pairs):
        raise DataError(
            f"the names of the columns stand in two lines, such as {pairs[0][0]!r} above {pairs[0][1]!r}: join each column's "
            "into one name, in one line"
        )


def _is_data(first: list[str], below: list[list[str]], spelling: Spelling, nameless: bool) -> bool:
    """Whether the first line is a row like those below it.

    For that, every column of numbers must begin with one. Those without a decimal point may be names all the same; see
    `_may_be_names`. An entry that comes again in a column of text is none.
    """
    width = len(first)
    columns = [[row[j] if j < len(row) else "" for row in below] for j in range(width)]
    for head, column in zip(first, columns, strict=True):  # settles most tables by their first column
        named = _value(head, spelling) is None and not _is_gap(head, spelling)
        if named and not np.isnan(_read(column, spelling)).all():
            return False
    found = [_read(column, spelling) for column in columns]
    of_numbers = [j for j in range(width) if not _is_gap(first[j], spelling) and not np.isnan(found[j]).all()]
    heads = [_value(first[j], spelling) for j in of_numbers]
    values = [value for value in heads if value is not None]
    if not values or len(values) < len(heads):
        return False
    of_text = (j for j in range(width) if np.isnan(found[j]).all())
    if any(first[j] and first[j] in columns[j] for j in of_text):
        return True
    if not all(WHOLE.fullmatch(first[j]) for j in of_numbers):
        return True
    own = [found[j][~np.isnan(found[j])] for j in of_numbers]
    return not _may_be_names(values, own, of_all=len(values) == width, nameless=nameless)


def _may_be_names(values: list[float], own: list[np.ndarray], *, of_all: bool, nameless: bool) -> bool:
    """Whether whole numbers name columns with these entries: counted from 0 or 1, or evenly spaced and far from the entries.

    Where they stand above all columns, counting from 0 or 1 is told from data by at least two of: it begins with 0, it goes on
    to 1, and there are fractions below; below a line of names that are empty it is data.
    """
    counted = values == [values[0] + i for i in range(len(values))] and values[0] in (0, 1)
    fractional = any((column != np.floor(column)).any() for column in own)
    if counted and not nameless and (not of_all or (values[0] == 0) + (len(values) > 1) + fractional >= 2):
        return True
    if of_all and (len(values) == 1 or len(set(np.diff(values))) > 1 or values[1] <= values[0]):
        return False
    return not all(
        column.min() - np.ptp(column) <= value <= column.max() + np.ptp(column)
        for value, column in zip(values, own, strict=True)
    )


def _is_gap(entry: str, spelling: Spelling) -> bool:
    return entry in (*MISSING, *AMONG_NUMBERS, *spelling.na_values)


def _value(entry: str, spelling: Spelling) -> float | None:
    """The number that an entry is, or None."""
    if NAMED.search(entry):
        return None
    value = float(_read([entry], spelling)[0])
    return None if np.isnan(value) else value


def _read(column: list[str], spelling: Spelling) -> np.ndarray:
    """A column as numbers; all of them NaN where it is one of text."""
    read = numbers(strings(column), spelling)
    return np.full(len(column), np.nan) if read is None else read[0]
