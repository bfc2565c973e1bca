"""An iteration of EM for hidden Markov models, ours beside hmmlearn and dynamax; whole fits; and passes over a memory map.

All sides begin with the same parameters, and after the same number of iterations theirs must have the same log likelihood,
computed by us for all of them; where one differs it has no ratio. Times are medians of runs made in turn. The others run in
processes of their own (`reports.bench.hmm_peers`), by a Python that has them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.engines.passes import one_pass
from mixtures.engines.responsibilities import fold
from mixtures.errors import CollapseError
from mixtures.methods import em
from mixtures.sequences import SequenceFit
from reports.bench import files, hmm_peers, machine
from reports.bench.chains import CHAINS, MAPPED, SMALL, Chain, Problem, pose, write
from reports.bench.measure import SAMPLE, limited
from reports.bench.processes import check_disk
from reports.bench.processes import run as in_process
from reports.bench.turns import Side, asked, in_turn

if TYPE_CHECKING:
    import pandas as pd

OURS, HMMLEARN, DYNAMAX = "ours", "hmmlearn", "dynamax"

# Iterations after which log likelihoods are compared, and the largest difference in nats a step: of single precision.
COMPARED, SAME = 5, 1e-3

# A whole fit has converged when a step gains at most so many nats a step of its series.
TOL = 1e-6

# Iterations over a memory map.
OVER_MAP = 3

ITERATION, FITS, MAP = "iteration", "whole fits", "memory map"
COLUMNS = ("quantity", *Chain._fields, "who", "ms", "log_likelihood", "ratio", "memory", "note")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Parameters
    ----------
    chains : tuple of Chain
        Cells of an iteration.
    small : Chain
        Of a whole fit.
    sets : int
        Number of series that are fitted one after another.
    mapped : Chain
        The longest series of the memory map, which is read from its start.
    map_rows : tuple of int
        Numbers of its steps; none for no memory map.
    repeats : int
        Of which the median is taken.
    python : str
        The Python that has the other packages.

    Raises
    ------
    ValueError
        If the disk has no room for the memory map.
    """

    chains: tuple[Chain, ...] = CHAINS
    small: Chain = SMALL
    sets: int = 20
    mapped: Chain = MAPPED
    map_rows: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    repeats: int = 3
    python: str = sys.executable

    def __post_init__(self) -> None:
        if self.map_rows:
            check_disk(self.map_rows, self.mapped.d)


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> pd.DataFrame:
    """Measure every cell.

    Returns
    -------
    DataFrame
        A row for each cell and side. ``ms`` is that of an iteration, of a whole fit, or of a pass over the memory map;
        ``log_likelihood`` that after five iterations or at the end of the fits, in nats a step; ``ratio``, how many times as
        long as ours; ``memory``, the largest private memory of the passes over the memory map, in MB; and ``note``.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    total = len(settings.chains) + 1 + bool(settings.map_rows)
    for number, chain in enumerate(settings.chains):
        tell(str(chain), number, total)
        rows += _of(ITERATION, chain, _iterations(pose(chain), settings))
    tell(f"whole fits of {settings.small}", len(settings.chains), total)
    rows += _of(FITS, settings.small, _fits(settings))
    if settings.map_rows:
        tell(f"memory map, {settings.mapped}", total - 1, total)
        rows += _mapped(settings)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def save(table: pd.DataFrame, settings: Settings, folder: Path) -> None:
    """Write the table as bench.csv, and the settings and what the machine is as bench.json."""
    files.save(folder, table, machine.facts() | {"hmm": asdict(settings)})


def quickest(table: pd.DataFrame, quantity: str = ITERATION) -> pd.Series:
    """How many times as long as ours the quickest other side takes, by cell; missing where that one has no ratio."""
    part = table[(table["quantity"] == quantity) & (table["who"] != OURS) & table["ms"].notna()]
    first = part.groupby(list(Chain._fields), sort=False)["ms"].idxmin()
    return part.loc[first, "ratio"]


def mapped(path: str, rows: int, k: int, start: Mapping[str, Any]) -> dict[str, float]:
    """Median seconds of an iteration over the first rows of a mapped series, and the peak of private memory in MB.

    The compiled loops are loaded ahead of the clock, by an iteration over the first thousand.
    """
    from mixtures import Gaussian
    from mixtures.allocations.markov import Markov
    from mixtures.rows.sequences import Sequences
    from reports.bench.worker import peak

    x = np.load(path, mmap_mode="r")[:rows]
    parameters = _arrays(start)
    seconds: list[float] = []

    def problem(x: np.ndarray) -> Problem:
        return Problem(Sequences(x), Gaussian.from_data(x, k), Markov.symmetric(k), parameters)

    def iterate() -> None:
        side = own(problem(x))
        seconds.extend(side(1, None)[0] for _ in range(OVER_MAP))

    own(problem(x[:1000]))(1, None)
    found = peak(iterate)
    return {"seconds": float(np.median(seconds)), "peak": found}


def own(problem: Problem) -> Side:
    """Our side of an iteration: the pass, and the M-step after it."""
    rows, family, allocation = problem.rows, problem.family, problem.allocation
    pass_ = one_pass(rows, None, family, len(rows) * allocation.n_components)
    weights = allocation.weights_of(problem.start)
    theta = family.from_data_units({name: problem.start[name] for name in family.parameters})
    first = fold(allocation.natural(weights), family.natural(theta))

    def iterate(times: int) -> np.ndarray:
        eta, s = first, first
        for _ in range(times):
            _, s = pass_(eta)
            eta, _ = em.step(family, allocation, s)
        return s

    def side(times: int, threads: int | None) -> tuple[float, dict[str, np.ndarray]]:
        seconds, s = limited(threads, partial(_timed, partial(iterate, times)))()
        return seconds, problem.parameters(s)

    return side


def whole(problem: Problem, start: SequenceFit, tol: float = TOL) -> dict[str, np.ndarray] | None:
    """Parameters of our fit by EM from a start; None where a state was lost."""
    try:
        fit = em.fit(problem.rows, problem.family, problem.allocation, rng=0, init=start, restarts=1, tol=tol)
    except CollapseError:
        return None
    weights, theta = fit.held.flat()
    return problem.allocation.named(weights[0]) | problem.family.to_data({name: v[0] for name, v in theta.items()})


def _iterations(problem: Problem, settings: Settings) -> list[dict[str, Any]]:
    """An iteration on every side."""
    lengths = problem.rows.lengths.tolist()
    task = {"kind": "iterations", "lengths": lengths, "starts": [_lists(problem.start)]}
    packages = (HMMLEARN, DYNAMAX)

    def compare(sides: dict[str, Side]) -> tuple[dict[str, float], str]:
        ends = {name: problem.log_likelihood(side(COMPARED, None)[1]) for name, side in sides.items()}
        return ends, "another log likelihood after as many iterations"

    return _beside(own(problem), packages, problem.rows.x, problem.family.name, task, settings, compare)


def _fits(settings: Settings) -> list[dict[str, Any]]:
    """Whole fits of several small series, each from a start of its own, one after another; compiled loops are loaded before."""
    for name in ("short", "whole"):
        import_module(f"mixtures.engines.{name}")
    problems = [pose(settings.small, seed) for seed in range(settings.sets)]
    x = np.concatenate([problem.rows.x for problem in problems])
    task = {"kind": "fits", "lengths": [settings.small.n] * settings.sets, "tol": TOL * settings.small.n}
    task["starts"] = [_lists(problem.start) for problem in problems]

    begins = [(problem, problem.fit(problem.start)) for problem in problems]

    def fits(times: int) -> list[dict[str, np.ndarray] | None]:
        return [[whole(problem, start) for problem, start in begins] for _ in range(times)][-1]

    def side(times: int, threads: int | None) -> tuple[float, list[dict[str, np.ndarray] | None]]:
        return limited(threads, partial(_timed, partial(fits, times)))()

    def compare(sides: dict[str, Side]) -> tuple[dict[str, float], str]:
        for name, reached in sides.items():
            ends = zip(problems, reached(1, None)[1], strict=True)
            scores[name] = np.array([np.nan if end is None else problem.log_likelihood(end) for problem, end in ends])
        everywhere = np.all([np.isfinite(score) for score in scores.values()], axis=0)
        said = f"another mean log likelihood of the {everywhere.sum()} of {settings.sets} series that all sides fitted"
        return {name: float(np.mean(score[everywhere])) for name, score in scores.items()}, said

    scores: dict[str, np.ndarray] = {}
    family = problems[0].family.name
    rows = _beside(side, (HMMLEARN,), x, family, task, settings, compare)
    for row in rows:
        row["ms"] /= settings.sets
        if lost := int(np.isnan(scores.get(row["who"], 0)).sum()):
            row["note"] = "; ".join(filter(None, (row["note"], f"{lost} of {settings.sets} series lost a state")))
    return rows


def _beside(
    ours: Side,
    packages: tuple[str, ...],
    x: np.ndarray,
    family: str,
    task: dict[str, Any],
    settings: Settings,
    compare: Callable[[dict[str, Side]], tuple[dict[str, float], str]],
) -> list[dict[str, Any]]:
    """Ours beside other packages: what ``compare`` says each reached, and times in turn."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "x.npy"
        np.save(path, x)
        tasks = [task | {"package": name, "family": family, "path": str(path)} for name in packages]
        opened = {task["package"]: stack.enter_context(_opened(task, settings.python)) for task in tasks}
        notes = {OURS: ""} | {name: note for name, (_, note) in opened.items()}
        there = {OURS: ours} | {name: side for name, (side, _) in opened.items() if side}
        ends, differs = compare(there)
        times = in_turn(there, settings.repeats, SAMPLE)
    rows = []
    for name, note in notes.items():
        ms, end = times.get(name, np.nan), ends.get(name, np.nan)
        agrees = name not in there or abs(end - ends[OURS]) <= SAME
        ratio = ms / times[OURS] if name != OURS and agrees else np.nan
        said = "; ".join(filter(None, (note, "" if agrees else differs)))
        rows.append({"who": name, "ms": ms, "log_likelihood": end, "ratio": ratio, "note": said})
    return rows


