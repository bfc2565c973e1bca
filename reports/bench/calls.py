"""Public calls of the drop-in classes on small data beside scikit-learn's, small passes, and passes by number of threads."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from mixtures.datasets.simulated import simulate
from reports.bench import ours, theirs
from reports.bench.cells import SEED, Cell, points, pose
from reports.bench.machine import Machine
from reports.bench.measure import SMALL_SEPARATION, Row, alternate, passes

# Rows of a fit, of a later batch, and of predictions; features and clusters.
ROWS, BATCH, PREDICTED = 50, 100, (1, 10, 100, 1000)
D, K, STARTS = 2, 3, 10

# Cells whose passes are small, and those that are measured by number of threads.
PASSES = tuple(Cell(n, D, K) for n in (300, 1000, 3000, 10_000, 30_000))
THREADED = (Cell(30_000, D, K), Cell(200_000, 10, 10))

CALLS = ("fit", f"fit, n_init={STARTS}", "partial_fit", "predict", "predict_proba", "score_samples")
SMALL_PASS, THREADS = "small pass", "threads"

# Iterations of one measurement by number of threads, so that what begins and ends a loop counts for little.
TURNS = 10

# A time is that of calls for so many seconds, and so many of them at most.
SAMPLE, MOST = 0.15, 400


def calls(method: str, repeats: int) -> Iterator[Row]:
    """Milliseconds of each public call on either side, as a user makes it, in turn; compiled loops are loaded.

    scikit-learn has no `partial_fit`: one step from the last parameters, with ``warm_start``, stands for it.
    """
    from mixtures.engines import answers, attributes, fused, seeding, whole  # noqa: F401

    sides = _classes(method)
    x = simulate(ROWS, K, D, separation=SMALL_SEPARATION, rng=np.random.default_rng(SEED)).x
    settings: dict[str, Any] = {"n_components": K, "random_state": SEED}
    for name, more in zip(CALLS, ({}, {"n_init": STARTS}), strict=False):
        yield _row(name, method, ROWS, [partial(cls(**settings, **more).fit, x) for cls in sides], repeats)
    batch = simulate(BATCH, K, D, separation=SMALL_SEPARATION, rng=np.random.default_rng(SEED)).x
    own, other = sides[0](**settings).fit(x), sides[1](**settings, max_iter=1, warm_start=True)
    with warnings.catch_warnings(action="ignore"):  # that one step does not converge
        yield _row("partial_fit", method, BATCH, [partial(own.partial_fit, batch), partial(other.fit, batch)], repeats)
    fitted = [cls(**settings).fit(x) for cls in sides]
    for name in CALLS[3:]:
        for n in PREDICTED:
            rows = simulate(max(n, K), K, D, separation=SMALL_SEPARATION, rng=np.random.default_rng(SEED)).x[:n]
            yield _row(name, method, n, [partial(getattr(mixture, name), rows) for mixture in fitted], repeats)


def small_passes(method: str, repeats: int, here: Machine) -> Iterator[Row]:
    """A pass on few rows, where most of the time can be Python's around it; see `reports.bench.measure.passes`."""
    for cell in PASSES:
        posed = pose(points(cell), "full", cell.k)
        yield passes(posed, method, repeats, here.floor(cell, posed.family))._replace(quantity=SMALL_PASS)


def by_threads(cores: int, repeats: int) -> Iterator[Row]:
    """An iteration of EM by 1, 2, 4 ... threads allowed, up to the cores; scikit-learn's with all threads that it takes."""
    for cell in THREADED:
        posed = pose(points(cell), "full", cell.k)
        own, other = ours.loop(posed, "em"), theirs.loop(posed, "em")
        allowed = [1 << power for power in range(cores.bit_length())]
        runs = [*(partial(_limited_loop, threads, own) for threads in allowed), partial(other, TURNS)]
        times = [_often(run) for run in runs]
        seconds = alternate([partial(_repeated, run, n) for run, n in zip(runs, times, strict=True)], repeats) / times
        seconds /= TURNS
        for threads, one in zip(allowed, seconds[:-1], strict=True):
            row = Row(THREADS, "em", "full", *cell, "ms", 1e3 * one, 1e3 * seconds[-1])
            yield row._replace(note=f"{threads} thread{'s' * (threads > 1)}")


def _limited_loop(threads: int, loop: Callable[[int], object]) -> None:
    """Iterations by so many threads of the compiled engine at most."""
    from numba.core import config

    before = vars(config)["NUMBA_NUM_THREADS"]
    vars(config)["NUMBA_NUM_THREADS"] = threads
    try:
        loop(TURNS)
    finally:
        vars(config)["NUMBA_NUM_THREADS"] = before


def _classes(method: str) -> tuple[Any, Any]:
    from sklearn import mixture as peers

    import mixtures

    name = {"em": "GaussianMixture", "cavi": "BayesianGaussianMixture"}[method]
    return getattr(mixtures, name), getattr(peers, name)


def _row(name: str, method: str, n: int, sides: Sequence[Callable[[], object]], repeats: int) -> Row:
    """A call on both sides; calls as they come, with the threads that they take."""
    times = [_often(side) for side in sides]
    seconds = alternate([partial(_repeated, side, n) for side, n in zip(sides, times, strict=True)], repeats) / times
    return Row(name, method, "full", n, D, K, "ms", *(1e3 * seconds))


def _often(call: Callable[[], object]) -> int:
    """How often a call is made for one time of it."""
    call()
    one = float(alternate([call], 3)[0])
    return int(np.clip(np.ceil(SAMPLE / one), 1, MOST))


def _repeated(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()
