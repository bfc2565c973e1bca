"""How a command that wrote a comparison ends: the path of the page, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from reports.commands.options import FAILED, relative
from reports.commands.terminal import say

if TYPE_CHECKING:
    from reports.api.comparison import Comparison
    from reports.api.validation import Validation


def end(result: Comparison | Validation, folder: Path, report: bool, open_: bool) -> None:
    """Say where a comparison is, open its page if asked to, and exit with 1 if a method failed."""
    from reports.comparison.results import PAGE

    path = folder / PAGE if report else folder / "metrics.csv"
    say(f"{'Report' if report else 'Numbers'}: {relative(path)}", whole=True)
    if open_:
        typer.launch(path.resolve().as_uri())
    if result.failures:
        raise typer.Exit(FAILED)
