"""A pass over rows that Dask holds: by one worker and by several on this machine, and what follows for many.

Workers are processes of one thread each, with the blocks in their memory; passes by one and by more are made in turn. A pass
costs its arithmetic, which the workers share: the processor time of the busiest. It costs the scheduler's work on its tasks,
one for each block and for each sum of eight: the processor time of this process, which many small blocks take more of than few.
And it costs moving K P natural parameters to every worker and as many statistics back. The last two are not shared: from them
follows how long a pass by a thousand workers takes, each with as many rows as one has here.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.chunks import TOGETHER
from mixtures.engines.passes import one_pass
from mixtures.methods import em
from mixtures.rows.reading import as_rows
from reports.bench import files, machine
from reports.bench.cells import SEED, Cell, pose
from reports.bench.ours import state

if TYPE_CHECKING:
    import pandas as pd

# Of a pass: seconds by the clock, processor time of the busiest worker, and that of this process, which schedules, for a task.
Side = Callable[[], tuple[float, float, float]]

# Bytes a second of the network that the estimate assumes: 10 Gbit/s at the scheduler, through which nothing is spared.
NETWORK = 1.25e9

# Numbers of blocks, of so many rows each, by which the scheduler's work on a task is measured.
FEW, MANY, TINY = 8, 64, 100

# Rows from which the parameters of the pass come.
SAMPLE = 10_000

CELL = Cell(2_000_000, 10, 10)

# What each worker's libraries may take.
ONE_THREAD = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

COLUMNS = (
    "workers",
    "n",
    "d",
    "k",
    "blocks",
    "ms",
    "speed_up",
    "arithmetic",
    "tasks",
    "network",
    "megabytes",
    "measured",
)


@dataclass(frozen=True)
class Settings:
    """What is measured, and for how many workers it is estimated.

    Parameters
    ----------
    cell : Cell
        All rows, whatever the number of workers that share them.
    workers : tuple of int
        Measured; the first is what the others are compared with.
    estimated : tuple of int
        Each with as many rows as all of ``cell``, in one block.
    blocks : int
    repeats : int
        Of which the median is taken.

    Raises
    ------
    ImportError
        If Dask's scheduler is not installed.
    """

    cell: Cell = CELL
    workers: tuple[int, ...] = (1, 2)
    estimated: tuple[int, ...] = (10, 100, 1000)
    blocks: int = 8
    repeats: int = 7

    def __post_init__(self) -> None:
        if find_spec("distributed") is None:
            raise ImportError("--dask needs Dask's scheduler; pip install 'mixtures[dask]'")


def of(cells: tuple[Cell, ...] | None, repeats: int | None) -> Settings:
    """The settings for what the shell was asked for; None for the defaults.

    Raises
    ------
    ValueError
        If there is more than one cell.
    """
    if cells and len(cells) > 1:
        raise ValueError(f"--dask measures one cell, and --cells has {len(cells)}; give one of them")
    return Settings(cells[0] if cells else Settings.cell, repeats=repeats or Settings.repeats)


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> pd.DataFrame:
    """Measure a pass by every number of workers, and estimate it for more.

    Returns
    -------
    DataFrame
        A row for each number of workers: the rows that they hold and their ``blocks``; ``ms`` of a pass; ``speed_up``, how
        many times as many rows a second as the first; of ``ms`` the ``arithmetic``, ``tasks`` and ``network``, whose sum
        the estimates are; the ``megabytes`` that move; and whether the pass was ``measured``.
    """
    import pandas as pd

    tell("clusters and rows", 0, 2)
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="distributed")  # that tasks with their eta are large
        sides = [stack.enter_context(held(settings, count)) for count in settings.workers]
        tell("passes in turn", 1, 2)
        for side in sides:
            side()
        times = 1e3 * np.median([[side() for side in sides] for _ in range(settings.repeats)], axis=0)
    rows = [_measured(settings, count, *each) for count, each in zip(settings.workers, times.tolist(), strict=True)]
    for row in rows:
        row["speed_up"] = rows[0]["ms"] / row["ms"]
    rows += [estimate(settings, count, rows[0]) for count in settings.estimated]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@contextmanager
def held(settings: Settings, workers: int) -> Iterator[Side]:
    """What makes a pass over the rows by so many workers."""
    import dask
    from dask import array
    from distributed import Client, LocalCluster

    cell, options = settings.cell, {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with (
        LocalCluster(n_workers=workers, processes=True, memory_limit=None, env=ONE_THREAD, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        addresses = list(client.scheduler_info()["workers"])

        def over(n: int, blocks: int) -> Callable[[], Any]:
            own = cell._replace(n=n)
            parts = rows(own, blocks)
            there = [client.persist(part, workers=addresses[i % workers]) for i, part in enumerate(parts)]
            return a_pass(array.concatenate(there), own)

        def spent(call: Callable[[], Any]) -> tuple[float, float, float]:
            before, own, began = client.run(time.process_time), time.process_time(), time.perf_counter()
            with dask.config.set(scheduler=client):
                call()
            seconds, own = time.perf_counter() - began, time.process_time() - own
            after = client.run(time.process_time)
            return seconds, max(after[name] - before[name] for name in after), own

        calls = over(cell.n, settings.blocks), over(TINY * FEW, FEW), over(TINY * MANY, MANY)

        def side() -> tuple[float, float, float]:
            (seconds, busiest, _), (*_, few), (*_, many) = (spent(call) for call in calls)
            return seconds, busiest, (many - few) / (n_tasks(MANY) - n_tasks(FEW))

        yield side


def rows(cell: Cell, blocks: int) -> list[Any]:
    """The rows of a cell as so many `dask.array`s, which are made where they are."""
    from dask import array, delayed

    sizes = [len(part) for part in np.array_split(np.empty(cell.n, np.int8), blocks)]
    made = (delayed(block)(number, n, cell) for number, n in enumerate(sizes))
    return [array.from_delayed(part, (n, cell.d), float) for part, n in zip(made, sizes, strict=True)]


def block(number: int, n: int, cell: Cell) -> np.ndarray:
    """Rows (n, D) about K locations, those of one block."""
    rng = np.random.default_rng([SEED, number])
    locations = 4 * np.random.default_rng(SEED).standard_normal((cell.k, cell.d))
    return locations[rng.integers(cell.k, size=n)] + rng.standard_normal((n, cell.d))


def a_pass(x: Any, cell: Cell) -> Callable[[], Any]:
    """The pass over a `dask.array` of the cell's rows, under parameters that suit them."""
    posed = pose(block(0, min(cell.n, SAMPLE), cell), "full", cell.k)
    eta, _ = em.step(posed.family, posed.allocation, state(posed, posed.r))
    return partial(one_pass(as_rows(x), None, posed.family, cell.n * cell.k), eta)


