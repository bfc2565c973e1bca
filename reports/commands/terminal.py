"""What a command says on the terminal: how far it is, and its tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
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
    for heading in (*several, "K", "margin (nats)", "second best", "one-SE rule"):
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
