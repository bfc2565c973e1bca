"""`mixtures report`: make the page of an earlier comparison, validation, calibration or study again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from reports.commands.options import Open, refuse, relative
from reports.commands.stopping import outcome
from reports.commands.terminal import say


def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", help="A folder that `mixtures compare`, `validate`, `calibrate` or `overfit` wrote."
        ),
    ],
    open_: Open = False,
) -> None:
    """Write the page of an earlier comparison, validation, calibration or study again, from what was saved."""
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


STUDIES = {
    "calibration-model": ("reports.studies.own.study", "reports.page.calibration_own"),
    "calibration": ("reports.studies.calibration.study", "reports.page.calibration"),
    "planted-faults": ("reports.studies.own.trials", "reports.page.planted"),
    "verdicts": ("reports.studies.verdicts.study", "reports.page.verdicts"),
    "overfit": ("reports.studies.overfit.study", "reports.page.overfit"),
}
"""By the name of a study, the module that loads it and the one that draws its page."""


@contextmanager
def drawn(folder: Path) -> Iterator[Callable[[], str]]:
    """What draws the page of the results in a folder.

    Raises
    ------
    ResultsError
        If they cannot be read.
    """
    from reports.studies.folder import has_study

    for name, (module, page) in STUDIES.items():
        if has_study(folder, name):
            where = (str(relative(folder)),) if name == "overfit" else ()
            yield partial(import_module(page).render, import_module(module).load(folder), *where)
            return
    from reports.comparison.beside import DRAWING, second_process
    from reports.comparison.results import Results, ResultsError

    if (folder / "selection.csv").is_file():
        raise ResultsError(
            f"{folder} holds a selection, of which its fits are not saved: give `mixtures select` again for its page"
        )
    results = Results.load(folder)
    from reports.page import render

    with second_process(len(results.trees), DRAWING) as executor:
        yield lambda: render(results, executor)
