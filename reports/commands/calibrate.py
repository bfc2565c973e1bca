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
from reports.commands.scripts import function_of, load_script, tried
from reports.commands.terminal import say
from reports.comparison.capacity import check_workers
from reports.comparison.catalogue import STARTS
from reports.comparison.progress import Rate

COMMON = {"simulations", "seed", "workers", "scheduler", "out_dir", "open_"}

# What goes with --verdicts and --planted-faults, whose problems and methods are given, and with a model of the user's.
# Options that are of some kinds of features alone.
OF_KINDS = {
    "beta0": {"gaussian"},
    "nu0": {"gaussian"},
    "levels": {"categorical"},
    "concentration": {"bernoulli", "categorical", "poisson"},
}

WITH_VERDICTS = COMMON | {"verdicts"}
WITH_FAULTS = COMMON | {"faults"}
WITH_MODEL = COMMON | {"model", "fit", "example", "methods", "draws"}
WITH_SYSTEM = COMMON | {"lds", "start", "rows", "features", "methods", "draws"}


def calibrate(
    context: typer.Context,
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="[MODEL.py]",
            help="A file that defines build(), which returns a PyMC model, and fit(data, rng), your method.",
            show_default=False,
        ),
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="File that defines fit(data, rng), where MODEL.py does not.", show_default=False
        ),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Calibrate a worked example in the place of MODEL.py.", show_default=False),
    ] = None,
    verdicts: Annotated[
        bool,
        typer.Option(
            "--verdicts",
            help="Calibrate the verdict of a comparison instead: false alarms about exact draws, and planted defects found.",
        ),
    ] = False,
    faults: Annotated[
        bool,
        typer.Option(
            "--planted-faults",
            help="Plant faults in exact draws instead, and count how often calibrate and validate find and name them.",
        ),
    ] = False,
    components: Annotated[int, typer.Option("-k", "--components", help="Number of clusters, or states, K.")] = 2,
    hmm: Annotated[
        bool, typer.Option("--hmm", help="Data sets are sequences, drawn from the prior of a hidden Markov model.")
    ] = False,
    lds: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Data sets are series of a linear dynamical system: local-level, local-linear-trend, smooth-trend, "
            "seasonal=12, autoregression=2, or latent=2 states.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar=one_of(STARTS),
            help="How the states of --lds start; a structure of trends or seasons diffuse alone, latent states otherwise. "
            "cavi and advi fit no stationary start.",
            show_default="as compare --lds",
        ),
    ] = None,
    sequences: Annotated[
        int | None,
        typer.Option(metavar="S", help="Sequences of each data set; implies --hmm.", show_default="one"),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            "-n",
            "--rows",
            help="Points of each data set, or of each sequence.",
            show_default="50; 100 with --hmm or --lds",
        ),
    ] = None,
    features: Annotated[
        int,
        typer.Option(
            "-d",
            "--features",
            help="Features of each data set; as many as --family lists, if several.",
            show_default="2; 1 of a structural form",
        ),
    ] = 2,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Comma-separated, from: em, cavi, advi, advi-fullrank, gibbs, nuts, exact; with MODEL.py, from: nuts, advi, "
            "advi-fullrank; with --lds, from: cavi, gibbs, advi, advi-fullrank, nuts.",
            show_default="em,cavi,gibbs; with --lds cavi,gibbs; of MODEL.py its fit alone",
        ),
    ] = None,
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
            show_default="200; 100 with --verdicts, 1000 with --planted-faults",
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws among which each true value is ranked: 39, 79, 119, ...")] = 199,
    alpha0: Annotated[
        float,
        typer.Option("--alpha", help="Prior concentration of the weights, or of a chain's start and transitions."),
    ] = 1.0,
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
            show_default="results/calibration-kK-nN with hmm and the family before, -MODEL, -verdicts or -planted-faults",
        ),
    ] = None,
    open_: Open = False,
) -> None:
    """Draw data sets from the prior and see how often each method's intervals contain the parameters that made them.

    The folder gets report.html, calibration.json and cells/, a Parquet data set of every simulation. Interrupt it at any
    moment and give the same command again: it goes on where it was. More simulations, or methods, are added to those there.

    Of a mixture, all data sets are complete: calibration says nothing about missing values.

    Examples:

      mixtures calibrate

      mixtures calibrate -k 3 --methods em,cavi,advi,gibbs -o results/three

      mixtures calibrate -n 12 --methods cavi,exact --simulations 500

      mixtures calibrate --family bernoulli -d 5

      mixtures calibrate --family gaussian,categorical,poisson

      mixtures calibrate --hmm --methods cavi,gibbs

      mixtures calibrate --lds local-level --methods cavi,gibbs,nuts

      mixtures calibrate --verdicts

      mixtures calibrate mine.py --methods advi

    Of a PyMC model (MODEL.py), parameters and data are drawn from its prior, and fit(data, rng) is given the data: a dict of
    the observed variables by name, and of every pm.Data. It returns draws by variable name, or an object with sample(n, rng)
    and log_prob(values).
    """
    if model is not None or example is not None:
        _own(
            context,
            model,
            fit,
            example,
            names_of(methods) or [],
            draws,
            seed,
            simulations,
            workers,
            scheduler,
            out_dir,
            open_,
        )
        return
    if lds is not None:
        _system(
            context,
            lds,
            start,
            rows,
            features,
            names_of(methods),
            draws,
            seed,
            simulations,
            workers,
            scheduler,
            out_dir,
            open_,
        )
        return
    if faults:
        _planted(context, seed, 1000 if simulations is None else simulations, workers, scheduler, out_dir, open_)
        return
    if verdicts:
        _verdicts(context, seed, 100 if simulations is None else simulations, workers, scheduler, out_dir, open_)
        return
    if start is not None:
        refuse(ValueError("--start is of linear dynamical systems; choose them with --lds"))
    from reports.comparison.names import check_covariance
    from reports.page.calibration import render, verdict_lines
    from reports.page.words import COMPLETE
    from reports.studies.calibration import study
    from reports.studies.calibration.prior import DEFAULT, Settings, points

    names = DEFAULT if methods is None else tuple(names_of(methods) or ())
    kinds = tuple(names_of(family) or ())
    series = (1 if hmm else 0) if sequences is None else sequences
    n = points(rows, series)
    of = ["hmm"] * (series > 0) + list(dict.fromkeys(kinds)) * (set(kinds) != {"gaussian"})
    folder = out_dir or Path("results") / "-".join(["calibration", *of, f"k{components}", f"n{n}"])
    simulations = 200 if simulations is None else simulations
    others = {name for name, of in OF_KINDS.items() if not of & set(kinds)}
    try:
        allowed = {option.name or "" for option in context.command.params} - others
        check_covariance(covariance, kinds)
        if fit is not None:
            raise ValueError("--fit is of a PyMC model; give the file MODEL.py that builds it, too")
        _check_options(context, allowed, f"features that are {', '.join(dict.fromkeys(kinds))}")
        if sequences is not None and sequences < 1:
            raise ValueError(f"--sequences is {sequences}; expected at least 1")
        settings = Settings(
            components, n, features if len(kinds) < 2 else len(kinds), covariance, names, seed, draws, alpha0, beta0, nu0,
            kinds=kinds, concentration=concentration, levels=levels, sequences=series,
        )  # fmt: skip
        study.check(settings, folder, simulations)
        check_workers(workers or 1)
    except (ValueError, OSError) as error:
        refuse(error)
    options = {"simulations": simulations, "workers": workers, "scheduler": scheduler}
    result = _run("simulations", study.calibrate, settings, folder, render, options)
    _tell([*verdict_lines(result), COMPLETE], folder, open_)
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
        _check_options(context, WITH_VERDICTS, "--verdicts, whose problems and methods are given")
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


