"""Tables of many Parquet files, larger than memory perhaps: Dask holds all rows, and a random sample of them is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures.chunks import Chunked
from mixtures.datasets.dataset import Dataset, counted, listed
from mixtures.datasets.loading import from_frame, policy
from mixtures.errors import DataError
from mixtures.memory import memory

if TYPE_CHECKING:
    import pandas as pd

# Rows of the sample, and the share of the memory there is that rows may take to be kept there from pass to pass.
SAMPLE, SHARE = 10_000, 0.4

WILD = frozenset("*?[")
NUMBERS = ("gaussian", "poisson")


class Many(NamedTuple):
    """A table of many files.

    Attributes
    ----------
    data : Dataset
        The sample, or all rows where they are no more.
    rows : Chunked or None
        The features of all rows; None where the sample has all.
    """

    data: Dataset
    rows: Chunked | None


def files_of(name: str) -> list[str]:
    """The Parquet files that a pattern matches, or that are in a folder, in the order of their names; none for other names."""
    path = Path(name).expanduser()
    if path.is_dir():
        return sorted(str(file) for file in path.glob("*.parquet"))
    if WILD.isdisjoint(name) or path.exists():
        return []
    return sorted(file for file in glob(str(path)) if file.endswith(".parquet"))


def load_many(
    name: str,
    rng: np.random.Generator,
    *,
    label_column: str | None = None,
    columns: Sequence[str] | None = None,
    index_column: str | None = None,
    counts: Sequence[str] = (),
    missing: str | None = None,
    drop_missing: bool = False,
    workers_memory: float | None = None,
) -> Many:
    """Read a table of Parquet files that have the same columns.

    Parameters
    ----------
    name : str
        A folder, or a pattern such as "folder/*.parquet".
    rng : numpy.random.Generator
        Draws the sample: 10,000 rows without replacement, fewer where rows with missing values are left out.
    label_column, columns, index_column, counts, missing, drop_missing
        See `mixtures.datasets.load`; what a column holds is told by the sample.
    workers_memory : float, optional
        Bytes of memory of the workers of a cluster; by default those that this process may use. Rows that take less than
        two fifths are kept there from pass to pass, others are read anew.

    Raises
    ------
    DataError
        If the files cannot be read as one table, or a feature is no column of numbers.
    """
    try:
        import dask.dataframe as dd
        from dask import persist
    except ImportError as error:
        raise DataError(
            "a table of many files needs Dask, which is not installed: pip install 'mixtures[dask]'"
        ) from error
    files = files_of(name)
    if not files:
        raise DataError(f"no file ending in .parquet matches {name!r}")
    _check_columns(files, columns)
    try:
        table = dd.read_parquet(files)
        whole = Chunked.of(table)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"cannot read {counted(len(files), 'file')} of {name!r} as one table: {reason}") from error
    policy_of_gaps = policy(missing, drop_missing) or "error"
    if not len(whole):
        raise DataError(f"{counted(len(files), 'file')} of {name!r} {'has' if len(files) == 1 else 'have'} no rows")
    chosen = np.arange(len(whole))
    if len(whole) > SAMPLE:
        chosen = np.sort(rng.choice(len(whole), SAMPLE, replace=False, shuffle=False))
    frames = whole.fold(partial(_taken, chosen), _listed, name="sample")
    data = from_frame(
        _together(frames, chosen),
        name=Path(name).expanduser().parent.name if not WILD.isdisjoint(name) else Path(name).expanduser().name,
        label_column=label_column,
        columns=columns,
        index_column=index_column,
        counts=counts,
        missing=policy_of_gaps,
    )
    nominal = [feature for feature, kind in zip(data.features, data.kinds, strict=True) if kind not in NUMBERS]
    if nominal:
        raise DataError(
            f"column {listed(nominal)} holds levels; of many files choose columns of numbers with --columns"
        )
    if len(whole) <= SAMPLE:
        return Many(_named(data, name, ()), None)
    own = table[list(data.features)]
    own = own.dropna() if policy_of_gaps == "drop" else own
    there = memory() if workers_memory is None else workers_memory
    kept = len(whole) * len(data.features) * 8 <= SHARE * there
    if kept:  # block by block: a table that Dask persists lacks blocks where small ones were joined on reading
        own = dd.from_delayed(persist(*own.to_delayed()), meta=own._meta, verify_meta=False)
    rows = Chunked.of(own)
    note = (
        f"{len(rows):,} rows in {counted(len(files), 'file')}: every method is fitted to all of them; whatever is measured "
        f"point by point is measured on a random sample of {len(data.x):,}"
    )
    return Many(_named(data, name, (note,)), rows)


def _check_columns(files: Sequence[str], columns: Sequence[str] | None) -> None:
    """Refuse files without a column that the first one has, or with text in one of ``columns`` where it has numbers."""
    first, *others = [_columns_of(file) for file in files]
    for file, own in zip(files[1:], others, strict=True):
        lacking = [name for name in first if name not in own]
        if lacking:
            raise DataError(
                f"{os.path.basename(file)!r} has no column {listed(lacking)}, and {os.path.basename(files[0])!r} has: write "
                "the same columns to every file"
            )
        changed = [name for name in columns or first if {first.get(name), own.get(name)} == {"numbers", "text"}]
        if changed:
            raise DataError(
                f"column {listed(changed)} holds {first[changed[0]]} in {os.path.basename(files[0])!r} and "
                f"{own[changed[0]]} in {os.path.basename(file)!r}: store it as numbers in every file, or leave it out "
                "with --columns"
            )


def _columns_of(file: str) -> dict[str, str]:
    """The columns of a Parquet file and what each holds: numbers, text, or anything else."""
    from pyarrow import ArrowException, types
    from pyarrow.parquet import read_schema

    try:
        schema = read_schema(file)
    except (OSError, ArrowException) as error:
        raise DataError(f"{os.path.basename(file)!r} cannot be read: {' '.join(str(error).split())[:200]}") from error

    def kind(of: Any) -> str:
        if types.is_integer(of) or types.is_floating(of) or types.is_decimal(of):
            return "numbers"
        return "text" if types.is_string(of) or types.is_large_string(of) else "other"

    return {field.name: kind(field.type) for field in schema if not field.name.startswith("__index_level_")}


def _named(data: Dataset, source: str, notes: tuple[str, ...]) -> Dataset:
    return replace(data, source=os.fspath(source), notes=(*notes, *data.notes))


def _taken(chosen: np.ndarray, block: Any, weights: None, start: int) -> list[pd.DataFrame]:
    first, last = np.searchsorted(chosen, [start, start + len(block)])
    return [block.iloc[chosen[first:last] - start]]


def _listed(a: list[Any], b: list[Any]) -> list[Any]:
    return a + b


def _together(frames: list[pd.DataFrame], chosen: np.ndarray) -> pd.DataFrame:
    """The sample as one table whose rows have their numbers, from 1."""
    import pandas as pd

    return pd.concat(frames).set_axis((chosen + 1).astype(str), axis=0)
