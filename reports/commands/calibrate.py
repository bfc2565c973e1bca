"""`mixtures calibrate`: are the stated uncertainties right?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixtures import COVARIANCES
from reports.commands.options import Open, Scheduler, Workers, names_of, refuse, relative
from reports.commands.terminal import err, out
from reports.comparison.progress import Rate


def calibrate(
    components: Annotated[int, typer.Option("-k", "--components", help="Number of clusters K.")] = 2,
    rows: Annotated[int, typer.Option("-n", "--rows", help="Points of each data set.")] = 50,
    features: Annotated[int, typer.Option("-d", "--features", help="Features of each data set.")] = 2,
    methods: Annotated[
        str, typer.Option(help="Comma-separated, from: em, cavi, advi, advi-fullrank, gibbs, nuts, exact.")
    ] = "em,cavi,gibbs",
    covariance: Annotated[str, typer.Option(help=f"Covariance structure: {', '.join(COVARIANCES)}.")] = "full",
    simulations: Annotated[int, typer.Option(help="Data sets drawn from the prior.")] = 200,
    draws: Annotated[int, typer.Option(help="Draws among which a truth is ranked: one less than 40, 80, ...")] = 199,
    alpha0: Annotated[float, typer.Option("--alpha", help="Prior concentration of the weights.")] = 1.0,
    beta0: Annotated[
        float, typer.Option(help="Prior precision of the means, in that of their cluster: small is far apart.")
    ] = 0.1,
    nu0: Annotated[
        float | None, typer.Option(help="Prior degrees of freedom of the clusters.", show_default="D + 2")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Folder for the results; an earlier one goes on.",
            show_default="results/calibration-kK-nN",
        ),
    ] = None,
    open_: Open = False,
) -> None:
    """Draw data sets from the prior and see how often each method's intervals contain the parameters that made them.

    The folder gets report.html, calibration.json and cells/, a Parquet data set of every simulation. Interrupt it at any
    moment and give the same command again: it goes on where it was. More simulations, or methods, are added to those there.

    Examples:

      mixtures calibrate

      mixtures calibrate -k 3 --methods em,cavi,advi,gibbs -o results/three

      mixtures calibrate -n 12 --methods cavi,exact --simulations 500
    """
    from joblib import cpu_count

    from reports.comparison.results import ResultsError
    from reports.page.calibration import render, verdict_lines
    from reports.studies.calibration import study
    from reports.studies.calibration.prior import Settings
    from reports.studies.cells import CellsError
    from reports.studies.folder import PAGE, write_page

    names = tuple(names_of(methods) or ())
    folder = out_dir or Path("results") / f"calibration-k{components}-n{rows}"
    try:
        settings = Settings(components, rows, features, covariance, names, seed, draws, alpha0, beta0, nu0)
        study.check(settings, folder, simulations)
    except (ValueError, OSError) as error:
        refuse(error)
    try:
        with Rate("simulations") as rate:
            result = study.calibrate(
                settings,
                folder,
                simulations=simulations,
                workers=workers or cpu_count(),
                scheduler=scheduler,
                command=shlex.join(["mixtures", *sys.argv[1:]]),
                tell=rate.tell,
            )
        write_page(folder, render(result))
    except (ResultsError, CellsError, OSError) as error:
        refuse(error)
    except KeyboardInterrupt:
        err.print(
            "interrupted; the simulations that were finished are kept: give the same command to go on", style="red"
        )
        raise typer.Exit(130) from None
    for line in verdict_lines(result):
        out.print(line, soft_wrap=True, markup=False, highlight=False)
    out.print(f"Report: {relative(folder / PAGE)}", soft_wrap=True, markup=False, highlight=False)
    if open_:
        typer.launch((folder / PAGE).resolve().as_uri())
    if result.failed:
        raise typer.Exit(1)
