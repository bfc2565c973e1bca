"""What each column of a table is, numbers, counts or categories, and the codes that stand for categories.

Without a word on it a column of numbers is Gaussian, and one of text, truth values or declared categories is categorical, or
binary where it has two levels.
"""

from __future__ import annotations

import re
import shlex
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from mixtures.datasets.columns import AMONG_NUMBERS, PLAIN, Spelling, as_label, numbers, strings
from mixtures.datasets.dataset import Table, counted, is_missing, is_numeric, listed
from mixtures.errors import DataError

KINDS = ("gaussian", "bernoulli", "categorical", "poisson")
MISSING_VALUES = ("model", "drop", "error")
NOMINAL = "nominal"  # categorical, or bernoulli where there are two levels
OF_LEVELS = (NOMINAL, "bernoulli", "categorical")

# a column with more levels is remarked on, and with more still refused; and the most values of whole numbers that may be codes
MANY_LEVELS, MOST_LEVELS, FEW_VALUES = 20, 1000, 10

# decimal mark and what parts thousands, as people write them
SPELLINGS = ((".", ","), (".", " "), (".", "'"), (".", "_"), (",", None), (",", "."), (",", " "))
_GROUPS = r"\d{1,3}(?P<mark>[.,'\u2019_ \u00a0\u202f])(?:\d{2,3}(?P=mark))*\d{3}(?:[.,]\d*)?"
_DIGITS = rf"[-+\u2212]?(?:\d+(?:[.,]\d*)?|[.,]\d+|{_GROUPS})(?:[eEdD][-+]?\d+)?"
NUMBER = re.compile(_DIGITS)
# a number with something beside it: a currency, a bracket, a unit, or the index before a colon; a complex number
_AFTER = r"(?:(?P<after>\D*)|[-+][\d.e+-]*(?P<imaginary>[ij])\)?)"
BESIDE = re.compile(rf"(?P<before>[^\w.,]*|[-+]?[A-Z]{{3}} ?|\d+:)(?P<number>{_DIGITS}){_AFTER}")
UNIT = re.compile(r"[^\W\d]|[%\u2030\u00b0'\"=$\u00a2-\u00a5\u20a0-\u20c0]")


@dataclass(frozen=True)
class Asked:
    """The kinds that were asked for.

    Parameters
    ----------
    counts, categorical : tuple of str
        Names of columns that hold counts, and categories.
    family : str, optional
        One of `KINDS`: that of every column which the two do not name.

    Raises
    ------
    DataError
        If a column is named in both, or there is no such family.
    """

    counts: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    family: str | None = None

    def __post_init__(self) -> None:
        if both := sorted(set(self.counts) & set(self.categorical)):
            raise DataError(f"column {both[0]!r} is in --counts and in --categorical: name it in one of them")
        if self.family is not None and self.family not in KINDS:
            raise DataError(f"--family is {self.family!r}; expected one of {', '.join(KINDS)}")

    def kind(self, name: str) -> str | None:
        """The kind that a column is to have, or None."""
        if name in self.counts:
            return "poisson"
        return NOMINAL if name in self.categorical else self.family


@dataclass(frozen=True)
class Coded:
    """Columns as numbers.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        Numbers, counts and codes of levels; NaN is missing.
    kinds : tuple of D str
    levels : dict
        By the name of a categorical or binary column, the names of its levels in the order of their codes.
    notes : tuple of str
    """

    x: np.ndarray
    kinds: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


def kind_of(table: Table, place: int, asked: Asked, spelling: Spelling) -> str:
    """The kind of a column: one of `KINDS`, or `NOMINAL`.

    Raises
    ------
    DataError
        If a column of text was to hold numbers, or most of its entries are numbers.
    """
    wanted = asked.kind(table.names[place])
    if is_numeric(table.columns[place]):
        return wanted or "gaussian"
    if wanted in OF_LEVELS:
        if any(isinstance(value, list | dict) for value in table.columns[place]):
            raise DataError(f"column {table.names[place]!r} has several values a row: leave it out with --columns")
        return wanted
    if wanted is not None:
        remedy = _respelled(table, place, spelling) or "leave it out with --columns, or take it with --categorical"
        raise DataError(f"{not_a_number(table, place, spelling)}: {remedy}")
    if place not in table.categories:
        _refuse_numbers(table, place, spelling)
    elif _are_measured(table.columns[place]):
        name = _quoted(table.names[place])
        raise DataError(
            f"column {table.names[place]!r} has numbers for categories, most of them different: store it as numbers, or take "
            f"it with --categorical {name}"
        )
    return NOMINAL


