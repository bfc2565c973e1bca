"""Run simulations: draw parameters and data from the prior, rank the truth among the draws of each method, keep the ranks.

Parameters theta' are drawn from the prior, data x from them, and L draws theta_l from what a method gives as p(theta | x). If
it is that posterior, the rank of f(theta', x) among the f(theta_l, x) is uniform on 0..L, whatever the scalar f (Talts,
Betancourt, Simpson, Vehtari & Gelman 2018, arXiv:1804.06788, theorem 1), and so an interval between two of the draws has the
coverage that it states.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mixtures.errors import ConvergenceWarning, reason_of
from reports.comparison.capacity import FIT, check_fits, check_workers
from reports.comparison.manifest import describe_model
from reports.comparison.results import ResultsError
from reports.studies.calibration.posteriors import POSTERIORS, Sample
from reports.studies.calibration.prior import METHODS, Problem, Settings, draw, model
from reports.studies.calibration.quantities import quantities
from reports.studies.cells import Cells
from reports.studies.folder import CELLS, check_study, saved, write_manifest
from reports.studies.workers import Task, Tell, measure_all

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 3
STUDY, WHAT = "calibration", "a calibration"
"""Of the simulations: one more whenever the same one would come out otherwise."""

FEWEST = 20
"""Simulations of which each is one twentieth: with fewer no share could be 95%."""

COLUMNS = {
    "simulation": "int64",
    "method": "string",
    "quantity": "string",
    "truth": "float64",
    "rank": "int64",
    "converged": "float64",
    "ess": "float64",
    "lost": "float64",
    "seconds": "float64",
    "failure": "string",
}


class Asked(Protocol):
    """What all settings of a calibration say: which methods, among how many draws a truth is ranked, and the seed."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Their names."""
        ...

    @property
    def draws(self) -> int:
        """L."""
        ...

    @property
    def seed(self) -> int:
        """Of all randomness."""
        ...


@dataclass(frozen=True)
class Calibration[S: Asked]:
    """Simulations that are finished.

    Parameters
    ----------
    settings : Settings
    table : DataFrame
        One row for each simulation, method and quantity: the ``truth``, its ``rank`` in 0..L, whether the method
        ``converged``, the ``ess`` and ``lost`` of `reports.studies.calibration.posteriors.Sample`, ``seconds``; where the
        method failed, the ``failure`` in the place of a rank.
    manifest : dict
    """

    settings: S
    table: pd.DataFrame
    manifest: dict[str, Any]

    @property
    def simulations(self) -> int:
        """How many there are."""
        return int(self.table["simulation"].nunique())

    @property
    def failed(self) -> list[str]:
        """The methods that failed in every simulation."""
        answers = self.table.groupby("method")["rank"].count()
        return [method for method in self.settings.methods if answers[method] == 0]


