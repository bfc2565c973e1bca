"""Rows that count, such as those of which something was seen; the others have no weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixtures.chunks import Chunked
from mixtures.rows.arrays import as_real
from mixtures.rows.reading import Repeated, Rows, blocks
from mixtures.rows.sequences import Sequences


def informed(x: Any, weights: Any) -> tuple[Any, Any]:
    """Rows and weights that are zero for rows of which nothing was seen; blocks without another row are left out.

    Such a row says nothing of any parameter, for log sum_k pi_k = 0; in a sequence it takes time, and stays.
    """
    return (x, weights) if isinstance(x, Sequences) else counting(x, weights, _something_seen)


def counting(x: Rows, weights: Any, which: Callable[[np.ndarray], np.ndarray]) -> tuple[Rows, Any]:
    """Rows and weights that are zero for all but some rows; blocks without one of these are left out.

    Parameters
    ----------
    x, weights
        As `mixtures.rows.reading.as_rows` and `mixtures.rows.weights.as_weights` have them; no sequences.
    which : callable
        From rows (B, D) to which of them count (B,).
    """
    if isinstance(x, Chunked):
        return x, x.derive(partial(_weights, which), 0, weights)
    if not isinstance(x, np.ndarray):
        return Repeated(_Counting(x, which)), weights
    some = np.concatenate([which(block) for block, _ in blocks(x)])
    return x, weights if some.all() else np.where(some, 1.0 if weights is None else weights, 0.0)


def _something_seen(x: np.ndarray) -> np.ndarray:
    return ~np.isnan(x).all(1)


def _weights(which: Callable[[np.ndarray], np.ndarray], block: Any, weights: Any) -> np.ndarray:
    return np.where(which(as_real(block)), 1.0 if weights is None else as_real(weights), 0.0)


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
class _Counting:
    x: Rows
    which: Callable[[np.ndarray], np.ndarray]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block, weights in blocks(self.x):
            own = _weights(self.which, block, weights)
            if own.any():
                yield block, own