def _are_measured(column: np.ndarray) -> bool:
    """Whether declared categories are fractions, of which most rows have one of their own."""
    present = [value for value in column.tolist() if value is not None]
    fractions = any(isinstance(value, float) and not value.is_integer() for value in present)
    return fractions and len(set(present)) > len(present) / 2


def _refuse_numbers(table: Table, place: int, spelling: Spelling) -> None:
    """Refuse text that was meant as numbers, at least half of it, and what is neither text nor true or false."""
    values = [value for value in table.columns[place].tolist() if value is not None]
    if not values:
        return
    said = f"or take it as categories with --categorical {_quoted(table.names[place])}"
    if not all(isinstance(value, str | bool) for value in values):
        raise DataError(f"{not_a_number(table, place, spelling)}: leave it out with --columns, {said}")
    times = Counter(values)
    if remedy := _respelled(table, place, spelling):
        raise DataError(f"{not_a_number(table, place, spelling)}: {remedy}")
    of_numbers = sum(n for value, n in times.items() if isinstance(value, str) and NUMBER.fullmatch(value))
    levels, n = len(times), times.total()
    if of_numbers == n and (levels > MANY_LEVELS or levels == n):
        raise DataError(f"{not_a_number(table, place, spelling)}: store it as numbers, {said}")
    if n > of_numbers >= n / 2:
        raise DataError(
            f"{not_a_number(table, place, spelling)}, though {of_numbers} of {n} entries are numbers: correct "
            f"the others, count them as missing with --na-values, leave the column out with --columns, {said}"
        )
    if (levels > FEW_VALUES or levels > n / 2) and (beside := _beside(times)):
        raise DataError(
            f"{not_a_number(table, place, spelling)}: {beside!r} stands beside its numbers; store it as plain numbers, leave "
            f"the column out with --columns, {said}"
        )


def _beside(times: Counter[Any]) -> str:
    """What stands beside the numbers that at least half of a text column is; "" where it is no such column.

    Whole numbers with nothing but marks beside them, as "#1" and "1)", count rows rather than measure something.
    """
    found: Counter[str] = Counter()
    measured = set()
    alone = total = 0
    for value, n in islice(times.items(), MOST_LEVELS):
        total += n
        if not isinstance(value, str):
            continue
        if NUMBER.fullmatch(value):
            alone += n
        elif match := BESIDE.fullmatch(value):
            mark = match["before"].strip(" -+\u2212") or match["imaginary"] or match["after"].strip()
            found[mark] += n
            if UNIT.search(mark) or not match["number"].strip("-+\u2212").isdecimal():
                measured.add(mark)
    mark = max(found, key=lambda own: found[own], default="")
    return mark if mark in measured and alone + found[mark] >= total / 2 else ""


def not_a_number(table: Table, place: int, spelling: Spelling) -> str:
    """Name a non-numeric column by the first entry that is to blame."""
    values = table.columns[place]
    present = np.flatnonzero(~is_missing(values))
    row, why = int(present[0]), ""
    if all(isinstance(value, str) for value in values[present]):
        rows = range(len(present) + 1)
        number = bisect_left(rows, True, key=lambda n: _floats(["0", *values[present[:n]]], spelling) is None)
        if number in rows:
            row = int(present[number - 1])
        elif values[row] not in AMONG_NUMBERS:
            why = ", which is stored as text"
    return f"non-numeric column {table.names[place]!r} ({str(values[row])[:30]!r} in row {row + 1}{why})"


def _respelled(table: Table, place: int, asked: Spelling) -> str | None:
    """Return the options under which a text column holds numbers, with what they make of its first entry; else None."""
    values = [value for value in table.columns[place] if value is not None]
    if not all(isinstance(value, str) and len(value) < 40 for value in values):
        return None
    values = [*dict.fromkeys(values)]
    entry = next((value for value in values if re.search(r"[^-+\d]", value) and value not in AMONG_NUMBERS), None)
    if entry is None:
        return None
    if _floats(values, PLAIN) is not None:
        return None if asked.plain else "leave out --decimal and --thousands"
    found: dict[float, str] = {}
    for decimal, thousands in SPELLINGS:
        spelling = Spelling((), decimal, thousands)
        if _floats(values, spelling) is not None:
            number = float(_floats([entry], spelling)[0])  # type: ignore[index]
            marks = [f"--decimal {shlex.quote(decimal)}"] * (decimal != ".")
            marks += [f"--thousands {shlex.quote(thousands)}"] if thousands else []
            found.setdefault(number, f"{' '.join(marks)} (as {number:.15g})")
    return f"read it with {' or '.join(found.values())}" if found else None


