"""How many observations each row stands for."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixtures.chunks import Chunked
from mixtures.rows.arrays import as_real
from mixtures.rows.sequences import Sequences

# Of a positive weight, and the largest is its inverse: their products and sums stay normal numbers.
SMALLEST_WEIGHT = 1e-100


def as_weights(x: Any, weights: Any) -> Any:
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
        return np.repeat(checked(weights, len(x.edges) - 1, "one a sequence"), x.lengths)
    if isinstance(x, Chunked):
        return weights if isinstance(weights, Chunked) else _checked_in_chunks(x, x.aligned(weights))
    if not isinstance(x, np.ndarray):
        raise ValueError("blocks bring their own weights: give pairs (x, weights) instead of weights")
    return checked(weights, len(x))


def checked(weights: np.ndarray, n: int, each: str = "one a row", all_zero: bool = False) -> np.ndarray:
    """The n weights, ``each`` of which counts something, as float64; a `ValueError` as of `as_weights` if they are none."""
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
