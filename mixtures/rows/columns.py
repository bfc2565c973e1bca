"""Some of the columns of rows, wherever these are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from mixtures.chunks import Chunked
from mixtures.rows.arrays import as_real
from mixtures.rows.reading import Rows, blocks


def columns_of(x: Rows, columns: np.ndarray) -> Rows:
    """These columns of x, which `mixtures.rows.reading.as_rows` gave, read as x is."""
    if isinstance(x, Chunked):
        return x.derive(partial(_taken, columns), len(columns))
    return x[:, columns] if isinstance(x, np.ndarray) else _Columns(x, columns)


@dataclass(frozen=True)
class _Columns:
    """Some columns of rows that come in blocks."""

    x: Any
    columns: np.ndarray

    def __iter__(self) -> Iterator[Any]:
        for block, weights in blocks(self.x):
            own = block[:, self.columns]
            yield own if weights is None else (own, weights)


def _taken(columns: np.ndarray, chunk: Any, weights: None) -> np.ndarray:
    return as_real(chunk)[:, columns]
