"""`mixtures calibrate`: are the stated uncertainties, and the verdicts of a comparison, right?"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from mixtures import COVARIANCES
from reports.commands.options import FAILED, Open, Scheduler, Workers, keep, names_of, one_of, refuse, relative
from reports.commands.terminal import say
from reports.comparison.capacity import check_workers
from reports.comparison.progress import Rate

# What goes with --verdicts, whose problems and methods are given.
WITH_VERDICTS = {"verdicts", "simulations", "seed", "workers", "scheduler", "out_dir", "open_"}


def calibrate(
    context: typer.Context,
    verdicts: Annotated[
        bool,
        typer.Option(
            "--verdicts",
            help="Calibrate the verdict of a comparison instead: false alarms about exact draws, and planted defects found.",
        ),
    ] = False,
    components: Annotated[int, typer.Option("-k", "--components", help="Number of clusters K.")] = 2,
    rows: Annotated[int, typer.Option("-n", "--rows", help="Points of each data set.")] = 50,
    features: Annotated[
        int, typer.Option("-d", "--features", help="Features of each data set; as many as --family lists, if several.")
    ] = 2,
    methods: Annotated[
        str,
        typer.Option(metavar="LIST", help="Comma-separated, from: em, cavi, advi, advi-fullrank, gibbs, nuts, exact."),
    ] = "em,cavi,gibbs",
    covariance: Annotated[str, typer.Option(metavar=one_of(COVARIANCES), help="Covariance structure.")] = "full",
    family: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="What the features hold, one for all or comma-separated one each: gaussian (numbers), bernoulli, categorical, "
            "poisson.",
        ),
    ] = "gaussian",
    levels: Annotated[int, typer.Option(help="Levels of a categorical feature.")] = 3,
    concentration: Annotated[
        float, typer.Option(help="Of the prior of probabilities and rates; small values put clusters far apart.")
    ] = 1.0,
    simulations: Annotated[
        int | None,
        typer.Option(
            help="Data sets drawn from the prior; with --verdicts, of each problem.",
            show_default="200; 100 with --verdicts",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws among which each true value is ranked: 39, 79, 119, ...")] = 199,
    alpha0: Annotated[float, typer.Option("--alpha", help="Prior concentration of the weights.")] = 1.0,
    beta0: Annotated[
        float,
        typer.Option(
            help="Prior precision of the means relative to their cluster's; small values put clusters far apart."
        ),
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
            show_default="results/calibration-kK-nN with the family before, or calibration-verdicts",
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

      mixtures calibrate --family bernoulli -d 5

      mixtures calibrate --family gaussian,categorical,poisson

      mixtures calibrate --verdicts
    """
    if verdicts:
        _verdicts(context, seed, 100 if simulations is None else simulations, workers, scheduler, out_dir, open_)
        return
    from reports.page.calibration import render, verdict_lines
    from reports.studies.calibration import study
    from reports.studies.calibration.prior import Settings

    names = tuple(names_of(methods) or ())
    kinds = tuple(names_of(family) or ())
    of = "" if set(kinds) == {"gaussian"} else f"{'-'.join(dict.fromkeys(kinds))}-"
    folder = out_dir or Path("results") / f"calibration-{of}k{components}-n{rows}"
    simulations = 200 if simulations is None else simulations
    try:
        settings = Settings(
            components, rows, features if len(kinds) < 2 else len(kinds), covariance, names, seed, draws, alpha0, beta0, nu0,
            kinds=kinds, concentration=concentration, levels=levels,
        )  # fmt: skip
        study.check(settings, folder, simulations)
        check_workers(workers or 1)
    except (ValueError, OSError) as error:
        refuse(error)
    options = {"simulations": simulations, "workers": workers, "scheduler": scheduler}
    result = _run("simulations", study.calibrate, settings, folder, render, options)
    _tell(verdict_lines(result), folder, open_)
    if result.failed:
        raise typer.Exit(FAILED)


def _verdicts(
    context: typer.Context,
    seed: int,
    seeds: int,
    workers: int | None,
    scheduler: str | None,
    out_dir: Path | None,
    open_: bool,
) -> None:
    """Judge methods of which it is known whether they are right, and write the rates as a page and as Markdown."""
    from reports.comparison.files import write_text
    from reports.page.verdicts import lines, markdown, render
    from reports.studies.verdicts import study

    folder = out_dir or Path("results") / "calibration-verdicts"
    try:
        _check_options(context)
        settings = study.Settings(seed)
        study.check(settings, folder, seeds)
        check_workers(workers or 1)
    except (ValueError, OSError) as error:
        refuse(error)
    options = {"seeds": seeds, "workers": workers, "scheduler": scheduler}
    result = _run("data sets", study.run, settings, folder, render, options)
    try:
        write_text(folder / "verdicts.md", markdown(result))
    except OSError as error:
        refuse(error)
    _tell(lines(result), folder, open_)


def _check_options(context: typer.Context) -> None:
    """Refuse options that --verdicts would pass over."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE" and option.name not in WITH_VERDICTS:
            raise ValueError(f"{option.opts[-1]} does not go with --verdicts, whose problems and methods are given")


def _run(
    what: str,
    run: Callable[..., Any],
    settings: Any,
    folder: Path,
    render: Callable[[Any], str],
    options: dict[str, Any],
) -> Any:
    """Run a study with its bar and write its page; what was finished is kept where it is interrupted."""
    from joblib import cpu_count

    from reports.comparison.files import write_text
    from reports.comparison.results import ResultsError
    from reports.studies.cells import CellsError
    from reports.studies.folder import PAGE

    options = options | {"workers": options["workers"] or cpu_count()}
    try:
        with Rate(what) as rate:
            keep(rate, folder)
            command = shlex.join(["mixtures", *sys.argv[1:]])
            result = run(settings, folder, **options, command=command, tell=rate.tell)
        write_text(folder / PAGE, render(result))
    except (ResultsError, CellsError, OSError) as error:
        refuse(error)
    return result


def _tell(lines: list[str], folder: Path, open_: bool) -> None:
    """What was found, and where the page is."""
    from reports.studies.folder import PAGE

    for line in lines:
        say(line)
    say(f"Report: {relative(folder / PAGE)}", whole=True)
    if open_:
        typer.launch((folder / PAGE).resolve().as_uri())
