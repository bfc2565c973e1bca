"""What a run takes at least: memory by what was asked for, so that what cannot be is refused before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Collection

from mixtures.checks import check_whole
from mixtures.datasets.dataset import counted
from mixtures.memory import check_memory
from reports.comparison.catalogue import METHODS, Options

# Bytes: of a number, of a worker with what it has imported, and of a fit's task, row and place in tables.
NUMBER, WORKER, FIT = 8, 150e6, 1000

# How often the draws of a method are held at once: as they were drawn, aligned, in the units of the data.
COPIES = 3

# Numbers of clusters of which one is chosen.
MOST_CANDIDATES = 10_000


def check_comparison(d: int, k: int, methods: Collection[str], options: Options, each: int | None = None) -> None:
    """Refuse a comparison whose draws or starts memory cannot hold.

    Parameters
    ----------
    d, k : int
        D and K.
    each : int, optional
        How many numbers theta has for one cluster; by default those of means and covariances.
    methods : collection of str
    options : Options

    Raises
    ------
    ValueError
    """
    drawn = sum(METHODS[method].kind != "point" for method in methods)
    one = NUMBER * k * (1 + (d + d * d if each is None else each))  # the weights too; matrices are saved whole
    free = d + d * (d + 1) // 2 if each is None else each
    check_memory(
        COPIES * drawn * options.chains * options.draws * one,
        f"{options.chains:,} chains of {options.draws:,} draws of {counted(drawn, 'method')} (K = {k}, {d:,} features)",
        "ask for fewer with --draws or --chains, or use fewer columns",
    )
    check_starts(options.restarts, k, d)
    if "nuts" in methods:
        steps = METHODS["nuts"].settings(options)["tune"] + options.draws
        check_memory(
            NUMBER * options.chains * steps * k * (1 + free),
            f"{options.chains:,} chains of {steps:,} steps",
            "ask for fewer",
        )
    check_memory(NUMBER * options.advi_steps, f"{options.advi_steps:,} steps of ADVI", "ask for fewer")


def check_validation(size: int, methods: int, chains: int, draws: int, tune: int, advi_steps: int) -> None:
    """Refuse a validation whose draws memory cannot hold.

    Parameters
    ----------
    size : int
        Numbers of one draw.
    methods : int
        How many, those that were added too.
    chains, draws, tune, advi_steps : int
        See `reports.validation.catalogue.Options`.

    Raises
    ------
    ValueError
    """
    check_memory(
        COPIES * NUMBER * methods * chains * draws * size,
        f"{chains:,} chains of {draws:,} draws of {counted(methods, 'method')} ({counted(size, 'number')} each)",
        "ask for fewer with --draws or --chains",
    )
    check_memory(
        NUMBER * chains * (tune + draws) * size, f"{chains:,} chains of {tune + draws:,} steps", "ask for fewer"
    )
    check_memory(NUMBER * advi_steps, f"{advi_steps:,} steps of ADVI", "ask for fewer")


def check_starts(restarts: int, k: int, d: int) -> None:
    """Refuse more starts of EM and CAVI than memory can hold.

    Raises
    ------
    ValueError
    """
    check_memory(NUMBER * restarts * k * (1 + d), f"{restarts:,} starts", "ask for fewer with --restarts")


def check_fits(number: int, what: str, remedy: str, *, each: float = FIT) -> None:
    """Refuse more fits, simulations or cells, each of which takes so many bytes in tables, than memory can hold.

    Raises
    ------
    ValueError
    """
    check_memory(number * each, f"{number:,} {what}", remedy)


def check_workers(workers: int) -> None:
    """Refuse no process, and more than memory can hold.

    Raises
    ------
    ValueError
    """
    check_whole("workers", workers)
    if workers < 1:
        raise ValueError(f"workers is {workers}; expected at least 1")
    remedy = f"give fewer with --workers; this machine has {os.cpu_count()} cores"
    check_memory(WORKER * (workers - 1), f"{workers:,} processes", remedy)
