"""Effective draws a second by NUTS: our twin beside the usual model, on one data set, by one sampler with one set of settings.

Both models are sampled by `models.methods.nuts`: the same starts, metric, step-size target, and numbers of chains and draws,
each run in a process of its own, in turn. What counts is the smallest bulk effective sample size (Vehtari et al. 2021,
*Bayesian Analysis* 16:667-718) over weights, means and covariances in the units of x, after every draw has been brought to one
labelling; divided by the seconds of sampling (starts, adaptation and the way back to the parameters included), and by these
and the seconds to build and compile together. Imports count for neither.

The usual model's gradient may take many times longer with OpenBLAS's threads than without, so that it is run twice: with one
of them, and with as many as there are, which is what whoever sets nothing gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures import Dirichlet, Draws, Fit, Gaussian, datasets
from mixtures.labels import align, sort_by_mean
from mixtures.methods import cavi
from reports.bench import machine, processes, usual
from reports.bench.benchmark import CSV, MANIFEST
from reports.comparison.files import write_folder
from reports.comparison.manifest import write

if TYPE_CHECKING:
    import pandas as pd
    import pymc as pm

OURS, USUAL = "ours", "usual"


class Way(NamedTuple):
    """A model, and how many threads OpenBLAS has: a number, or "all"."""

    model: str
    blas: str


COLUMNS = ("model", "blas", "seed", "compile", "run", "ess", "slowest", "rhat", "divergences", "leapfrogs", "note")

WAYS = (Way(OURS, "all"), Way(USUAL, "1"), Way(USUAL, "all"))


@dataclass(frozen=True)
class Settings:
    """What is sampled and how, the same for both models.

    Parameters
    ----------
    data : str
        A built-in data set.
    n_components : int
    sampler : {"numpyro", "nutpie", "pymc"}
    chains, tune, draws : int
    target_accept : float
    repeats : int
        Rounds of all runs, each with the next seed.
    limit : float
        Seconds after which a run is stopped, and has no numbers.

    Raises
    ------
    ValueError
        If the sampler is unknown or a number is out of range.
    """

    data: str = "tsmatz"
    n_components: int = 3
    sampler: str = "numpyro"
    chains: int = 4
    tune: int = 1000
    draws: int = 1000
    target_accept: float = 0.9
    repeats: int = 1
    limit: float = 900.0

    def __post_init__(self) -> None:
        if self.sampler not in ("numpyro", "nutpie", "pymc"):
            raise ValueError(f"sampler is {self.sampler!r}; expected one of numpyro, nutpie, pymc")
        for name in ("n_components", "chains", "tune", "draws", "repeats", "limit"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> pd.DataFrame:
    """Sample both models in processes of their own, and set them side by side.

    Returns
    -------
    DataFrame
        A row a run: ``model``, ``blas`` (OpenBLAS threads), ``seed``, ``compile`` and ``run`` (seconds), ``ess`` (of the
        parameter ``slowest``), ``rhat``, ``divergences``, ``leapfrogs`` (a draw), ``ess_run`` and ``ess_total`` (effective
        draws a second without and with compiling), ``ratio_run`` and ``ratio_total`` (how many times more ours has in the
        same round) and ``note``. A run that ended with an error, or was stopped, has a note and no numbers. One that
        failed its checks (`reports.metrics.reference`) has numbers, and a note that names them, but no ratio.
    """
    import pandas as pd

    plan = [(seed, way) for seed in range(settings.repeats) for way in WAYS]
    rows = []
    for number, (seed, way) in enumerate(plan):
        tell(f"NUTS, {way.model}, BLAS threads: {way.blas}, seed {seed}", number, len(plan))
        rows.append({"model": way.model, "blas": way.blas, "seed": seed, **_attempt(settings, seed, way)})
    return compared(pd.DataFrame(rows, columns=COLUMNS))


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `run` from its measured columns: effective draws a second, and ratios within each round."""
    table = table.copy()
    table["ess_run"] = table["ess"] / table["run"]
    table["ess_total"] = table["ess"] / (table["run"] + table["compile"])
    ours = table[(table["model"] == OURS) & (table["note"] == "")].set_index("seed")
    sound = (table["model"] == USUAL) & (table["note"] == "")
    for per in ("run", "total"):
        table[f"ratio_{per}"] = (table["seed"].map(ours[f"ess_{per}"]) / table[f"ess_{per}"]).where(sound)
    return table[[name for name in table if name != "note"] + ["note"]]


