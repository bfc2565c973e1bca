"""`mixtures report`: make the page of an earlier comparison again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reports.commands.options import Open, refuse
from reports.commands.stopping import outcome
from reports.commands.terminal import say


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A folder that `mixtures compare` or `validate` wrote.")
    ],
    open_: Open = False,
) -> None:
    """Write the page of an earlier comparison again, from what was saved."""
    from reports.comparison.beside import second_process
    from reports.comparison.files import check_file, check_folder, write_text
    from reports.comparison.results import PAGE, Results, ResultsError

    path = folder / PAGE
    try:
        results = Results.load(folder)
        check_file(path)
        check_folder(folder.resolve() / "page")
        from reports.page import render

        with second_process(len(results.trees)) as executor:
            write_text(path, render(results, executor))
            outcome(f"the page is {path}")
    except (ResultsError, OSError) as error:
        refuse(error)
    say(f"Report: {path}", whole=True)
    if open_:
        typer.launch(path.resolve().as_uri())