def estimate(settings: Settings, workers: int, first: dict[str, Any]) -> dict[str, Any]:
    """A pass by so many workers, each with as many rows as the first measured one had all in all, in one block."""
    cell = settings.cell._replace(n=settings.cell.n * workers)
    tasks = first["tasks"] * n_tasks(workers) / n_tasks(settings.blocks)
    megabytes = moved(cell, workers, workers)
    parts = {
        "arithmetic": first["arithmetic"] * settings.workers[0],
        "tasks": tasks,
        "network": megabytes * 1e9 / NETWORK,
    }
    ms = sum(parts.values())
    speed_up = (first["arithmetic"] + first["tasks"]) / ms * workers
    return _row(
        cell, workers=workers, blocks=workers, ms=ms, speed_up=speed_up, megabytes=megabytes, measured=False, **parts
    )


def n_tasks(blocks: int) -> int:
    """Tasks of a pass: one for each block, and one for each sum of eight."""
    total = level = blocks
    while level > 1:
        level = -(-level // TOGETHER)
        total += level
    return total


def moved(cell: Cell, workers: int, blocks: int) -> float:
    """Megabytes of a pass of one run over the network at most: eta to each worker, statistics and bound of each block back."""
    P = 1 + cell.d + cell.d * (cell.d + 1) // 2
    return 8e-6 * (workers * cell.k * P + blocks * (cell.k * P + 1))


def _measured(settings: Settings, workers: int, ms: float, arithmetic: float, task: float) -> dict[str, Any]:
    tasks = task * n_tasks(settings.blocks)
    found = {"workers": workers, "blocks": settings.blocks, "ms": ms, "arithmetic": arithmetic, "tasks": tasks}
    return _row(
        settings.cell, **found, network=np.nan, megabytes=moved(settings.cell, workers, settings.blocks), measured=True
    )


def _row(cell: Cell, **found: Any) -> dict[str, Any]:
    return {**cell._asdict(), "speed_up": np.nan, **found}


def save(table: pd.DataFrame, settings: Settings, folder: Path) -> None:
    """Write the table as bench.csv, and the settings and what the machine is as bench.json."""
    files.save(folder, table, machine.facts() | {"dask": asdict(settings)})
