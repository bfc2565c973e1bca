"""Rows in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from mixtures.chunks import held
from mixtures.rows.arrays import as_matrix, is_array


class Sequences:
    """Rows in the order of time, of one sequence or of several one after another.

    Parameters
    ----------
    x : ndarray, shape (N, D)
        A memory map among them.
    lengths : sequence of int, shape (S,), optional
        Number of rows of each sequence; by default there is one.

    Attributes
    ----------
    edges : ndarray of int, shape (S + 1,)
        Where each sequence begins, and where the last one ends.

    Raises
    ------
    ValueError
        If x is no matrix, or the lengths are not positive whole numbers that add up to its rows.

    Examples
    --------
    >>> Sequences(np.zeros((5, 1)), [2, 3]).edges.tolist()
    [0, 2, 5]
    """

    x: np.ndarray
    edges: np.ndarray

    def __init__(self, x: Any, lengths: Any = None) -> None:
        if isinstance(x, Sequences):
            x, lengths = x.x, x.lengths if lengths is None else lengths
        if held(x) or not is_array(x):
            raise ValueError("x comes in blocks; sequences need one array or memory map")
        x = as_matrix(x)
        given = np.atleast_1d(len(x) if lengths is None else np.asarray(lengths))
        whole = (
            given.ndim == 1 and given.dtype.kind in "iuf" and np.all(given == np.floor(given)) and np.all(given >= 1)
        )
        if not whole or given.size == 0:
            raise ValueError(f"lengths is {_shown(given)}; expected the number of rows of each sequence, at least 1")
        if given.sum() != len(x):
            raise ValueError(f"the lengths of the sequences add up to {given.sum():g}; x has {len(x)} rows")
        self.x = x
        self.edges = np.append(0, np.cumsum(given.astype(np.int64)))

    @property
    def lengths(self) -> np.ndarray:
        """Number of rows of each sequence, (S,)."""
        return np.diff(self.edges)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        return self.x.shape

    def __len__(self) -> int:
        """N."""
        return len(self.x)

    def slices(self) -> Iterator[slice]:
        """The rows of each sequence."""
        return (slice(int(start), int(stop)) for start, stop in pairwise(self.edges))

    def __iter__(self) -> Iterator[np.ndarray]:
        """The sequences in turn."""
        return (self.x[rows] for rows in self.slices())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The rows."""
        return np.array(self.x, dtype=dtype, copy=copy)


def _shown(values: np.ndarray, most: int = 6) -> str:
    """An array for a message, the first few of many values."""
    few = ", ".join(str(v) for v in values.ravel()[:most])
    return f"[{few}, ...]" if values.size > most else f"[{few}]"
