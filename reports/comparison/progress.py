"""How far a long run is: what it tells, and who shows it, live on a terminal or in a notebook, and else line by line.

The time left of a comparison is an estimate. A sampler that counts its steps goes on as fast as so far. A stage that does not
count, or has not begun, takes what it takes on 272 points, times how much slower than there the finished stages were.
"""

from __future__ import annotations

import html
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Self

from reports.comparison.catalogue import METHODS

# Seconds of each stage on faithful with K = 2, two cores, imports and compilation included.
TYPICAL = {
    "cavi": 0.2,
    "map": 0.2,
    "em": 0.2,
    "advi": 10.0,
    "advi-fullrank": 10.0,
    "nuts": 10.0,
    "exact": 3.0,
    "gibbs": 4.0,
    "smc": 20.0,
    "model": 5.0,
    "laplace": 3.0,
    "pathfinder": 3.0,
    "nuts-2": 15.0,
    "measure": 8.0,
    "save": 12.0,
}

# Seconds of such finished stages for which the typical speed counts as much as that of this run.
TRIED = 2.0

# A stage that takes longer than expected is said to need one more part, of so many, of the time it has taken so far.
OVERDUE = 5

# Seconds between lines of a log, and between pictures in a notebook.
LOG, PICTURE = 10.0, 0.5

TITLES = {name: method.title for name, method in METHODS.items()} | {
    "model": "Reading the model",
    "laplace": "Laplace's approximation",
    "pathfinder": "Pathfinder",
    "nuts-2": "NUTS, a second sampler",
    "measure": "Comparing",
    "save": "Writing",
}


class Watch:
    """Hears how far a run is. A class of your own overrides what it wants to hear."""

    def plan(self, stages: Sequence[str]) -> None:
        """Hear the names of all stages, before the first begins."""

    def tell(self, stage: str, state: str) -> None:
        """Hear that a stage is "running", "done" or "failed"."""

    def step(self, stage: str, done: int, total: int) -> None:
        """Hear how many of its steps a stage has made; perhaps in another thread."""


Asked = Watch | Callable[[str, str], None] | bool | None
"""Who is to hear of a run's progress: a `Watch`, a function of stage and state, or (True) a bar."""


class _Told(Watch):
    def __init__(self, told: Callable[[str, str], None]) -> None:
        self.told = told

    def tell(self, stage: str, state: str) -> None:
        self.told(stage, state)


@contextmanager
def watching(asked: Asked) -> Iterator[Watch]:
    """Who hears of a run's progress; a bar is shown meanwhile."""
    if asked is True:
        with Stages() as bar:
            yield bar
    elif isinstance(asked, Watch):
        yield asked
    else:
        yield _Told(asked) if asked else Watch()