def _floats(values: Sequence[str], spelling: Spelling) -> np.ndarray | None:
    read = numbers(strings(values), spelling)
    return None if read is None else read[0]


def _quoted(name: str) -> str:
    """A column's name as a command takes it in a list."""
    return shlex.quote(f'"{name}"' if "," in name else name)


def levels_of(column: np.ndarray, declared: Sequence[str] = ()) -> tuple[str, ...]:
    """The levels that occur in a column: as declared, else in the order of their numbers, else of the alphabet.

    >>> levels_of(np.array([10.0, 9.0, np.nan, 10.0])), levels_of(np.array([True, None, False], dtype=object))
    (('9', '10'), ('False', 'True'))
    """
    found = {label for value in set(column.tolist()) if (label := as_label(value)) is not None}
    if declared:
        return tuple(level for level in declared if level in found)
    try:
        return tuple(sorted(sorted(found), key=float))  # in the order of the alphabet where numbers share a float
    except ValueError:
        return tuple(sorted(found))


def codes(column: np.ndarray, levels: Sequence[str]) -> np.ndarray:
    """Codes 0, 1, ... of a column's entries by their levels, NaN where missing, and -1 for an entry that is no level."""
    place: dict[Any, float] = {level: float(code) for code, level in enumerate(levels)}
    of_value: dict[Any, float] = {}
    for value in set(column.tolist()):
        label = as_label(value)
        of_value[value] = np.nan if label is None else place.get(label, -1.0)
    gap = np.nan
    return np.array([gap if value != value else of_value[value] for value in column.tolist()], dtype=float)


def encode(
    table: Table, places: Sequence[int], kinds: Sequence[str], rows: np.ndarray, named: Iterable[str] = ()
) -> Coded:
    """Columns as numbers, with a note on every level or kind that may not be as was meant.

    Parameters
    ----------
    table : Table
    places : sequence of D int
        Of the columns.
    kinds : sequence of D str
        As `kind_of` gives them.
    rows : ndarray, shape (N,)
        Of the table's rows, those that count.
    named : iterable of str
        Columns that were named by who asked; they may be as they are.

    Raises
    ------
    DataError
        If a column has too many levels, only one, or other than the two of a binary one, or what should be counts are none.
    """
    columns, found, levels, notes = [], [], {}, []
    asked = set(named)
    constant = []
    for j, kind in zip(places, kinds, strict=True):
        name, column = table.names[j], table.columns[j][rows]
        if kind in OF_LEVELS:
            declared = table.categories.get(j)
            own = levels_of(column, declared.levels if declared else ())
            if kind == "bernoulli" and set(own) < {"0", "1"}:
                constant.append(name)
                own = ("0", "1")
            kind = _of_levels(name, kind, own, column, named=name in asked or declared is not None)
            column = codes(column, own)
            levels[name] = own
            if declared is not None:
                notes += _declared(name, declared.levels, own, ordered=declared.ordered)
            notes += _rare(name, own, column)
        elif kind == "poisson":
            check_counts(column, name)
        elif name not in asked:
            notes += _perhaps_codes(name, column)
        columns.append(column)
        found.append(kind)
    if constant:
        notes.append(f"the same in all rows: {listed(constant)}; kept, though nothing of clusters is told by it")
    return Coded(np.column_stack(columns), tuple(found), levels, tuple(notes))


