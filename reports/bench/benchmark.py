"""The whole benchmark: from what was asked to one table and its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.bench import calls, commands, files, machine, measure, processes
from reports.bench.cells import GRID, Cell, points, pose
from reports.bench.machine import Machine
from reports.bench.measure import Row

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

# Small data sets: rows, clusters and starts.
SMALL = ((20, 3, 1), (50, 3, 1), (200, 3, 1), (50, 3, 5), (200, 3, 5), (200, 5, 5))

# N K P up to which the time to the optimum is measured unless it is asked for: scikit-learn needs minutes beyond.
QUICK = 10_000_000


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Parameters
    ----------
    cells : tuple of Cell
    covariances : tuple of str
    repeats : int
        Of which the median is taken; slow ones are repeated less often.
    optimum : bool or None
        Whether to measure the time to the optimum; None for small cells alone.
    limit : float
        Seconds that scikit-learn has for one optimum.
    memory : bool
        Whether to measure peak private memory and the time to compile.
    memory_map : bool
        Whether to fit from a memory map.
    small : bool
        Whether to fit many small data sets, and to measure first fits, public calls and passes on small data.
    commands : bool
        Whether to time a whole comparison and to sample by NUTS.
    sets : int
        How many of them.
    mapped : Cell
        The memory map, of whose rows a hundredth, a tenth and all are measured.

    Raises
    ------
    ValueError
        If a number is not positive, or the disk has no room for the memory map.
    """

    cells: tuple[Cell, ...] = GRID
    covariances: tuple[str, ...] = ("full",)
    repeats: int = 5
    optimum: bool | None = None
    limit: float = 120.0
    memory: bool = True
    memory_map: bool = False
    small: bool = True
    commands: bool = True
    sets: int = 100
    mapped: Cell = processes.MAPPED

    def __post_init__(self) -> None:
        for name in ("repeats", "limit", "sets"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a positive number")
        if self.memory_map:
            processes.check_disk((self.mapped.n,), self.mapped.d)


@dataclass(frozen=True)
class Bench:
    """What was measured.

    Parameters
    ----------
    table : DataFrame
        The fields of `reports.bench.measure.Row`, with ``ratio``, how many times better ours is, and ``over_floor``.
    machine : Machine
    facts : dict
        What the machine is, and the seconds that compiling took.
    """

    table: pd.DataFrame
    machine: Machine
    facts: dict[str, Any]

    def save(self, folder: Path, plot: Figure) -> None:
        """Write the table, its plot (`reports.plots.bench`), and what the machine is."""
        files.save(folder, self.table, self.facts | self.machine._asdict(), plot)


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> Bench:
    """Measure what the settings ask for.

    Parameters
    ----------
    settings : Settings
    tell : callable
        Called before each part with its title, its number and the number of parts.
    """
    plan = list(_parts(settings))
    total = len(plan) + 1 + settings.memory
    tell("this machine", 0, total)
    facts = machine.facts()
    here = machine.measure()
    if settings.memory:
        tell("compiling", 1, total)
        facts["compile_seconds"] = processes.compile_seconds()
    rows: list[Row] = []
    for number, (title, part) in enumerate(plan, start=total - len(plan)):
        tell(title, number, total)
        rows += part(here)
    return Bench(_table(rows), here, facts)


def _parts(settings: Settings) -> Iterator[tuple[str, Callable[[Machine], list[Row]]]]:
    """Titles and what is behind them; consecutive parts share their data."""
    repeats = settings.repeats
    data = lru_cache(maxsize=1)(points)
    problem = lru_cache(maxsize=1)(lambda cell, covariance: pose(data(cell), covariance, cell.k))

    def passes(cell: Cell, covariance: str, here: Machine) -> list[Row]:
        posed = problem(cell, covariance)
        floor = here.floor(cell, posed.family)
        return [measure.passes(posed, method, repeats, floor) for method in ("em", "cavi")]

    def optimum(cell: Cell, covariance: str, _: Machine) -> list[Row]:
        return [measure.optimum(problem(cell, covariance), repeats, settings.limit)]

    def memory(cell: Cell, covariance: str, _: Machine) -> list[Row]:
        return [processes.memory(data(cell), covariance, cell.k)]

    def small(n: int, k: int, starts: int, _: Machine) -> list[Row]:
        return [measure.small(method, n, k, starts, settings.sets, repeats) for method in ("em", "cavi")]

    def public(method: str, _: Machine) -> list[Row]:
        return list(calls.calls(method, repeats))

    def small_passes(here: Machine) -> list[Row]:
        return [row for method in ("em", "cavi") for row in calls.small_passes(method, repeats, here)]

    def threads(_: Machine) -> list[Row]:
        return list(calls.by_threads(machine.facts()["cores"], repeats))

    def first_fits(_: Machine) -> list[Row]:
        return processes.first_fits(repeats)

    def memory_map(covariance: str, _: Machine) -> list[Row]:
        return processes.memory_map(covariance, settings.mapped)

    for cell in settings.cells:
        for covariance in settings.covariances:
            title = f"{cell}, {covariance}"
            yield f"{title}: a pass", partial(passes, cell, covariance)
            terms = cell.n * cell.k * (1 + cell.d + cell.d * (cell.d + 1) // 2)
            if settings.optimum or (settings.optimum is None and terms <= QUICK):
                yield f"{title}: to the optimum", partial(optimum, cell, covariance)
            if settings.memory:
                yield f"{title}: memory", partial(memory, cell, covariance)
    if settings.small:
        for n, k, starts in SMALL:
            title = f"{settings.sets} data sets of {n}, K = {k}, {starts} start{'s' * (starts > 1)}"
            yield title, partial(small, n, k, starts)
        for method in ("em", "cavi"):
            yield f"public calls on small data, {method.upper()}", partial(public, method)
        yield "first fits", first_fits
        yield "small passes", small_passes
        yield "passes by number of threads", threads
    if settings.commands:
        yield f"compare {commands.DATA} -k {commands.K}, with caches empty and again", lambda _: commands.comparisons()
        yield "NUTS beside the usual model", lambda _: commands.effective_draws()
    if settings.memory_map:
        for covariance in settings.covariances:
            yield f"memory map, {covariance}", partial(memory_map, covariance)


def _table(rows: list[Row]) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    table = pd.DataFrame(rows, columns=Row._fields)
    better = table["sklearn"] / table["ours"]
    table.insert(9, "ratio", better.where(~table["higher_is_better"], 1 / better).where(np.isfinite(better)))
    table.insert(len(table.columns) - 1, "over_floor", table["ours"] / table["floor"])
    return table
