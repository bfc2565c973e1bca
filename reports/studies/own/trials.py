"""Does the toolkit find the faults of `planted`, and pass what has none? Many trials, counted.

Three parts, each kept in the folder as it comes in:

- one calibration of all methods on the same data sets, as `mixtures calibrate` runs it
- many calibrations of the exact sampler, each on data sets of its own
- many validations: on data sets drawn from the prior every method is held against exact draws, as `reports.validate` does
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from reports.comparison.capacity import check_fits
from reports.comparison.results import ResultsError
from reports.studies.calibration.judgement import Band
from reports.studies.calibration.study import Calibration
from reports.studies.cells import Cells
from reports.studies.folder import check_study, write_manifest
from reports.studies.own import planted, study
from reports.studies.own.departures import FALSE_ALARMS, departures
from reports.studies.workers import Task, Tell, measure_all

if TYPE_CHECKING:
    from reports.validation.target import Target

FORMAT = 1
STUDY, WHAT = "planted-faults", "trials of planted faults"
CALIBRATION, TRIALS = "calibration", "trials"
"""Folders of the parts."""

SIMULATIONS = 100
"""Data sets of each calibration of the exact sampler."""

DRAWS = 199
"""Among which a truth is ranked."""

CHAINS = 4

COLUMNS = {
    "part": "string",
    "trial": "int64",
    "method": "string",
    "checks": "string",
    "verdict": "string",
    "fault": "string",
    "where": "string",
}


@dataclass(frozen=True)
class Trials:
    """What was found.

    Parameters
    ----------
    calibration : Calibration
        Of all methods on the same data sets.
    table : DataFrame
        A row a trial and method: the ``part`` ("calibrate", "validate"), the ``checks`` of a calibration that differ, the
        ``verdict`` of a validation, the ``fault`` that it names and ``where``.
    """

    calibration: Calibration[study.Settings]
    table: pd.DataFrame


def run(
    folder: Path,
    *,
    simulations: int = 1000,
    trials: int = 100,
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    command: str = "",
    tell: Tell = lambda *_: None,
) -> Trials:
    """Run what the folder does not have yet.

    Parameters
    ----------
    folder : Path
    simulations : int
        Data sets of the calibration of all methods.
    trials : int
        Calibrations of the exact sampler, and validations.
    seed : int
    workers, scheduler, tell
        See `reports.studies.workers.measure_all`.
    command : str
        For the report.

    Raises
    ------
    ValueError, ResultsError
        See `reports.studies.own.study.calibrate`.
    """
    check_study(folder, STUDY, WHAT, FORMAT)
    check_fits(simulations, "simulations", "ask for fewer with --simulations")
    write_manifest(folder, STUDY, FORMAT, {"command": command, "seed": seed})
    total = simulations + 2 * trials
    options: dict[str, Any] = {"workers": workers, "scheduler": scheduler}
    problem = study.Problem(planted.build, planted.fits(DRAWS), {})
    calibration = study.calibrate(
        problem,
        folder / CALIBRATION,
        simulations=simulations,
        seed=seed,
        draws=DRAWS,
        command=command,
        tell=lambda done, _: tell(done, total),
        **options,
    )
    cells = Cells(folder / TRIALS, COLUMNS)
    there = cells.read()
    done = set(zip(there["part"], there["trial"], strict=True))
    tasks = [
        Task(f"{part}-{number:06d}", (part, seed, number))
        for part in PARTS
        for number in range(trials)
        if (part, number) not in done
    ]
    measure_all(
        trial, tasks, cells, 2 * trials, what="trials", tell=lambda done, _: tell(simulations + done, total), **options
    )
    table = cells.read()
    return Trials(calibration, table[table["trial"] < trials].sort_values(["part", "trial"], ignore_index=True))


def load(folder: Path) -> Trials:
    """The trials that a folder has.

    Raises
    ------
    ResultsError
        If it has none, or is damaged.
    """
    table = Cells(folder / TRIALS, COLUMNS).read()
    if check_study(folder, STUDY, WHAT, FORMAT) is None or set(table["part"]) != set(PARTS):
        raise ResultsError(f"{folder} has no trials of every part yet; run `mixtures calibrate --planted-faults` there")
    return Trials(study.load(folder / CALIBRATION), table.sort_values(["part", "trial"], ignore_index=True))


def trial(part: str, seed: int, number: int) -> list[dict[str, Any]]:
    """The rows of one trial, which has random numbers of its own."""
    from threadpoolctl import threadpool_limits

    key = (list(PARTS).index(part), number)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    with threadpool_limits(1):
        return [{"part": part, "trial": number} | row for row in PARTS[part](rng)]


def calibrated(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """One calibration of the exact sampler."""
    settings = study.Settings((planted.RIGHT,), (planted.RIGHT,), int(rng.integers(2**31)), DRAWS, (), "planted", {})
    problem = study.Problem(planted.build, planted.fits(DRAWS), {})
    truths = study.prepared(problem, settings, {"y": np.zeros(planted.N)}).generative.draw(SIMULATIONS, settings.seed)
    rows = [
        row
        for number, truth in enumerate(truths)
        for row in study.simulation(problem, settings, number, truth, settings.methods)
    ]
    ranks = pd.DataFrame(rows).pivot(index="simulation", columns="quantity", values="rank")
    found = departures({str(q): v.to_numpy(int) for q, v in ranks.items()}, DRAWS, _band(ranks.shape), rng)
    yield {"method": planted.RIGHT, "checks": " ".join(found)}


@cache
def _band(shape: tuple[int, int]) -> Band:
    S, Q = shape
    return Band.of(S, DRAWS, np.random.default_rng(0), FALSE_ALARMS / 3 / Q)


def validated(rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Every method against exact draws, on one data set."""
    from reports.validation.measure import measure
    from reports.validation.results import as_result

    target = _target()
    truth = planted.PRIOR.draw(1, rng)
    noise = rng.standard_normal(planted.N) / np.sqrt(truth["tau"][0])
    posterior = planted.Posterior.of(planted.X @ truth["beta"][0] + noise)
    exact = posterior.draw(planted.DRAWS, rng)
    chains = {name: v.reshape(CHAINS, -1, *v.shape[1:]) for name, v in exact.items()}
    joined = {"nuts": as_result("nuts", chains, target, rng=rng)}
    for name, fault in planted.FAULTS.items():
        joined[name] = as_result(name, fault(posterior, planted.DRAWS, rng), target, rng=rng)
    facts = measure(joined, target, rng).facts
    for name in planted.FAULTS:
        states = {claim["state"] for claim in facts["verdict"][name].values()}
        verdict = next(state for state in ("differs", "cannot tell", "agrees") if state in states)
        named = facts["faults"].get(name) or {}
        yield {"method": name, "verdict": verdict, "fault": named.get("kind", ""), "where": named.get("where", "")}


@cache
def _target() -> Target:
    """The model with other data: what is looked at here depends on draws alone."""
    from reports.validation.target import Target

    return Target.of(planted.build())


PARTS = {"calibrate": calibrated, "validate": validated}


def named_right(row: Any) -> bool:
    """Whether a row of a validation names the fault of its method, or none where it has none."""
    if row.method == planted.RIGHT:
        return bool(row.fault == "")
    kind, where = planted.NAMED[row.method]
    return bool(row.fault == kind and (where is None or row.where == where))
