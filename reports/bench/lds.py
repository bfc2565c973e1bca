"""An iteration of EM for linear dynamical systems, ours beside dynamax, pykalman and the smoother of statsmodels.

All sides begin with the same parameters. After the same number of iterations theirs must have the same log likelihood, computed
by us for all of them; of statsmodels, which has no EM, its own at the start must be ours. Where one differs it has no ratio.
Times are medians of runs made in turn; the others run in processes of their own (`reports.bench.lds_peers`).
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

from mixtures.dynamics import LinearDynamics, em, states
from mixtures.dynamics.model import Theta
from mixtures.dynamics.passes import one_pass
from mixtures.engines.kalman import as_data
from reports.bench import files, lds_peers, machine
from reports.bench.cells import SEED, short
from reports.bench.measure import SAMPLE, limited
from reports.bench.turns import Side, asked, in_turn

if TYPE_CHECKING:
    import pandas as pd

OURS, STATSMODELS = "ours", "statsmodels"
PEERS = ("dynamax", STATSMODELS, "pykalman")

# Iterations after which log likelihoods are compared, and the largest difference in nats a step: of single precision.
COMPARED, SAME = 3, 2e-3

# Steps beyond which pykalman, which takes a millisecond for each, is left out.
PATIENCE = 2000


class System(NamedTuple):
    """T steps of D features, H states."""

    t: int
    h: int
    d: int

    def __str__(self) -> str:
        return f"{short(self.t)} × {self.d}, H = {self.h}"


SYSTEMS = tuple(System(t, h, d) for t in (1000, 100_000) for h in (2, 4) for d in (2, 10))

COLUMNS = (*System._fields, "who", "ms", "log_likelihood", "ratio", "note")


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Parameters
    ----------
    systems : tuple of System
    repeats : int
        Of which the median is taken.
    python : str
        The Python that has the other packages.
    """

    systems: tuple[System, ...] = SYSTEMS
    repeats: int = 3
    python: str = sys.executable


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> pd.DataFrame:
    """Measure every cell.

    Returns
    -------
    DataFrame
        A row for each cell and side: ``ms`` of an iteration, the ``log_likelihood`` that was compared in nats a step,
        ``ratio``, how many times as long as ours, and ``note``.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for number, system in enumerate(settings.systems):
        tell(str(system), number, len(settings.systems))
        rows += [system._asdict() | row for row in beside(system, settings)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def save(table: pd.DataFrame, settings: Settings, folder: Path) -> None:
    """Write the table as bench.csv, and the settings and what the machine is as bench.json."""
    files.save(folder, table, machine.facts() | {"lds": asdict(settings)})


def quickest(table: pd.DataFrame) -> pd.Series:
    """How many times as long as ours the quickest other side takes, by cell; missing where that one has no ratio."""
    part = table[(table["who"] != OURS) & table["ms"].notna()]
    return part.loc[part.groupby(list(System._fields), sort=False)["ms"].idxmin(), "ratio"]


def pose(system: System) -> tuple[np.ndarray, Theta]:
    """A series (T, D) of a system at random, and a start that is not its truth."""
    rng, (T, H, D) = np.random.default_rng(SEED), system
    turned, _ = np.linalg.qr(rng.standard_normal((H, H)))
    truth = {
        "transition": 0.95 * turned,
        "emission": rng.standard_normal((D, H)),
        "state_covariance": np.eye(H),
        "observation_covariance": np.eye(D),
        "initial_mean": np.zeros(H),
        "initial_covariance": np.eye(H),
    }
    x, _ = states.simulate(truth, T, rng)
    start = {"transition": 0.8 * turned, "emission": truth["emission"] + 0.3 * rng.standard_normal((D, H))}
    return x, truth | start


def own(x: np.ndarray, start: Theta) -> Side:
    """Our side of an iteration: the pass, and the M-step after it."""
    D, H = start["emission"].shape
    model, data = LinearDynamics.latent(H, D), as_data(x)

    def iterate(times: int) -> Theta:
        at = model.at(start)
        for _ in range(times):
            at, _ = em.step(model, one_pass(model, data, at).s)
        return model.theta(at)

    def side(times: int, threads: int | None) -> tuple[float, Theta, None]:
        def timed() -> tuple[float, Theta]:
            began = time.perf_counter()
            theta = iterate(times)
            return time.perf_counter() - began, theta

        return *limited(threads, timed)(), None

    return side


def beside(system: System, settings: Settings) -> list[dict[str, Any]]:
    """One cell on every side."""
    x, start = pose(system)
    packages = [name for name in PEERS if name != "pykalman" or system.t <= PATIENCE]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "x.npy"
        np.save(path, x)
        task = {"start": {name: value.tolist() for name, value in start.items()}, "path": str(path)}
        opened = {name: stack.enter_context(_opened(task | {"package": name}, settings.python)) for name in packages}
        there: dict[str, Side] = {OURS: own(x, start)} | {name: side for name, (side, _) in opened.items() if side}
        found = {name: side(COMPARED, None)[1:] for name, side in there.items()}
        times = in_turn(there, settings.repeats, SAMPLE)
    level = partial(_level, x)
    ours = {True: level(start), False: level(found[OURS][0])}
    rows = []
    for name in (OURS, *packages):
        theta, value = found.get(name, (None, np.nan))
        end = np.nan if name not in found else level(theta) if value is None else value / len(x)
        differs = name in found and not abs(end - ours[name == STATSMODELS]) <= SAME
        ms = times.get(name, np.nan)
        ratio = ms / times[OURS] if name != OURS and not differs else np.nan
        note = "; ".join(filter(None, (opened[name][1] if name != OURS else "", "another log likelihood" * differs)))
        rows.append({"who": name, "ms": ms, "log_likelihood": end, "ratio": ratio, "note": note})
    return rows


def _level(x: np.ndarray, theta: Theta) -> float:
    """Log likelihood in nats a step; covariances of single precision are made symmetric."""
    even = {name: (v + v.T) / 2 if name.endswith("covariance") else v for name, v in theta.items()}
    return float(states.log_likelihood(x, even).sum() / len(x))


@contextmanager
def _opened(task: dict[str, Any], python: str) -> Iterator[tuple[Side | None, str]]:
    """Another package's side, None where it is not installed or cannot begin, and what there is to say of it."""
    with ExitStack() as stack:
        try:
            ask, ready = stack.enter_context(asked(lds_peers.__file__, task, python))
        except RuntimeError as error:
            ready = {"missing": str(error)}

        def side(times: int, threads: int | None) -> tuple[float, Theta | None, float | None]:
            found = ask({"times": times, "threads": threads})
            theta = found["parameters"]
            arrays = None if theta is None else {name: np.array(value) for name, value in theta.items()}
            return found["seconds"], arrays, found["log_likelihood"]

        yield (None, ready["missing"]) if "missing" in ready else (side, ready["note"])
