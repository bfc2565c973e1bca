"""`mixtures validate`: hold results of one's own against a trusted posterior of any PyMC model."""

from __future__ import annotations

import inspect
import shlex
import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reports.commands.compare import HEAVY, written
from reports.commands.ending import end
from reports.commands.options import (
    Open,
    check_open,
    named_paths,
    names_of,
    one_of,
    refuse,
    save_in,
    unused,
)
from reports.commands.scripts import load_script, tried
from reports.commands.stopping import outcome
from reports.commands.terminal import summarise_validation
from reports.comparison.catalogue import SAMPLERS
from reports.comparison.progress import Stages
from reports.examples import EXAMPLES
from reports.validation.catalogue import DEFAULT, OFFERED, Options

if TYPE_CHECKING:
    import pymc as pm


def validate(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="[MODEL.py]", help="A Python file that defines `model`, a pymc.Model, or `build()`."),
    ] = None,
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PATH",
            help="Add a result of your own: draws by variable name, as zarr, netCDF or .npz. Can be repeated.",
        ),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"In the place of MODEL.py a variational Bayes of a textbook, written from scratch: {', '.join(EXAMPLES)}.",
        ),
    ] = None,
    methods: Annotated[
        str, typer.Option(metavar="LIST", help=f"Comma-separated, from: {', '.join(OFFERED)}; nuts always runs.")
    ] = ",".join(DEFAULT),
    out_dir: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for the results.", show_default="results/MODEL, numbered if taken"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all randomness.")] = 0,
    draws: Annotated[int, typer.Option(help="Posterior draws kept from each chain.")] = Options.draws,
    chains: Annotated[int, typer.Option(help="Number of chains.")] = Options.chains,
    tune: Annotated[int, typer.Option(help="Steps of adaptation of each chain.")] = Options.tune,
    sampler: Annotated[str, typer.Option(metavar=one_of(SAMPLERS), help="Who runs NUTS.")] = Options.sampler,
    second_sampler: Annotated[
        str | None,
        typer.Option(metavar=one_of(SAMPLERS), help="Who runs it again; the two must agree.", show_default="nobody"),
    ] = None,
    target_accept: Annotated[float, typer.Option(help="Mean acceptance of NUTS.")] = Options.target_accept,
    advi_steps: Annotated[int, typer.Option(help="Gradient steps of ADVI.")] = Options.advi_steps,
    cache: Annotated[
        bool, typer.Option(help="Keep what is compiled, and the draws, for the next run of this model.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace earlier results in --out.")] = False,
    report: Annotated[bool, typer.Option(help="Write the page, not only the numbers.")] = True,
    open_: Open = False,
) -> None:
    """Hold results of your own against a trusted posterior of any PyMC model.

    The folder gets report.html (one self-contained page), metrics.csv, manifest.json and every method's draws as zarr. MODEL.py
    is run as Python runs it.

    Examples:

      mixtures validate model.py --add mine=draws.nc

      mixtures validate model.py --add mine=draws.npz --methods advi,laplace --second-sampler nutpie

      mixtures validate --example linear-regression
    """
    check_open(open_, report)
    import numpy as np

    from reports.comparison.beside import DRAWING_ANY_MODEL, second_process
    from reports.comparison.loading import loading, without_dask, without_numpyro, without_setuptools
    from reports.comparison.results import ResultsError, check_free

    stages, opened = Stages(after=["save"]), ExitStack()
    fits = len({*(names_of(methods) or ()), "nuts"}) + len(add or []) + (example is not None)
    helper, executor = partial(second_process, fits, DRAWING_ANY_MODEL), None
    settings: dict[str, Any] = {
        "draws": draws,
        "chains": chains,
        "tune": tune,
        "sampler": sampler,
        "second_sampler": second_sampler,
        "target_accept": target_accept,
        "advi_steps": advi_steps,
    }
    try:
        added: dict[str, Any] = dict(named_paths(add or []))
        name, source = chosen_model(model, example)
        folder = out_dir or unused(Path("results") / name)
        check_free(folder, overwrite=overwrite)
        if HEAVY not in sys.modules:  # it loads what it needs while this process does, before anything is checked
            executor = opened.enter_context(helper())
        with loading():
            from reports.api.validation import validate as hold
            from reports.validation.run import check_methods

        chosen = check_methods(names_of(methods) or (), Options(**settings))
        if isinstance(source, Path):
            built = load(source)
        else:
            built, added = source.build(), {"mine": source.fit({}, np.random.default_rng(seed))} | added
        without_dask()
        with loading():
            without_setuptools()
            without_numpyro()
            for module in FITTING:
                import_module(module)
        executor = executor or opened.enter_context(helper())
        with stages:
            result = hold(
                built,
                added,
                rng=np.random.default_rng(seed),
                methods=[method for method in chosen if method in OFFERED],
                name=name,
                facts={
                    "command": shlex.join(["mixtures", *sys.argv[1:]]),
                    "seed": seed,
                    "source": str(model or "example"),
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
        # What is given is checked before the model has been read; a ValueError after that is a defect and keeps its traceback.
        if stages.stages.get("model") and stages.stages["model"].ended is not None:
            raise
        refuse(error)
    finally:
        opened.close()
    summarise_validation(result)
    end(result, folder, report, open_)


FITTING = ("pymc.sampling.jax", "reports.validation.measure", "zarr.storage")
"""What a run loads once there is a model."""


def chosen_model(model: Path | None, example: str | None) -> tuple[str, Path | ModuleType]:
    """What the results are called, and the file of the model or the module of the example.

    Raises
    ------
    ValueError
        If neither or both are given, or there is no such example.
    """
    from reports.comparison.loading import loading
    from reports.comparison.names import check_known

    if (model is None) == (example is None):
        raise ValueError("expected either a file MODEL.py or --example NAME" + ("" if model is None else ", not both"))
    if example is None:
        assert model is not None
        return model.stem, model
    check_known("example", example, EXAMPLES)
    with loading():
        return example, import_module(EXAMPLES[example])


def load(path: Path) -> pm.Model:
    """The model that a Python file defines. What the file raises is shown as Python shows it, from its own first line on.

    Raises
    ------
    ValueError
        If there is no such file, or it defines no model.
    """
    import pymc as pm

    module = load_script(path)
    model, build = (getattr(module, name, None) for name in ("model", "build"))
    found = "`model`"
    if model is None and callable(build):
        check_without_arguments(build, path)
        model, found = tried(build), "what `build()` returns"
    elif model is None:
        raise ValueError(f"{path} defines no `model` and no `build()`; expected {EXPECTED}")
    if not isinstance(model, pm.Model):
        raise ValueError(f"in {path}, {found} is of type {type(model).__name__}; expected {EXPECTED}")
    return model


EXPECTED = "`model`, a pymc.Model, or `build()`, which returns one"


def check_without_arguments(build: Callable[..., Any], path: Path) -> None:
    """Refuse a function that cannot be called without arguments.

    Raises
    ------
    ValueError
    """
    try:
        inspect.signature(build).bind()
    except TypeError as error:
        raise ValueError(
            f"build in {path} cannot be called without arguments ({error}); expected build() or build(data=None)"
        ) from error
