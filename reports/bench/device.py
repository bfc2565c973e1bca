"""An iteration of EM on the device that JAX has, beside scikit-learn's on the same device, and beside our engine on the cores.

Every measurement is a process of its own (`reports.bench.card`). scikit-learn runs there on PyTorch tensors, through the array
API, where PyTorch is installed and sees the GPU. Without a GPU the device is the CPU, and the cells are smaller.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.bench import files, machine
from reports.bench.card import PRECISIONS
from reports.bench.cells import Cell
from reports.bench.processes import run as in_process
from reports.bench.processes import write as write_points

if TYPE_CHECKING:
    import pandas as pd

OURS, SKLEARN, CORES = "ours", "scikit-learn", "ours on the cores"
# scikit-learn asks for this before SciPy is first imported.
ARRAY_API = {"SCIPY_ARRAY_API": "1"}

LARGE = (Cell(10_000_000, 10, 10), Cell(50_000_000, 10, 10), Cell(200_000, 20, 20), Cell(2_000_000, 50, 10))
REDUCED = (Cell(100_000, 10, 10), Cell(20_000, 20, 20), Cell(20_000, 50, 10))

# Rows among which the device overtakes the cores, and the cell that they are of.
CROSSOVER_D, CROSSOVER_K = 10, 10
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)

# How many times what a cell's values take has to fit on the device.
COPIES = 3

COLUMNS = ("quantity", "n", "d", "k", "who", "precision", "ms", "pass_ms", "ready", "form", "nats", "spread", "note")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Parameters
    ----------
    cells : tuple of Cell, optional
        By default `LARGE` where there is a GPU, else `REDUCED`.
    samples : int
        Of which the median is taken.
    seconds : float
        How long each lasts, in seconds.
    sizes : tuple of int, optional
        Rows of the crossover; by default `SIZES`, without a GPU up to 30,000.
    limit : float
        Seconds allowed to one process.
    """

    cells: tuple[Cell, ...] | None = None
    samples: int = 5
    seconds: float = 0.2
    sizes: tuple[int, ...] | None = None
    limit: float = 600.0


@dataclass(frozen=True)
class OnDevice:
    """What was measured.

    Parameters
    ----------
    table : DataFrame
        ``quantity`` is "pass" or "crossover"; ``ms`` is that of an iteration, ``pass_ms`` of its pass alone, ``ready`` the
        seconds to move the rows and compile, ``form`` how the pass was made; ``nats`` and ``spread`` say what float32 is off by
        (`reports.bench.card.own`).
    facts : dict
        The device and the machine.
    """

    table: pd.DataFrame
    facts: dict[str, Any]

    @property
    def crossover(self) -> float:
        """Rows from which the device is quicker than the cores, between those measured; missing where it never is."""
        part = self.table[self.table["quantity"] == "crossover"].pivot(index="n", columns="who", values="ms")
        return crossing_point(part.index.to_numpy(float), part[OURS].to_numpy(), part[CORES].to_numpy())

    def save(self, folder: Path) -> None:
        """Write the table as bench.csv and what the machine is as bench.json."""
        files.save(folder, self.table, self.facts)


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> OnDevice:
    """Measure every cell, and where the device overtakes the cores.

    Parameters
    ----------
    settings : Settings
    tell : callable
        Called before each part with its title, its number and the number of parts.
    """
    import pandas as pd

    tell("the device", 0, 1)
    here = in_process(_task("device"), limit=settings.limit)
    cells = settings.cells or (LARGE if here["gpu"] else REDUCED)
    sizes = settings.sizes or tuple(n for n in SIZES if here["gpu"] or n <= 30_000)
    fitting = [cell for cell in cells if not here["memory"] or 8 * cell.n * cell.d * COPIES < here["memory"]]
    rows = [_row("pass", cell, OURS, note="does not fit on the device") for cell in cells if cell not in fitting]
    total = 1 + len(fitting) + 1
    for number, cell in enumerate(fitting, start=1):
        tell(str(cell), number, total)
        rows += _cell(cell, settings)
    tell("crossover", total - 1, total)
    rows += _crossover(sizes, settings)
    return OnDevice(pd.DataFrame(rows, columns=list(COLUMNS)), machine.facts() | here)


def crossing_point(n: np.ndarray, device: np.ndarray, cores: np.ndarray) -> float:
    """Rows from which the device is quicker for good, on a straight line between logarithms; the first if it always is."""
    slower = np.flatnonzero(~(device < cores))
    if not len(slower):
        return float(n[0])
    last = slower[-1]
    if last == len(n) - 1:
        return float("nan")
    gaps = np.log(device / cores)[last : last + 2]
    share = gaps[0] / (gaps[0] - gaps[1])
    return float(np.exp((1 - share) * np.log(n[last]) + share * np.log(n[last + 1])))


def _cell(cell: Cell, settings: Settings) -> list[dict[str, Any]]:
    """Both sides on one cell."""
    with _points(cell) as path:
        ours = _attempt("own", settings, path=path, k=cell.k)
        theirs = _attempt("peer", settings, path=path, k=cell.k)
    rows = []
    for precision in PRECISIONS:
        found = ours.get(precision, {})
        off = {name: ours.get(name, np.nan) for name in ("nats", "spread")} if precision == "float32" else {}
        rows.append(_row("pass", cell, OURS, precision, **found, **off, note=ours.get("missing", "")))
    for precision in PRECISIONS:
        other = theirs.get(precision, theirs)
        rows.append(_row("pass", cell, SKLEARN, precision, ms=other.get("ms", np.nan), note=other.get("missing", "")))
    return rows


def _crossover(sizes: tuple[int, ...], settings: Settings) -> list[dict[str, Any]]:
    cell = Cell(max(sizes), CROSSOVER_D, CROSSOVER_K)
    with _points(cell) as path:
        found = _attempt("crossing", settings, path=path, k=cell.k, sizes=list(sizes))
    return [
        _row("crossover", cell._replace(n=n), who, "float64", ms=ms, note=found.get("missing", ""))
        for who, name in ((OURS, "device"), (CORES, "cores"))
        for n, ms in zip(sizes, found.get(name, [np.nan] * len(sizes)), strict=True)
    ]


def _row(quantity: str, cell: Cell, who: str, precision: str = "", **found: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("ms", "pass_ms", "ready", "nats", "spread"), np.nan) | {"form": "", "note": ""}
    return {"quantity": quantity, **cell._asdict(), "who": who, "precision": precision} | nothing | found


@contextmanager
def _points(cell: Cell) -> Iterator[str]:
    """A file with the points of a cell."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        write_points(path, cell)
        yield str(path)


def _attempt(function: str, settings: Settings, **arguments: Any) -> dict[str, Any]:
    """What a process found, or under "missing" why there is nothing."""
    timing = {"samples": settings.samples, "seconds": settings.seconds}
    try:
        return in_process(
            _task(function, **arguments, **timing), ARRAY_API if function == "peer" else None, settings.limit
        )
    except RuntimeError as error:
        return {"missing": str(error)}


def _task(function: str, **arguments: Any) -> dict[str, Any]:
    return {"kind": "call", "function": f"reports.bench.card:{function}", "arguments": arguments}
