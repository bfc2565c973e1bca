"""Run the verdict on methods of which it is known whether they are right, and keep what it says.

For every problem and seed, data are drawn, the exact posterior is summed, and as many draws as a comparison keeps are taken
from it as the reference. Held against it are draws that are right (as many again, independent or in chains), a Gibbs sampler's,
and draws with a planted defect. What is counted is a *cell*: one claim about one method under one seed of one problem.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures import Fit
from mixtures.errors import ConvergenceWarning, reason_of
from mixtures.labels import align, sort_by_mean
from mixtures.methods import exact, gibbs
from reports.comparison import measure
from reports.comparison.capacity import FIT, check_fits, check_workers
from reports.comparison.catalogue import METHODS, Options
from reports.comparison.names import check_known
from reports.comparison.results import ResultsError
from reports.comparison.verdict import CLAIMS
from reports.metrics import agreement
from reports.metrics.parameters import BLOCKS
from reports.studies.cells import Cells
from reports.studies.folder import CELLS, check_study, saved, write_manifest
from reports.studies.verdicts import defects
from reports.studies.verdicts.cases import DEFECTS, Case, cases
from reports.studies.verdicts.judged import Side, verdict
from reports.studies.verdicts.problems import PROBLEMS
from reports.studies.workers import Task, Tell, measure_all

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
STUDY, WHAT = "verdicts", "a calibration of the verdict"
"""Of the cells: one more whenever the same one would come out otherwise."""

# Random numbers of one seed: each of these has its own.
STREAMS = ("data", "reference", "points", "exact", "chains", "moves", "gibbs", *DEFECTS)

# How often a chain that is right stays where it is: of its draws, one in three is effective.
STAY = 0.5

COLUMNS = {
    "problem": "string",
    "seed": "int64",
    "method": "string",
    "size": "float64",
    "coverage": "float64",
    "trusted": "float64",
    "claim": "string",
    "state": "string",
    "quantity": "string",
    "target": "string",
    "value": "float64",
    "se": "float64",
    "low": "float64",
    "high": "float64",
    "because": "string",
    "seconds": "float64",
    "failure": "string",
}


@dataclass(frozen=True)
class Settings:
    """What is run: where these are equal, the cells are the same.

    Parameters
    ----------
    seed : int
        From which the seeds of all cells follow.
    draws, chains : int
        Draws of each side, those that a comparison keeps by default.
    problems : tuple of str
        Of `PROBLEMS`; others may be added to those that are there.
    """

    seed: int = 0
    draws: int = Options.draws
    chains: int = Options.chains
    problems: tuple[str, ...] = field(default=tuple(PROBLEMS), compare=False)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; expected at least 0")
        Options(draws=self.draws, chains=self.chains)
        for problem in self.problems:
            check_known("problem", problem, PROBLEMS)


@dataclass(frozen=True)
class Verdicts:
    """Cells that are finished.

    Parameters
    ----------
    settings : Settings
    seeds : int
        How many there are of each problem.
    table : DataFrame
        A row a cell, with the columns `COLUMNS`: the defect's ``size`` and, in a parameter, the true ``coverage`` of the
        spoiled 95% interval (both missing for a method that is right), whether the method is ``trusted``, having passed the
        checks of a reference, the ``state`` and sentence of the verdict, the check that decided it, ``seconds`` of the method,
        and the ``failure`` where it failed.
    manifest : dict
    """

    settings: Settings
    seeds: int
    table: pd.DataFrame
    manifest: dict[str, Any]


def check(settings: Settings, folder: Path, seeds: int) -> None:
    """Refuse a number of seeds below 1, and a folder that holds anything but such cells.

    Raises
    ------
    ValueError
        If there is no seed.
    ResultsError
        If the folder cannot be used.
    """
    if seeds < 1:
        raise ValueError(f"simulations is {seeds}; expected at least 1 seed of each problem")
    remedy = "ask for fewer with --simulations"
    check_fits(seeds * len(settings.problems), "data sets", remedy, each=FIT * len(list(cases())))
    manifest = check_study(folder, STUDY, WHAT, FORMAT)
    if manifest is None or not any((folder / CELLS).glob("*.parquet")):  # stopped before its first cell
        return
    written = manifest.get("settings")
    if not isinstance(written, dict):
        raise ResultsError(f"the manifest of {folder} is damaged: it has no settings; give another folder with --out")
    for name, value in asdict(settings).items():
        if name != "problems" and written.get(name) != value:
            raise ResultsError(
                f"{folder} holds a calibration of the verdict with {name} = {written.get(name)}, not {value}; go on with its "
                "own settings, or give another folder with --out"
            )


def run(
    settings: Settings,
    folder: Path,
    *,
    seeds: int = 100,
    workers: int = 1,
    scheduler: str | None = None,
    command: str = "",
    tell: Tell = lambda *_: None,
) -> Verdicts:
    """Judge what the folder does not have yet, and return all that was asked for.

    Parameters
    ----------
    settings : Settings
    folder : Path
        See `check`. Each seed of a problem is a file of its own, written when it is finished; more seeds are added to those
        that are there.
    seeds : int
        How many of each problem. The first of them are the same however many.
    workers, scheduler, tell
        See `reports.studies.workers.measure_all`. The numbers do not depend on the workers.
    command : str
        For the report.

    Raises
    ------
    ValueError, ResultsError
        See `check` and `reports.studies.workers.measure_all`.
    """
    check(settings, folder, seeds)
    check_workers(workers)
    facts = {"settings": asdict(settings), "seeds": seeds, "command": command}
    manifest = write_manifest(folder, STUDY, FORMAT, facts)
    cells = Cells(folder / CELLS, COLUMNS)
    there = cells.read()
    tasks = missing(settings, seeds, set(zip(there["problem"], there["seed"], strict=True)))
    measure_all(
        judged,
        tasks,
        cells,
        seeds * len(settings.problems),
        workers=workers,
        scheduler=scheduler,
        what="data sets",
        tell=tell,
    )
    return Verdicts(settings, seeds, select(settings, seeds, cells.read() if tasks else there), manifest)


def load(folder: Path) -> Verdicts:
    """The cells that a folder has, those of the last run that wrote there.

    Raises
    ------
    ResultsError
        If it has none, or is damaged.
    """
    from reports.studies import schema

    settings, seeds, manifest = saved(folder, STUDY, WHAT, FORMAT, schema.Verdicts, Settings, "seeds")
    return Verdicts(settings, seeds, select(settings, seeds, Cells(folder / CELLS, COLUMNS).read()), manifest)


def missing(settings: Settings, seeds: int, done: set[tuple[str, int]]) -> list[Task]:
    """A task for every seed and problem that is not done, the problems in turn."""
    left = ((problem, seed) for seed in range(seeds) for problem in settings.problems)
    return [
        Task(f"{problem}-{seed:06d}", (settings, problem, seed))
        for problem, seed in left
        if (problem, seed) not in done
    ]


def select(settings: Settings, seeds: int, table: pd.DataFrame) -> pd.DataFrame:
    """The rows that were asked for, each once, in an order of their own."""
    own = table[table["problem"].isin(settings.problems) & (table["seed"] < seeds)]
    keys = ["problem", "seed", "method", "size", "claim"]
    return own.drop_duplicates(keys).sort_values(["problem", "seed"], kind="stable", ignore_index=True)


def judged(settings: Settings, problem: str, seed: int) -> list[dict[str, Any]]:
    """The cells of one seed of one problem; it has random numbers of its own, whoever computes it and on how many threads."""
    from threadpoolctl import threadpool_limits

    rows: list[dict[str, Any]] = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the verdict knows
        sides = Sides(settings, problem, seed)
        for case in cases(seed):
            began = time.perf_counter()
            outcomes = _outcomes(sides, case)
            common = {"problem": problem, "seed": seed, "seconds": time.perf_counter() - began, **case._asdict()}
            rows += [common | outcome for outcome in outcomes]
    return rows


def _outcomes(sides: Sides, case: Case) -> list[dict[str, Any]]:
    """What is said of each claim about one case, or how the case failed."""
    claims = DEFECTS[case.method].claims if case.method in DEFECTS else CLAIMS
    try:
        own, truth = sides.of(case)
        said, covered = verdict(own, truth, claims), sides.coverage(case, own)
    except Exception as error:  # whatever a method raises, the others go on and the page counts it
        return [{"claim": claim, "failure": reason_of(error)} for claim in claims]
    trusted = float(own.entry["trusted"])
    return [
        {"claim": claim, "coverage": covered.get(claim), "trusted": trusted, **_row(one)} for claim, one in said.items()
    ]


def _row(said: Mapping[str, Any]) -> dict[str, Any]:
    """The state, with the check that decided it."""
    row = {"state": said["state"], "because": said["because"]}
    if said["checks"]:
        row |= {name: said["checks"][0][name] for name in ("quantity", "target", "value", "se", "low", "high")}
    return row


class Sides:
    """The two sides of every case of one seed; what several cases share is drawn once.

    Parameters
    ----------
    settings : Settings
    problem : str
    seed : int
    """

    def __init__(self, settings: Settings, problem: str, seed: int) -> None:
        self.options = Options(draws=settings.draws, chains=settings.chains)
        self._key = settings.seed, list(PROBLEMS).index(problem), seed
        self.x, self.family, self.allocation = PROBLEMS[problem].pose(self._rng("data"))
        self.posterior = exact.fit(self.x, self.family, self.allocation)
        drawn = self._drawn("reference")
        self._labels = sort_by_mean(measure.best_draw(drawn, self.x), self.x)
        self._points = int(self._rng("points").integers(2**32))
        self.reference = self._side(drawn, self.posterior)
        self.again = self._side(self._drawn("exact"))

    def of(self, case: Case) -> tuple[Side, Side]:
        """The side that is judged, and its reference."""
        if case.size is not None:
            return Side(self._planted(case.method, case.size), self.x, self._points), self.reference
        if case.method == "against chains":
            return self.again, self.chains
        own = {"exact": lambda: self.again, "chains": lambda: self.chains, "gibbs": self._sampled}
        return own[case.method](), self.reference

    def coverage(self, case: Case, own: Side) -> dict[str, float]:
        """By block, what the spoiled 95% interval covers of the very draws that were spoiled: the truth but for their error."""
        if case.method not in ("width", "shift"):
            return {}
        rows = agreement.marginal_agreement(case.method, own.marginals, self.again.marginals)
        return {row.target: row.value for row in rows if row.metric == "coverage95" and row.target in BLOCKS}

    @cached_property
    def chains(self) -> Side:
        """Chains that are right."""
        return self._side(defects.lazy(self._drawn("chains"), STAY, self._rng("moves")))

    def _sampled(self) -> Side:
        """The Gibbs sampler, run as a comparison runs it."""
        settings = METHODS["gibbs"].settings(self.options)
        return self._side(gibbs.fit(self.x, self.family, self.allocation, rng=self._rng("gibbs"), **settings))

    def _planted(self, method: str, size: float) -> Fit:
        """Exact draws with a defect, in the same place for every size."""
        fit, rng = self.again.fit, self._rng(method)
        if method == "clusters":
            return defects.merged(fit, size, self.posterior.info["coclustering"], rng)
        return {"width": defects.narrowed, "shift": defects.shifted, "density": defects.displaced}[method](
            fit, size, rng
        )

    def _drawn(self, stream: str) -> Fit:
        return self.posterior.as_draws(self.options.chains, self.options.draws, self._rng(stream))

    def _side(self, fit: Fit, scored: Fit | None = None) -> Side:
        return Side(align(fit, self._labels, self.x).fit, self.x, self._points, scored)

    def _rng(self, stream: str) -> np.random.Generator:
        seed, *key = self._key
        return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, STREAMS.index(stream))))
