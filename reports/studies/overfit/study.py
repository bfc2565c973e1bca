"""Run a grid: spread its cells over workers, keep each as it is finished, and never measure one twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.comparison.capacity import check_workers
from reports.comparison.results import ResultsError
from reports.studies.cells import Cells
from reports.studies.folder import CELLS, check_study, write_manifest
from reports.studies.overfit.fits import TOGETHER
from reports.studies.overfit.grid import FORMAT, Cell, Grid, parse
from reports.studies.overfit.measure import COLUMNS, measure
from reports.studies.workers import Task, Tell, measure_all

if TYPE_CHECKING:
    import pandas as pd

STUDY, WHAT = "overfit", "an overfitting study"

BATCH = 50

Batch = tuple[Cell, tuple[int, ...]]


@dataclass(frozen=True)
class Study:
    """A grid and its numbers.

    Parameters
    ----------
    grid : Grid
    table : DataFrame
        A row a cell, replicate and method, with the columns of `reports.studies.overfit.measure.COLUMNS`.
    manifest : dict
    """

    grid: Grid
    table: pd.DataFrame
    manifest: dict[str, Any]


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be written, or that holds anything but a study by this version.

    Raises
    ------
    ResultsError
    """
    check_study(folder, STUDY, WHAT, FORMAT)


def run(
    grid: Grid,
    folder: Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    command: str = "",
    asked: str = "",
    tell: Tell = lambda *_: None,
) -> Study:
    """Measure what the folder does not have yet, and return all of the grid.

    Parameters
    ----------
    grid : Grid
    folder : Path
        See `check_folder`. Each batch of replicates of a cell is a file of its own, written when it is finished; a changed
        grid measures only what is new in it.
    workers : int
        Processes on this machine. The numbers do not depend on it.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do the work instead; they need this package, and data files where they are.
    command, asked : str
        The command, and the part of it that names the grid, for the report.
    tell : callable
        Called with the number of fits that are there and their total, first for what was there before.

    Raises
    ------
    ResultsError
        If the folder cannot be used, the scheduler does not answer, or the workers are lost; what was finished is kept.
    """
    check_folder(folder)
    check_workers(workers)
    manifest = write_manifest(folder, STUDY, FORMAT, _facts(grid, command, asked))
    cells = Cells(folder / CELLS, COLUMNS)
    there = cells.read()
    left = missing(grid, set(zip(there["cell"], there["replicate"], strict=True)))
    tasks = [Task(f"{cell.id}-{batch[0]}-{batch[-1]}", (cell, batch), len(batch)) for cell, batch in left]
    total = len(grid.cells) * grid.replicates
    measure_all(measure, tasks, cells, total, workers=workers, scheduler=scheduler, tell=tell)
    return Study(grid, select(grid, cells.read() if tasks else there), manifest)


def load(folder: Path) -> Study:
    """The fits that a folder has, of the grid that was last measured there.

    Raises
    ------
    ResultsError
        If it has none, or is damaged.
    """
    from reports.studies import schema

    manifest = check_study(folder, STUDY, WHAT, FORMAT, schema.Overfit)
    try:
        facts = manifest or {}
        grid = parse(facts["grid"], facts["name"], **{own: facts.get(own) for own in ("replicates", "seed", "start")})
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"the grid of {folder} cannot be read ({type(error).__name__}: {error})") from error
    table = select(grid, Cells(folder / CELLS, COLUMNS).read())
    if table.empty:
        raise ResultsError(f"{folder} has no fits of its grid yet; give the command again that began it")
    return Study(grid, table, facts)


def missing(grid: Grid, done: set[tuple[str, int]]) -> list[Batch]:
    """What is left to measure, in the order of the cells' digests: long and short ones mixed, so that the rate is steady."""
    batches = [(cell, batch) for cell in grid.cells for batch in _batches(cell, grid.replicates)]
    left = [(cell, tuple(r for r in batch if (cell.id, r) not in done)) for cell, batch in batches]
    return [one for one in left if one[1]]


def _batches(cell: Cell, replicates: int) -> Iterator[tuple[int, ...]]:
    """The replicates that are measured together, side by side; their last digits, and those alone, depend on who these are."""
    yield from batched(range(replicates), TOGETHER.get(cell.method, BATCH))


def select(grid: Grid, table: pd.DataFrame) -> pd.DataFrame:
    """The rows that belong to the grid, each once, in an order of their own."""
    ids = {cell.id for cell in grid.cells}
    own = table[table["cell"].isin(ids) & (table["replicate"] < grid.replicates)]
    keys = ["cell", "replicate", "method"]
    return own.drop_duplicates(keys).sort_values(keys, ignore_index=True)


def again(grid: Grid, name: str) -> list[dict[str, Any]]:
    """The rows of one fit, measured once more in its batch; a name is 3f9a1c20be:17, or a cell alone for its first replicate.

    Raises
    ------
    ValueError
        If the grid has no such cell or replicate, or the name means more than one.
    """
    digits, _, replicate = name.partition(":")
    found = [cell for cell in grid.cells if cell.id.startswith(digits)]
    if not digits or len(found) != 1:
        kind = "more than one cell" if digits and found else "no cell"
        raise ValueError(f"{grid.name} has {kind} {digits!r}; copy one from the report, with the grid that it is of")
    number = int(replicate or 0) if (replicate or "0").isdecimal() else grid.replicates
    for batch in _batches(found[0], grid.replicates):
        if number in batch:
            return [row for row in measure(found[0], batch) if row["replicate"] == number]
    raise ValueError(
        f"{grid.name} has no replicate {replicate!r}; expected 0 to {grid.replicates - 1}, as in {found[0].id}:0"
    )


def _facts(grid: Grid, command: str, asked: str) -> dict[str, Any]:
    return {
        "name": grid.name,
        "title": grid.title,
        "command": command,
        "asked": asked,
        "replicates": grid.replicates,
        "seed": grid.cells[0].seed,
        "start": next((cell.start for cell in grid.cells if cell.start), None),
        "cells": len(grid.cells),
        "grid": grid.text,
    }