def check(settings: Settings, folder: Path, simulations: int) -> None:
    """Refuse too few simulations, and a folder that holds anything but simulations of the same kind as these.

    Raises
    ------
    ValueError
        If there are too few.
    ResultsError
        If the folder cannot be used.
    """
    if simulations < FEWEST:
        raise ValueError(f"simulations is {simulations}, too few to judge an interval by; expected at least {FEWEST}")
    k, d = settings.n_components, settings.dimension
    ranks = len(settings.methods) * k * (1 + d + d * (d + 1) // 2)
    check_fits(simulations, "simulations", "ask for fewer with --simulations", each=FIT + 100 * ranks)
    manifest = check_study(folder, STUDY, WHAT, FORMAT)
    if manifest is None or not any((folder / CELLS).glob("*.parquet")):  # stopped before its first simulation
        return
    written = manifest.get("settings")
    if not isinstance(written, dict):
        raise ResultsError(f"the manifest of {folder} is damaged: it has no settings; give another folder with --out")
    for name, value in json.loads(json.dumps(asdict(settings))).items():
        there = written.get(name, 0 if name == "sequences" else None)  # which earlier ones do not have
        if name != "methods" and there != value:
            raise ResultsError(
                f"{folder} holds a calibration with {name} = {there}, not {value}; go on with its own settings, or give "
                "another folder with --out"
            )


def calibrate(
    settings: Settings,
    folder: Path,
    *,
    simulations: int = 200,
    workers: int = 1,
    scheduler: str | None = None,
    command: str = "",
    tell: Tell = lambda *_: None,
) -> Calibration[Settings]:
    """Run the simulations that the folder does not have yet, and return all that were asked for.

    Parameters
    ----------
    settings : Settings
    folder : Path
        See `check`. Each simulation is a file of its own, written when it is finished; more simulations, and methods, are
        added to those that are there.
    simulations : int
        How many there are to be. The first of them are the same however many.
    workers, scheduler, tell
        See `reports.studies.workers.measure_all`. The numbers do not depend on the workers.
    command : str
        For the report.

    Raises
    ------
    ValueError, ResultsError
        See `check` and `reports.studies.workers.measure_all`.
    """
    check(settings, folder, simulations)
    check_workers(workers)
    facts = {
        "settings": asdict(settings),
        "simulations": simulations,
        "command": command,
        "model": describe_model(*model(settings)),
    }
    manifest = write_manifest(folder, STUDY, FORMAT, facts)
    cells = Cells(folder / CELLS, COLUMNS)
    there = cells.read()
    tasks = missing(settings, simulations, set(zip(there["simulation"], there["method"], strict=True)))
    measure_all(
        simulation, tasks, cells, simulations, workers=workers, scheduler=scheduler, what="simulations", tell=tell
    )
    return Calibration(settings, select(settings, simulations, cells.read() if tasks else there), manifest)


def load(folder: Path) -> Calibration[Settings]:
    """The simulations that a folder has, those of the last run that wrote there.

    Raises
    ------
    ResultsError
        If it has none, or is damaged.
    """
    from reports.studies import schema

    settings, simulations, manifest = saved(folder, STUDY, WHAT, FORMAT, schema.Calibration, Settings, "simulations")
    if not all(map(schema.is_numeric, manifest["model"]["prior"].values())):
        raise ResultsError(f"the manifest of {folder} is damaged (model.prior is not of numbers)")
    return Calibration(settings, select(settings, simulations, Cells(folder / CELLS, COLUMNS).read()), manifest)


def missing(settings: Settings, simulations: int, done: set[tuple[int, str]]) -> list[Task]:
    """A task for every simulation that lacks a method: those that it lacks."""
    tasks = []
    for number in range(simulations):
        if lacks := tuple(method for method in settings.methods if (number, method) not in done):
            tasks.append(Task(f"{number:06d}-{'-'.join(lacks)}", (settings, number, lacks)))
    return tasks


def select(settings: Asked, simulations: int, table: pd.DataFrame) -> pd.DataFrame:
    """The rows that were asked for, each once, in an order of their own."""
    own = table[table["method"].isin(settings.methods) & (table["simulation"] < simulations)]
    return own.drop_duplicates(["simulation", "method", "quantity"]).sort_values(
        ["simulation", "method"], kind="stable", ignore_index=True
    )


def simulation(settings: Settings, number: int, methods: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of some methods in one simulation; it has random numbers of its own, and each method too.

    One thread does it, so that the number of workers changes no digit.
    """
    from threadpoolctl import threadpool_limits

    try:
        with threadpool_limits(1):
            problem = draw(settings, _rng(settings, number, 0))
            truth = quantities(
                *problem.posed, problem.weights[None], {name: v[None] for name, v in problem.theta.items()}
            )
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        raise ResultsError(
            f"the prior drew parameters that a float cannot hold ({error}); give a less extreme --nu0, --beta0, "
            "--concentration or --alpha"
        ) from error
    rows: list[dict[str, Any]] = []
    with threadpool_limits(1), warnings.catch_warnings():
        for kind in (ConvergenceWarning, RuntimeWarning):  # the rows say what did not converge, or failed
            warnings.simplefilter("ignore", kind)
        for method in methods:
            began = time.perf_counter()
            outcomes = _outcomes(problem, truth, method, _rng(settings, number, 1 + METHODS.index(method)))
            common = {"simulation": number, "method": method, "seconds": time.perf_counter() - began}
            rows += [
                common | {"quantity": name, "truth": float(truth[name][0])} | outcome
                for name, outcome in zip(truth, outcomes, strict=True)
            ]
    return rows


def _outcomes(
    problem: Problem, truth: Mapping[str, np.ndarray], method: str, rng: np.random.Generator
) -> Iterable[dict[str, Any]]:
    """What came of one method, a quantity at a time."""
    try:
        sample = POSTERIORS[method](problem, rng)
        found = ranks(problem, truth, sample, rng)
    except Exception as error:  # whatever a method raises, the others go on and the page counts it
        return [{"failure": reason_of(error)}] * len(truth)
    about = {"converged": float(sample.converged), "ess": sample.ess, "lost": sample.lost}
    return [about | {"rank": rank} for rank in found]


def ranks(problem: Problem, truth: Mapping[str, np.ndarray], sample: Sample, rng: np.random.Generator) -> list[int]:
    """How many draws are below the truth in each quantity; among equals its place is random."""
    found = quantities(*problem.posed, sample.weights, sample.theta)
    return [rank(truth[name][0], v, rng) for name, v in found.items()]


def rank(truth: float, values: np.ndarray, rng: np.random.Generator) -> int:
    """How many of the values (L,) are below the truth; among equals its place is random."""
    return int(np.sum(values < truth) + rng.integers(np.sum(values == truth) + 1))


def _rng(settings: Settings, number: int, stream: int) -> np.random.Generator:
    """The random numbers of one simulation's data (stream 0), or of one method in it."""
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=(number, stream)))
