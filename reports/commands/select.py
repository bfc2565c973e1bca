"""`mixtures select`: choose the number of clusters."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixtures import COVARIANCES
from reports.commands import terminal
from reports.commands.dynamics import SelectLds, select_series
from reports.commands.options import (
    FAILED,
    FILES,
    GAPS,
    Categorical,
    Columns,
    Counts,
    Decimal,
    DropMissing,
    FamilyOption,
    Hmm,
    IndexColumn,
    LabelColumn,
    Missing,
    NaValues,
    Open,
    SequenceColumn,
    Sticky,
    Thousands,
    Workers,
    check_open,
    keep,
    names_of,
    one_of,
    read_table,
    refuse,
    relative,
    unused,
    whole_numbers,
)
from reports.commands.stopping import NOTHING, outcome
from reports.commands.terminal import err, say
from reports.comparison.catalogue import STARTS
from reports.comparison.progress import Rate


def select(
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help=f"A built-in data set (see `mixtures datasets`) or {FILES}."),
    ],
    components: Annotated[
        str, typer.Option("-k", "--components", help="Numbers of clusters to choose from, as 1:8 or 2,3,5.")
    ] = "1:8",
    covariance: Annotated[
        str, typer.Option(metavar="LIST", help=f"Comma-separated, from: {', '.join(COVARIANCES)}; or all.")
    ] = "full",
    criteria: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Comma-separated, from: aic, bic, sabic, icl, cv, cv-cavi, held, held-cavi, elbo, "
            "elbo-logk, loo, lfo, evidence, blrt.",
            show_default="all that suit the data but blrt; above 5000 points without loo and evidence; "
            "with --lds aic, bic, held, held-cavi, elbo, evidence",
        ),
    ] = None,
    folds: Annotated[int, typer.Option(help="Folds of the cross-validation.")] = 10,
    restarts: Annotated[
        int | None,
        typer.Option(
            help="Starts of EM and CAVI, half as many in every fold; the best tenth is continued, with --lds all are.",
            show_default="100, with --lds 5",
        ),
    ] = None,
    reg_covar: Annotated[
        float,
        typer.Option(help="Added by EM to every variance, in squared units of the data: no cluster collapses."),
    ] = 0.0,
    replicates: Annotated[
        int, typer.Option(help="Data sets that blrt draws for each K; each fit to one has a fifth of --restarts.")
    ] = 199,
    level: Annotated[float, typer.Option(help="Level at which blrt rejects a K.")] = 0.05,
    hmm: Hmm = False,
    lds: SelectLds = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar=one_of(STARTS),
            help="How the states of linear dynamical systems start; free of several sequences, known or stationary of one.",
            show_default="known",
        ),
    ] = None,
    sequence: SequenceColumn = None,
    sticky: Sticky = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    workers: Workers = None,
    label_column: LabelColumn = None,
    index_column: IndexColumn = None,
    columns: Columns = None,
    counts: Counts = None,
    categorical: Categorical = None,
    family: FamilyOption = None,
    missing: Missing = None,
    drop_missing: DropMissing = False,
    na_values: NaValues = None,
    decimal: Decimal = ".",
    thousands: Thousands = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="Folder for the results; with blrt an earlier one goes on.",
            show_default="results/DATA-select, numbered if taken; with blrt results/DATA-select-blrt",
        ),
    ] = None,
    report: Annotated[bool, typer.Option(help="Write the page, not only the numbers.")] = True,
    open_: Open = False,
) -> None:
    """Choose the number of clusters K, or of states, of DATA by every criterion, and say by how much.

    The folder gets report.html (one self-contained page), selection.csv, selection.png and manifest.json. With blrt, the
    bootstrap likelihood ratio test, also blrt.json and cells/, its replicates: interrupt it at any moment and give the same
    command again, or ask for more --replicates, and it goes on where it was.

    Examples:

      mixtures select faithful --components 1:8

      mixtures select faithful --covariance all --criteria bic,icl,evidence

      mixtures select carcinoma --components 1:4

      mixtures select mine.csv --components 1:5 --label-column species

      mixtures select faithful --components 1:4 --criteria bic,blrt --replicates 499

      mixtures select earthquakes --components 1:5 --hmm

      mixtures select nile --lds local-level,local-linear-trend,autoregression=1:2

      mixtures select tsmatz-lds --lds latent=1:5
    """
    check_open(open_, report)
    if lds is not None:
        given = {
            "-k": components != "1:8",
            "--hmm": hmm,
            "--sticky": sticky != 0,
            "--covariance": covariance != "full",
            "--folds": folds != 10,
            "--reg-covar": reg_covar != 0,
            "--label-column": label_column is not None,
            "--counts": counts is not None,
            "--categorical": categorical is not None,
            "--drop-missing": drop_missing,
        }
        select_series(
            data,
            lds,
            criteria,
            misplaced=[name for name, wrong in given.items() if wrong],
            restarts=restarts,
            start=start,
            seed=seed,
            workers=workers,
            out_dir=out_dir,
            report=report,
            open_=open_,
            table={
                "index_column": index_column,
                "columns": columns,
                "family": family,
                "missing": missing,
                "na_values": na_values,
                "decimal": decimal,
                "thousands": thousands,
                "sequence": sequence,
            },
        )
        return
    import numpy as np
    from joblib import cpu_count

    from mixtures import datasets
    from reports.api.selection import select as choose
    from reports.comparison.results import ResultsError, check_empty
    from reports.studies.selection.result import CSV, MANIFEST, PAGE

    started: list[int] = []
    try:
        if start is not None:
            raise ValueError("--start is of linear dynamical systems; choose them with --lds")
        structures = COVARIANCES if covariance == "all" else names_of(covariance)
        ordered = hmm or sequence is not None
        if ordered and (drop_missing or missing == "drop"):
            raise ValueError(GAPS)
        correlated = {"full", "tied"} & set(structures or ())
        loaded = read_table(
            data,
            check=datasets.check_rows if correlated and family in (None, "gaussian") else None,
            label_column=label_column,
            index_column=index_column,
            columns=columns,
            counts=counts,
            categorical=categorical,
            family=family,
            missing=missing,
            drop_missing=drop_missing,
            na_values=na_values,
            decimal=decimal,
            thousands=thousands,
            sequence=sequence,
        )
        if ordered and len(loaded.left_out):
            raise ValueError(GAPS)
        asked = names_of(criteria)
        resumes = "blrt" in (asked or ())
        default = Path("results") / f"{loaded.name}-select{'-blrt' if resumes else ''}"
        folder = out_dir or (default if resumes else unused(default))
        if not resumes:
            check_empty(folder)
        with Rate("parts") as rate:
            before = keep(rate, folder) if resumes else lambda: NOTHING

            def tell(done: int, total: int) -> None:
                started.append(done)
                rate.tell(done, total)

            result = choose(
                loaded.x,
                whole_numbers(components),
                rng=np.random.default_rng(seed),
                covariance=tuple(structures or ()),
                criteria=asked,
                replicates=replicates,
                level=level,
                folder=folder if resumes else None,
                folds=folds,
                restarts=100 if restarts is None else restarts,
                reg_covar=reg_covar,
                features=loaded.features,
                kinds=loaded.kinds,
                levels=loaded.levels,
                missing="model" if np.isnan(loaded.x).any() else "error",
                sequences=(loaded.lengths or True) if ordered else False,
                sticky=sticky,
                name=loaded.name,
                facts={
                    "command": shlex.join(["mixtures", *sys.argv[1:]]),
                    "seed": seed,
                    "source": loaded.source,
                    "notes": loaded.notes,
                    "label_column": label_column,
                    "n_classes": None if loaded.labels is None else len(set(loaded.labels) - {""}),
                },
                workers=workers or cpu_count(),
                progress=tell,
            )
        folder = folder if out_dir or resumes else unused(folder)  # another run may have taken it since
        outcome(lambda: f"the results are in {relative(folder)}" if (folder / MANIFEST).exists() else before())
        result.save(folder, report=report)
    except (ResultsError, OSError) as error:
        refuse(error)
    except ValueError as error:
        if started:  # arguments are checked before the first part; a ValueError after that is a defect
            raise
        refuse(error)

    terminal.show(terminal.choices(result))
    for text in result.warnings:
        say(f"warning: {text}", err, "yellow")
    for failure in result.manifest["failures"]:
        say("{part}, {covariance}, K = {components} failed: {reason}".format(**failure), err, "red")
    path = folder / (PAGE if report else CSV)
    say(f"{'Report' if report else 'Numbers'}: {relative(path)}", whole=True)
    if open_:
        typer.launch(path.resolve().as_uri())
    if result.manifest["failures"]:
        raise typer.Exit(FAILED)
