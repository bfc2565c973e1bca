"""`--lds` of `mixtures compare`, one linear dynamical system by several methods, and of `mixtures select`, one of several."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reports.commands import terminal
from reports.commands.ending import end
from reports.commands.options import FAILED, names_of, read_table, refuse, relative, save_in, unused
from reports.commands.stopping import NOTHING, outcome
from reports.commands.terminal import err, say, summarise_validation
from reports.comparison.progress import Rate, Stages

if TYPE_CHECKING:
    from mixtures.datasets import Dataset
    from mixtures.dynamics import LinearDynamics

Lds = Annotated[
    str | None,
    typer.Option(
        "--lds",
        metavar="MODEL",
        help="In the place of -k: rows are in the order of time; fit a linear dynamical system: local-level, "
        "local-linear-trend, smooth-trend, seasonal=PERIOD, autoregression=ORDER or latent=STATES.",
    ),
]

SelectLds = Annotated[
    str | None,
    typer.Option(
        "--lds",
        metavar="MODELS",
        help="In the place of -k: rows are in the order of time; choose among linear dynamical systems, comma-separated: "
        "latent=STATES, as latent=1:4, autoregression=ORDERS, local-level, local-linear-trend, smooth-trend, seasonal=PERIODS.",
    ),
]


def compare_series(
    data: str,
    lds: str,
    methods: str | None,
    *,
    start: str | None,
    written: Any,
    misplaced: Sequence[str],
    out_dir: Path | None,
    seed: int,
    overwrite: bool,
    report: bool,
    open_: bool,
    table: dict[str, Any],
    cache: bool,
    **settings: Any,
) -> None:
    """Compare methods on a series.

    Parameters
    ----------
    data, lds : str
        DATA, and the model as `reports.validation.dynamics.named` reads it.
    methods : str, optional
        Names, comma-separated.
    start : str, optional
        How states start, as `reports.validation.dynamics.named` reads it.
    written : callable
        What a folder has of a run that a signal ends.
    misplaced : sequence of str
        Options that were given and say nothing here.
    table, cache, **settings
        How DATA is read, and what `reports.validation.dynamics.compare` takes.
    """
    import numpy as np

    from mixtures.dynamics.checks import checked
    from reports.api.dynamics import compare_dynamics
    from reports.comparison.beside import second_process
    from reports.comparison.results import ResultsError, check_free
    from reports.validation.catalogue import Options
    from reports.validation.dynamics import check_methods, default_methods, left_out, named, sequences

    stages = Stages(after=["save"])
    try:
        if misplaced:
            raise ValueError(f"{', '.join(misplaced)} and --lds do not go together; leave one out")
        asked = None if methods is None else names_of(methods) or ()
        check_methods(asked or ())
        Options(**settings)
        loaded = _read(data, table)
        model = named(lds, loaded.x.shape[1], max(loaded.lengths, default=len(loaded.x)), start)
        rows = len(loaded.x)
        chosen = check_methods(default_methods(model, rows) if asked is None else asked, rows, model)
        x = sequences(loaded.x, loaded.lengths)
        checked(x, model)
        folder = out_dir or unused(Path("results") / f"{loaded.name}-{lds.replace('=', '')}")
        check_free(folder, overwrite=overwrite)
        for method, why in left_out(model, rows).items() if asked is None else ():
            say(f"note: {method} is left out: {why}", err)
        with stages, second_process(len(chosen)) as executor:
            result = compare_dynamics(
                x,
                model,
                rng=np.random.default_rng(seed),
                methods=chosen,
                features=loaded.features,
                index=loaded.index.tolist(),
                name=loaded.name,
                truth=_truth(loaded, model),
                facts={
                    "command": shlex.join(["mixtures", *sys.argv[1:]]),
                    "seed": seed,
                    "source": loaded.source,
                    "notes": loaded.notes,
                },
                progress=stages,
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
        # What is given is checked before the model has been built; a ValueError after that is a defect and keeps its traceback.
        if stages.stages.get("model") and stages.stages["model"].ended is not None:
            raise
        refuse(error)
    summarise_validation(result)
    end(result, folder, report, open_)


def select_series(
    data: str,
    lds: str,
    criteria: str | None,
    *,
    misplaced: Sequence[str],
    restarts: int | None,
    start: str | None,
    seed: int,
    workers: int | None,
    out_dir: Path | None,
    report: bool,
    open_: bool,
    table: dict[str, Any],
) -> None:
    """Choose among linear dynamical systems for a series.

    Parameters
    ----------
    data, lds : str
        DATA, and the candidates as `reports.studies.selection.systems.candidates_of` reads them.
    criteria : str, optional
        Names, comma-separated.
    start : str, optional
        How states start, as `reports.studies.selection.systems.select_dynamics` has it.
    misplaced : sequence of str
        Options that were given and say nothing here.
    table : dict
        How DATA is read.
    """
    import numpy as np
    from joblib import cpu_count

    from reports.api.selection import select_dynamics
    from reports.comparison.results import ResultsError, check_empty
    from reports.studies.selection.result import CSV, MANIFEST, PAGE
    from reports.studies.selection.systems import candidates_of
    from reports.validation.dynamics import sequences

    started: list[int] = []
    try:
        if misplaced:
            raise ValueError(f"{', '.join(misplaced)} and --lds do not go together; leave one out")
        candidates_of(lds.split(","))
        loaded = _read(data, table)
        folder = out_dir or unused(Path("results") / f"{loaded.name}-select")
        check_empty(folder)
        with Rate("parts") as rate:

            def tell(done: int, total: int) -> None:
                started.append(done)
                rate.tell(done, total)

            result = select_dynamics(
                sequences(loaded.x, loaded.lengths),
                lds,
                rng=np.random.default_rng(seed),
                criteria=names_of(criteria),
                restarts=5 if restarts is None else restarts,
                start=start or "known",
                features=loaded.features,
                index=loaded.index.tolist(),
                name=loaded.name,
                facts={
                    "command": shlex.join(["mixtures", *sys.argv[1:]]),
                    "seed": seed,
                    "source": loaded.source,
                    "notes": loaded.notes,
                },
                workers=workers or cpu_count(),
                progress=tell,
            )
        folder = folder if out_dir else unused(folder)  # another run may have taken it since
        outcome(lambda: f"the results are in {relative(folder)}" if (folder / MANIFEST).exists() else NOTHING)
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
    path = folder / (PAGE if report else CSV)
    say(f"{'Report' if report else 'Numbers'}: {relative(path)}", whole=True)
    if open_:
        typer.launch(path.resolve().as_uri())
    if result.manifest["failures"]:
        raise typer.Exit(FAILED)


def _truth(loaded: Dataset, model: LinearDynamics) -> dict[str, Any] | None:
    """The parameters that a simulated series came from, where the model has as many states and no others are known."""
    import numpy as np

    truth = loaded.truth or {}
    if not set(model.dims) <= set(truth) or not np.isnan(model.emission).all():
        return None
    same = all(np.shape(truth[name]) == getattr(model, name).shape for name in model.dims)
    return {name: truth[name] for name in model.dims} if same else None


def _read(data: str, table: dict[str, Any]) -> Dataset:
    """DATA as a series of numbers.

    Raises
    ------
    ValueError
        If it holds anything else, or rows are left out.
    """
    if table["missing"] == "drop":
        raise ValueError("rows that are left out leave gaps in time; keep them, a missing value needs no care here")
    loaded = read_table(data, **table | {"missing": table["missing"] or "model"})
    if set(loaded.kinds) != {"gaussian"}:
        raise ValueError(
            f"columns {', '.join(loaded.features)} are {', '.join(dict.fromkeys(loaded.kinds))}; a linear dynamical system "
            "needs numbers: choose --columns, or --family gaussian"
        )
    if len(loaded.left_out):
        raise ValueError("rows that are left out leave gaps in time; keep them, a missing value needs no care here")
    return loaded
