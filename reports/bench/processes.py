"""What needs a process of its own: peak private memory, fits from a memory map, and the time to compile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reports.bench import worker
from reports.bench.cells import Cell, blocks, points
from reports.bench.measure import Row

ITERATIONS = 3

# Cells of first fits, and processes of each side at most.
FIRST, TIMES = (Cell(50, 2, 3), Cell(1000, 10, 3), Cell(20_000, 10, 3), Cell(100_000, 2, 5)), 3

# The longest memory map, and of its rows what shares are measured, in one part of so many.
MAPPED, SHARES = Cell(10_000_000, 10, 10), (100, 10, 1)


def memory(x: np.ndarray, covariance: str, k: int) -> Row:
    """Peak private memory in MB of three iterations of EM on either side, above imports and without the data."""
    n, d = x.shape
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.save(path, x)
        task = {"path": str(path), "rows": n, "k": k, "covariance": covariance, "iterations": ITERATIONS}
        (ours, problem), (theirs, other) = (_attempt({"kind": kind, **task}) for kind in ("ours", "theirs"))
    note = "; ".join(filter(None, (problem, other)))
    return Row("memory", "em", covariance, n, d, k, "MB", ours["peak"], theirs["peak"], note=note)


def first_fits(repeats: int) -> list[Row]:
    """Milliseconds of the first `fit` in a process, after imports, on either side: the median of processes that take turns."""
    rows = []
    for cell in FIRST:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "x.npy"
            np.save(path, points(cell))
            tasks = [
                {"kind": "first fit", "package": package, "path": str(path), "k": cell.k}
                for package in ("mixtures", "sklearn.mixture")
            ]
            turns = [[run(task)["seconds"] for task in tasks] for _ in range(min(repeats, TIMES))]
        rows.append(Row("first fit", "em", "full", *cell, "ms", *(1e3 * np.median(turns, axis=0))))
    return rows


def memory_map(covariance: str, cell: Cell = MAPPED) -> list[Row]:
    """Time of a pass in ms and peak private memory in MB for ever more rows of one mapped file; ours alone."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        write(path, cell)
        task = {"kind": "ours", "path": str(path), "k": cell.k, "covariance": covariance, "iterations": ITERATIONS}
        for n in (cell.n // share for share in SHARES):
            result, note = _attempt({**task, "rows": n})
            size = ("em", covariance, n, cell.d, cell.k)
            found.append(Row("map pass", *size, "ms", 1e3 * result["seconds"], np.nan, note=note))
            found.append(Row("map memory", *size, "MB", result["peak"], np.nan, note=note))
    return found


def write(path: Path, cell: Cell) -> None:
    """Write the points of a cell as .npy, block by block."""
    x = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(cell.n, cell.d))
    start = 0
    for block in blocks(cell):
        x[start : start + len(block)] = block
        start += len(block)
    x.flush()


def check_disk(rows: tuple[int, ...], d: int) -> None:
    """Refuse where a file of so many rows of d features, as `memory_map` writes it, does not fit.

    Raises
    ------
    ValueError
        If the folder for temporary files has too little free space.
    """
    folder = tempfile.gettempdir()
    needed, free = 1.1 * 8 * max(rows) * d, shutil.disk_usage(folder).free
    if free < needed:
        raise ValueError(
            f"the memory map needs {needed / 1e9:.1f} GB in {folder}, which has {free / 1e9:.1f} GB free; "
            "make room, or set TMPDIR to another folder"
        )


def compile_seconds() -> dict[str, float]:
    """Seconds to import numba, and to make the compiled engine ready with an empty cache and with a full one."""
    with tempfile.TemporaryDirectory() as folder:
        cold, cached = (run({"kind": "compile"}, {"NUMBA_CACHE_DIR": folder}) for _ in range(2))
    return {"numba": cached["numba"], "cold": cold["engine"], "cached": cached["engine"]}


def run(
    task: Mapping[str, Any], environment: Mapping[str, str] | None = None, limit: float | None = None
) -> dict[str, Any]:
    """Run a task of `reports.bench.worker` in a new process, for so many seconds at most.

    Raises
    ------
    RuntimeError
        If it fails or is stopped.
    """
    root = str(Path(worker.__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    # -P: the worker's own folder must not be searched for modules.
    command = [sys.executable, "-P", worker.__file__, json.dumps({**task, "parent": os.getpid()})]
    environment = {**os.environ, "PYTHONPATH": path, **(environment or {})}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the process for {task['kind']} was stopped after {limit:.0f} s") from None
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"the process for {task['kind']} ended with code {done.returncode}: {why}")
    return json.loads(done.stdout.splitlines()[-1])


def _attempt(task: Mapping[str, Any]) -> tuple[dict[str, float], str]:
    """What a task found, and why something is missing, if it is."""
    try:
        found = run(task)
    except RuntimeError as error:
        return {"peak": np.nan, "seconds": np.nan}, str(error)
    return found, "" if np.isfinite(found["peak"]) else "this system does not tell private memory"
