"""The command line: `mixtures compare`, `select`, `datasets`, `report`, `bench`, `overfit` and `calibrate`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from mixtures import COVARIANCES
from reports import terminal
from reports.catalogue import DEFAULT, METHODS, REFERENCES, Options
from reports.terminal import Parts, Rate, Stages, err, out

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Fit one mixture model by several methods and see how far to trust each.",
)

Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes; the numbers do not depend on it.", show_default="one a core")
]
Scheduler = Annotated[
    str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler whose workers do the work instead.")
]
Open = Annotated[bool, typer.Option("--open", help="Open the page when it is there.")]


@app.command()
def compare(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A built-in data set (see `mixtures datasets`) or a CSV, Parquet or .npy file."
        ),
    ],
    components: Annotated[int, typer.Option("-k", "--components", help="Number of clusters K.")],
    methods: Annotated[str, typer.Option(help=f"Comma-separated, from: {', '.join(METHODS)}.")] = ",".join(DEFAULT),
    covariance: Annotated[str, typer.Option(help=f"Covariance structure: {', '.join(COVARIANCES)}.")] = "full",
    out_dir: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the results.", show_default="results/DATA-kK, numbered if taken"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    test_fraction: Annotated[float, typer.Option(help="Share of the rows held out, 0 to below 1.")] = 0.0,
    label_column: Annotated[str | None, typer.Option(help="Column with known classes; no method sees it.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Comma-separated columns to use.", show_default="all numeric")
    ] = None,
    drop_missing: Annotated[bool, typer.Option("--drop-missing", help="Leave out rows with missing values.")] = False,
    draws: Annotated[int, typer.Option(help="Posterior draws kept from each chain.")] = Options.draws,
    chains: Annotated[int, typer.Option(help="Number of chains.")] = Options.chains,
    sampler: Annotated[str, typer.Option(help="Who runs NUTS: numpyro, nutpie or pymc.")] = Options.sampler,
    standardize: Annotated[bool, typer.Option(help="Report in standard deviations of each feature.")] = False,
    restarts: Annotated[int, typer.Option(help="Starts of EM and CAVI; the best is kept.")] = Options.restarts,
    reference: Annotated[
        str, typer.Option(help=f"What the others are held against: auto, {', '.join(REFERENCES)}.")
    ] = Options.reference,
    two_sample: Annotated[
        bool,
        typer.Option("--two-sample", help="Let a classifier try to tell each method's draws from the reference's."),
    ] = False,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="A result of your own that joins: a DataTree as zarr or netCDF, or a .npz. Can be repeated.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier comparison in --out.")] = False,
    report: Annotated[bool, typer.Option(help="Write the page beside the numbers.")] = True,
    open_: Open = False,
) -> None:
    """Fit one Gaussian mixture to DATA by several methods, compare them, and write a report.

    The folder gets report.html (one self-contained page), metrics.csv, manifest.json and every method's draws as zarr.

    Examples:

      mixtures compare faithful -k 2

      mixtures compare tsmatz -k 3 --methods em,cavi

      mixtures compare mine.csv -k 3 --label-column species --drop-missing

      mixtures compare faithful -k 2 --add mine=draws.nc
    """
    import numpy as np

    from mixtures import datasets
    from reports import comparison
    from reports.beside import second_process
    from reports.results import PAGE, ResultsError, check_free

    started: list[str] = []
    stages = Stages({name: method.title for name, method in METHODS.items()})
    try:
        chosen = comparison.check_methods(_names(methods) or ())
        names = _names(columns)
        settings: dict[str, Any] = {
            "draws": draws,
            "chains": chains,
            "sampler": sampler,
            "restarts": restarts,
            "reference": reference,
            "two_sample": two_sample,
        }
        Options(**settings)
        extra = _named_paths(add or [])
        loaded = datasets.load(data, label_column=label_column, columns=names, drop_missing=drop_missing)
        comparison.check_covariance(covariance)
        datasets.check_components(loaded.x, components, correlated=covariance in ("full", "tied"))
        folder = out_dir or _unused(Path("results") / f"{loaded.name}-k{components}")
        check_free(folder, overwrite=overwrite)

        def progress(stage: str, state: str) -> None:
            started.append(stage)
            stages.tell(stage, state)

        with stages, second_process(len(chosen) + len(extra)) as executor:
            result = comparison.compare(
                loaded.x,
                components,
                rng=np.random.default_rng(seed),
                methods=chosen,
                covariance=covariance,
                labels=loaded.labels,
                features=loaded.features,
                truth=loaded.truth,
                extra=extra,
                name=loaded.name,
                test_fraction=test_fraction,
                standardize=standardize,
                facts={
                    "command": shlex.join(["mixtures", *sys.argv[1:]]),
                    "seed": seed,
                    "source": loaded.source,
                    "label_column": label_column,
                },
                progress=progress,
                executor=executor,
                **settings,
            )
            stages.tell("save", "running")
            save = partial(result.save, report=report, overwrite=overwrite, executor=executor)
            folder = _save(save, folder, renumber=out_dir is None)
            stages.tell("save", "done")
    except (ResultsError, OSError) as error:
        _refuse(error)
    except KeyboardInterrupt:
        err.print("interrupted; the results were not written", style="red")
        raise typer.Exit(130) from None
    except ValueError as error:
        # Arguments are checked before the first stage; a ValueError after that is a defect and keeps its traceback.
        if started:
            raise
        _refuse(error)

    out.print(terminal.summary(result))
    for method, failure in result.failures.items():
        err.print(
            f"{METHODS[method].title} failed: {failure}", style="red", soft_wrap=True, markup=False, highlight=False
        )
    out.print(terminal.reference_line(result), soft_wrap=True, markup=False, highlight=False)
    path = folder / PAGE if report else folder / "metrics.csv"
    out.print(f"{'Report' if report else 'Numbers'}: {_relative(path)}", soft_wrap=True, markup=False, highlight=False)
    if open_ and report:
        typer.launch(path.resolve().as_uri())
    if result.failures:
        raise typer.Exit(1)


@app.command()
def select(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="A built-in data set (see `mixtures datasets`) or a CSV, Parquet or .npy file."
        ),
    ],
    components: Annotated[
        str, typer.Option("-k", "--components", help="Numbers of clusters to choose from, as 1:8 or 2,3,5.")
    ] = "1:8",
    covariance: Annotated[str, typer.Option(help=f"Comma-separated, from: {', '.join(COVARIANCES)}; or all.")] = "full",
    criteria: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, from: aic, bic, icl, cv, cv-cavi, elbo, elbo-logk, loo, evidence.",
            show_default="all; above 5000 points without loo and evidence",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.")] = 10,
    restarts: Annotated[
        int, typer.Option(help="Starts of EM and CAVI, half as many in every fold; the tenth part ahead goes on.")
    ] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    workers: Workers = None,
    label_column: Annotated[str | None, typer.Option(help="Column with known classes; no fit sees it.")] = None,
    columns: Annotated[
        str | None, typer.Option(help="Comma-separated columns to use.", show_default="all numeric")
    ] = None,
    drop_missing: Annotated[bool, typer.Option("--drop-missing", help="Leave out rows with missing values.")] = False,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for the results.", show_default="results/DATA-select, numbered if taken"
        ),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the page beside the numbers.")] = True,
    open_: Open = False,
) -> None:
    """Choose the number of clusters K of DATA by every criterion, and say by how much.

    The folder gets report.html (one self-contained page), selection.csv, selection.png and manifest.json.

    Examples:

      mixtures select faithful --components 1:8

      mixtures select faithful --covariance all --criteria bic,icl,evidence

      mixtures select mine.csv --components 1:5 --label-column species
    """
    import numpy as np
    from joblib import cpu_count

    from mixtures import datasets
    from reports import selection
    from reports.results import ResultsError

    started: list[int] = []
    try:
        structures = COVARIANCES if covariance == "all" else _names(covariance)
        loaded = datasets.load(data, label_column=label_column, columns=_names(columns), drop_missing=drop_missing)
        folder = out_dir or _unused(Path("results") / f"{loaded.name}-select")
        selection.check_folder(folder)
        with Rate("parts") as rate:

            def tell(done: int, total: int) -> None:
                started.append(done)
                rate.tell(done, total)

            result = selection.select(
                loaded.x,
                _whole_numbers(components),
                rng=np.random.default_rng(seed),
                covariance=tuple(structures or ()),
                criteria=_names(criteria),
                folds=folds,
                restarts=restarts,
                features=loaded.features,
                name=loaded.name,
                facts={
                    "command": shlex.join(["mixtures", *sys.argv[1:]]),
                    "seed": seed,
                    "source": loaded.source,
                    "label_column": label_column,
                    "n_classes": None if loaded.labels is None else len(set(loaded.labels)),
                },
                workers=workers or cpu_count(),
                tell=tell,
            )
        folder = out_dir or _unused(folder)  # another run may have taken it since
        result.save(folder, report=report)
    except (ResultsError, OSError) as error:
        _refuse(error)
    except KeyboardInterrupt:
        err.print("interrupted; the results were not written", style="red")
        raise typer.Exit(130) from None
    except ValueError as error:
        if started:  # arguments are checked before the first part; a ValueError after that is a defect
            raise
        _refuse(error)

    out.print(terminal.choices(result))
    for text in result.warnings:
        err.print(f"warning: {text}", style="yellow", soft_wrap=True, markup=False, highlight=False)
    for failure in result.manifest["failures"]:
        err.print("{part}, {covariance}, K = {components} failed: {reason}".format(**failure), style="red",
                  soft_wrap=True, markup=False, highlight=False)  # fmt: skip
    path = folder / (selection.PAGE if report else selection.CSV)
    out.print(f"{'Report' if report else 'Numbers'}: {_relative(path)}", soft_wrap=True, markup=False, highlight=False)
    if open_ and report:
        typer.launch(path.resolve().as_uri())
    if result.manifest["failures"]:
        raise typer.Exit(1)


@app.command()
def datasets() -> None:
    """List the built-in data sets."""
    from mixtures import datasets as sets

    table = Table(title="Built-in data sets", title_justify="left")
    for heading, justify in (
        ("name", "left"),
        ("rows", "right"),
        ("features", "right"),
        ("classes", "right"),
        ("source", "left"),
    ):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for d in sets.describe():
        table.add_row(d.name, str(d.n), str(d.d), "–" if d.classes is None else str(d.classes), d.source)
    out.print(table)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `mixtures compare` wrote.")],
    open_: Open = False,
) -> None:
    """Make the page of an earlier comparison again, from what was saved."""
    from reports.results import PAGE, Results

    try:
        results = Results.load(folder)
    except ValueError as error:
        _refuse(error)
    from reports.beside import second_process
    from reports.page import render

    path = folder / PAGE
    with second_process(len(results.trees)) as executor:
        path.write_text(render(results, executor), encoding="utf-8")
    out.print(f"Report: {path}", soft_wrap=True, markup=False, highlight=False)
    if open_:
        typer.launch(path.resolve().as_uri())


@app.command()
def bench(
    covariance: Annotated[
        str, typer.Option(help=f"Comma-separated, from: {', '.join(COVARIANCES)}; or all, four times as long.")
    ] = "full",
    cells: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated, rows x features x clusters.",
            show_default="1e3x2x3,1e5x2x5,1e5x10x10,1e6x2x5,2e5x20x20,5e4x50x10",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Measurements behind a median, slow ones less often; with --nuts, rounds.",
            show_default="5, with --nuts 1",
        ),
    ] = None,
    optimum: Annotated[
        bool | None,
        typer.Option(
            "--optimum/--no-optimum",
            help="Time to the optimum; in large cells that takes minutes each.",
            show_default="small cells alone",
        ),
    ] = None,
    limit: Annotated[float, typer.Option(help="Seconds scikit-learn has for one optimum.")] = 120.0,
    memory: Annotated[
        bool, typer.Option(help="Peak private memory and the time to compile, in processes of their own.")
    ] = True,
    memory_map: Annotated[
        bool,
        typer.Option("--memory-map", help="Fits of 1e5 to 1e7 rows from a temporary file of 800 MB; a minute or two."),
    ] = False,
    small: Annotated[bool, typer.Option(help="Fits a second on many small data sets.")] = True,
    nuts: Annotated[
        bool,
        typer.Option("--nuts", help="Instead of all that: effective draws a second, our twin beside the usual model."),
    ] = False,
    sampler: Annotated[str, typer.Option(help="Who runs --nuts: numpyro, nutpie or pymc.")] = Options.sampler,
    out_dir: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for the results.", show_default="results/bench, numbered if taken"),
    ] = None,
) -> None:
    """Measure this machine: time a pass, time to the optimum, peak memory, small fits; ours beside scikit-learn.

    The folder gets bench.csv, bench.png and bench.json (what the machine is). Two cores need a few minutes for the
    defaults; --covariance all, --optimum and --memory-map take longer. Leave the machine alone while it measures.

    Examples:

      mixtures bench

      mixtures bench --cells 1e5x2x5 --covariance all --no-memory --no-small

      mixtures bench --optimum --memory-map -o results/everything

      mixtures bench --nuts --repeats 3
    """
    from reports.bench import GRID, Settings, parse_cells, parse_covariances, run
    from reports.bench import nuts as effective
    from reports.bench.tables import effective_draws, machine, tables
    from reports.results import ResultsError, check_free

    try:
        settings = Settings(
            cells=GRID if cells is None else parse_cells(cells),
            covariances=parse_covariances(covariance),
            repeats=repeats or Settings.repeats,
            optimum=optimum,
            limit=limit,
            memory=memory,
            memory_map=memory_map,
            small=small,
        )
        sampling = effective.Settings(sampler=sampler, repeats=repeats or effective.Settings.repeats)
        folder = out_dir or _unused(Path("results") / "bench")
        if folder.is_dir() and any(folder.iterdir()):
            raise ResultsError(f"{folder} is not empty; give a new folder with --out")
        check_free(folder, overwrite=False)
    except (ValueError, OSError) as error:
        _refuse(error)
    try:
        with Parts() as parts:
            if nuts:
                compared = effective.run(sampling, parts.tell)
            else:
                result = run(settings, parts.tell)
    except KeyboardInterrupt:
        err.print("interrupted; the results were not written", style="red")
        raise typer.Exit(130) from None
    numbers = f"Numbers: {_relative(folder / 'bench.csv')}"
    if nuts:
        effective.save(compared, sampling, folder)
        for table in effective_draws(compared, sampling):
            out.print(table)
        out.print(numbers, soft_wrap=True, markup=False, highlight=False)
        return
    result.save(folder)
    for table in tables(result):
        out.print(table)
    out.print(machine(result), soft_wrap=True, markup=False, highlight=False)
    out.print(numbers, soft_wrap=True, markup=False, highlight=False)
    out.print(f"Plot: {_relative(folder / 'bench.png')}", soft_wrap=True, markup=False, highlight=False)


@app.command()
def overfit(
    grid: Annotated[
        Path | None,
        typer.Argument(metavar="[GRID]", help="A TOML file that describes the grid, in the place of a preset."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(help="quick, small-data, prior or misspecified.", show_default="quick"),
    ] = None,
    replicates: Annotated[
        int | None, typer.Option(help="Data sets for each cell.", show_default="as the grid says")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all randomness.", show_default="as the grid says")] = None,
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
    report: Annotated[bool, typer.Option(help="Write the page beside the numbers.")] = True,
    open_: Open = False,
) -> None:
    """Measure when EM over-estimates on few data, whether VB avoids it, and where VB loses.

    The folder gets report.html, overfit.json and cells/, a Parquet data set with a row for every fit. Interrupt it at any
    moment and give the same command again: it goes on where it was. A changed grid measures only what is new in it.

    Examples:

      mixtures overfit --preset quick

      mixtures overfit --preset small-data --workers 8

      mixtures overfit mine.toml --replicates 500 -o results/mine
    """
    from joblib import cpu_count

    from reports.studies.folder import CELLS, PAGE, write_page
    from reports.studies.overfit import grid as grids
    from reports.studies.overfit import study

    try:
        if grid is not None and preset is not None:
            raise ValueError("give a grid or --preset, not both")
        name = (preset or "quick") if grid is None else grid.stem
        text = grids.preset(name) if grid is None else grid.read_text(encoding="utf-8")
        chosen = grids.parse(text, name if grid is None else str(grid), replicates=replicates, seed=seed)
        if cell is not None:
            out.print(terminal.numbers(study.again(chosen, cell)))
            return
        folder = out_dir or Path("results") / f"overfit-{name}"
        study.check_folder(folder)
        asked = f"--preset {name}" if grid is None else shlex.quote(str(grid))
        with Rate("fits") as rate:
            result = study.run(
                chosen,
                folder,
                workers=workers or cpu_count(),
                scheduler=scheduler,
                command=shlex.join(["mixtures", *sys.argv[1:]]),
                asked=asked if seed is None else f"{asked} --seed {seed}",
                tell=rate.tell,
            )
        if report:
            from reports.page.overfit import render

            write_page(folder, render(result, str(_relative(folder))))
    except (ValueError, OSError) as error:
        _refuse(error)
    except KeyboardInterrupt:
        err.print("interrupted; the cells that were finished are kept: give the same command to go on", style="red")
        raise typer.Exit(130) from None
    path = folder / PAGE if report else folder / CELLS
    out.print(f"{'Report' if report else 'Cells'}: {_relative(path)}", soft_wrap=True, markup=False, highlight=False)
    if open_ and report:
        typer.launch(path.resolve().as_uri())


@app.command()
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
    """Draw data sets from the prior and see how often each method's intervals hold the parameters that made them.

    The folder gets report.html, calibration.json and cells/, a Parquet data set of every simulation. Interrupt it at any
    moment and give the same command again: it goes on where it was. More simulations, or methods, are added to those there.

    Examples:

      mixtures calibrate

      mixtures calibrate -k 3 --methods em,cavi,advi,gibbs -o results/three

      mixtures calibrate -n 12 --methods cavi,exact --simulations 500
    """
    from joblib import cpu_count

    from reports.page.calibration import render, verdict_lines
    from reports.results import ResultsError
    from reports.studies.calibration import study
    from reports.studies.calibration.prior import Settings
    from reports.studies.cells import CellsError
    from reports.studies.folder import PAGE, write_page

    names = tuple(_names(methods) or ())
    folder = out_dir or Path("results") / f"calibration-k{components}-n{rows}"
    try:
        settings = Settings(components, rows, features, covariance, names, seed, draws, alpha0, beta0, nu0)
        study.check(settings, folder, simulations)
    except (ValueError, OSError) as error:
        _refuse(error)
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
        _refuse(error)
    except KeyboardInterrupt:
        err.print(
            "interrupted; the simulations that were finished are kept: give the same command to go on", style="red"
        )
        raise typer.Exit(130) from None
    for line in verdict_lines(result):
        out.print(line, soft_wrap=True, markup=False, highlight=False)
    out.print(f"Report: {_relative(folder / PAGE)}", soft_wrap=True, markup=False, highlight=False)
    if open_:
        typer.launch((folder / PAGE).resolve().as_uri())
    if result.failed:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="mixtures")


def _relative(path: Path) -> Path:
    """The path as seen from the working folder, where it lies below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _names(text: str | None) -> list[str] | None:
    """The names in a comma-separated list."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _whole_numbers(text: str) -> list[int]:
    """The numbers of 1:8 or 2,3,5, or both."""
    numbers: list[int] = []
    for part in text.split(","):
        first, colon, last = part.strip().partition(":")
        last = last if colon else first
        if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            raise ValueError(f"--components is {text!r}; expected numbers of clusters such as 1:8 or 2,3,5")
        numbers += range(int(first), int(last) + 1)
    return numbers


def _named_paths(pairs: list[str]) -> dict[str, Path]:
    """Paths by name from NAME=PATH."""
    paths: dict[str, Path] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path):
            raise ValueError(f"--add {pair} is not of the form NAME=PATH, such as --add mine=draws.nc")
        if name in paths:
            raise ValueError(f"--add names {name!r} twice; give each result a name of its own")
        paths[name] = Path(path)
    return paths


def _unused(folder: Path) -> Path:
    """The folder, or the first numbered one beside it that does not exist."""
    candidates = [folder, *(folder.with_name(f"{folder.name}-{i}") for i in range(2, 10_000))]
    return next(path for path in candidates if not path.exists())


def _save(save: Callable[[Path], Path], folder: Path, *, renumber: bool) -> Path:
    """Save, in the next free folder where another run has just taken a default one."""
    from reports.results import ResultsError

    while True:
        try:
            return save(folder)
        except ResultsError:
            if not renumber or not folder.exists():
                raise
            folder = _unused(folder)


def _refuse(error: Exception) -> NoReturn:
    err.print(f"error: {error}", style="red", soft_wrap=True, markup=False, highlight=False)
    raise typer.Exit(2)


if __name__ == "__main__":
    main()