def encode_like(
    table: Table, places: Sequence[int], kinds: Sequence[str], levels: Mapping[str, Sequence[str]], rows: np.ndarray
) -> Coded:
    """Columns as numbers, by the kinds and levels that others of the same names have.

    Raises
    ------
    DataError
        If a column has a level that is none of these, or holds no numbers where it should.
    """
    columns = []
    for j, kind in zip(places, kinds, strict=True):
        name, column = table.names[j], table.columns[j][rows]
        if kind in OF_LEVELS:
            found = codes(column, levels[name])
            if (unseen := np.flatnonzero(found < 0)).size:
                new = sorted({str(as_label(column[row])) for row in unseen})
                raise DataError(
                    f"column {name!r} has {'a level' if len(new) == 1 else 'levels'} unseen in training, {listed(new)} (row "
                    f"{rows[unseen[0]] + 1}): there are {listed(levels[name])}; leave these rows out, or train with them"
                )
            column = found
        elif not is_numeric(column):
            raise DataError(f"{not_a_number(table, j, PLAIN)}: in training it held numbers")
        elif kind == "poisson":
            check_counts(column, name)
        columns.append(column)
    return Coded(np.column_stack(columns), tuple(kinds), {name: tuple(own) for name, own in levels.items()})


def _of_levels(name: str, kind: str, levels: Sequence[str], column: np.ndarray, *, named: bool) -> str:
    """Whether a column of so many levels is binary or categorical, if it can be either."""
    n, present = len(levels), int((~is_missing(column)).sum())
    if n == 1:
        raise DataError(f"constant column {name!r}, all {levels[0]!r}: leave it out with --columns")
    if n > MOST_LEVELS:
        raise DataError(
            f"column {name!r} has {n:,} levels in {counted(present, 'row')}, more than {MOST_LEVELS:,}: leave it out with "
            "--columns, or join its levels"
        )
    if n > 2 and n == present and not named:
        raise DataError(f"column {name!r} has another level in each of {n} rows: leave it out with --columns")
    if n > MANY_LEVELS and n > present / 2 and not named:
        raise DataError(
            f"column {name!r} has {n} levels in {counted(present, 'row')}, too many for categories: leave it out with "
            f"--columns, or take it with --categorical {_quoted(name)}"
        )
    if kind == "bernoulli" and n > 2:
        raise DataError(
            f"column {name!r} has {n} levels ({listed(levels, 3)}), and --family bernoulli takes two: name it in "
            "--categorical, or leave it out with --columns"
        )
    return ("bernoulli" if n <= 2 else "categorical") if kind == NOMINAL else kind


def check_counts(column: np.ndarray, name: str) -> None:
    """Refuse a column that holds anything but counts.

    Raises
    ------
    DataError
    """
    for wrong, what in ((column < 0, "negative"), (column != np.floor(column), "fractional")):
        bad = np.flatnonzero(wrong & np.isfinite(column))
        if bad.size:
            raise DataError(
                f"column {name!r} is to hold counts and has {counted(bad.size, f'{what} value')}, the first "
                f"{column[bad[0]]:.15g} in row {bad[0] + 1}: correct it, or do not take the column as counts "
                "(--counts, --family poisson)"
            )


def _declared(name: str, declared: Sequence[str], levels: Sequence[str], *, ordered: bool) -> list[str]:
    """Say what is not used of what a file or a DataFrame declares of a column's categories."""
    said = [f"{name!r} is ordered: its order is not used"] if ordered else []
    never = [level for level in declared if level not in levels]
    return [*said, f"no row has {listed(never)} of {name!r}: left out of its levels"] if never else said


def _rare(name: str, levels: Sequence[str], column: np.ndarray) -> list[str]:
    """Say which levels one row alone has, and if there are many."""
    count = np.bincount(column[~np.isnan(column)].astype(int), minlength=len(levels))
    once = [level for level, n in zip(levels, count, strict=True) if n == 1]
    said = [f"{listed(once)} of {name!r} {'stands' if len(once) == 1 else 'stand'} in one row only"] if once else []
    if len(levels) > MANY_LEVELS:
        said.append(f"{name!r} has {len(levels)} levels, as many probabilities a cluster: join some, or leave it out")
    return said


def _perhaps_codes(name: str, column: np.ndarray) -> list[str]:
    """Say that numbers taken as Gaussian are so few different whole ones that they may be counts or codes."""
    start = np.unique(column[:1000][~np.isnan(column[:1000])])
    if (start != np.floor(start)).any() or len(start) > FEW_VALUES + 1:
        return []
    values = np.unique(column[~np.isnan(column)])
    if len(values) > FEW_VALUES or len(column) < 5 * len(values) or (values != np.floor(values)).any():
        return []
    return [
        f"{name!r} has {counted(len(values), 'different whole number')} and is taken as Gaussian: --counts or --categorical "
        "take it otherwise"
    ]
