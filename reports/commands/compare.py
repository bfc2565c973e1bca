"""`mixtures compare`: fit DATA by several methods, compare them, and write a report."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from mixtures import COVARIANCES
from models.device import DEVICES
from models.metric import METRICS
from reports.commands.dynamics import Lds, compare_series
from reports.commands.ending import end
from reports.commands.options import (
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
    Scheduler,
    SequenceColumn,
    Sticky,
    Thousands,
    check_open,
    cluster,
    named_paths,
    names_of,
    one_of,
    read_many,
    read_table,
    refuse,
    relative,
    save_in,
    unused,
)
from reports.commands.stopping import NOTHING, outcome
from reports.commands.terminal import err, say, summarise
from reports.comparison.catalogue import (
    DEFAULT,
    METHODS,
    REFERENCES,
    SAMPLERS,
    STARTS,
    Options,
    check_order,
    default_methods,
)
from reports.comparison.progress import Stages

HEAVY = "reports.comparison.run"
"""The module that takes the longest to load."""


def compare(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help=f"A built-in data set or series (see `mixtures datasets`), {FILES}, or many Parquet files: a "
            "folder or 'folder/*.parquet', larger than memory perhaps.",
        ),
    ],
    components: Annotated[
        int | None,
        typer.Option("-k", "--components", help="Number of clusters K.", show_default="required without --lds"),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help=f"Comma-separated, from: {', '.join(METHODS)}.",
            show_default=f"{','.join(DEFAULT)}, as far as they take the model",
        ),
    ] = None,
    hmm: Hmm = False,
    lds: Lds = None,
    sequence: SequenceColumn = None,
    start: Annotated[
        str | None,
        typer.Option(
            metavar=one_of(STARTS),
            help="How states start, those of a hidden Markov model free or stationary; cavi and exact fit no stationary start.",
            show_default="free; with --lds diffuse where the emission is known",
        ),
    ] = None,
    sticky: Sticky = 0.0,
    covariance: Annotated[str, typer.Option(metavar=one_of(COVARIANCES), help="Covariance structure.")] = "full",
    out_dir: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for the results.", show_default="results/DATA-kK, numbered if taken"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    test_fraction: Annotated[float, typer.Option(help="Share of the rows held out, 0 to below 1.")] = 0.0,
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
    draws: Annotated[int, typer.Option(help="Posterior draws kept from each chain.")] = Options.draws,
    chains: Annotated[int, typer.Option(help="Number of chains.")] = Options.chains,
    sampler: Annotated[str, typer.Option(metavar=one_of(SAMPLERS), help="Who runs NUTS.")] = Options.sampler,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar=one_of(METRICS),
            help="What the metric of NUTS starts from: the posterior of CAVI, which shortens the warm-up, or the identity.",
            show_default="cavi by numpyro, else adapt",
        ),
    ] = None,
    standardize: Annotated[bool, typer.Option(help="Report in standard deviations of each feature.")] = False,
    image: Annotated[
        str | None,
        typer.Option(
            metavar="ROWSxCOLUMNS",
            help="The features are the pixels of a picture, row by row.",
            show_default="no picture",
        ),
    ] = None,
    restarts: Annotated[int, typer.Option(help="Starts of EM and CAVI; the best is kept.")] = Options.restarts,
    reg_covar: Annotated[
        float,
        typer.Option(help="Added by EM to every variance, in squared units of the data: no cluster collapses."),
    ] = Options.reg_covar,
    reference: Annotated[
        str, typer.Option(metavar=one_of(["auto", *REFERENCES]), help="What the others are compared with.")
    ] = Options.reference,
    device: Annotated[
        str,
        typer.Option(
            metavar=one_of(DEVICES),
            help="Where JAX runs ADVI, NUTS and SMC; auto takes a GPU for large models only.",
        ),
    ] = Options.device,
    two_sample: Annotated[
        bool,
        typer.Option("--two-sample", help="Let a classifier try to tell each method's draws from the reference's."),
    ] = False,
    leave_future_out: Annotated[
        bool | None,
        typer.Option(
            "--leave-future-out/--no-leave-future-out",
            help="Score CAVI and Gibbs sampling on every step of sequences by fits to the steps before it.",
            show_default="where there are few rows",
        ),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Add a result of your own: a DataTree as zarr or netCDF, or a .npz file. Can be repeated.",
        ),
    ] = None,
    scheduler: Scheduler = None,
    cache: Annotated[bool, typer.Option(help="Keep what is compiled for the next run of this model.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier comparison in --out.")] = False,
    report: Annotated[bool, typer.Option(help="Write the page, not only the numbers.")] = True,
    open_: Open = False,
) -> None:
    """Fit one mixture, hidden Markov model or linear dynamical system to DATA by several methods, and write a report.

    The folder gets report.html (one self-contained page), metrics.csv, memberships.csv, manifest.json and every method's draws
    as zarr.

    Examples:

      mixtures compare faithful -k 2

      mixtures compare tsmatz -k 3 --methods em,cavi

      mixtures compare carcinoma -k 2

      mixtures compare mine.csv -k 3 --label-column species --missing drop

      mixtures compare survey.csv -k 3 --counts children --categorical town

      mixtures compare faithful -k 2 --add mine=draws.nc

      mixtures compare earthquakes -k 3 --hmm

      mixtures compare visits.csv -k 2 --sequence patient

      mixtures compare 'folder/*.parquet' -k 10 --methods em,cavi

      mixtures compare nile --lds local-level
    """
    check_open(open_, report)
    if lds is not None:
        given = {
            "-k": components is not None,
            "--hmm": hmm,
            "--sticky": sticky != 0,
            "--covariance": covariance != "full",
            "--test-fraction": test_fraction != 0,
            "--label-column": label_column is not None,
            "--counts": counts is not None,
            "--categorical": categorical is not None,
            "--standardize": standardize,
            "--image": image is not None,
            "--restarts": restarts != Options.restarts,
            "--reg-covar": reg_covar != Options.reg_covar,
            "--reference": reference != Options.reference,
            "--metric": metric is not None,
            "--two-sample": two_sample,
            "--add": bool(add),
            "--drop-missing": drop_missing,
        }
        compare_series(
            data,
            lds,
            methods,
            start=start,
            written=written,
            misplaced=[name for name, wrong in given.items() if wrong],
            out_dir=out_dir,
            seed=seed,
            overwrite=overwrite,
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
            draws=draws,
            chains=chains,
            sampler=sampler,
            cache=cache,
        )
        return
    import numpy as np

    from reports.comparison.beside import DRAWING, MEASURING, PASSES, second_process
    from reports.comparison.loading import loading
    from reports.comparison.results import ResultsError, check_free

    start = start or STARTS[0]
    stages, opened = Stages(after=["save"]), ExitStack()
    asked = DEFAULT if methods is None else names_of(methods) or ()
    modules = (*MEASURING, *DRAWING, *(PASSES if sequence is None else ()))
    helper, executor = partial(second_process, len(asked) + len(add or []), modules), None
    try:
        if HEAVY not in sys.modules:  # it loads what it needs while this process does, before anything is checked
            executor = opened.enter_context(helper())
        with loading():
            from mixtures import datasets
            from reports.api.comparison import compare as compare_data
            from reports.comparison.capacity import check_comparison
            from reports.comparison.names import check_covariance, check_methods
            from reports.comparison.prepared import FROM_BLOCKS

        if components is None:
            raise ValueError("missing option '-k', the number of clusters, or --lds: mixtures compare --help")
        ordered = hmm or sequence is not None
        chosen = check_methods(names_of(methods) or () if methods is not None else default_methods(start))
        settings: dict[str, Any] = {
            "draws": draws,
            "chains": chains,
            "sampler": sampler,
            "metric": metric,
            "restarts": restarts,
            "reg_covar": reg_covar,
            "reference": reference,
            "device": device,
            "two_sample": two_sample,
            "leave_future_out": leave_future_out,
        }
        options = Options(**settings)
        check_order(chosen, reference, ordered, start, sticky)
        extra = named_paths(add or [])
        check_covariance(covariance)
        if leave_future_out and not ordered:
            raise ValueError(
                "--leave-future-out needs rows in the order of time; give --hmm or --sequence, or leave it out"
            )
        if ordered and (drop_missing or missing == "drop"):
            raise ValueError(GAPS)
        correlated = covariance in ("full", "tied")

        def check(rows: int, features: int) -> None:
            if correlated:
                datasets.check_rows(rows, features)
            check_comparison(features, components, chosen, options)

        rng = np.random.default_rng(seed)
        read: dict[str, Any] = {
            "label_column": label_column,
            "index_column": index_column,
            "columns": columns,
            "counts": counts,
            "missing": missing,
            "drop_missing": drop_missing,
        }
        rows = None
        if datasets.files_of(data):
            unfit = {"--hmm": hmm, "--sequence": sequence, "--categorical": categorical, "--family": family}
            loaded, rows = read_many(data, rng.spawn(1)[0], cluster(opened, scheduler), unfit, **read)
            if rows is not None and methods is None:
                chosen = FROM_BLOCKS
        elif scheduler is not None:
            raise ValueError("--scheduler is for many Parquet files: a folder, or 'folder/*.parquet'")
        else:
            loaded = read_table(
                data,
                check=check if family in (None, "gaussian") else None,
                categorical=categorical,
                family=family,
                na_values=na_values,
                decimal=decimal,
                thousands=thousands,
                sequence=sequence,
                **read,
            )
        if loaded.lengths and not ordered:
            say(f"note: {loaded.name} is in the order of time, which a mixture does not see; --hmm fits a chain", err)
        if ordered and len(loaded.left_out):
            raise ValueError(GAPS)
        datasets.check_components(loaded.x, components, correlated=correlated, kinds=loaded.kinds)
        folder = out_dir or unused(Path("results") / f"{loaded.name}-k{components}")
        check_free(folder, overwrite=overwrite)
        executor = executor or opened.enter_context(helper())
        with stages:
            result = compare_data(
                loaded.x,
                components,
                rng=rng,
                rows=rows,
                methods=chosen,
                covariance=covariance,
                labels=loaded.labels,
                features=loaded.features,
                kinds=loaded.kinds,
                levels=loaded.levels,
                index=loaded.index,
                missing="model" if np.isnan(loaded.x).any() else "error",
                sequences=(loaded.lengths or True) if ordered else False,
                start=start,
                sticky=sticky,
                truth=loaded.truth,
                extra=extra,
                name=loaded.name,
                room=folder,
                test_fraction=test_fraction,
                standardize=standardize,
                image=_shape(image),
                facts={
                    "command": shlex.join(["mixtures", *sys.argv[1:]]),
                    "seed": seed,
                    "source": loaded.source,
                    "notes": loaded.notes,
                    "label_column": label_column,
                    "left_out": loaded.left_out.tolist(),
                },
                progress=stages,
                executor=executor,
                cache=cache,
                **settings,
            )
            stages.tell("save", "running")

            def save(folder: Path) -> Path:
                outcome(partial(written, folder, result.results.manifest))
                return result.save(folder, report=report, overwrite=overwrite, executor=executor)

            folder = save_in(save, folder, renumber=out_dir is None)
            stages.tell("save", "done")
    except (ResultsError, OSError) as error:
        refuse(error)
    except ValueError as error:
        # Arguments are checked before the first stage; a ValueError after that is a defect and keeps its traceback.
        if stages.stages:
            raise
        refuse(error)
    finally:
        opened.close()

    summarise(result)
    end(result, folder, report, open_)


def _shape(image: str | None) -> tuple[int, int] | None:
    """Rows and columns of a picture, as they were typed."""
    if image is None:
        return None
    sides = image.lower().split("x")
    if len(sides) != 2 or not all(side.strip().isdecimal() for side in sides):
        raise ValueError(f"--image is {image!r}; expected rows x columns, such as 8x8")
    return int(sides[0]), int(sides[1])


def written(folder: Path, manifest: dict[str, Any]) -> str:
    """What a folder has of a comparison that a signal ends while it is written."""
    from reports.comparison.results import MANIFEST

    try:
        there = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return NOTHING
    if any(there.get(name) != manifest[name] for name in ("created", "command")):
        return f"nothing was written, and the earlier comparison in {relative(folder)} is as it was"
    return f"the results are in {relative(folder)}"
