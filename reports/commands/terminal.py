"""What a command says on the terminal: how far it is, and its tables."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from reports.comparison.catalogue import METHODS
from reports.comparison.verdict import CLAIMS

if TYPE_CHECKING:
    from reports.api.comparison import Comparison
    from reports.api.selection import Selection

out = Console()
err = Console(stderr=True)

NUMBERS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("train_log_density", "log density, train (nats a point)", "{:.3f}".format),
    ("heldout_log_density", "log density, held out", "{:.3f}".format),
    ("bound", "bound (nats)", "{:.1f}".format),
    ("median_shift", "worst median shift (IQR / 1.349)", "{:+.2f}".format),
    ("width_ratio", "worst width ratio", "{:.2f}".format),
    ("coverage95", "lowest 95% coverage", "{:.0%}".format),
    ("khat", "k-hat", "{:.2f}".format),
    ("rhat_max", "largest R-hat", "{:.3f}".format),
    ("ari", "adjusted Rand index", "{:.2f}".format),
    ("seconds_compile", "seconds to compile", "{:.1f}".format),
    ("seconds_run", "seconds to run", "{:.1f}".format),
)


class Live:
    """A bar that is shown while it is entered, on a terminal alone."""

    bar: Progress

    def __enter__(self) -> Self:
        if err.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


class Stages(Live):
    """What is running and for how long: a live display on a terminal, plain lines elsewhere."""

    def __init__(self, titles: dict[str, str]) -> None:
        self.titles = titles | {"measure": "Comparing", "save": "Writing"}
        self.bar = Progress(
            SpinnerColumn(finished_text=" "), TextColumn("{task.description}"), TimeElapsedColumn(), console=err
        )
        self.tasks: dict[str, Any] = {}
        self.began: dict[str, float] = {}

    def tell(self, stage: str, state: str) -> None:
        """Note that a stage is running, done or failed."""
        title = self.titles[stage]
        if state == "running":
            self.began[stage] = time.perf_counter()
            self.tasks[stage] = self.bar.add_task(title, total=1)
            return
        text = title if state == "done" else f"[red]{title} failed"
        self.bar.update(self.tasks[stage], completed=1, description=text)
        if not err.is_terminal:
            seconds = time.perf_counter() - self.began[stage]
            err.print(f"{title}: {state} in {seconds:.1f} s", markup=False, highlight=False)


class Parts(Live):
    """Which of how many parts is running: a live bar on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        self.bar = Progress(
            SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=err, transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task("")

    def tell(self, title: str, number: int, total: int) -> None:
        """Note which part begins."""
        self.bar.update(self.task, description=title, completed=number, total=total)
        if not err.is_terminal:
            err.print(f"{number + 1}/{total} {title}", markup=False, highlight=False, soft_wrap=True)


class Rate:
    """How many are there, how many a second, and how long the rest will take: live on a terminal, else lines."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.bar = Progress(
            SpinnerColumn(), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=err, transient=True,
        )  # fmt: skip
        self.task = self.bar.add_task("")
        self.first, self.began, self.told = 0, 0.0, 0.0

    def __enter__(self) -> Rate:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar.live.is_started:
            self.bar.stop()

    def tell(self, done: int, total: int) -> None:
        """Note how many of the total are there; what is there at the first call was there before."""
        now = time.perf_counter()
        if not self.began:
            self.first, self.began, self.told = done, now, now
            if err.is_terminal:
                self.bar.start()
            text = f"{done} of {total} {self.what} are there already" if done else f"{total} {self.what}"
        else:
            rate = (done - self.first) / (now - self.began)
            text = f"{rate:.1f} {self.what} a second, {(total - done) / rate:.0f} s left"
        self.bar.update(self.task, description=text, completed=done, total=total)
        if not err.is_terminal and (done in (self.first, total) or now - self.told > 10):
            self.told = now
            line = text if done == self.first else f"{done}/{total}: {text}"
            err.print(line, markup=False, highlight=False, soft_wrap=True)


def summary(result: Comparison) -> Table:
    """The main numbers, one column a method, with the verdict below."""
    frame, manifest = result.table(), result.results.manifest
    data = manifest["data"]
    title = f"{escape(data['name'])}: {data['n']} points, K = {manifest['model']['n_components']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for method in frame.index:
        table.add_column(escape(method), justify="right")
    for metric, text, show in NUMBERS:
        if metric in frame and frame[metric].notna().any():
            cells = ["–" if value != value else show(value) for value in frame[metric]]
            table.add_row(text, *cells)
    table.add_section()
    for claim in CLAIMS:
        said = [manifest["verdict"].get(method, {}).get(claim, {}).get("state", "–") for method in frame.index]
        table.add_row(claim, *said)
    return table


def reference_line(result: Comparison) -> str:
    """Which method is the reference, and whether it can be trusted."""
    reference = result.results.manifest["reference"]
    if reference["method"] is None:
        return f"No reference: {reference['reason']}. Agreement with the posterior was not measured."
    trusted = "Reference" if reference["trusted"] else "No trusted reference"
    return f"{trusted}: {METHODS[reference['method']].title} {reference['reason']}."


def choices(result: Selection) -> Table:
    """What each criterion chooses within each covariance structure and among all, with the margin of the latter."""
    from reports.page.selection import View, margin, short_title

    view = View(result)
    data = result.manifest["data"]
    title = f"{escape(data['name'])}: {data['n']} points, K chosen by each criterion"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    several = view.structures if len(view.structures) > 1 else []
    for heading in (*several, "K", "margin (nats)", "over", "one-SE rule"):
        table.add_column(heading, justify="right")
    for criterion, one in view.chosen.items():
        within = [result.choice(criterion, structure) for structure in several]
        table.add_row(
            short_title(criterion),
            *("–" if own is None else str(own.best.components) for own in within),
            view.candidate(one.best),
            margin(one),
            view.candidate(one.runner_up),
            view.candidate(one.one_se),
        )
    return table


def numbers(rows: list[dict[str, Any]]) -> Table:
    """Everything that was measured on one fit, a column a density."""
    from reports.studies.overfit.measure import COLUMNS

    title = f"{rows[0]['cell']}:{rows[0]['replicate']}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("")
    for row in rows:
        table.add_column(row["method"], justify="right")
    for name in COLUMNS:
        values = [row.get(name) for row in rows]
        if name not in ("cell", "replicate", "method") and any(value is not None for value in values):
            table.add_row(name, *(f"{v:.6g}" if isinstance(v, float) else "–" if v is None else str(v) for v in values))
    return table
