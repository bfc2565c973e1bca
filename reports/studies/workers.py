"""Spread tasks over processes or a Dask cluster, and keep the rows of each as soon as it is finished."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

from reports.comparison.parent import end_with, leaving_interrupts
from reports.comparison.progress import Rate
from reports.comparison.results import ResultsError
from reports.studies.cells import Cells

GO_ON = "what was finished is kept; give the same command to go on"

# Seconds in which a scheduler has to answer.
PATIENCE = 10

Rows = list[dict[str, Any]]
Measure = Callable[..., Rows]
Tell = Callable[[int, int], None]
Progress = bool | Tell | None
"""Who is to hear how many are done, of how many: a function, or (True) a bar."""


class Task(NamedTuple):
    """What one call measures: the name of its file, its arguments, and for how many of the total it counts."""

    name: str
    arguments: tuple[Any, ...]
    size: int = 1


def measure_all(
    measure: Measure,
    tasks: Sequence[Task],
    cells: Cells,
    total: int,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    what: str = "fits",
    tell: Tell = lambda *_: None,
) -> None:
    """Measure the tasks and add the rows of each to the cells, in the order in which they come in.

    Parameters
    ----------
    measure : callable
        From a task's arguments to its rows; the worker imports it.
    tasks : sequence of Task
        What is left to do.
    cells : Cells
    total : int
        Of all sizes, those of what was there before included.
    workers : int
        Processes on this machine.
    scheduler : str, optional
        Address of a Dask scheduler whose workers do the work instead; they need this package, and data files where they are.
    what : str
        Name of what is counted, for messages.
    tell : callable
        Called with the number that are there and their total, first for what was there before.

    Raises
    ------
    ResultsError
        If the scheduler does not answer, or the workers are lost; what was finished is kept.
    """
    done = total - sum(task.size for task in tasks)
    tell(done, total)
    with _workers(workers, scheduler) as parallel, closing(parallel(measure, tasks)) as results:
        for task, rows in results:
            cells.append(task.name, rows)
            done += task.size
            tell(done, total)
    if done < total:  # Dask ends quietly when its scheduler is gone
        raise ResultsError(f"the workers stopped with {total - done} of {total} {what} left; {GO_ON}")


@contextmanager
def telling(progress: Progress, what: str) -> Iterator[Tell]:
    """The function to tell; a bar is shown meanwhile, if asked for, on the terminal or in a notebook."""
    if progress is True:
        with Rate(what) as rate:
            yield rate.tell
    else:
        yield progress or (lambda *_: None)


def _one(measure: Measure, task: Task) -> tuple[Task, Rows]:
    return task, measure(*task.arguments)


@contextmanager
def processes(workers: int) -> Iterator[None]:
    """Within it joblib has so many processes on this machine; they end with this one, and hear no Ctrl-C."""
    from joblib import parallel_config

    with parallel_config("loky", n_jobs=workers, initializer=_prepare, initargs=(os.getpid(),)):
        yield


def _prepare(parent: int) -> None:
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def as_finished(function: Callable[..., Any], arguments: Iterable[tuple[Any, ...]]) -> Generator[Any]:
    """What the function returns for each of the arguments, as it comes in; closing the generator stops the processes."""
    from joblib import Parallel, delayed
    from joblib.externals.loky.backend import resource_tracker

    resource_tracker.ensure_running()  # as in `leaving_interrupts`
    with leaving_interrupts():
        # smaller than a batch of joblib's: a result is kept as soon as it is there
        parallel = Parallel(return_as="generator_unordered", batch_size=1)
        return parallel(delayed(function)(*own) for own in arguments)


@contextmanager
def _workers(workers: int, scheduler: str | None) -> Iterator[Callable[[Measure, Sequence[Task]], Any]]:
    """From tasks to their results as they come in, by so many processes or by the workers of a Dask scheduler."""
    from joblib import parallel_config

    def results(measure: Measure, tasks: Sequence[Task]) -> Any:
        return as_finished(_one, ((measure, task) for task in tasks))

    if scheduler is None:
        try:
            with processes(workers):
                yield results
        except BrokenExecutor as error:
            raise ResultsError(
                f"a worker was killed, perhaps for want of memory; {GO_ON} with fewer --workers"
            ) from error
        return
    client = connected(scheduler)
    try:
        with client, parallel_config("dask", n_jobs=-1):
            yield results
    except (CancelledError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # a disk, not a scheduler
            raise
        raise ResultsError(
            f"the scheduler at {scheduler} or its workers were lost ({type(error).__name__}); {GO_ON}"
        ) from error


def connected(address: str) -> Any:
    """A client of the Dask scheduler at an address.

    Raises
    ------
    ResultsError
        If Dask is not installed, nothing answers there, or there are no workers.
    """
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
