"""Effective draws a second by NUTS: our twin beside the usual model, on one data set, by one sampler.

Both models are sampled by `models.methods.nuts`: the same starts, step-size target, and numbers of chains and draws, each run
in a process of its own, in turn. The metric of either starts from the identity, and learns for as many steps; or, by NumPyro,
from draws of CAVI's posterior in the model's own unconstrained space, and learns for fewer (`models.metric`). So what the
model brings and what the metric brings can be told apart. What counts is the smallest bulk effective sample size (Vehtari et
al. 2021, *Bayesian Analysis* 16:667-718) over weights, means and covariances in the units of x, after every draw has been
brought to one labelling; divided by the seconds of sampling (starts, adaptation and the way back to the parameters included),
and by these and the seconds to build and compile together. Imports count for neither.

The usual model's gradient may take many times longer with OpenBLAS's threads than without, so that it is run twice: with one
of them, and with as many as there are, which is what whoever sets nothing gets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures import Dirichlet, Draws, Fit, Gaussian, datasets
from mixtures.labels import align, sort_by_mean
from mixtures.methods import cavi
from mixtures.model import Theta
from models.metric import METRICS, TUNE
from reports.bench import files, machine, processes, usual

if TYPE_CHECKING:
    import pandas as pd
    import pymc as pm

OURS, USUAL = "ours", "usual"


class Way(NamedTuple):
    """A model, how many threads OpenBLAS has, a number or "all", and what the metric starts from."""

    model: str
    blas: str
    metric: str = "adapt"


COLUMNS = (
    "model",
    "blas",
    "metric",
    "seed",
    "tune",
    "compile",
    "run",
    "ess",
    "slowest",
    "rhat",
    "divergences",
    "leapfrogs",
    "warm_up",
    "note",
)

WAYS = (
    Way(OURS, "all", "cavi"),
    Way(OURS, "all"),
    Way(USUAL, "1", "cavi"),
    Way(USUAL, "1"),
    Way(USUAL, "all"),
)


@dataclass(frozen=True)
class Settings:
    """What is sampled and how, the same for both models.

    Parameters
    ----------
    data : str
        A built-in data set.
    n_components : int
    sampler : {"numpyro", "nutpie", "pymc"}
    chains, draws : int
    tune : int, optional
        Steps of adaptation of each chain; by default 300 where the metric starts from CAVI's posterior, else 1000.
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
    draws: int = 1000
    tune: int | None = None
    target_accept: float = 0.9
    repeats: int = 1
    limit: float = 900.0

    def __post_init__(self) -> None:
        if self.sampler not in ("numpyro", "nutpie", "pymc"):
            raise ValueError(f"sampler is {self.sampler!r}; expected one of numpyro, nutpie, pymc")
        for name in ("n_components", "chains", "tune", "draws", "repeats", "limit"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")

    @property
    def ways(self) -> tuple[Way, ...]:
        """Those that the sampler knows: NumPyro alone takes a metric from elsewhere."""
        return tuple(way for way in WAYS if way.metric == "adapt" or self.sampler == "numpyro")


def run(settings: Settings, tell: Callable[[str, int, int], None] = lambda *_: None) -> pd.DataFrame:
    """Sample both models in processes of their own, and set them side by side.

    Returns
    -------
    DataFrame
        A row a run: ``model``, ``blas`` (OpenBLAS threads), ``metric`` (what it starts from), ``seed``, ``tune`` (steps of
        adaptation of a chain), ``compile`` and ``run`` (seconds), ``ess`` (of the parameter ``slowest``), ``rhat``,
        ``divergences``, ``leapfrogs`` (a draw), ``warm_up`` (share of all leapfrog steps that the adaptation took),
        ``ess_run`` and ``ess_total`` (effective draws a second without and with compiling), how many times more ours has in
        the same round, ``ratio_run`` and ``ratio_total`` with the metric that it has by default, ``alike_run`` and
        ``alike_total`` with that of this run, and ``note``. A run that ended with an error, or was stopped, has a note and no
        numbers. One that failed its checks (`reports.metrics.reference`) has numbers, and a note that names them, but no ratio.
    """
    import pandas as pd

    plan = [(seed, way) for seed in range(settings.repeats) for way in settings.ways]
    parts = []
    for number, (seed, way) in enumerate(plan):
        tell(f"NUTS, {way.model}, BLAS threads: {way.blas}, metric: {way.metric}, seed {seed}", number, len(plan))
        parts.append(sampled(settings, seed, (way,)))
    return compared(pd.concat(parts, ignore_index=True))


def sampled(settings: Settings, seed: int, ways: Sequence[Way]) -> pd.DataFrame:
    """The measured columns of `run`, and ``ess_run``, a row for each of these ways."""
    import pandas as pd

    rows = [{**way._asdict(), "seed": seed, **_attempt(settings, seed, way)} for way in ways]
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.assign(ess_run=table["ess"] / table["run"])


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `run` from its measured columns: effective draws a second, and ratios within each round."""
    import pandas as pd

    table = table.copy()
    table["ess_run"] = table["ess"] / table["run"]
    table["ess_total"] = table["ess"] / (table["run"] + table["compile"])
    sound = (table["model"] == USUAL) & (table["note"] == "")
    ours = table[(table["model"] == OURS) & (table["note"] == "")].set_index(["seed", "metric"])
    default = next(metric for metric in METRICS if metric in set(table["metric"]))
    for name, metric in (("ratio", default), ("alike", table["metric"])):
        beside = pd.MultiIndex.from_frame(table[["seed"]].assign(metric=metric))
        for per in ("run", "total"):
            own = ours[f"ess_{per}"].reindex(beside).to_numpy()
            table[f"{name}_{per}"] = (own / table[f"ess_{per}"]).where(sound)
    return table[[name for name in table if name != "note"] + ["note"]]


def measure(model: str, metric: str, seed: int, **settings_of: Any) -> dict[str, Any]:
    """Sample one model in this process, the `Settings` by name: seconds, the smallest effective sample size, failed checks."""
    from models import beginnings, joint
    from models.methods import nuts

    settings = Settings(**settings_of)
    x, K, rng = datasets.load(settings.data).x, settings.n_components, np.random.default_rng(seed)
    family, allocation = Gaussian.from_data(x, K), Dirichlet.symmetric(K)
    tune = TUNE[metric] if settings.tune is None else settings.tune
    build: Callable[[], pm.Model] = (
        partial(joint.build, x, family, allocation) if model == OURS else partial(usual.build, x, K)
    )

    def unconstrain(weights: np.ndarray, theta: Theta) -> dict[str, np.ndarray]:
        if model == OURS:
            return joint.unconstrain(family, allocation, weights, theta)
        return usual.unconstrain(weights, **family.to_data(theta))

    began = time.perf_counter()
    s = beginnings.modes(x, family, allocation, None, settings.chains, rng)
    init = unconstrain(*beginnings.starts(family, allocation, s, rng))
    near = unconstrain(*beginnings.about(family, allocation, s, rng)) if metric == "cavi" else None
    started = time.perf_counter() - began
    found = nuts.sample(
        build,
        usual.PARAMETERS,
        init,
        seed=seed,
        draws=settings.draws,
        tune=tune,
        sampler=settings.sampler,
        target_accept=settings.target_accept,
        near=near,
    )
    values = found.values if model == OURS else standardised(found.values, family)
    theta = {name: values[name] for name in ("means", "covariances")}
    posterior = Draws(values["weights"], theta)
    fit = Fit("nuts", "mcmc", family, allocation, posterior, np.empty(0), True, {}, sample_stats=found.stats)
    return {
        "tune": tune,
        "compile": found.seconds["compile"],
        "run": started + found.seconds["run"],
        "leapfrogs": float(found.stats["n_steps"].mean()),
        "warm_up": found.warm_up,
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
    files.save(folder, table, machine.facts() | {"nuts": asdict(settings)})


def _attempt(settings: Settings, seed: int, way: Way) -> dict[str, Any]:
    environment = {} if way.blas == "all" else {"OPENBLAS_NUM_THREADS": way.blas}
    try:
        arguments = {"model": way.model, "metric": way.metric, "seed": seed, **asdict(settings)}
        task = {"kind": "call", "function": f"{__name__}:measure", "arguments": arguments}
        return processes.run(task, environment, settings.limit)
    except RuntimeError as error:
        return {"note": str(error)}
