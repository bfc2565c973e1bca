r"""The parametric bootstrap likelihood ratio test of K against K + 1 clusters.

McLachlan (1987, *Applied Statistics* 36:318-324):

.. math:: LR = 2 (L_{K+1} - L_K), \qquad p = \frac{1 + \#\{LR^*_b \ge LR\}}{1 + B}

with L the maximised log likelihood. B data sets of as many points are drawn from the fit of K clusters, with the gaps of the
data, if any, and both numbers of clusters are fitted to each. The smallest K is chosen whose test does not reject at the level
asked for, all smaller ones having rejected (Nylund, Asparouhov & Muthén 2007, *Structural Equation Modeling* 14:535-569). p has
a Monte Carlo error: the number of LR* of at least LR is binomial.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from mixtures import CollapseError, Fit
from mixtures.checks import check_real, check_whole
from mixtures.errors import reason_of
from mixtures.methods import em
from reports.comparison.capacity import check_fits
from reports.comparison.prepared import digest
from reports.comparison.results import ResultsError
from reports.metrics.criteria import Candidate, Setting, climb
from reports.metrics.optimum import HIGHER
from reports.studies.cells import Cells
from reports.studies.folder import CELLS, check_study, write_manifest
from reports.studies.workers import Task, Tell, measure_all

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
"""Of the replicates: one more whenever the same one would come out otherwise."""

STUDY = "blrt"
"""Name of the replicates' own manifest."""

OBSERVED = -1
"""Stands for the data themselves among the replicates."""

BATCH = 25
"""Replicates that are fitted side by side; their last digits, and those alone, depend on who these are."""

COLUMNS = {
    "covariance": "string",
    "components": "int64",
    "replicate": "int64",
    "fewer": "float64",
    "more": "float64",
    "failure": "string",
}


@dataclass(frozen=True)
class Plan:
    """What is asked of the test.

    Parameters
    ----------
    replicates : int
        B.
    level : float
        Of each test.
    starts : int
        Of each fit to a replicate; the data themselves have those of the selection.
    """

    replicates: int = 199
    level: float = 0.05
    starts: int = 20

    def __post_init__(self) -> None:
        check_whole("replicates", self.replicates)
        check_real("level", self.level)
        if self.replicates < 1 or self.starts < 1:
            raise ValueError(
                f"the bootstrap has {self.replicates} replicates and {self.starts} starts; expected at least 1 of each"
            )
        if not 0 < self.level < 1:
            raise ValueError(f"level is {self.level}; expected a probability between 0 and 1, such as 0.05")
        if 1 / (1 + self.replicates) > self.level:
            least = math.ceil(1 / self.level) - 1
            raise ValueError(
                f"{self.replicates} replicates cannot reject at the level {self.level:g}: p is at least "
                f"{1 / (1 + self.replicates):.2g}; ask for at least {least}"
            )
        check_fits(self.replicates, "replicates", "ask for fewer with --replicates")


