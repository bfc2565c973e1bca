"""How a command that wrote a validation ends: the verdict, the path of the page, and the exit code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from reports.commands.options import FAILED, relative
from reports.commands.terminal import say, summarise_validation

if TYPE_CHECKING:
    from reports.api.validation import Validation


def end(result: Validation, folder: Path, report: bool, open_: bool) -> None:
    """Say what a validation found and where it is, open its page if asked to, and exit with 1 if a method failed."""
    from reports.comparison.results import PAGE

    summarise_validation(result)
    path = folder / PAGE if report else folder / "metrics.csv"
    say(f"{'Report' if report else 'Numbers'}: {relative(path)}", whole=True)
    if open_ and report:
        typer.launch(path.resolve().as_uri())
    if result.failures:
        raise typer.Exit(FAILED)
