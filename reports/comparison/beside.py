"""A second process that takes part of the work after the fits: leave-one-out while the rest is measured, half of the page."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import ModuleType

from reports.comparison.loading import loading, seldom, without_dask, without_docstrings
from reports.comparison.parent import end_with, leaving_interrupts

DRAWING = ("arviz", "matplotlib.pyplot", "reports.page")
"""What a part of a page needs."""

DRAWING_ANY_MODEL = (*DRAWING, "reports.page.validation")
"""What a part of the page of a validation needs."""

MEASURING = ("sklearn.metrics", "mixtures.engines.softmax", "reports.comparison.measure")
"""What leave-one-out needs."""

PASSES = ("mixtures.engines.fused",)
"""What Gibbs sampling and the evidence need, which takes seconds to compile where numba's cache is empty."""

UNUSED = ("jax", "numpyro")
"""What that process has no use for."""

# With fewer methods the work is done before the process is ready.
FEWEST_METHODS = 3


@contextmanager
def second_process(methods: int, modules: Sequence[str] = (*MEASURING, *DRAWING)) -> Iterator[Executor | None]:
    """An executor of one process, which starts to load what it will need; None for few methods, or with but one core."""
    from joblib import cpu_count

    if methods < FEWEST_METHODS or cpu_count() < 2:
        yield None
        return
    others = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")  # a fork would copy the locks of JAX's threads
    executor = ProcessPoolExecutor(1, mp_context=context, initializer=_prepare, initargs=(os.getpid(),))
    with leaving_interrupts():
        executor.submit(_load, modules)
    try:
        yield executor
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()


@contextmanager
def one_core(executor: Executor | None) -> Iterator[None]:
    """Keep linear algebra to one thread, where there is another process that needs the other cores."""
    if executor is None:
        yield
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def begin[**P, R](
    executor: Executor | None, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> Callable[[], R]:
    """Begin the work in the second process; without one, or where it has died, it is done by the call that takes the result."""
    here = partial(work, *args, **kwargs)
    if executor is None:
        return here
    try:
        future = executor.submit(here)
    except BrokenExecutor:
        return here

    def result() -> R:
        try:
            return future.result()
        except BrokenExecutor:
            return here()

    return result


def _prepare(parent: int) -> None:
    """Leave interrupts to the first process, and the other cores too, and end with it."""
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["NUMBA_NUM_THREADS"] = "1"
    without_docstrings()
    seldom()


def _load(modules: Sequence[str]) -> None:
    from threadpoolctl import threadpool_limits

    with loading():
        for module in modules:
            importlib.import_module(module)
        without_dask()
    for name in UNUSED:
        # a lazy module of ArviZ, which would load it when Matplotlib or SciPy asks whether an array is of its kind
        if type(sys.modules.get(name, sys)) is not ModuleType:
            del sys.modules[name]
    threadpool_limits(1)
