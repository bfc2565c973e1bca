"""Rows of data, wherever they are: an array, a memory map, blocks that come one at a time, or blocks that Dask holds.

Whatever reads the data reads it through `folded` or `blocks`, so that nothing but one block need be in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from mixtures.chunks import Chunked, held
from mixtures.errors import FeatureError

Rows = np.ndarray | Iterable[np.ndarray] | Iterable[tuple[np.ndarray, np.ndarray]]

BLOCK = 16_384

# Of a positive weight, and the largest is its inverse: their products and sums stay normal numbers.
SMALLEST_WEIGHT = 1e-100

# A feature whose residual on those before it is below this share of its standard deviation.
NEARLY_DEPENDENT = 1e-2


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
    if not _is_array(x):
        return x if isinstance(x, Repeated) else Repeated(x)
    x = as_real(x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x has shape {x.shape}; expected a matrix (N, D) with at least one row and one column")
    return x


def _is_array(x: Rows) -> bool:
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
    if x.dtype.kind in "mM":
        raise ValueError(
            f"{name} holds dates or times ({x.dtype}); expected numbers, such as the days since the first of them"
        )
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


def unmasked(x: Any) -> Any:
    """``x`` as it is, but for a masked array: that with NaN in place of what is masked, which other libraries would show."""
    return as_real(x) if isinstance(x, np.ma.MaskedArray) else x


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
        x = as_rows(x)
        if not isinstance(x, np.ndarray):
            raise ValueError("x comes in blocks; sequences need one array or memory map")
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


def as_weights(x: Rows, weights: Any) -> Any:
    """Weights of the rows of x as float64, shape (N,); None where every row counts once. Sequences have one each, (S,).

    Of rows that Dask holds they may be an array, a `dask.array` or a series, and become `mixtures.chunks.Chunked`.

    Raises
    ------
    ValueError
        If the weights are not one non-negative finite number a row, or all are zero, or x comes in blocks, which bring
        their own.
    """
    if weights is None:
        return None
    if isinstance(x, Sequences):
        return np.repeat(_checked(weights, len(x.edges) - 1, "one a sequence"), x.lengths)
    if isinstance(x, Chunked):
        return weights if isinstance(weights, Chunked) else _checked_in_chunks(x, x.aligned(weights))
    if not isinstance(x, np.ndarray):
        raise ValueError("blocks bring their own weights: give pairs (x, weights) instead of weights")
    return _checked(weights, len(x))


def _checked(weights: np.ndarray, n: int, each: str = "one a row", all_zero: bool = False) -> np.ndarray:
    weights = as_real(weights, "the array of weights").astype(np.float64, copy=False)
    if weights.shape != (n,):
        raise ValueError(f"weights have shape {weights.shape}; expected ({n},), {each}")
    low, high = _range(weights, each.split()[-1])
    if high or not all_zero:
        _refuse_range(low, high)
    return weights


def _range(weights: np.ndarray, each: str = "row", start: int = 0) -> tuple[float, float]:
    """The smallest and largest of the positive weights, infinity and zero where there is none."""
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"the weight of {each} {start + row} is {weights[row]}; expected a number of at least 0")
    some = weights[weights > 0]
    return float(some.min(initial=np.inf)), float(some.max(initial=0))


def _refuse_range(low: float, high: float) -> None:
    if not high:
        raise ValueError("all weights are zero; at least one row must count")
    if low < SMALLEST_WEIGHT or high > 1 / SMALLEST_WEIGHT:
        raise ValueError(
            f"weights range from {low:.3g} to {high:.3g}, where products lose their digits; multiply all by one number that "
            "brings them near 1"
        )


def _checked_in_chunks(x: Chunked, weights: Chunked) -> Chunked:
    def each(block: Any, w: None, start: int) -> tuple[float, float]:
        return _range(as_real(block, "the array of weights"), start=start)

    _refuse_range(*weights.fold(each, lambda a, b: (min(a[0], b[0]), max(a[1], b[1])), name="weights"))
    return weights


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
            own = _checked(own, len(block), all_zero=True)
            bits += bits_of(own)
        yield block, own
    if isinstance(x, Repeated):
        x.check(seen, bits)


@dataclass(frozen=True)
class Moments:
    """What one reading of the data tells.

    Parameters
    ----------
    rows : int
        Number of rows with a positive weight.
    n : float
        Sum of the weights: the number of observations.
    mean : ndarray, shape (D,)
    squares : ndarray, shape (D,)
        Sum of w_n (x_n - mean)^2.
    low, high : ndarray, shape (D,)
        Smallest and largest value of each feature.
    eps : float
        Relative rounding of the numbers as they were given.
    scatter : ndarray, shape (D, D), optional
        Sum of w_n (x_n - mean) (x_n - mean)^T, of which squares is the diagonal; only where the root was asked for.
    root : ndarray, shape (D, D), optional
        The lower triangular L with L L^T = scatter / n.
    seen : ndarray, shape (D,), optional
        Sum of the weights of the rows in which each feature was seen; None for n.
    """

    rows: int
    n: float
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    eps: float
    scatter: np.ndarray | None = None
    root: np.ndarray | None = None
    seen: np.ndarray | None = None

    def join(self, other: Moments) -> Moments:
        """The moments of both sets of rows together (Chan, Golub & LeVeque 1983)."""
        n = self.n + other.n
        step = other.mean - self.mean
        between = self.n * other.n / n
        both = self.scatter is not None and other.scatter is not None
        return Moments(
            self.rows + other.rows,
            n,
            self.mean + step * (other.n / n),
            self.squares + other.squares + step**2 * between,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            max(self.eps, other.eps),
            self.scatter + other.scatter + np.outer(step, step) * between if both else None,  # type: ignore[operator]
        )


def moments(x: Rows, weights: np.ndarray | None = None, *, root: bool = False) -> Moments:
    """Moments of the rows, those of zero weight left out, with the root of their covariance if asked for.

    Raises
    ------
    ValueError
        If a value is missing or infinite, or there is no row.
    """
    x = as_rows(x)
    weights = as_weights(x, weights)
    result = folded(x, weights, partial(_moments, root), Moments.join, "moments")
    if result is None:
        raise ValueError("x has no rows that count: each is missing or has weight zero")
    return replace(result, root=_covariance_root(x, weights, result)) if root else result


def _moments(scattered: bool, block: np.ndarray, weights: np.ndarray | None, start: int) -> Moments | None:
    refuse_missing(block, start)
    return block_moments(block, weights, scattered)


def seen_moments(x: Rows, weights: np.ndarray | None = None) -> Moments:
    """Moments of the values that are not missing, feature by feature; squares is n times each variance.

    Raises
    ------
    ValueError
        If a value is infinite, nothing was seen, or a feature never was.
    """
    x = as_rows(x)
    weights = as_weights(x, weights)
    rows, n, columns = folded(x, weights, _seen, _both_seen, "moments") or (0, 0.0, [])
    if not rows:
        raise ValueError("x has no rows that count: each is missing or has weight zero")
    never = [d for d, column in enumerate(columns) if column is None]
    if never:
        raise FeatureError("{0} is missing in all rows; leave it out", never[:1])
    each = [column for column in columns if column is not None]
    names = ("mean", "squares", "low", "high")
    mean, squares, low, high = (np.concatenate([getattr(column, name) for column in each]) for name in names)
    often = np.array([column.n for column in each])
    return Moments(rows, n, mean, squares / often * n, low, high, max(column.eps for column in each), seen=often)


def refuse_unseen(x: np.ndarray) -> None:
    """Refuse a feature of x (N, D) that is missing in all rows.

    Raises
    ------
    FeatureError
    """
    never = np.flatnonzero(np.isnan(x).all(0))
    if len(never):
        raise FeatureError("{0} is missing in all rows; leave it out", never[:1].tolist())


def _seen(block: np.ndarray, w: np.ndarray | None, start: int) -> tuple[int, float, list[Moments | None]]:
    """Rows that count, their weight, and the moments of what was seen of each feature."""
    refuse_missing(block, start, missing=True)
    w = np.ones(len(block)) if w is None else w
    seen = ~np.isnan(block)
    known = seen.any(1) & (w > 0)
    each = [block_moments(block[here][:, [d]], w[here], False) if here.any() else None for d, here in enumerate(seen.T)]
    return int(known.sum()), float(w[known].sum()), each


def _both_seen(
    a: tuple[int, float, list[Moments | None]], b: tuple[int, float, list[Moments | None]]
) -> tuple[int, float, list[Moments | None]]:
    columns = [one.join(other) if one and other else one or other for one, other in zip(a[2], b[2], strict=True)]
    return a[0] + b[0], a[1] + b[1], columns


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


def informed(x: Any, weights: Any) -> tuple[Any, Any]:
    """Rows and weights that are zero for rows of which nothing was seen; blocks without another row are left out.

    Such a row says nothing of any parameter, for log sum_k pi_k = 0; in a sequence it takes time, and stays.
    """
    if isinstance(x, Sequences):
        return x, weights
    if isinstance(x, Chunked):
        return x, x.derive(_informed, 0, weights)
    if not isinstance(x, np.ndarray):
        return Repeated(_Informed(x)), weights
    nothing = np.isnan(x).all(1)
    if not nothing.any():
        return x, weights
    return x, np.where(nothing, 0.0, 1.0 if weights is None else weights)


def _informed(chunk: Any, weights: Any) -> np.ndarray:
    return np.where(np.isnan(as_real(chunk)).all(1), 0.0, 1.0 if weights is None else as_real(weights))


def informative[T: (np.ndarray, Sequences)](x: T) -> T:
    """The rows of a matrix of which something was seen; sequences as they are, where others take time too.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(x, Sequences):
        return x
    nothing = np.isnan(x).all(1)
    if nothing.all():
        raise ValueError("x has no row of which anything was seen")
    return x[~nothing] if nothing.any() else x


