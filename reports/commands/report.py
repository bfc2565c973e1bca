"""`mixtures report`: make the page of an earlier comparison again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reports.commands.options import Open, refuse
from reports.commands.terminal import say


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mixtures compare` wrote.")],
    open_: Open = False,
) -> None:
    """Write the page of an earlier comparison again, from what was saved."""
    from reports.comparison.results import PAGE, Results

    try:
        results = Results.load(folder)
    except ValueError as error:
        refuse(error)
    from reports.comparison.beside import second_process
    from reports.page import render

    path = folder / PAGE
    with second_process(len(results.trees)) as executor:
        path.write_text(render(results, executor), encoding="utf-8")
    say(f"Report: {path}", whole=True)
    if open_:
        typer.launch(path.resolve().as_uri())
