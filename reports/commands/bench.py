"""`mixtures bench`: measure this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mixtures import COVARIANCES
from reports.commands.options import one_of, refuse, relative, unused
from reports.commands.stopping import outcome
from reports.commands.terminal import out, say
from reports.comparison.catalogue import SAMPLERS, Options
from reports.comparison.progress import Parts

# Measurements of which a median has settled long since.
MOST_REPEATS = 10_000

MAP_CELL = "1e7x10x10"


def bench(
    covariance: Annotated[
        str,
        typer.Option(
            metavar="LIST", help=f"Comma-separated, from: {', '.join(COVARIANCES)}; or all, four times as long."
        ),
    ] = "full",
    cells: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Comma-separated, rows x features x clusters.",
            show_default="1e3x2x3,1e5x2x5,1e5x10x10,1e6x2x5,2e5x20x20,5e4x50x10; others with --device",
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_REPEATS,
            help="Number of measurements per median, fewer where they are slow; with --nuts, of rounds.",
            show_default="5, with --nuts 1",
        ),
    ] = None,
    optimum: Annotated[
        bool | None,
        typer.Option(
            "--optimum/--no-optimum",
            help="Measure the time to the optimum; each large cell takes minutes.",
            show_default="small cells alone",
        ),
    ] = None,
    limit: Annotated[float, typer.Option(help="Seconds allowed to scikit-learn for one optimum.")] = 120.0,
    memory: Annotated[
        bool, typer.Option(help="Measure peak private memory and compile time, each in a process of its own.")
    ] = True,
    memory_map: Annotated[
        bool,
        typer.Option(
            "--memory-map",
            help="Measure fits of a hundredth, a tenth and all of the rows of a temporary file; takes a minute or two.",
        ),
    ] = False,
    map_cell: Annotated[
        str,
        typer.Option(metavar="CELL", help="With --memory-map: its rows x features x clusters; 1e7 x 10 are 800 MB."),
    ] = MAP_CELL,
    small: Annotated[bool, typer.Option(help="Measure fits per second on many small data sets.")] = True,
    commands: Annotated[
        bool,
        typer.Option(help="Time a whole comparison, with caches empty and again, and sample by NUTS; takes a minute."),
    ] = True,
    nuts: Annotated[
        bool,
        typer.Option(
            "--nuts", help="Measure instead the effective draws per second of NUTS: our model beside the usual one."
        ),
    ] = False,
    families: Annotated[
        bool,
        typer.Option(
            "--families",
            help="Measure instead EM on binary and categorical data beside StepMix and pomegranate, and what gaps cost.",
        ),
    ] = False,
    hmm: Annotated[
        bool,
        typer.Option("--hmm", help="Measure instead EM for hidden Markov models beside hmmlearn and dynamax."),
    ] = False,
    lds: Annotated[
        bool,
        typer.Option(
            "--lds",
            help="Measure instead EM for linear dynamical systems beside dynamax, statsmodels' smoother and pykalman.",
        ),
    ] = False,
    device: Annotated[
        bool,
        typer.Option(
            "--device",
            help="Measure instead EM on the device that JAX has, beside scikit-learn's on it and beside the cores.",
        ),
    ] = False,
    dask: Annotated[
        bool,
        typer.Option(
            "--dask", help="Measure instead a pass by one and by two workers of a Dask cluster; estimate it for 1000."
        ),
    ] = False,
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="Python that has these packages, for --families, --hmm and --lds.",
            show_default="this one",
        ),
    ] = None,
    sampler: Annotated[str, typer.Option(metavar=one_of(SAMPLERS), help="Who runs --nuts.")] = Options.sampler,
    out_dir: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="Folder for the results.", show_default="results/bench, numbered if taken"),
    ] = None,
) -> None:
    """Measure this machine: time per pass, time to the optimum, peak memory and small fits, beside scikit-learn.

    The folder gets bench.csv, bench.png and bench.json (what the machine is). Two cores need a few minutes for the
    defaults; --covariance all, --optimum and --memory-map take longer. Leave the machine alone while it measures.

    Examples:

      mixtures bench

      mixtures bench --cells 1e5x2x5 --covariance all --no-memory --no-small

      mixtures bench --optimum --memory-map -o results/everything

      mixtures bench --cells 1e3x2x3 --no-memory --no-small --memory-map --map-cell 1e8x2x5

      mixtures bench --nuts --repeats 3

      mixtures bench --families --peers peers/bin/python

      mixtures bench --hmm --peers peers/bin/python

      mixtures bench --lds --peers peers/bin/python

      mixtures bench --device

      mixtures bench --dask
    """
    from reports.bench import GRID, Settings, cluster, parse_cells, parse_covariances, parse_map, run
    from reports.bench import device as card
    from reports.bench import families as discrete
    from reports.bench import hmm as chains
    from reports.bench import lds as systems
    from reports.bench import nuts as effective
    from reports.bench.tables import (
        effective_draws,
        families_beside,
        machine,
        on_cluster,
        on_device,
        sequences_beside,
        systems_beside,
        tables,
    )
    from reports.bench.turns import check_python
    from reports.comparison.results import check_empty
    from reports.plots.bench import plot_bench

    try:
        settings = Settings(
            cells=GRID if cells is None else parse_cells(cells),
            covariances=parse_covariances(covariance),
            repeats=repeats or Settings.repeats,
            optimum=optimum,
            limit=limit,
            memory=memory,
            memory_map=memory_map,
            mapped=parse_map(map_cell),
            small=small,
            commands=commands,
        )
        sampling = effective.Settings(sampler=sampler, repeats=repeats or effective.Settings.repeats)
        beside = discrete.Settings(repeats=repeats or discrete.Settings.repeats, python=peers or sys.executable)
        on_card = card.Settings(None if cells is None else settings.cells, samples=repeats or card.Settings.samples)
        hidden = (
            chains.Settings(repeats=repeats or chains.Settings.repeats, python=peers or sys.executable) if hmm else None
        )
        dynamics = systems.Settings(repeats=repeats or systems.Settings.repeats, python=peers or sys.executable)
        spread = cluster.of(None if cells is None else settings.cells, repeats) if dask else None
        if nuts + families + hmm + lds + device + dask > 1:
            raise ValueError(
                "--nuts, --families, --hmm, --lds, --device and --dask measure different things; give one of them"
            )
        of = {
            "--peers": (peers is not None, families or hmm or lds, "--families, --hmm or --lds"),
            "--sampler": (sampler != Options.sampler, nuts, "--nuts"),
            "--map-cell": (map_cell != MAP_CELL, memory_map, "--memory-map"),
        }
        for option, (given, asked, others) in of.items():
            if given and not asked:
                raise ValueError(f"{option} is of {others}; give that too, or leave it out")
        if peers is not None:
            check_python(peers)
        folder = out_dir or unused(Path("results") / "bench")
        check_empty(folder)
    except (ValueError, OSError, ImportError) as error:
        refuse(error)
    with Parts() as parts:
        if nuts:
            compared = effective.run(sampling, parts.tell)
        elif families:
            compared = discrete.run(beside, parts.tell)
        elif hidden:
            compared = chains.run(hidden, parts.tell)
        elif lds:
            compared = systems.run(dynamics, parts.tell)
        elif spread:
            compared = cluster.run(spread, parts.tell)
        elif device:
            measured = card.run(on_card, parts.tell)
        else:
            result = run(settings, parts.tell)
    numbers = f"Numbers: {relative(folder / 'bench.csv')}"
    try:
        if nuts:
            effective.save(compared, sampling, folder)
        elif families:
            discrete.save(compared, beside, folder)
        elif hidden:
            chains.save(compared, hidden, folder)
        elif lds:
            systems.save(compared, dynamics, folder)
        elif spread:
            cluster.save(compared, spread, folder)
        elif device:
            measured.save(folder)
        else:
            result.save(folder, plot_bench(result.table))
    except OSError as error:
        refuse(error)
    outcome(f"the results are in {relative(folder)}")
    if nuts or families or hmm or lds or device or dask:
        if device and not measured.facts["gpu"]:
            say("JAX sees no GPU: what follows is its pass on the CPU.")
        if device:
            shown = on_device(measured)
        elif nuts:
            shown = effective_draws(compared, sampling)
        elif lds:
            shown = systems_beside(compared)
        elif dask:
            shown = on_cluster(compared)
        else:
            shown = sequences_beside(compared) if hmm else families_beside(compared)
        for table in shown:
            out.print(table)
        say(numbers, whole=True)
        return
    for table in tables(result):
        out.print(table)
    say(machine(result))
    say(numbers, whole=True)
    say(f"Plot: {relative(folder / 'bench.png')}", whole=True)