def _own(
    context: typer.Context,
    model: Path | None,
    fit: Path | None,
    example: str | None,
    methods: list[str],
    draws: int,
    seed: int,
    simulations: int | None,
    workers: int | None,
    scheduler: str | None,
    out_dir: Path | None,
    open_: bool,
) -> None:
    """Calibrate a method of the user's own on a model of the user's own."""
    try:
        _check_options(context, WITH_MODEL, "a PyMC model, which says all about the data")
        problem, name = _posed(model, fit, example, needed=not methods)
    except (ValueError, OSError) as error:
        refuse(error)
    folder = out_dir or Path("results") / f"calibration-{name}"
    _of_problem(problem, methods, draws, seed, simulations, workers, scheduler, folder, open_)


def _system(
    context: typer.Context,
    lds: str,
    start: str | None,
    rows: int | None,
    features: int,
    methods: list[str] | None,
    draws: int,
    seed: int,
    simulations: int | None,
    workers: int | None,
    scheduler: str | None,
    out_dir: Path | None,
    open_: bool,
) -> None:
    """Calibrate the methods of this package on a linear dynamical system."""
    from reports.studies.own import systems

    try:
        _check_options(context, WITH_SYSTEM, "--lds")
        chosen = systems.default_methods(start) if methods is None else tuple(methods)
        given = context.get_parameter_source("features")
        D = features if lds.startswith("latent") or (given is not None and given.name == "COMMANDLINE") else 1
        n = systems.STEPS if rows is None else rows
        problem = systems.problem(lds, n, D, chosen, start)
    except (ValueError, OSError) as error:
        refuse(error)
    of = "-".join([lds.replace("=", ""), *([start] if start else []), f"n{n}"])
    folder = out_dir or Path("results") / f"calibration-{of}"
    others = systems.twin_methods(chosen)
    _of_problem(problem, others, draws, seed, simulations, workers, scheduler, folder, open_)


