"""What the environment asks of libraries that stop at it: settled, or refused in one line."""

from __future__ import annotations

import os
import sys

from reports.commands.options import refuse


def settle() -> None:
    """Keep Matplotlib from windows, which no command opens, and refuse what Numba and ArviZ cannot run under."""
    os.environ["MPLBACKEND"] = "agg"
    if sys.flags.optimize > 1:
        refuse(ValueError("ArviZ needs docstrings, and Python leaves them out (-OO, PYTHONOPTIMIZE=2); run it with -O"))
    if _whole("NUMBA_DISABLE_JIT"):
        refuse(ValueError("the loops cannot run uncompiled (NUMBA_DISABLE_JIT is set); unset it"))
    threads = _whole("NUMBA_NUM_THREADS")
    if threads is not None and threads < 1:
        refuse(ValueError(f"NUMBA_NUM_THREADS is {threads}; expected at least 1"))


def _whole(name: str) -> int | None:
    """A variable of the environment that is a whole number; Numba passes over others."""
    try:
        return int(os.environ.get(name, ""))
    except ValueError:
        return None
