"""What every loader and simulator returns, and the error that every one of them raises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mixtures.rows.sequences import Sequences


@dataclass(frozen=True, eq=False)
class Dataset:
    """A table of N rows and D features, with class labels and the generating truth where they are known.

    Attributes
    ----------
    name : str
        Short name, for titles.
    x : (N, D) float64 array
        The data, in the units of the source: numbers, counts, codes 0, 1, ... of levels; NaN is missing.
    features : tuple of D str
        Column names.
    labels : (N,) array of str, or None
        Class of each row, empty where it is not known; never seen by a fit.
    source : str
        Where the data come from, in one line.
    truth : dict or None
        Simulated sets only: of a mixture ``weights`` (K,), ``means`` (K, D), ``covariances`` (K, D, D), ``labels`` (N,) of int;
        of series see `mixtures.datasets.simulate_series` and `mixtures.datasets.simulate_linear`.
    notes : tuple of str
        What was guessed in reading a file, each in one line: what was left out, taken as names or as missing.
    kinds : tuple of D str
        What each feature is: "gaussian", "categorical", "bernoulli" or "poisson"; by default all are Gaussian.
    levels : dict
        By the name of a categorical or binary feature, the names of its levels: code c of ``x`` stands for the c-th.
    index : (N,) array of str
        The name of each row in the source, or its number there, counted from 1.
    left_out : array of str
        The same of the rows that were left out for a missing value.
    lengths : tuple of int
        Of rows in the order of time, how many each sequence has; empty where the order is not known to mean anything.
    """

    name: str
    x: np.ndarray
    features: tuple[str, ...]
    labels: np.ndarray | None
    source: str
    truth: dict[str, np.ndarray] | None = None
    notes: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    levels: dict[str, tuple[str, ...]] = field(default_factory=dict)
    index: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=str))
    left_out: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=str))
    lengths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.kinds:
            object.__setattr__(self, "kinds", ("gaussian",) * len(self.features))
        if not len(self.index):
            object.__setattr__(self, "index", np.arange(1, len(self.x) + 1).astype(str))


@dataclass(frozen=True, eq=False)
class Series:
    """A data set whose rows follow one another in time.

    Attributes
    ----------
    data : Dataset
    lengths : tuple of int
        Number of rows of each series.
    """

    data: Dataset
    lengths: tuple[int, ...]

    @property
    def rows(self) -> Sequences:
        """All features, as the methods take them."""
        return Sequences(self.data.x, self.lengths)

    def of(self, *features: str) -> Sequences:
        """Some features, as the methods take them.

        Examples
        --------
        >>> from mixtures.datasets import load_series
        >>> load_series("speed").of("rt").shape
        (439, 1)
        """
        return Sequences(self.data.x[:, [self.data.features.index(name) for name in features]], self.lengths)


class Categories(NamedTuple):
    """What a file or a DataFrame declares of a column's categories: their names, and whether they are in order."""

    levels: tuple[str, ...]
    ordered: bool = False


@dataclass(frozen=True, eq=False)
class Table:
    """Columns as read: a float64 array where numeric (NaN is missing), else an object array (None is missing).

    ``codes`` counts, by a column's place, the entries taken as missing that do not say so, such as "?"; ``notes`` holds
    what else was guessed in reading; ``categories`` has, by place, what is declared; ``index`` names the rows, (N,) of str, and
    so do the columns ``of_index``; ``written`` has, by place, the text of whole numbers that floats take for one.
    """

    names: tuple[str, ...]
    columns: tuple[np.ndarray, ...]
    codes: dict[int, Counter[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    categories: dict[int, Categories] = field(default_factory=dict)
    index: np.ndarray | None = None
    of_index: tuple[str, ...] = ()
    written: dict[int, np.ndarray] = field(default_factory=dict)

    def as_written(self, names: Container[str]) -> Table:
        """The table with the columns of these names as text, where they hold whole numbers that floats take for one."""
        text = {j: own for j, own in self.written.items() if self.names[j] in names}
        return replace(self, columns=tuple(text.get(j, column) for j, column in enumerate(self.columns)))

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the first column of this name."""
        return self.columns[self._places[name]]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: j for j, name in reversed([*enumerate(self.names)])}


def is_numeric(column: np.ndarray) -> bool:
    """Tell whether a table's column holds numbers."""
    return column.dtype.kind == "f"


def is_missing(column: np.ndarray) -> np.ndarray:
    """Mark the missing entries of a table's column."""
    return np.isnan(column) if is_numeric(column) else np.array([value is None for value in column])


def counted(n: int, noun: str) -> str:
    """Join a count and its noun.

    >>> counted(1, "row"), counted(2, "row")
    ('1 row', '2 rows')
    """
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Quote names for a message, the first few of a long list.

    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b' and 1 more"
    """
    text = ", ".join(repr(name) for name in names[:most])
    return text if len(names) <= most else f"{text} and {len(names) - most} more"


def nearest(name: str, candidates: Iterable[str]) -> list[str]:
    """Return up to three candidates spelled like a name, letter case ignored.

    >>> nearest("Wating", ["eruptions", "waiting"])
    ['waiting']
    """
    spelled = {candidate.lower(): candidate for candidate in candidates}
    return [spelled[match] for match in get_close_matches(name.lower(), spelled, n=3, cutoff=0.65)]