def _timed[Result](call: Callable[[], Result]) -> tuple[float, Result]:
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


@contextmanager
def _opened(task: dict[str, Any], python: str) -> Iterator[tuple[Side | None, str]]:
    """Another package's side, None where it is not installed or cannot begin, and what there is to say of it."""
    with ExitStack() as stack:
        try:
            ask, ready = stack.enter_context(asked(hmm_peers.__file__, task, python))
        except RuntimeError as error:
            ready = {"missing": str(error)}

        def side(times: int, threads: int | None) -> tuple[float, Any]:
            found = ask({"times": times, "threads": threads})
            ends = [_arrays(end) for end in found["parameters"]]
            return found["seconds"], ends[0] if task["kind"] == "iterations" else ends

        yield (None, ready["missing"]) if "missing" in ready else (side, ready["note"])


def _mapped(settings: Settings) -> list[dict[str, Any]]:
    """Passes over ever more rows of one mapped file; ours alone."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        start = _lists(write(path, settings.mapped._replace(n=max(settings.map_rows))))
        for n in settings.map_rows:
            arguments = {"path": str(path), "rows": n, "k": settings.mapped.k, "start": start}
            task = {"kind": "call", "function": "reports.bench.hmm:mapped", "arguments": arguments}
            found = in_process(task)
            row = {"who": OURS, "ms": 1e3 * found["seconds"], "memory": found["peak"], "note": ""}
            rows += _of(MAP, settings.mapped._replace(n=n), [row])
    return rows


def _of(quantity: str, chain: Chain, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    empty = {"log_likelihood": np.nan, "ratio": np.nan, "memory": np.nan}
    return [{"quantity": quantity, **chain._asdict()} | empty | row for row in rows]


def _lists(parameters: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {name: value.tolist() for name, value in parameters.items()}


def _arrays(parameters: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in parameters.items()}