def watched[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Hand a function as its keyword ``progress`` a `Watch`, whatever was asked for."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        asked: Any = kwargs.get("progress")
        with watching(asked) as kwargs["progress"]:
            return function(*args, **kwargs)

    return run


@dataclass
class Line:
    """One line of a bar.

    Parameters
    ----------
    text : str
    note : str
        What stands behind the bar.
    state : {"waiting", "running", "done", "failed"}
    done, total : float, optional
        How full the bar is; without them it is not known.
    began, ended : float, optional
        In seconds of `time.perf_counter`.
    """

    text: str
    note: str = ""
    state: str = "waiting"
    done: float | None = None
    total: float | None = None
    began: float | None = None
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """How long it has run."""
        if self.began is None:
            return 0.0
        return (time.perf_counter() if self.ended is None else self.ended) - self.began


class Bar(ABC):
    """Lines that are shown while the bar is entered: live on a terminal or in a notebook; elsewhere it logs them."""

    transient = False
    _shown: _Terminal | _Notebook | None = None

    @abstractmethod
    def lines(self) -> list[Line]:
        """The lines as they are now."""

    def __enter__(self) -> Self:
        if in_notebook():
            self._shown = _Notebook(self)
        elif _console().is_terminal:
            self._shown = _Terminal(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._shown.stop()

    def log(self, text: str) -> None:
        """Write a line where nothing is shown live."""
        if not self._shown:
            _console().print(text, markup=False, highlight=False, soft_wrap=True)


class Stages(Bar, Watch):
    """The stages of a comparison, their steps, how many are done and how long the rest will take.

    Parameters
    ----------
    after : sequence of str
        Stages that come after those that are planned.
    """

    def __init__(self, after: Sequence[str] = ()) -> None:
        self.after = after
        self.stages: dict[str, Line] = {}
        self.first: dict[str, tuple[float, int]] = {}
        self.logged = time.perf_counter()

    def plan(self, stages: Sequence[str]) -> None:
        """Begin with the names of all stages."""
        self.stages = {name: Line(TITLES[name]) for name in (*stages, *self.after)}

    def tell(self, stage: str, state: str) -> None:
        """Note that a stage is running, done or failed."""
        line = self.stages.setdefault(stage, Line(TITLES[stage]))
        line.state = state
        if state == "running":
            line.began = self.logged = time.perf_counter()
            return
        line.ended, line.note, line.done, line.total = time.perf_counter(), "", None, None
        self.log(f"{self.count()}: {line.text} {state} in {line.seconds:.1f} s")

    def step(self, stage: str, done: int, total: int) -> None:
        """Note how many steps a running stage has made."""
        line, now = self.stages[stage], time.perf_counter()
        if line.state != "running":  # a call from another thread that came late
            return
        self.first.setdefault(stage, (now, done))
        line.done, line.total, line.note = done, total, f"{grouped(done)} of {grouped(total)} steps"
        if now - self.logged > LOG:
            self.logged = now
            self.log(f"{line.text}: {line.note}, {about(self.left())}")

    def lines(self) -> list[Line]:
        """The stages that have begun, and the whole."""
        begun = [line for line in self.stages.values() if line.began is not None]
        finished = sum(line.seconds for line in begun if line.ended)
        whole = Line(f"{self.count()} done", total=None, began=min((line.began or 0.0 for line in begun), default=None))
        left = self.left()
        if left > 0:
            whole.state, whole.note = "running", about(left)
            whole.done, whole.total = whole.seconds, whole.seconds + left
        elif finished:
            whole.state = "failed" if any(line.state == "failed" for line in begun) else "done"
            whole.ended = max(line.ended or 0.0 for line in begun)
        return [*begun, whole]

    def count(self) -> str:
        """How many stages are over, of how many."""
        return f"{sum(line.ended is not None for line in self.stages.values())} of {len(self.stages)}"

    def left(self) -> float:
        """Seconds that the stages not yet over will take; an estimate, see the module."""
        over = [(line.seconds, TYPICAL[name]) for name, line in self.stages.items() if line.ended is not None]
        slower = (TRIED + sum(took for took, _ in over)) / (TRIED + sum(typical for _, typical in over))
        seconds = 0.0
        for name, line in self.stages.items():
            if line.ended is not None:
                continue
            when, before = self.first.get(name, (0.0, 0))
            if line.done and line.total and line.done > before:
                seconds += (line.total - line.done) * (time.perf_counter() - when) / (line.done - before)
            else:
                seconds += max(slower * TYPICAL[name] - line.seconds, line.seconds / OVERDUE, 1.0)
        return seconds


class Rate(Bar):
    """How many of many alike are there, how many a second, and how long the rest will take.

    Parameters
    ----------
    what : str
        What they are, in the plural.
    """

    transient = True

    def __init__(self, what: str) -> None:
        self.what = what
        self.line = Line("", state="running")
        self.first = 0
        self.logged = 0.0

    def tell(self, done: int, total: int) -> None:
        """Note how many of the total are there; what is there at the first call was there before."""
        line, now = self.line, time.perf_counter()
        if line.began is None:
            self.first, line.began, self.logged = done, now, now
            text = f"{grouped(done)} of {grouped(total)} {self.what} are there already"
            note = text if done else f"{grouped(total)} {self.what}"
        else:
            rate = (done - self.first) / (now - line.began)
            note = f"{rate:{'.1f' if rate >= 0.095 or not rate else '.2g'}} {self.what} a second"
            if rate > 0 and done < total:
                note += f", {about((total - done) / rate)}"
        line.text, line.note, line.done, line.total = f"{grouped(done)} of {grouped(total)}", note, done, total
        if done in (self.first, total) or now - self.logged > LOG:
            self.logged = now
            self.log(note if done == self.first else f"{line.text}: {note}")

    def lines(self) -> list[Line]:
        """The one line."""
        return [self.line] if self.line.began is not None else []


class Parts(Bar):
    """Which of how many different parts is running."""

    transient = True

    def __init__(self) -> None:
        self.line = Line("", state="running")

    def tell(self, title: str, number: int, total: int) -> None:
        """Note which part begins."""
        self.line = Line(f"{number + 1} of {total}", title, "running", number, total, time.perf_counter())
        self.log(f"{number + 1} of {total}: {title}")

    def lines(self) -> list[Line]:
        """The one line."""
        return [self.line] if self.line.text else []


def grouped(number: int) -> str:
    """Write a count with narrow spaces between thousands.

    >>> grouped(12000).split()
    ['12', '000']
    """
    return f"{number:,}".replace(",", "\u202f")


def about(seconds: float) -> str:
    """Write how long something will take, as roughly as that can be known.

    >>> about(4.0), about(38.0), about(200.0), about(9000.0)
    ('a few seconds left', 'about 40 s left', 'about 3 min left', 'about 2.5 h left')
    """
    if seconds < 8:
        return "a few seconds left"
    if seconds < 100:
        return f"about {5 * round(seconds / 5)} s left"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min left"
    return f"about {seconds / 3600:.1f} h left"


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter's, where what is shown goes to a browser."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def _console() -> Any:
    from rich.console import Console

    return Console(stderr=True)


class _Terminal:
    """A bar's lines on a terminal, drawn again and again by rich."""

    def __init__(self, bar: Bar) -> None:
        from rich.live import Live
        from rich.spinner import Spinner

        self.bar = bar
        self.spinner = Spinner("dots")
        self.live = Live(get_renderable=self.picture, console=_console(), refresh_per_second=8, transient=bar.transient)
        self.live.start()

    def stop(self) -> None:
        self.live.stop()

    def picture(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        marks: dict[str, Any] = {"running": self.spinner, "done": Text("✓", "green"), "failed": Text("✗", "red")}
        table = Table.grid(padding=(0, 1))
        for line in self.bar.lines():
            bar: Any = ""
            if line.state == "running":
                bar = ProgressBar(line.total, line.done or 0, width=14, pulse=line.total is None)
            table.add_row(
                marks.get(line.state, ""),
                Text(line.text + (" failed" if line.state == "failed" and line.ended else "")),
                bar,
                Text(line.note),
                Text(f"{line.seconds:.1f} s", justify="right"),
            )
        return table


class _Notebook:
    """A bar's lines in a notebook, drawn again and again by a thread."""

    def __init__(self, bar: Bar) -> None:
        from IPython.display import display

        self.bar, self.over = bar, threading.Event()
        self.handle = display(self.picture(), raw=True, display_id=True)
        self.thread = threading.Thread(target=self.draw, daemon=True)
        self.thread.start()

    def draw(self) -> None:
        while not self.over.wait(PICTURE):
            self.handle.update(self.picture(), raw=True)

    def stop(self) -> None:
        self.over.set()
        self.thread.join()
        self.handle.update(self.picture(), raw=True)

    def picture(self) -> dict[str, str]:
        rows, texts = [], []
        for line in self.bar.lines():
            mark = {"done": "✓", "failed": "✗"}.get(line.state, "")
            share = "" if line.total is None else f' value="{line.done or 0}" max="{line.total}"'
            bar = f"<progress{share}></progress>" if line.state == "running" else ""
            cells = (mark, html.escape(line.text), bar, html.escape(line.note), f"{line.seconds:.1f} s")
            rows.append("<tr>" + "".join(f'<td style="text-align:left">{cell}</td>' for cell in cells) + "</tr>")
            texts.append(f"{mark or ' '} {line.text} {line.note} {line.seconds:.1f} s")
        return {"text/html": f"<table>{''.join(rows)}</table>", "text/plain": "\n".join(texts)}
