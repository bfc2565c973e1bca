"""What this machine allows: memory bandwidth, matrix-product peak, and the floor they set under a pass."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixtures.model import Family
from reports.bench.cells import Cell
from reports.comparison.manifest import versions

REPEATS = 7


class Machine(NamedTuple):
    """Measured rates of all cores together.

    Attributes
    ----------
    bandwidth : float
        Bytes a second between memory and cores.
    peak : float
        Floating-point operations a second in a product of matrices of float64.
    """

    bandwidth: float
    peak: float

    def floor(self, cell: Cell, family: Family) -> float:
        """Seconds that a pass over float64 data cannot beat, short of finding a way to do less.

        The larger of reading x once and of the 4 N K P operations of the two products t eta^T and r^T t, where P is the
        number of sufficient statistics: 1 + D + D (D + 1) / 2 (full, tied), 1 + 2 D (diag), 2 + D (spherical).
        """
        P = 1 + int(family.monomials[-1, 0])
        return max(8 * cell.n * cell.d / self.bandwidth, 4 * cell.n * cell.k * P / self.peak)


def measure(megabytes: int = 256, order: int = 2000) -> Machine:
    """Measure this machine with two arrays of so many megabytes and matrices of so many rows."""
    return Machine(bandwidth(megabytes), peak(order))


def bandwidth(megabytes: int) -> float:
    """Bytes a second, the best of several sums and copies of an array larger than any cache, one part a core.

    A copy counts the bytes read and those written (McCalpin 1995, STREAM).
    """
    a = np.ones(megabytes * 2**20 // 8)
    b = np.zeros_like(a)
    parts = np.array_split(a, cores()), np.array_split(b, cores())
    with ThreadPoolExecutor(cores()) as pool:
        read = _best(lambda: list(pool.map(np.sum, parts[0])))
        copied = _best(lambda: list(pool.map(np.copyto, *reversed(parts))))
    return max(a.nbytes / read, 2 * a.nbytes / copied)


def peak(order: int) -> float:
    """Operations a second, the best of several products of two square float64 matrices."""
    a, b = np.random.default_rng(0).standard_normal((2, order, order))
    return 2 * order**3 / _best(partial(np.dot, a, b))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def facts() -> dict[str, Any]:
    """Processor, cores and how many are busy, system, versions and linear algebra libraries."""
    from importlib.metadata import version

    from threadpoolctl import threadpool_info

    libraries = sorted(
        {f"{lib['internal_api']} {lib['version']}, {lib['num_threads']} threads" for lib in threadpool_info()}
    )
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions() | {"numba": version("numba")},
        "libraries": libraries,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _best(call: Callable[[], object]) -> float:
    """Seconds of the quickest of several calls, after one to warm up."""
    call()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)
