"""`mixtures compare DATA --lds MODEL`: fit a linear dynamical system by several methods, compare them, and write a report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from reports.commands.ending import end
from reports.commands.options import names_of, read_table, refuse, save_in, unused
from reports.commands.stopping import outcome
from reports.comparison.progress import Stages

Lds = Annotated[
    str | None,
    typer.Option(
        "--lds",
        metavar="MODEL",
        help="In the place of -k: rows are in the order of time; fit a linear dynamical system: local-level, "
        "local-linear-trend, smooth-trend, seasonal=PERIOD, autoregression=ORDER or latent=STATES.",
    ),
]


def compare_series(
    data: str,
    lds: str,
    methods: str | None,
    *,
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
    written : callable
        What a folder has of a run that a signal ends.
    misplaced : sequence of str
        Options that were given and say nothing here.
    table, cache, **settings
        How DATA is read, and what `reports.validation.dynamics.compare` takes.
    """
    import numpy as np

    from reports.api.dynamics import compare_dynamics
    from reports.comparison.beside import second_process
    from reports.comparison.results import ResultsError, check_free
    from reports.validation.catalogue import Options
    from reports.validation.dynamics import DEFAULT, check_methods, named, sequences

    stages = Stages(after=["save"])
    try:
        if misplaced:
            raise ValueError(f"{', '.join(misplaced)} and --lds do not go together; leave one out")
        chosen = check_methods(names_of(methods) or () if methods is not None else DEFAULT)
        Options(**settings)
        loaded = read_table(data, **table | {"missing": table["missing"] or "model"})
        if set(loaded.kinds) != {"gaussian"}:
            raise ValueError(
                f"columns {', '.join(loaded.features)} are {', '.join(dict.fromkeys(loaded.kinds))}; a linear dynamical system "
                "needs numbers: choose --columns, or --family gaussian"
            )
        if len(loaded.left_out):
            raise ValueError("rows that are left out leave gaps in time; keep them, a missing value needs no care here")
        model, x = named(lds, loaded.x.shape[1]), sequences(loaded.x, loaded.lengths)
        folder = out_dir or unused(Path("results") / f"{loaded.name}-{lds.replace('=', '')}")
        check_free(folder, overwrite=overwrite)
        with stages, second_process(len(chosen)) as executor:
            result = compare_dynamics(
                x,
                model,
                rng=np.random.default_rng(seed),
                methods=chosen,
                features=loaded.features,
                index=loaded.index.tolist(),
                name=loaded.name,
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
    end(result, folder, report, open_)
