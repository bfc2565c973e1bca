"""Run simulations of a model: every method fits the same data sets, and the truth of each is ranked among its draws.

The theory is that of `reports.studies.calibration.study`; here the model is any PyMC model, and the methods are the user's own.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sysconfig
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.errors import reason_of
from reports.comparison.capacity import FIT, check_fits, check_workers
from reports.comparison.names import check_known
from reports.comparison.results import ResultsError
from reports.studies.calibration.prior import DIVISIBLE
from reports.studies.calibration.study import COLUMNS, FEWEST, Calibration, rank, select
from reports.studies.cells import Cells
from reports.studies.folder import CELLS, check_study, saved, write_manifest
from reports.studies.own.generative import Build, Draw, Generative, Possible, digest, holding
from reports.studies.own.ours import Ours
from reports.studies.own.quantities import Quantity, check_quantities, names, quantities
from reports.studies.own.sample import Outcome, Sample, thinned
from reports.studies.workers import Task, Tell, measure_all

if TYPE_CHECKING:
    from reports.validation.target import Target

FORMAT = 1
"""Of the simulations: one more whenever the same one would come out otherwise."""

STUDY, WHAT = "calibration-model", "a calibration of a model"

OURS = ("nuts", "advi", "advi-fullrank")
"""Methods that are here already, compiled once for all data sets."""

Fit = Callable[[Mapping[str, np.ndarray], np.random.Generator], Any]
"""From the data by name and random numbers to what `reports.validate` takes: draws by name, or something to draw from."""


@dataclass(frozen=True)
class Settings:
    """What the simulations are; where these are equal, they are the same, whatever the methods.

    Parameters
    ----------
    methods : tuple of str
        Names of the user's, then of `OURS`.
    own : tuple of str
        Those that are the user's.
    seed : int
    draws : int
        L, the number of draws among which a truth is ranked; one less than a multiple of 40.
    quantities : tuple of str
        Names of the user's.
    model : str
        A hash of what the prior drew first.
    code : dict of str
        By the user's methods, a hash of the file that they are written in.
    """

    methods: tuple[str, ...] = field(compare=False)
    own: tuple[str, ...] = field(compare=False)
    seed: int
    draws: int
    quantities: tuple[str, ...]
    model: str
    code: dict[str, str]

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError("no method")
        for method in self.methods:
            check_known("method", method, (*self.own, *OURS))


@dataclass(frozen=True)
class Problem:
    """A model, the fits of the user's own, and the quantities; what workers are handed.

    Parameters
    ----------
    build : callable
        Without arguments, to a pm.Model.
    fits : mapping of str to callable
        By the names of the user's methods.
    quantities : mapping of str to callable
        See `reports.studies.own.quantities.Quantity`.
    ranked : tuple of str, optional
        The variables whose entries are ranked too; by default all.
    facts : mapping
        What the manifest says of the model beside its text.
    possible : callable, optional
        From the variables by name at one draw of the prior to whether the prior has it; the others are passed over.
    """

    build: Build
    fits: Mapping[str, Fit]
    quantities: Mapping[str, Quantity]
    ranked: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    possible: Possible | None = None


def calibrate(
    problem: Problem,
    folder: Path,
    *,
    simulations: int = 200,
    methods: Sequence[str] = (),
    draws: int = 199,
    seed: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    command: str = "",
    tell: Tell = lambda *_: None,
) -> Calibration[Settings]:
    """Run the simulations that the folder does not have yet, and return all that were asked for.

    Parameters
    ----------
    problem : Problem
    folder : Path
        Each simulation is a file of its own, written when it is finished; more simulations, and methods, are added to those
        that are there.
    simulations : int
        How many there are to be. The first of them are the same however many.
    methods : sequence of str
        Of `OURS`, beside the user's own.
    draws, seed : int
        See `Settings`.
    workers, scheduler, tell
        See `reports.studies.workers.measure_all`. The numbers do not depend on the workers.
    command : str
        For the report.

    Raises
    ------
    ValueError
        If an argument is outside its range, or data cannot be drawn from the model.
    ResultsError
        If the folder cannot be used, or the workers are lost; what was finished is kept.
    """
    check(problem, simulations, methods, draws, seed)
    check_workers(workers)
    check_fits(simulations, "simulations", "ask for fewer with --simulations")
    generative = Generative(problem.build, problem.ranked)
    truths = generative.draw(simulations, seed, problem.possible)
    ranked = names(generative, truths[0], problem.quantities)
    check_quantities(problem.quantities, names(generative, truths[0], {}), truths[0])
    own = tuple(problem.fits)
    settings = Settings(
        tuple(dict.fromkeys((*own, *methods))),
        own,
        seed,
        draws,
        tuple(problem.quantities),
        digest(truths[0]),
        {name: source(fit) for name, fit in problem.fits.items()},
    )
    ranks = len(settings.methods) * len(ranked)
    check_fits(simulations, "simulations", "ask for fewer with --simulations", each=FIT + 100 * ranks)
    check_folder(settings, folder)
    facts = {
        "settings": asdict(settings),
        "simulations": simulations,
        "command": command,
        "model": {"text": generative.text, "free": generative.free, "observed": generative.observed}
        | dict(problem.facts),
        "quantities": ranked,
    }
    manifest = write_manifest(folder, STUDY, FORMAT, facts)
    cells = Cells(folder / CELLS, COLUMNS)
    there = cells.read()
    done = set(zip(there["simulation"], there["method"], strict=True))
    tasks = []
    for number, truth in enumerate(truths):
        if lacks := tuple(method for method in settings.methods if (number, method) not in done):
            name = f"{number:06d}-{zlib.crc32(' '.join(lacks).encode()):08x}"
            tasks.append(Task(name, (problem, settings, number, truth, lacks)))
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

    settings, simulations, manifest = saved(folder, STUDY, WHAT, FORMAT, schema.OwnCalibration, Settings, "simulations")
    return Calibration(settings, select(settings, simulations, Cells(folder / CELLS, COLUMNS).read()), manifest)


def check(problem: Problem, simulations: int, methods: Sequence[str], draws: int, seed: int) -> None:
    """Refuse arguments that are out of range, and names that are not known.

    Raises
    ------
    ValueError
    """
    if simulations < FEWEST:
        raise ValueError(f"simulations is {simulations}, too few to judge an interval by; expected at least {FEWEST}")
    if not problem.fits and not methods:
        raise ValueError(f"no method given: a fit of your own, or methods of {', '.join(OURS)}")
    for method in methods:
        check_known("method", method, OURS)
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected at least 0")
    if draws < 1 or (draws + 1) % DIVISIBLE:
        raise ValueError(f"draws is {draws}; expected one less than a multiple of {DIVISIBLE}, such as 199")


def check_folder(settings: Settings, folder: Path) -> None:
    """Refuse a folder that holds anything but simulations of the same kind as these.

    Raises
    ------
    ResultsError
    """
    manifest = check_study(folder, STUDY, WHAT, FORMAT)
    if manifest is None or not any((folder / CELLS).glob("*.parquet")):  # stopped before its first simulation
        return
    written = manifest.get("settings")
    if not isinstance(written, dict):
        raise ResultsError(f"the manifest of {folder} is damaged: it has no settings; give another folder with --out")
    if written.get("model") != settings.model and written.get("seed") == settings.seed:
        raise ResultsError(
            f"{folder} holds a calibration of another model, or of this one with other priors or data; give another folder "
            "with --out"
        )
    for name, value in json.loads(json.dumps(asdict(settings))).items():
        if name not in ("methods", "own", "code") and written.get(name) != value:
            raise ResultsError(
                f"{folder} holds a calibration with {name} = {written.get(name)}, not {value}; go on with its own settings, or "
                "give another folder with --out"
            )
    for name, code in settings.code.items():
        if written.get("code", {}).get(name, code) != code:
            raise ResultsError(
                f"the file of {name!r} has changed since its simulations in {folder}: delete that folder, or give another with "
                "--out"
            )


def source(fit: Fit) -> str:
    """A hash of the file that a function is written in, or else of its own lines; "" where neither can be found."""
    while isinstance(fit, partial):
        fit = fit.func
    try:
        path = Path(inspect.getfile(fit))
        text = path.read_bytes() if path.is_file() else inspect.getsource(fit).encode()
    except (TypeError, OSError):
        return ""
    return hashlib.sha256(text).hexdigest()[:16]


def simulation(
    problem: Problem, settings: Settings, number: int, truth: Draw, methods: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of some methods in one simulation; each method has random numbers of its own.

    One thread does it, so that the number of workers changes no digit.
    """
    from threadpoolctl import threadpool_limits

    rows: list[dict[str, Any]] = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the user's method, many times the same; the rows say what failed
        model = prepared(problem, settings, truth.data)
        given = {name: np.asarray(value)[None] for name, value in truth.values.items()}
        true = {name: v[0] for name, v in quantities(model.generative, given, truth.data, problem.quantities).items()}
        for method in methods:
            rng = np.random.default_rng(
                np.random.SeedSequence(settings.seed, spawn_key=(number, zlib.crc32(method.encode())))
            )
            began = time.perf_counter()
            outcomes = _outcomes(problem, model, truth, true, method, rng)
            common = {"simulation": number, "method": method, "seconds": time.perf_counter() - began}
            rows += [common | {"quantity": name, "truth": float(true[name])} | outcome for name, outcome in outcomes]
    return rows