@dataclass(frozen=True)
class _Informed:
    x: Any

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block, weights in blocks(self.x):
            own = np.where(np.isnan(block).all(1), 0.0, 1.0 if weights is None else weights)
            if own.any():
                yield block, own


def root_of(rows: np.ndarray) -> np.ndarray:
    """The lower triangular L with L L^T = rows^T rows and a diagonal of at least 0, shape (D, D), by a QR decomposition."""
    D = rows.shape[1]
    R = np.zeros((D, D))
    R[: len(rows)] = np.linalg.qr(rows, mode="r")
    return (R * np.where(np.diagonal(R) < 0, -1, 1)[:, None]).T


def _covariance_root(x: Rows, weights: np.ndarray | None, data: Moments) -> np.ndarray:
    """`Moments.root`: from the scatter, or by a second reading where features are nearly dependent.

    The scatter has then lost the digits that tell them apart; the rows themselves still have them.
    """
    assert data.scatter is not None
    sd = np.sqrt(data.squares / data.n)
    scale = np.where(sd > 0, sd, 1)
    if not np.all(np.isfinite(scale)):
        return np.full(data.scatter.shape, np.nan)
    try:
        L = np.linalg.cholesky(data.scatter / data.n / np.outer(scale, scale))
        if L.diagonal().min() > NEARLY_DEPENDENT:
            return scale[:, None] * L
    except np.linalg.LinAlgError:
        pass
    mean = data.mean

    def offset(block: np.ndarray, w: np.ndarray | None, start: int) -> np.ndarray:
        rows = (block - mean) / scale
        return np.linalg.qr(rows if w is None else rows * np.sqrt(w)[:, None], mode="r")

    R = folded(x, weights, offset, lambda a, b: np.linalg.qr(np.concatenate([a, b]), mode="r"), "moments")
    assert R is not None
    return scale[:, None] * root_of(R) / np.sqrt(data.n)


