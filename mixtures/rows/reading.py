"""One reading of rows, wherever they are: an array, a memory map, blocks that come one at a time, or blocks that Dask holds.

Whatever reads the data reads it through `folded` or `blocks`, so that nothing but one block need be in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from mixtures.chunks import Chunked, held
from mixtures.rows.arrays import as_matrix, as_real, is_array, refuse_missing
from mixtures.rows.sequences import Sequences
from mixtures.rows.weights import checked

Rows = np.ndarray | Iterable[np.ndarray] | Iterable[tuple[np.ndarray, np.ndarray]]

BLOCK = 16_384


def as_rows(x: Rows) -> Rows:
    """``x`` as a matrix (N, D) of floats or as blocks that can be read again and again.

    An array of float32 or float64, a memory map among them, stays as it is; other numbers become float64, and masked ones
    NaN. A `dask.array` or `dask.dataframe` becomes `mixtures.chunks.Chunked`. Anything else that can be iterated over is taken
    for blocks, each a matrix (B, D) or a pair of one and its weights (B,); every reading must bring as many rows as the first.

    Raises
    ------
    ValueError
        If x is an array that is not a matrix with at least one row and one column, is complex or holds other things than
        numbers, or if x is blocks that can be read only once.
    """
    if isinstance(x, Sequences | Chunked):
        return x
    if held(x):
        x = Chunked.of(x)
        as_real(np.empty(0, x.dtype))
        if len(x.shape) != 2 or 0 in x.shape:
            raise ValueError(f"x has shape {x.shape}; expected a matrix (N, D) with at least one row and one column")
        return x
    if isinstance(x, Iterator):
        raise ValueError("x is an iterator, which ends after one reading; give an iterable that starts anew each time")
    if not is_array(x):
        return x if isinstance(x, Repeated) else Repeated(x)
    return as_matrix(x)


class Repeated:
    """Blocks that are read again and again, and must bring the same rows each time, in whatever order.

    Parameters
    ----------
    source : iterable of blocks
    """

    def __init__(self, source: Iterable[Any]) -> None:
        self.source = source
        self.first: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.source)

    def check(self, rows: int, bits: int) -> None:
        """Refuse a reading with another number of rows than the first, or other `bits_of` its values and weights.

        Raises
        ------
        ValueError
        """
        self.first = self.first or (rows, bits)
        advice = "give an iterable that yields the same blocks each time"
        if rows != self.first[0]:
            raise ValueError(f"x yielded {rows} rows in a later reading and {self.first[0]} in the first; {advice}")
        if bits != self.first[1]:
            raise ValueError(f"x yielded other values or weights in a later reading than in the first; {advice}")


def bits_of(x: np.ndarray) -> int:
    """The sum of the bits of float32 or float64 numbers, which tells other numbers, in any order, by one sum over memory."""
    words = np.ascontiguousarray(x).view(f"u{x.itemsize}")
    return int(words.sum(dtype=np.uint64))


def folded[T](
    x: Rows,
    weights: Any,
    each: Callable[[np.ndarray, np.ndarray | None, int], T | None],
    join: Callable[[T, T], T],
    name: str = "rows",
) -> T | None:
    """What ``each`` makes of the blocks of x, their weights and the numbers of their first rows, joined in order.

    Parameters
    ----------
    x, weights
        As `as_rows` and `as_weights` have them.
    each : callable
        None is left out of what is joined.
    join : callable
    name : str
        See `mixtures.chunks.Chunked.fold`.

    Returns
    -------
    None if there is no block, or all that ``each`` returned is None.
    """
    if isinstance(x, Chunked):
        return x.fold(partial(_folded_chunk, each, join, x.width), join, weights, name)
    total, start = None, 0
    for block, w in blocks(x, weights):
        own = each(block, w, start)
        start += len(block)
        total = own if total is None else total if own is None else join(total, own)
    return total


def _folded_chunk(each: Any, join: Any, width: int, chunk: Any, weights: Any, first: int) -> Any:
    """`folded` of one chunk, where it is; ``first`` is the number of its first row."""
    x, weights = chunk_of(chunk, weights, width)
    return folded(x, weights, lambda block, w, start: each(block, w, first + start), join)


def chunk_of(chunk: Any, weights: Any, width: int) -> tuple[np.ndarray, np.ndarray | None]:
    """A block as Dask holds it, and its weights, as arrays of floats.

    Raises
    ------
    ValueError
        If it is no matrix of so many columns of real numbers.
    """
    x = as_real(chunk)
    if x.ndim != 2 or x.shape[1] != width:
        raise ValueError(f"a block of x has shape {x.shape}; expected {width} columns")
    return x, None if weights is None else as_real(weights).astype(np.float64, copy=False)


def blocks(x: Rows, weights: np.ndarray | None = None) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Blocks of rows with their weights, in order.

    Raises
    ------
    ValueError
        If a block is not a matrix of real numbers, or has another number of columns than the first, or if there are more
        or fewer rows than in an earlier reading.
    """
    if isinstance(x, Sequences):
        x = x.x
    if isinstance(x, Chunked):
        for chunk, own in zip(x, weights if weights is not None else (None,) * len(x.blocks), strict=True):
            yield from blocks(*chunk_of(chunk, own, x.width))
        return
    if isinstance(x, np.ndarray):
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            yield x[rows], None if weights is None else weights[rows]
        return
    width, seen, bits = None, 0, 0
    for number, item in enumerate(x):
        if isinstance(item, tuple) and len(item) != 2:
            raise ValueError(
                f"block {number} is {len(item)} things; expected a matrix (B, D), or a pair of one and its weights"
            )
        block, own = item if isinstance(item, tuple) else (item, None)
        block = as_real(block)
        if block.ndim != 2 or block.shape[1] == 0:
            raise ValueError(f"block {number} has shape {block.shape}; expected a matrix (B, D)")
        width = width or block.shape[1]
        if block.shape[1] != width:
            raise ValueError(f"block {number} has {block.shape[1]} columns; the blocks before it had {width}")
        seen += len(block)
        bits += bits_of(block)
        if not len(block):
            continue
        if own is not None:
            own = checked(own, len(block), all_zero=True)
            bits += bits_of(own)
        yield block, own
    if isinstance(x, Repeated):
        x.check(seen, bits)