def measure(model: str, seed: int, **settings_of: Any) -> dict[str, Any]:
    """Sample one model in this process, the `Settings` by name: seconds, the smallest effective sample size, failed checks."""
    from models import joint
    from models.methods import nuts

    settings = Settings(**settings_of)
    x, K, rng = datasets.load(settings.data).x, settings.n_components, np.random.default_rng(seed)
    family, allocation = Gaussian.from_data(x, K), Dirichlet.symmetric(K)
    began = time.perf_counter()
    weights, theta = nuts.starts(x, family, allocation, None, settings.chains, rng)
    started = time.perf_counter() - began
    build: Callable[[], pm.Model]
    if model == OURS:
        build = partial(joint.build, x, family, allocation)
        init = joint.unconstrain(family, allocation, weights, theta)
    else:
        build = partial(usual.build, x, K)
        init = usual.unconstrain(weights, **family.to_data(theta))
    found = nuts.sample(
        build,
        usual.PARAMETERS,
        init,
        seed=seed,
        draws=settings.draws,
        tune=settings.tune,
        sampler=settings.sampler,
        target_accept=settings.target_accept,
    )
    values = found.values if model == OURS else standardised(found.values, family)
    theta = {name: values[name] for name in ("means", "covariances")}
    posterior = Draws(values["weights"], theta)
    fit = Fit("nuts", "mcmc", family, allocation, posterior, np.empty(0), True, {}, sample_stats=found.stats)
    return {
        "compile": found.seconds["compile"],
        "run": started + found.seconds["run"],
        "leapfrogs": float(found.stats["n_steps"].mean()),
        **diagnosed(fit, x),
    }


def standardised(values: dict[str, np.ndarray], family: Gaussian) -> dict[str, np.ndarray]:
    """Parameters in the units of x brought to the family's coordinates."""
    return {"weights": values["weights"], **family.from_data_units(values)}


def diagnosed(fit: Fit, x: np.ndarray) -> dict[str, Any]:
    """Smallest bulk ESS, the parameter that has it, R-hat, divergences and failed checks, in the labelling of a CAVI fit."""
    from reports.metrics import reference
    from reports.metrics.parameters import scalars

    pivot = cavi.fit(x, fit.family, fit.allocation, rng=np.random.default_rng(0))
    aligned = align(fit, sort_by_mean(pivot, x), x).fit
    chains, draws = aligned.held.weights.shape[:2]
    tree = aligned.draws(chains * draws, np.random.default_rng(0))
    rows = reference.diagnose("nuts", scalars(tree["posterior"].to_dataset()), fit.sample_stats)
    slowest = min((row for row in rows if row.metric == "ess_bulk"), key=lambda row: row.value)
    failed = [check for check in reference.checks(rows, chains, fit.sample_stats) if not check["passed"]]
    worst = {row.metric: row.value for row in rows if row.target == "all"}
    return {
        "ess": slowest.value,
        "slowest": slowest.target,
        "rhat": worst.get("rhat_max", float("nan")),
        "divergences": int(worst["divergences"]),
        "note": "; ".join(f"failed: {check['name']} {check['limit']}" for check in failed),
    }


def save(table: pd.DataFrame, settings: Settings, folder: Path) -> None:
    """Write the table as bench.csv, and the settings and what the machine is as bench.json."""

    def fill(part: Path) -> None:
        table.to_csv(part / CSV, index=False)
        write(part / MANIFEST, machine.facts() | {"nuts": asdict(settings)})

    write_folder(folder, fill)


def _attempt(settings: Settings, seed: int, way: Way) -> dict[str, Any]:
    environment = {} if way.blas == "all" else {"OPENBLAS_NUM_THREADS": way.blas}
    try:
        arguments = {"model": way.model, "seed": seed, **asdict(settings)}
        task = {"kind": "call", "function": f"{__name__}:measure", "arguments": arguments}
        return processes.run(task, environment, settings.limit)
    except RuntimeError as error:
        return {"note": str(error)}