def _outcomes(
    problem: Problem,
    model: Prepared,
    truth: Draw,
    true: Mapping[str, float],
    method: str,
    rng: np.random.Generator,
) -> Iterable[tuple[str, dict[str, Any]]]:
    """What came of one method, by quantity: those that it has."""
    try:
        sample = sampled(problem, model, truth.data, method, rng)
        about = {"converged": float(sample.converged), "ess": sample.ess}
        found = [(name, about | {"rank": rank(true[name], v, rng)}) for name, v in sample.quantities.items()]
    except Exception as error:  # whatever a method raises, the others go on and the page counts it
        return [(name, {"failure": said(error)}) for name in true]
    return found


def sampled(
    problem: Problem, model: Prepared, data: Mapping[str, np.ndarray], method: str, rng: np.random.Generator
) -> Sample:
    """The draws of one method given one data set."""
    if method in problem.fits:
        from reports.validation.results import as_result

        given = {name: np.array(value) for name, value in data.items()}  # a copy each: a fit may change its own
        joined = as_result(method, problem.fits[method](given, rng), model.target, rng=rng, draws=model.draws)
        outcome = Outcome(joined.values, joined.independent, joined.converged is not False)
    else:
        outcome = model.ours.fit(method, data, rng)
    return thinned(outcome, model.generative, data, problem.quantities, model.draws)


