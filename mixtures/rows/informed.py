"""Rows of which something was seen; the others say nothing of any parameter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixtures.chunks import Chunked
from mixtures.rows.arrays import as_real
from mixtures.rows.reading import Repeated, blocks
from mixtures.rows.sequences import Sequences


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
