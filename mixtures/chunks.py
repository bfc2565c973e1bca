"""Rows that Dask holds in blocks, on this machine or on many: work goes to where the blocks are, and its results come back.

Dask is not imported until such rows are given. Whoever gives them has it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any
from uuid import uuid4

import numpy as np

# Results that are joined at once: a worker waits for no more than these, and the tree above them is shallow.
TOGETHER = 8


def held(x: Any) -> bool:
    """Whether Dask holds x; not asked of Dask where nobody has imported it."""
    dask = sys.modules.get("dask")
    return dask is not None and dask.is_dask_collection(x)


@dataclass(frozen=True)
class Chunked:
    """A matrix, or one number a row, in blocks of rows.

    Parameters
    ----------
    blocks : tuple of Delayed
        One for each block.
    lengths : tuple of int
        Number of rows of each block, which may be none.
    width : int
        D; 0 for one number a row.
    dtype : dtype
    get : callable
        The scheduler of such rows where no other is set and no cluster is connected.
    source : object
        What was given: a cluster keeps what was persisted as long as someone has it.
    """

    blocks: tuple[Any, ...]
    lengths: tuple[int, ...]
    width: int
    dtype: np.dtype
    get: Callable[..., Any]
    source: Any = None

    @classmethod
    def of(cls, x: Any, name: str = "x") -> Chunked:
        """What a `dask.array`, `dask.dataframe` or series of it holds.

        Blocks that divide the columns are joined first. Where Dask does not know how many rows a block has, they are counted.

        Raises
        ------
        ValueError
            If it is none of these, or has other than one or two axes, or no column.
        """
        source, known = x, hasattr(type(x), "_meta")
        x = x if known else getattr(x, "data", x)  # of xarray
        table = hasattr(type(x), "to_dask_array")
        if not table and not (hasattr(type(x), "chunks") and hasattr(type(x), "_meta")):
            raise ValueError(f"{name} is a Dask {type(x).__name__}; expected a dask.array or a dask.dataframe")
        if x.ndim not in (1, 2):
            raise ValueError(
                f"{name} has shape {x.shape}; expected a matrix (N, D) with at least one row and one column"
            )
        width = 0 if x.ndim == 1 else len(x.columns) if table else int(x.shape[1])
        if not table and x.ndim == 2 and x.numblocks[1] > 1:
            x = x.rechunk({1: -1})
        blocks = tuple(np.ravel(x.to_delayed()).tolist())
        rows = x.chunks[0] if not table and not np.isnan(x.chunks[0]).any() else (-1,) * len(blocks)
        dtype = np.asarray(x._meta).dtype
        own = cls(blocks, tuple(int(n) for n in rows), width, dtype, x.__dask_scheduler__, source)
        if -1 in rows:
            own = replace(own, lengths=tuple(own.fold(_length, _listed) or ()))
        return own

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D), or (N,)."""
        return (len(self), self.width) if self.width else (len(self),)

    def __len__(self) -> int:
        """N."""
        return sum(self.lengths)

    def __iter__(self) -> Iterator[Any]:
        """The blocks in turn, each brought here."""
        return (self._computed(block) for block in self.blocks)

    def fold(
        self,
        each: Callable[[Any, Any, int], Any],
        join: Callable[[Any, Any], Any],
        weights: Chunked | None = None,
        name: str = "rows",
    ) -> Any:
        """What ``each`` makes of every block, its weights and the number of its first row, joined in their order.

        It is computed where the block is, and joined as a tree, so that no more than a few results meet anywhere. The order
        of the sums depends on the blocks alone.

        Parameters
        ----------
        each, join : callable
            What they return may be None, which is left out of what is joined.
        weights : Chunked, optional
            In blocks of the same rows; see `aligned`.
        name : str
            What the tasks are called on Dask's dashboard.

        Raises
        ------
        ValueError
            That which ``each`` raised, of the first block where several did, or that a block has other rows than before.
        """
        from dask import delayed

        token = uuid4().hex
        doing, joining = (delayed(_Held(function), traverse=False) for function in (each, join))
        call, joined = delayed(_call), delayed(_joined)
        others = (None,) * len(self.blocks) if weights is None else weights.blocks
        starts = accumulate(self.lengths, initial=0)
        level = [
            call(doing, *task, dask_key_name=f"{name}-{token}-{i}")
            for i, task in enumerate(zip(self.blocks, others, self.lengths, starts, strict=False))
        ]
        while len(level) > 1:
            groups = [level[first : first + TOGETHER] for first in range(0, len(level), TOGETHER)]
            keys = (f"{name}-sum-{token}-{len(groups)}-{i}" for i in range(len(groups)))
            level = [joined(joining, group, dask_key_name=key) for key, group in zip(keys, groups, strict=True)]
        found = self._computed(level[0]) if level else None
        if isinstance(found, _Refused):
            raise found.error
        return found

    def derive(self, function: Callable[[Any, Any], Any], width: int, weights: Chunked | None = None) -> Chunked:
        """Blocks of the same number of rows that a function makes of each block and its weights whenever it is read."""
        from dask import delayed

        doing, made = delayed(_Held(function), traverse=False), delayed(_made)
        others = (None,) * len(self.blocks) if weights is None else weights.blocks
        return replace(
            self, blocks=tuple(made(doing, *both) for both in zip(self.blocks, others, strict=True)), width=width
        )

    def aligned(self, weights: Any) -> Chunked:
        """Weights, one a row, in blocks of the same rows.

        Parameters
        ----------
        weights : ndarray, shape (N,), dask.array or series
            In blocks of any size where Dask knows how many rows these have.

        Raises
        ------
        ValueError
            If there are not as many as rows, or their blocks are others and cannot be changed.
        """
        from dask import delayed

        if isinstance(weights, Chunked):
            return weights
        if not held(weights):
            weights = np.asanyarray(weights)
            if weights.shape != (len(self),):
                raise ValueError(f"weights have shape {weights.shape}; expected ({len(self)},), one a row")
            parts = np.split(weights, np.cumsum(self.lengths)[:-1])
            blocks = tuple(delayed(part, traverse=False) for part in parts)
            return Chunked(blocks, self.lengths, 0, weights.dtype, self.get)
        if hasattr(weights, "rechunk") and weights.shape == (len(self),):
            weights = weights.rechunk((self.lengths,))
        own = Chunked.of(weights, "weights")
        if own.shape != (len(self),):
            raise ValueError(f"weights have shape {own.shape}; expected ({len(self)},), one a row")
        if own.lengths != self.lengths and hasattr(weights, "to_dask_array"):  # of tables, Dask joins small blocks
            return Chunked.of(weights.to_dask_array(lengths=True).rechunk((self.lengths,)), "weights")
        if own.lengths != self.lengths:
            raise ValueError(
                "the blocks of the weights have other numbers of rows than those of x; take both from one table, or rechunk "
                "the weights"
            )
        return own

    def _computed(self, wanted: Any) -> Any:
        """By the cluster that is connected, the scheduler that is set, or threads of this process."""
        from dask.base import get_scheduler

        return wanted.compute(scheduler=get_scheduler() or self.get)