def block_moments(x: np.ndarray, weights: np.ndarray | None, scattered: bool) -> Moments | None:
    """Moments of one block, with its scatter if it is to be ``scattered``; None where no row counts."""
    eps = float(np.finfo(x.dtype).eps)
    x = x.astype(np.float64, copy=False)
    if weights is not None and not np.all(weights):
        x, weights = x[weights > 0], weights[weights > 0]
    if not len(x):
        return None
    w = np.ones(len(x)) if weights is None else weights
    n = float(w.sum())
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        offset = x - x[0]
        shift = w @ offset / n
        mean = x[0] + shift
        np.subtract(x, mean, out=offset)
        scatter = (offset.T if weights is None else offset.T * w) @ offset if scattered else None
        squares = w @ np.multiply(offset, offset, out=offset) if scatter is None else scatter.diagonal()
    return Moments(len(x), n, mean, squares, x.min(0), x.max(0), eps, scatter)


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


def check_matrix(x: np.ndarray, missing: bool = False) -> np.ndarray:
    """``x`` as a float64 array (N, D) that is finite, but for NaN where values may be ``missing``; else a ValueError."""
    if not (_is_array(x) or isinstance(x, str)):
        raise ValueError(f"x is a {type(x).__name__}, as of blocks; expected one array (N, D)")
    rows = as_rows(as_real(x))
    assert isinstance(rows, np.ndarray)
    refuse_missing(rows, missing=missing)
    return rows.astype(np.float64, copy=False)
