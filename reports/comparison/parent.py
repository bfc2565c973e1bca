"""A process that another one started: it ends when that one has gone, and leaves interrupts to it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker

# Seconds between two looks at the parent.
EVERY = 0.5


def end_with(parent: int) -> None:
    """End this process soon after its parent, of that number, has gone, however it ended; where the system tells of that."""
    if os.name == "posix":
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY)
    os._exit(1)


@contextmanager
def leaving_interrupts() -> Iterator[None]:
    """Processes that are started within hear no Ctrl-C, from their first moment on; this one hears it at the end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whose start would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
