"""Run a grid: spread its cells over workers, keep each as it is finished, and never measure one twice."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.manifest import versions
from reports.results import ResultsError, check_free
from reports.studies.cells import Cells
from reports.studies.overfit.fits import TOGETHER
from reports.studies.overfit.grid import FORMAT, Cell, Grid
from reports.studies.overfit.measure import COLUMNS, measure

if TYPE_CHECKING:
    import pandas as pd

MANIFEST, CELLS, PAGE = "overfit.json", "cells", "report.html"

BATCH = 50

GO_ON = "what was finished is kept; give the same command to go on"

# Seconds in which a scheduler has to answer.
PATIENCE = 10

Task = tuple[Cell, tuple[int, ...]]
Tell = Callable[[int, int], None]


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
    path = folder / MANIFEST
    if not path.is_file():
        if folder.is_dir() and any(folder.iterdir()):
            raise ResultsError(
                f"{folder} holds something else than an overfitting study; give another folder with --out"
            )
        check_free(folder, overwrite=False)
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        written = found["format"], found["versions"].get("mixtures")
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{path} is damaged ({error}); give another folder with --out") from error
    current = FORMAT, versions().get("mixtures")
    if written != current:
        raise ResultsError(
            f"{folder} was written by mixtures {written[1]} in format {written[0]}, and this is {current[1]}, format "
            f"{current[0]}: their numbers do not mix; give another folder with --out"
        )


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
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest(grid, command, asked)
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    cells = Cells(folder / CELLS, COLUMNS)
    there = cells.read()
    tasks = missing(grid, set(zip(there["cell"], there["replicate"], strict=True)))
    total = len(grid.cells) * grid.replicates
    done = total - sum(len(replicates) for _, replicates in tasks)
    tell(done, total)
    with _workers(workers, scheduler) as parallel:
        for (cell, replicates), rows in parallel(tasks):
            cells.append(f"{cell.id}-{replicates[0]}-{replicates[-1]}", rows)
            done += len(replicates)
            tell(done, total)
    if done < total:  # Dask ends quietly when its scheduler is gone
        raise ResultsError(f"the workers stopped with {total - done} of {total} fits left; {GO_ON}")
    return Study(grid, select(grid, cells.read() if tasks else there), manifest)


def missing(grid: Grid, done: set[tuple[str, int]]) -> list[Task]:
    """What is left to measure, in the order of the cells' digests: long and short ones mixed, so that the rate is steady."""
    batches = [(cell, batch) for cell in grid.cells for batch in _batches(cell, grid.replicates)]
    left = [(cell, tuple(r for r in batch if (cell.id, r) not in done)) for cell, batch in batches]
    return [task for task in left if task[1]]


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


def _task(task: Task) -> tuple[Task, list[dict[str, Any]]]:
    return task, measure(*task)


@contextmanager
def _workers(workers: int, scheduler: str | None) -> Iterator[Callable[[Sequence[Task]], Any]]:
    """From tasks to their results as they come in, by so many processes or by the workers of a Dask scheduler."""
    from joblib import Parallel, delayed, parallel_config

    def results(tasks: Sequence[Task]) -> Any:
        # smaller than a batch of joblib's: a result is kept as soon as it is there
        return Parallel(return_as="generator_unordered", batch_size=1)(delayed(_task)(task) for task in tasks)

    if scheduler is None:
        try:
            with parallel_config("loky", n_jobs=workers):
                yield results
        except BrokenExecutor as error:
            raise ResultsError(
                f"a worker was killed, perhaps for want of memory; {GO_ON} with fewer --workers"
            ) from error
        return
    client = _client(scheduler)
    try:
        with client, parallel_config("dask", n_jobs=-1):
            yield results
    except (CancelledError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a disk, not a scheduler
            raise
        raise ResultsError(
            f"the scheduler at {scheduler} or its workers were lost ({type(error).__name__}); {GO_ON}"
        ) from error


def _client(address: str) -> Any:
    try:
        from dask.distributed import Client
    except ImportError as error:
        raise ResultsError("--scheduler needs Dask, which is not installed: pip install distributed") from error
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError, TypeError) as error:
        raise ResultsError(f"no Dask scheduler answers at {address}: start one, or leave --scheduler out") from error
    if not client.scheduler_info()["workers"]:
        client.close()
        raise ResultsError(f"the Dask scheduler at {address} has no workers; start some (dask worker {address})")
    return client


def _manifest(grid: Grid, command: str, asked: str) -> dict[str, Any]:
    return {
        "study": "overfit",
        "format": FORMAT,
        "name": grid.name,
        "title": grid.title,
        "command": command,
        "asked": asked,
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "platform": f"{platform.system()} {platform.machine()}",
        "replicates": grid.replicates,
        "cells": len(grid.cells),
        "versions": versions(),
        "grid": grid.text,
    }
