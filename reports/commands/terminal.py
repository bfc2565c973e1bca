"""What a command says on the terminal: lines and tables, whole on a terminal of any width and in a pipe."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.table import Table
from rich.text import Text

from reports.comparison.catalogue import METHODS
from reports.plots.style import shortened

if TYPE_CHECKING:
    from reports.api.comparison import Comparison
    from reports.api.selection import Selection
    from reports.api.validation import Validation
    from reports.page.blocks import Cell
    from reports.page.blocks import Table as Block
    from reports.page.selection import View as Selected
    from reports.page.view import View
    from reports.studies.selection.choices import Choice

DASH = "–"

# Between columns.
GAP = 2

# Columns of a pipe or a file, where nothing needs to be broken.
PIPE = 10_000

# Characters of a message, and of a table's cell, that are shown at most; the middle of a longer one is left out.
LONGEST, LONGEST_CELL = 1000, 60

# Unicode's categories of characters that are not shown: control, format, surrogate, private, unassigned, line separators.
STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

# What stands for a character where the terminal's encoding has none; for others stands a question mark.
PLAIN = {"–": "-", "−": "-", "—": "-", "‑": "-", "±": "+-", "×": "x", "…": "...", "“": '"', "”": '"', "’": "'"}

STYLES = {"good": "green", "bad": "red"}


class Whole(Console):
    """A console that breaks no line where nobody looks at it."""

    @property  # type: ignore[misc]
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        own = super().size
        return own if self.is_terminal else ConsoleDimensions(PIPE, own.height)


out = Whole()
err = Whole(stderr=True)


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What is written where an encoding fails; see `PLAIN`."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error("plain", _plain)


def replace_unknown() -> None:
    """Let both streams of this process replace what their encoding, ASCII or Latin-1 perhaps, does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")


def say(text: object, console: Console = out, style: str | None = None, *, whole: bool = False) -> None:
    """Write text as it is, with no markup and no control characters, broken between words where a terminal is too narrow.

    What someone may copy, such as a path, is written ``whole``: the terminal breaks it, and knows that it did. Other text is
    shortened where it is very long, as it is with a name of many thousand characters in it.
    """
    shown = visible(str(text)) if whole else shortened(visible(str(text)), LONGEST)
    console.print(shown, style=style, soft_wrap=whole, markup=False, highlight=False, emoji=False)


def visible(text: str) -> str:
    """Write control characters, which could steer a terminal, as escapes; a file's name or a column's may hold some.

    What the terminal's encoding does not have is replaced; see `PLAIN`.

    >>> visible("a\\x1b[2Jb"), visible("µ_1 [red]")
    ('a\\\\x1b[2Jb', 'µ_1 [red]')
    """
    escaped = (c.encode("unicode_escape").decode() if unicodedata.category(c) in STEERING else c for c in text)
    return "".join(escaped).encode(out.encoding, "plain").decode(out.encoding)


def _cell(text: str) -> str:
    return shortened(visible(text), LONGEST_CELL)


def show(table: Block) -> None:
    """Write a page's table: in as many parts, each with the first column, as it takes for no cell to be broken."""
    for line in ("", table.caption, ""):
        say(line)
    for part in parts(table, out.width):
        out.print(part)
        say("")


def parts(table: Block, width: int) -> list[Table]:
    """The parts of a table on a terminal whose lines have so many characters."""
    texts = [table.columns, *([cell.text for cell in row] for row in table.rows)]
    widths = [max(cell_len(_cell(text)) for text in column) for column in zip(*texts, strict=True)]
    groups: list[list[int]] = [[]]
    used = widths[0]
    for i in range(1, len(widths)):
        if groups[-1] and used + GAP + widths[i] > width:
            groups.append([])
            used = widths[0]
        groups[-1].append(i)
        used += GAP + widths[i]
    return [_part(table, [0, *group]) for group in groups]


