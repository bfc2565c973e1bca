"""An iteration of EM on binary and categorical data, ours beside StepMix and pomegranate, and what gaps cost a Gaussian pass.

All sides begin with the same weights and probabilities, and after the same number of iterations their parameters must have the
same log likelihood, computed by us for all of them; where one differs it has no ratio. Times are medians of runs made in turn.
The others run in processes of their own (`reports.bench.peers`), by a Python that has them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures import Bernoulli, Categorical, Dirichlet, Gaussian
from mixtures.engines.passes import one_pass
from mixtures.engines.responsibilities import fold
from reports.bench import files, machine, ours, peers
from reports.bench.cells import SEED, Problem, softened
from reports.bench.measure import SAMPLE, limited
from reports.bench.turns import asked, in_turn

if TYPE_CHECKING:
    import pandas as pd

OURS, GAPS = "ours", "without gaps"
PACKAGES = {"bernoulli": ("stepmix", "pomegranate"), "categorical": ("stepmix",)}

# Iterations after which log likelihoods are compared, and the largest difference in nats a point: of single precision.
COMPARED, SAME = 5, 1e-3


class Case(NamedTuple):
    """N points of D columns with C levels each, in K clusters; of numbers with gaps, C is 0."""

    family: str
    n: int
    d: int
    c: int
    k: int


CASES = (
    Case("bernoulli", 100_000, 20, 2, 5),
    Case("bernoulli", 100_000, 784, 2, 10),
    Case("categorical", 100_000, 20, 5, 5),
    Case("full", 100_000, 5, 0, 5),
)

COLUMNS = ("family", "n", "d", "c", "k", "who", "ms", "log_likelihood", "ratio", "note")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Parameters
    ----------
    cases : tuple of Case
    repeats : int
        Of which the median is taken.
    python : str
        The Python that has the other packages.
    missing : float
        Share of the values that are missing, at random, in a case with gaps.
    """

    cases: tuple[Case, ...] = CASES
    repeats: int = 5
    python: str = sys.executable
    missing: float = 0.1