def _of_problem(
    problem: Any,
    methods: list[str],
    draws: int,
    seed: int,
    simulations: int | None,
    workers: int | None,
    scheduler: str | None,
    folder: Path,
    open_: bool,
) -> None:
    """Run the simulations of a problem of `reports.studies.own`, and tell what was found."""
    from reports.page.calibration_own import render, verdict_lines
    from reports.studies.own import study

    options = {
        "simulations": 200 if simulations is None else simulations,
        "methods": methods,
        "draws": draws,
        "seed": seed,
        "workers": workers,
        "scheduler": scheduler,
    }
    result = _run("simulations", study.calibrate, problem, folder, render, options)
    _tell(verdict_lines(result), folder, open_)
    if result.failed:
        raise typer.Exit(FAILED)


def _posed(model: Path | None, fit: Path | None, example: str | None, needed: bool) -> tuple[Any, str]:
    """The model and the method that the user's files, or a worked example, define, and what to call them."""
    from importlib import import_module

    from reports.comparison.names import check_known
    from reports.examples import EXAMPLES
    from reports.studies.own.study import Problem

    if (model is None) == (example is None):
        raise ValueError("give either MODEL.py or --example")
    if example is not None:
        check_known("example", example, EXAMPLES)
        module, name = import_module(EXAMPLES[example]), example
    else:
        assert model is not None
        module, name = load_script(model), model.stem
    build = function_of(module, "build", "returns a pm.Model")
    tried(build)
    home = load_script(fit) if fit is not None else module
    fits = {}
    if needed or fit is not None or hasattr(home, "fit"):
        fits["mine"] = function_of(home, "fit", "takes (data, rng) and returns draws by variable name")
    quantities = getattr(module, "quantities", {})
    if not isinstance(quantities, dict):
        raise ValueError(f"quantities in {name} is a {type(quantities).__name__}; expected a dict of functions")
    return Problem(build, fits, quantities), name


def _planted(
    context: typer.Context,
    seed: int,
    simulations: int,
    workers: int | None,
    scheduler: str | None,
    out_dir: Path | None,
    open_: bool,
) -> None:
    """Count how often faults of which all is known are found and named."""
    from reports.comparison.files import write_text
    from reports.page.planted import lines, markdown, render
    from reports.studies.own import trials

    folder = out_dir or Path("results") / "calibration-planted-faults"
    try:
        _check_options(context, WITH_FAULTS, "--planted-faults, whose model and methods are given")
    except ValueError as error:
        refuse(error)
    options = {"simulations": simulations, "seed": seed, "workers": workers, "scheduler": scheduler}
    result = _run("data sets", lambda _, where, **rest: trials.run(where, **rest), None, folder, render, options)
    try:
        write_text(folder / "planted-faults.md", markdown(result))
    except OSError as error:
        refuse(error)
    _tell(lines(result), folder, open_)


def _check_options(context: typer.Context, allowed: set[str], what: str) -> None:
    """Refuse options that would be passed over."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is not None and source.name == "COMMANDLINE" and option.name not in allowed:
            raise ValueError(f"{option.opts[-1]} does not go with {what}")


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
    from reports.studies.folder import PAGE

    options = options | {"workers": options["workers"] or cpu_count()}
    try:
        with Rate(what) as rate:
            keep(rate, folder)
            command = shlex.join(["mixtures", *sys.argv[1:]])
            result = run(settings, folder, **options, command=command, tell=rate.tell)
        write_text(folder / PAGE, render(result))
    except (ValueError, OSError) as error:
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
