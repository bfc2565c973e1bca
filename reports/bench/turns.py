"""Sides of a benchmark that are timed in turn, some of them in processes of another Python that do what they are told.

Such a process reads one JSON task and then, line by line, how often to do it and with how many threads; it answers each line
with the seconds that this took and what came out.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from reports.bench.measure import MOST, SAMPLE

# So many iterations with so many threads of linear algebra, None for all: seconds, and whatever they led to.
Side = Callable[[int, int | None], tuple[Any, ...]]

# What a process answers to one line.
Ask = Callable[[Mapping[str, Any]], dict[str, Any]]


def check_python(python: str) -> None:
    """Refuse what is no Python that runs.

    Raises
    ------
    ValueError
    """
    try:
        answer = subprocess.run([python, "-c", "print(1)"], capture_output=True, text=True, timeout=60)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{python!r} cannot be run ({error}); expected a Python, such as peers/bin/python") from error
    if answer.stdout != "1\n":
        raise ValueError(f"{python!r} does not run as Python does; expected one, such as peers/bin/python")


@contextmanager
def asked(script: str, task: Mapping[str, Any], python: str) -> Iterator[tuple[Ask, dict[str, Any]]]:
    """A process of this Python that runs a script: what asks it, and its answer to the task, with ``package`` in it.

    An answer with "missing" says that the package is not installed, and then also how to install it.

    Raises
    ------
    RuntimeError
        If the process ends before it has answered.
    """
    command = [python, "-P", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def ask(message: Mapping[str, Any]) -> dict[str, Any]:
            print(json.dumps(message), file=process.stdin, flush=True)
            answer = process.stdout.readline()  # type: ignore[union-attr]
            if not answer:
                raise RuntimeError(f"the process for {task['package']} ended with code {process.wait()}")
            return json.loads(answer)

        ready = ask(task)
        if "missing" in ready:
            how = f"install it with: {Path(python).name} -m pip install {task['package']}"
            ready["missing"] = f"{ready['missing']}; {how}"
        yield ask, ready


def in_turn(sides: Mapping[str, Side], repeats: int, sample: float = SAMPLE) -> dict[str, float]:
    """Median milliseconds an iteration of each side, with the number of threads that suits it, each sample so many seconds."""
    how = {}
    for name, side in sides.items():
        side(1, None)
        threads, seconds = min(((t, min(side(1, t)[0] for _ in range(2))) for t in (None, 1)), key=lambda pair: pair[1])
        how[name] = threads, min(MOST, int(np.ceil(sample / seconds)))
    runs = [
        [side(how[name][1], how[name][0])[0] / how[name][1] for name, side in sides.items()] for _ in range(repeats)
    ]
    return dict(zip(sides, (1e3 * np.median(runs, axis=0)).tolist(), strict=True))