def _part(whole: Block, which: Sequence[int]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
    for i in which:
        justify: Any = "right" if whole.numeric[i] else "left"
        table.add_column(Text(_cell(whole.columns[i])), justify=justify, no_wrap=True)
    for row in whole.rows:
        table.add_row(*(Text(_cell(row[i].text), STYLES.get(row[i].tone, "")) for i in which))
    return table


def summarise(result: Comparison) -> None:
    """Write the verdict on every method, the main numbers, where methods differ from the reference, and which that is."""
    from reports.page.columns import identification
    from reports.page.convergence import higher_likelihood, starts
    from reports.page.glance import differences, summary
    from reports.page.view import View

    view = View(result.results)
    show(summary(view))
    for sentence in differences(view):
        say(sentence)
    for sentence in starts(view):
        say(sentence)
    if (higher := higher_likelihood(view)) is not None:
        say(higher, err, "yellow")
    if (said := identification(view)) is not None:
        say(said, err, "yellow")
    for method, failure in result.failures.items():
        say(f"{METHODS[method].title} failed: {failure}", err, "red")
    say(reference_line(view))


def summarise_validation(result: Validation) -> None:
    """Write the verdict on every result, whether each added one is right, and what else the page begins with."""
    from reports.page.glance import summary
    from reports.page.links import Links
    from reports.page.right import answers
    from reports.page.validation_view import ValidationView

    view = ValidationView(result.results)
    show(summary(view))
    for method, failure in result.failures.items():
        say(f"{view.label(method)} failed: {failure}", err, "red")
    for question, words in answers(view):
        say(Links({}).plain(f"{question}{'' if question.endswith('?') else ':'} {words}"))
    if view.kept:
        say(view.kept)


def reference_line(view: View) -> str:
    """Which method is the reference, and whether it can be trusted."""
    reference = view.manifest["reference"]
    if reference["method"] is None:
        return f"No reference: {reference['reason']}. Agreement with the posterior was not measured."
    label, reason = view.label(reference["method"]), reference["reason"].removeprefix("is the reference and ")
    return f"The reference, {label}, {reason}." if reference["trusted"] else f"No trusted reference: {label} {reason}."


def choices(result: Selection) -> Block:
    """What each criterion chooses within each covariance structure and among all, with the margin of the latter."""
    from reports.page.blocks import Cell
    from reports.page.blocks import Table as Block
    from reports.page.selected import look
    from reports.page.selection import short_title

    view = look(result)
    data = result.manifest["data"]
    several = view.structures if len(view.structures) > 1 else []
    rows = []
    for criterion in view.criteria:
        one = view.chosen.get(criterion)
        within = [result.choice(criterion, structure) for structure in several]
        rows.append(
            [
                Cell(short_title(criterion)),
                *(Cell(DASH) if own is None else Cell(str(own.best.components), own.best.components) for own in within),
                *(_of_choice(view, one) if one else [Cell("no choice", 0), *[Cell(DASH, 0)] * 3]),
            ]
        )
    caption = f"{data['name']}: {data['n']} points, {view.symbol} chosen by each criterion"
    return Block(caption, ["criterion", *several, view.symbol, "margin (nats)", "second best", "one-SE rule"], rows)


def _of_choice(view: Selected, one: Choice) -> list[Cell]:
    """The candidate that is chosen, the margin, the second best, and the choice by the rule of one standard error."""
    from reports.page.blocks import Cell
    from reports.page.selection import margin

    return [
        Cell(view.candidate(one.best), one.best.components),
        Cell(margin(one), one.margin),
        Cell(view.candidate(one.runner_up), 0),
        Cell(view.candidate(one.one_se), 0),
    ]


def numbers(rows: list[dict[str, Any]]) -> Block:
    """Everything that was measured on one fit, a column a density."""
    from reports.page.blocks import Cell
    from reports.page.blocks import Table as Block
    from reports.studies.overfit.measure import COLUMNS

    body = []
    for name in COLUMNS:
        values = [row.get(name) for row in rows]
        if name not in ("cell", "replicate", "method") and any(value is not None for value in values):
            texts = [f"{v:.6g}" if isinstance(v, float) else DASH if v is None else str(v) for v in values]
            body.append([Cell(name), *(Cell(text, 0) for text in texts)])
    return Block(f"{rows[0]['cell']}:{rows[0]['replicate']}", ["", *(row["method"] for row in rows)], body)