def mapped(x: Any, function: Callable[[np.ndarray], np.ndarray], width: int = 0, dtype: Any = np.float64) -> Any:
    """The `dask.array` of what a function of rows returns, (N,) or (N, ``width``), to be computed when it is asked for.

    Parameters
    ----------
    x : dask.array or dask.dataframe
    function : callable
        From rows (B, D) of floats to (B,) or (B, width); blocks without rows are not given to it.
    width : int
    dtype : dtype
    """
    if hasattr(x, "to_dask_array"):
        x = x.to_dask_array()
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}; expected a matrix (N, D)")
    if x.numblocks[1] > 1:
        x = x.rechunk({1: -1})
    shape = {"chunks": (x.chunks[0], (width,))} if width else {"drop_axis": 1}
    empty = np.empty((0, width) if width else (0,), dtype)
    return x.map_blocks(_of_rows, function=function, empty=empty, dtype=dtype, meta=empty, **shape)


def _of_rows(block: Any, function: Callable[[np.ndarray], np.ndarray], empty: np.ndarray) -> np.ndarray:
    return function(np.asarray(block)) if len(block) else empty


@dataclass(frozen=True)
class _Held:
    """Something that stands in a graph as it is, whatever Dask would make of it."""

    value: Any


@dataclass(frozen=True)
class _Refused:
    """An error that a block raised, which no scheduler needs to know."""

    error: ValueError


def _call(each: _Held, block: Any, weights: Any, length: int, start: int) -> Any:
    try:
        if length >= 0 and len(block) != length:
            raise ValueError(
                f"the block of x that begins with row {start} had {length} rows and has {len(block)} in a later reading; give "
                "rows that stay as they are"
            )
        return each.value(block, weights, start)
    except ValueError as error:
        return _Refused(error)


def _made(function: _Held, block: Any, weights: Any) -> Any:
    return function.value(block, weights)


def _joined(join: _Held, parts: list[Any]) -> Any:
    total = None
    for part in parts:
        if isinstance(part, _Refused):
            return part
        total = part if total is None else total if part is None else join.value(total, part)
    return total


def _length(block: Any, weights: None, start: int) -> list[int]:
    return [len(block)]


def _listed(a: list[int], b: list[int]) -> list[int]:
    return a + b