def count(x: Rows, weights: np.ndarray | None = None, missing: bool = False) -> tuple[int, float]:
    """Number of rows and sum of their weights.

    Raises
    ------
    ValueError
        If a value is infinite, or missing where none may be, or all weights are zero.
    """
    rows, n = folded(x, weights, partial(_count, missing), _add, "count") or (0, 0.0)
    if not n > 0:
        raise ValueError("x has no rows that count: each is missing or has weight zero")
    return rows, n


def _count(missing: bool, block: np.ndarray, w: np.ndarray | None, start: int) -> tuple[int, float]:
    refuse_missing(block, start, missing)
    return len(block), float(len(block) if w is None else w.sum())


def _add(a: tuple[int, float], b: tuple[int, float]) -> tuple[int, float]:
    return a[0] + b[0], a[1] + b[1]


def sample(
    x: Rows, weights: np.ndarray | None, rows: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """At most ``size`` of the ``rows`` rows of x, drawn without replacement and kept in order.

    Returns
    -------
    x : ndarray, shape (size, D)
        As float64; x itself where all of one array are drawn.
    weights : ndarray, shape (size,)
    share : float
        Share of the total weight that these rows have.
    """
    chosen = np.arange(rows) if rows <= size else np.sort(rng.choice(rows, size, replace=False, shuffle=False))

    def each(
        block: np.ndarray, own: np.ndarray | None, start: int
    ) -> tuple[list[tuple[np.ndarray, np.ndarray]], float]:
        first, last = np.searchsorted(chosen, [start, start + len(block)])
        w = np.ones(len(block)) if own is None else own
        here = slice(None) if last - first == len(block) else chosen[first:last] - start
        return [(block[here].astype(np.float64, copy=False), w[here])], float(w.sum())

    found = folded(x, weights, each, lambda a, b: (a[0] + b[0], a[1] + b[1]), "sample")
    assert found is not None
    some, w = found[0][0] if len(found[0]) == 1 else map(np.concatenate, zip(*found[0], strict=True))
    return some, w, float(w.sum() / found[1])
