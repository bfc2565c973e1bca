"""`mixtures overfit`: the study of overfitting."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from reports.commands import terminal
from reports.commands.options import Open, Scheduler, Workers, check_open, keep, one_of, read_table, refuse, relative
from reports.commands.terminal import say
from reports.comparison.catalogue import STARTS
from reports.comparison.progress import Rate
from reports.studies.overfit.grid import PRESETS


def overfit(
    grid: Annotated[
        Path | None,
        typer.Argument(metavar="GRID", help="A TOML file that describes a grid; it replaces the preset."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar=one_of(PRESETS), help="A built-in grid.", show_default="quick"),
    ] = None,
    replicates: Annotated[
        int | None, typer.Option(help="Number of data sets for each cell.", show_default="as the grid says")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.", show_default="as the grid says")] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar=one_of(STARTS),
            help="How the states of linear dynamical systems start; cavi fits no stationary start.",
            show_default="as the grid says, or known",
        ),
    ] = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for the results; an earlier one goes on.", show_default="results/overfit-GRID"
        ),
    ] = None,
    cell: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Measure one fit alone, named as in the report, and print its numbers."),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the page, not only the numbers.")] = True,
    open_: Open = False,
) -> None:
    """Measure when EM overfits few data, whether variational Bayes does too, and where it loses.

    The folder gets report.html, overfit.json and cells/, a Parquet data set with a row for every fit. Interrupt it at any
    moment and give the same command again: it goes on where it was. A changed grid measures only what is new in it.

    All data sets are complete: simulated, or drawn from the complete rows of a table.

    Examples:

      mixtures overfit --preset quick

      mixtures overfit --preset small-data --workers 8

      mixtures overfit --preset discrete

      mixtures overfit --preset hmm

      mixtures overfit --preset lds

      mixtures overfit mine.toml --replicates 500 -o results/mine
    """
    check_open(open_, report)
    from joblib import cpu_count

    from reports.comparison.files import write_text
    from reports.studies.folder import CELLS, PAGE
    from reports.studies.overfit import grid as grids
    from reports.studies.overfit import study

    try:
        if grid is not None and preset is not None:
            raise ValueError("give a grid or --preset, not both")
        name = (preset or "quick") if grid is None else grid.stem
        text = grids.preset(name) if grid is None else grids.read(grid)
        chosen = grids.parse(text, name if grid is None else str(grid), replicates=replicates, seed=seed, start=start)
        for truth in sorted({one.truth.name for one in chosen.cells if one.truth.rows is not None}):
            read_table(truth)
        if cell is not None:
            terminal.show(terminal.numbers(study.again(chosen, cell)))
            return
        folder = out_dir or Path("results") / f"overfit-{name}"
        study.check_folder(folder)
        asked = f"--preset {name}" if grid is None else shlex.quote(str(grid))
        asked += "".join(f" --{key} {own}" for key, own in (("seed", seed), ("start", start)) if own is not None)
        with Rate("fits") as rate:
            keep(rate, folder)
            result = study.run(
                chosen,
                folder,
                workers=workers or cpu_count(),
                scheduler=scheduler,
                command=shlex.join(["mixtures", *sys.argv[1:]]),
                asked=asked,
                tell=rate.tell,
            )
        if report:
            from reports.page.overfit import render

            write_text(folder / PAGE, render(result, str(relative(folder))))
    except (ValueError, OSError) as error:
        refuse(error)
    from reports.page.build import speech
    from reports.page.links import Links
    from reports.page.overfit_findings import short_answer
    from reports.page.overfit_view import View
    from reports.page.words import COMPLETE

    view = View(result)
    say(Links({}, said=speech(view)).plain(short_answer(view)))
    say(COMPLETE)
    path = folder / PAGE if report else folder / CELLS
    say(f"{'Report' if report else 'Cells'}: {relative(path)}", whole=True)
    if open_:
        typer.launch(path.resolve().as_uri())