def said(error: Exception) -> str:
    """An error in one line, with the place in the user's own file at which it was raised or on its way."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(Path(f.filename).is_relative_to(folder) for folder in NOT_OWN)]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{reason_of(error).splitlines()[0]}{place}"


NOT_OWN = (Path(__file__).parents[2], *{Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")})


class Prepared:
    """A model as a study needs it, with what is compiled for it when it is first asked for."""

    def __init__(self, problem: Problem, draws: int, data: Mapping[str, np.ndarray]) -> None:
        self.generative, self.draws, self._data = Generative(problem.build, problem.ranked), draws, data

    @cached_property
    def target(self) -> Target:
        """What results are checked against: their names, shapes and supports, which do not depend on the data.

        Those of the model may be impossible under it; some that were drawn are not.
        """
        from reports.validation.target import Target

        return Target.of(holding(self.generative.model, self._data))

    @cached_property
    def ours(self) -> Ours:
        """NUTS and ADVI."""
        return Ours(self.generative, self.draws)


_prepared: dict[str, Prepared] = {}


def prepared(problem: Problem, settings: Settings, data: Mapping[str, np.ndarray]) -> Prepared:
    """The model of a study, made once in this process."""
    key = f"{settings.model}-{settings.draws}"
    if key not in _prepared:
        _prepared.clear()
        _prepared[key] = Prepared(problem, settings.draws, data)
    return _prepared[key]