# `reports.bench.turns.Side` that leads to weights and theta.
Side = Callable[[int, int | None], tuple[float, np.ndarray, np.ndarray]]


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> pd.DataFrame:
    """Measure every case.

    Returns
    -------
    DataFrame
        A row for each case and side: milliseconds an iteration, the log likelihood in nats a point after five, ``ratio``, how
        many times as long as ours (or, of gaps, how many times as long as without), and ``note``.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for number, case in enumerate(settings.cases):
        tell(f"{case.family}, {case.n:,} × {case.d}, K = {case.k}", number, len(settings.cases))
        measured = _gaps(case, settings) if case.c == 0 else _beside(case, settings)
        rows += [case._asdict() | row for row in measured]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def save(table: pd.DataFrame, settings: Settings, folder: Path) -> None:
    """Write the table as bench.csv, and the settings and what the machine is as bench.json."""
    files.save(folder, table, machine.facts() | {"families": asdict(settings)})


def pose(case: Case) -> Problem:
    """Points from K clusters, and a start that has half of the labels wrong."""
    rng = np.random.default_rng(SEED)
    labels = rng.integers(case.k, size=case.n)
    if case.family == "bernoulli":
        mu = rng.beta(1, 1, (case.k, case.d))[labels]
        x = (rng.random(mu.shape) < mu).astype(float)
        family: Any = Bernoulli.from_data(x, case.k)
    else:
        reached = np.cumsum(rng.dirichlet(np.ones(case.c), (case.k, case.d)), axis=-1)[labels]
        x = np.minimum((rng.random((case.n, case.d, 1)) >= reached).sum(-1), case.c - 1).astype(float)
        family = Categorical.from_data(x, case.k, levels=[case.c] * case.d)
    start = np.where(rng.random(case.n) < 0.5, labels, rng.integers(case.k, size=case.n))
    return Problem(x, family, Dirichlet.symmetric(case.k), softened(start, case.k))


def _beside(case: Case, settings: Settings) -> list[dict[str, Any]]:
    problem = pose(case)
    begin = _parameters(problem, ours.state(problem, problem.r))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        np.save(path, problem.x)
        packages = PACKAGES[case.family]
        tasks = [
            {"package": name, "family": case.family, "path": str(path)}
            | {"weights": begin[0].tolist(), "probabilities": begin[1].tolist()}
            for name in packages
        ]
        with ExitStack() as stack:
            sides: dict[str, Any] = {OURS: _own(problem)}
            sides |= {task["package"]: stack.enter_context(_opened(task, settings.python)) for task in tasks}
            there = {name: side for name, side in sides.items() if callable(side)}
            ends = {name: _log_likelihood(problem, *side(COMPARED, None)[1:]) for name, side in there.items()}
            times = in_turn(there, settings.repeats, SAMPLE)
    rows = []
    for name, side in sides.items():
        if not callable(side):
            rows.append({"who": name, "ms": np.nan, "log_likelihood": np.nan, "ratio": np.nan, "note": side})
            continue
        agrees = abs(ends[name] - ends[OURS]) <= SAME
        ratio = times[name] / times[OURS] if name != OURS and agrees else np.nan
        note = "" if agrees else "another log likelihood after as many iterations"
        rows.append({"who": name, "ms": times[name], "log_likelihood": ends[name], "ratio": ratio, "note": note})
    return rows


def _gaps(case: Case, settings: Settings) -> list[dict[str, Any]]:
    """A pass over rows with gaps beside one over the same rows without."""
    rng = np.random.default_rng(SEED)
    means = 3 * rng.standard_normal((case.k, case.d))
    x = means[rng.integers(case.k, size=case.n)] + rng.standard_normal((case.n, case.d))
    gapped = np.where(rng.random(x.shape) < settings.missing, np.nan, x)
    allocation, r = Dirichlet.symmetric(case.k), softened(np.arange(case.n) % case.k, case.k)
    full = Gaussian.from_data(x, case.k)
    state = ours.state(Problem(x, full, allocation, r), r)
    eta = fold(
        allocation.natural(allocation.maximum_likelihood(state[:, 0])), full.natural(full.maximum_likelihood(state))
    )
    sides = {}
    for name, rows, family in ((OURS, gapped, Gaussian.from_data(gapped, case.k, missing=True)), (GAPS, x, full)):
        pass_ = one_pass(rows, None, family, r.size)
        sides[name] = _repeated(partial(pass_, eta))
    times = in_turn(sides, settings.repeats, SAMPLE)
    patterns = len(np.unique(np.isnan(gapped), axis=0))
    note = f"{settings.missing:.0%} missing, {patterns} patterns; the ratio is to a pass without gaps"
    empty = {"log_likelihood": np.nan, "ratio": np.nan, "note": ""}
    with_gaps = {"who": OURS, "ms": times[OURS]} | empty | {"ratio": times[OURS] / times[GAPS], "note": note}
    return [with_gaps, {"who": GAPS, "ms": times[GAPS]} | empty]


def _parameters(problem: Problem, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (K,) and probabilities of the M-step from statistics (K, P)."""
    weights = problem.allocation.maximum_likelihood(s[:, 0])
    return weights, problem.family.maximum_likelihood(s)["probabilities"]


def _log_likelihood(problem: Problem, weights: np.ndarray, probabilities: np.ndarray) -> float:
    """In nats a point."""
    eta = fold(np.log(weights), problem.family.natural({"probabilities": probabilities}))
    return float(one_pass(problem.x, None, problem.family, problem.r.size)(eta)[0]) / len(problem.x)


def _own(problem: Problem) -> Side:
    loop = ours.loop(problem, "em")

    def iterate(times: int, threads: int | None) -> tuple[float, np.ndarray, np.ndarray]:
        began = time.perf_counter()
        s = limited(threads, partial(loop, times))()
        return time.perf_counter() - began, *_parameters(problem, s)

    return iterate


def _repeated(call: Callable[[], object]) -> Side:
    def iterate(times: int, threads: int | None) -> tuple[float, np.ndarray, np.ndarray]:
        began = time.perf_counter()
        for _ in range(times):
            call()
        return time.perf_counter() - began, np.empty(0), np.empty(0)

    return iterate


@contextmanager
def _opened(task: dict[str, Any], python: str) -> Iterator[Side | str]:
    """Another package's side, or what to do where it is not installed."""
    with asked(peers.__file__, task, python) as (ask, ready):

        def iterate(times: int, threads: int | None) -> tuple[float, np.ndarray, np.ndarray]:
            found = ask({"times": times, "threads": threads})
            return found["seconds"], np.array(found["weights"]), np.array(found["probabilities"])

        yield ready.get("missing", iterate)
