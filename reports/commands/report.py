"""`mixtures report`: make the page of an earlier comparison, validation or calibration of a model again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from reports.commands.options import Open, refuse
from reports.commands.stopping import outcome
from reports.commands.terminal import say


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder that `mixtures compare`, `validate` or `calibrate MODEL.py` wrote."
        ),
    ],
    open_: Open = False,
) -> None:
    """Write the page of an earlier comparison again, from what was saved."""
    from reports.comparison.files import check_file, check_folder, write_text
    from reports.comparison.results import PAGE, ResultsError
    from reports.studies.cells import CellsError

    path = folder / PAGE
    try:
        with drawn(folder) as page:
            check_file(path)
            check_folder(folder.resolve() / "page")
            write_text(path, page())
            outcome(f"the page is {path}")
    except (ResultsError, CellsError, OSError) as error:
        refuse(error)
    say(f"Report: {path}", whole=True)
    if open_:
        typer.launch(path.resolve().as_uri())


@contextmanager
def drawn(folder: Path) -> Iterator[Callable[[], str]]:
    """What draws the page of the results in a folder.

    Raises
    ------
    ResultsError
        If they cannot be read.
    """
    from reports.studies.folder import has_study
    from reports.studies.own import study

    if has_study(folder, study.STUDY):
        from reports.page.calibration_own import render as render_own

        calibration = study.load(folder)
        yield lambda: render_own(calibration)
        return
    from reports.comparison.beside import second_process
    from reports.comparison.results import Results

    results = Results.load(folder)
    from reports.page import render

    with second_process(len(results.trees)) as executor:
        yield lambda: render(results, executor)