@dataclass(frozen=True)
class RatioTest:
    """The test of one candidate against one cluster more.

    Parameters
    ----------
    candidate : Candidate
        With K.
    plan : Plan
    fewer, more : float
        Maximised log likelihoods of the data in nats, with K and with K + 1 clusters.
    ratios : ndarray
        LR* of the replicates to which both could be fitted.
    failed : int
        Replicates to which one could not.
    missing : str or None
        Why there is no test.
    """

    candidate: Candidate
    plan: Plan
    fewer: float
    more: float
    ratios: np.ndarray
    failed: int
    missing: str | None = None

    @property
    def ratio(self) -> float:
        """LR."""
        return 2 * (self.more - self.fewer)

    @property
    def exceeding(self) -> int:
        """How many LR* are at least LR."""
        return int((self.ratios >= self.ratio).sum())

    @property
    def p(self) -> float:
        """The p-value, of the replicates that could be fitted; not a number where there is no test."""
        return np.nan if self.missing else (1 + self.exceeding) / (1 + len(self.ratios))

    @property
    def se(self) -> float:
        """Monte Carlo standard error of p."""
        return float(np.sqrt(self.p * (1 - self.p) / len(self.ratios))) if len(self.ratios) else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95% interval of the p-value of endlessly many replicates (Clopper & Pearson 1934)."""
        if self.missing:
            return np.nan, np.nan
        found = stats.binomtest(self.exceeding, len(self.ratios)).proportion_ci(0.95, "exact")
        return float(found.low), float(found.high)

    @property
    def worst(self) -> float:
        """The p-value if every replicate that failed had exceeded."""
        total = len(self.ratios) + self.failed
        return np.nan if self.missing else (1 + self.exceeding + self.failed) / (1 + total)

    @property
    def below(self) -> int:
        """Replicates whose K + 1 clusters ended below K clusters: their starts missed the optimum, and LR* is too small."""
        return int((self.ratios < -2 * HIGHER).sum())

    @property
    def rejects(self) -> bool:
        """Whether K is rejected."""
        return bool(self.p <= self.plan.level)

    @property
    def answer(self) -> str:
        """The same in words."""
        return "rejected" if self.rejects else "not rejected"

    @property
    def certain(self) -> bool:
        """Whether the interval of p leaves out the level, and failures could not change the answer."""
        low, high = self.interval
        return not low <= self.plan.level <= high and (self.worst <= self.plan.level) == self.rejects

    @property
    def needed(self) -> int | None:
        """Replicates from which on an interval of 95% about this p would leave out the level; None where there are enough."""
        if self.missing or self.certain:
            return None
        p = (0.5 + self.exceeding) / (1 + len(self.ratios))
        distance = max(abs(p - self.plan.level), 0.002)
        needed = p * (1 - p) * (stats.norm.ppf(0.975) / distance) ** 2
        return max(2 * self.plan.replicates, int(np.ceil(needed / 100) * 100) - 1)


def depends(setting: Setting, plan: Plan) -> dict[str, Any]:
    """What the replicates depend on beside the candidate, as JSON holds it."""
    return {
        "data": digest(setting.x),
        "kinds": list(setting.kinds or ()),
        "levels": list(setting.n_levels or ()),
        "prior": {name: np.asarray(x).tolist() for name, x in setting.prior.items()},
        "seed": list(setting.seed),
        "restarts": setting.restarts,
        "starts": plan.starts,
        "reg_covar": setting.reg_covar,
    }


def run(
    setting: Setting,
    plan: Plan,
    candidates: Sequence[Candidate],
    folder: Path,
    facts: Mapping[str, Any],
    *,
    workers: int = 1,
    tell: Tell = lambda *_: None,
) -> list[RatioTest]:
    """Measure the replicates that the folder does not have yet, and return the test of every candidate.

    Parameters
    ----------
    setting : Setting
    plan : Plan
    candidates : sequence of Candidate
    folder : Path
        See `check`. Each batch of replicates is a file of its own, written when it is finished; more replicates, and
        candidates, are added to those that are there.
    facts : mapping
        Of `depends`.
    workers : int
        Processes. The numbers do not depend on it.
    tell : callable
        Called with the number of parts of the work that are there, and their total.

    Raises
    ------
    ResultsError
        If the folder cannot be used, or the workers are lost; what was finished is kept.
    """
    check(folder, facts)
    write_manifest(folder, STUDY, FORMAT, {"settings": dict(facts)})
    cells = Cells(folder / CELLS, COLUMNS)
    there = cells.read()
    tasks, total = missing(setting, plan, candidates, there)
    measure_all(replicates, tasks, cells, total, workers=workers, what="parts", tell=tell)
    table = (cells.read() if tasks else there).drop_duplicates(["covariance", "components", "replicate"])
    return [judge(candidate, plan, table) for candidate in candidates]


def check(folder: Path, facts: Mapping[str, Any]) -> bool:
    """Whether the folder holds replicates of this kind; a folder that holds anything else is refused.

    Raises
    ------
    ResultsError
    """
    manifest = check_study(folder, STUDY, "a bootstrap test", FORMAT)
    if manifest is None:
        return False
    for name, value in facts.items():
        there = manifest.get("settings", {}).get(name)
        if there != value:
            raise ResultsError(
                f"{folder} holds a bootstrap test with {name} = {there}, not {value}; go on with its own settings, or give "
                "another folder with --out"
            )
    return True


def is_kept(folder: Path) -> bool:
    """Whether the folder holds replicates of a bootstrap test."""
    return (folder / f"{STUDY}.json").is_file()


def parts(plan: Plan) -> int:
    """Batches of a candidate, the data themselves one of them."""
    return 1 + -(-plan.replicates // BATCH)


def missing(
    setting: Setting, plan: Plan, candidates: Iterable[Candidate], there: pd.DataFrame
) -> tuple[list[Task], int]:
    """A task for every batch that lacks replicates, the largest numbers of clusters first; and how many there are in all."""
    done = set(zip(there["covariance"], there["components"], there["replicate"], strict=True))
    batches = [(OBSERVED,), *batched(range(plan.replicates), BATCH)]
    tasks, total = [], 0
    for candidate in sorted(candidates, key=lambda c: -c.components):
        for batch in batches:
            total += 1
            if left := tuple(b for b in batch if (*candidate, b) not in done):
                name = f"{'-'.join(map(str, candidate))}-{left[0]}-{left[-1]}"
                tasks.append(Task(name, (setting, plan.starts, candidate, left)))
    return tasks, total


def replicates(setting: Setting, starts: int, candidate: Candidate, numbers: Sequence[int]) -> list[dict[str, Any]]:
    """The rows of some replicates of a candidate: log likelihoods with K and K + 1 clusters, or what stopped a fit.

    One thread does it, so that the number of workers changes no digit.
    """
    from threadpoolctl import threadpool_limits

    more = candidate._replace(components=candidate.components + 1)
    common = [candidate._asdict() | {"replicate": b} for b in numbers]
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that did not converge have a likelihood all the same
        try:
            fitted = observed(setting, candidate)
            if OBSERVED in numbers:
                other = observed(setting, more)
                return [common[0] | {"fewer": fitted.info["log_likelihood"], "more": other.info["log_likelihood"]}]
            sources = [_rng(setting, candidate, b).spawn(3) for b in numbers]
            xs = [fitted.sample(len(setting.x), of_data)[0] for of_data, *_ in sources]
            xs = [np.where(np.isnan(setting.x), np.nan, x) for x in xs]  # the test is of data with the same gaps
        except Exception as error:  # whatever stops a candidate, the others go on and the page says so
            return [row | {"failure": reason_of(error)} for row in common]
        ends = [
            likelihoods(setting, which, xs, [rngs[1 + i] for rngs in sources], starts)
            for i, which in enumerate((candidate, more))
        ]
    rows = []
    for row, fewer, larger in zip(common, *ends, strict=True):
        stopped = next((end for end in (fewer, larger) if isinstance(end, str)), None)
        rows.append(row | ({"failure": stopped} if stopped else {"fewer": fewer, "more": larger}))
    return rows


def observed(setting: Setting, candidate: Candidate) -> Fit:
    """The maximum-likelihood fit of a candidate to the data, from the starts that the criteria of EM have."""
    rng, (family, allocation) = setting.rng(candidate, "em"), setting.model(setting.x, candidate)
    return em.fit(setting.x, family, allocation, rng=rng, reg_covar=setting.reg_covar, **climb(setting.restarts))


def likelihoods(
    setting: Setting,
    candidate: Candidate,
    xs: Sequence[np.ndarray],
    rngs: Sequence[np.random.Generator],
    starts: int,
) -> list[float | str]:
    """The maximised log likelihood of each data set, or what stopped its fits."""
    try:
        models = [setting.model(x, candidate) for x in xs]
        fits = em.fit_many(
            xs,
            [family for family, _ in models],
            models[0][1],
            rng=rngs,
            restarts=starts if candidate.components > 1 else 1,
            reg_covar=setting.reg_covar,
            engine="plain",  # which is quicker depends on how many there are, and so would the last digits
        )
    except Exception as error:  # one data set that has no model, or no distinct rows, must not stop its neighbours
        if len(xs) == 1:
            return [reason_of(error)]
        return [likelihoods(setting, candidate, [x], [rng], starts)[0] for x, rng in zip(xs, rngs, strict=True)]
    return [reason_of(fit) if isinstance(fit, CollapseError) else float(fit.info["log_likelihood"]) for fit in fits]


def judge(candidate: Candidate, plan: Plan, table: pd.DataFrame) -> RatioTest:
    """The test of a candidate from the rows of all."""
    own = table[(table["covariance"] == candidate.covariance) & (table["components"] == candidate.components)]
    (data,) = own[own["replicate"] == OBSERVED].to_dict("records")
    of_plan = own[(own["replicate"] >= 0) & (own["replicate"] < plan.replicates)]
    ratios = (2 * (of_plan["more"] - of_plan["fewer"])).dropna().to_numpy(float)
    failures = of_plan["failure"].dropna()
    reason = data["failure"] if isinstance(data["failure"], str) else None
    if reason is None and not len(ratios):
        reason = f"no replicate could be fitted, the first because of {failures.iloc[0]}"
    return RatioTest(candidate, plan, data["fewer"], data["more"], ratios, len(failures), reason)


def sequential(tests: Sequence[RatioTest]) -> tuple[RatioTest | None, str]:
    """The first test in the order of K that does not reject, or None with the reason why none is chosen.

    Parameters
    ----------
    tests : sequence of RatioTest
        Of one covariance structure.
    """
    ordered = sorted(tests, key=lambda one: one.candidate.components)
    for one in ordered:
        if one.missing:
            return None, f"K = {one.candidate.components} has no test ({one.missing})"
        if not one.rejects:
            return one, ""
    return None, f"every K up to {ordered[-1].candidate.components} is rejected; raise --components"


def within(tests: Iterable[RatioTest], structure: str) -> list[RatioTest]:
    """The tests under one covariance structure."""
    return [one for one in tests if one.candidate.covariance == structure]


def described(plan: Plan, tests: Sequence[RatioTest]) -> dict[str, Any]:
    """The plan and every test, as a manifest can hold them."""

    def numbers(one: RatioTest) -> dict[str, Any]:
        low, high = one.interval
        found = {"ratio": one.ratio, "p": one.p, "p_low": low, "p_high": high, "p_worst": one.worst}
        return {name: None if x != x else x for name, x in found.items()}

    def counts(one: RatioTest) -> dict[str, Any]:
        names = ("exceeding", "failed", "below", "needed", "missing")
        return {"replicates": len(one.ratios)} | {name: getattr(one, name) for name in names}

    return asdict(plan) | {"tests": [one.candidate._asdict() | numbers(one) | counts(one) for one in tests]}


def _rng(setting: Setting, candidate: Candidate, number: int) -> np.random.Generator:
    """The random numbers of one replicate, whatever others there are."""
    return np.random.default_rng([*setting.seed, zlib.crc32("-".join(map(str, candidate)).encode()), number])
