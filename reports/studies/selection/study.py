"""Choose the number of clusters K, and the covariance structure, by every criterion, and say by how much."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures import datasets
from mixtures.checks import check_whole
from mixtures.seeds import Rng, generator
from reports.comparison import manifest as facts_of
from reports.comparison.capacity import MOST_CANDIDATES, check_starts, check_workers
from reports.comparison.catalogue import UNDRAWN, check_reg_covar, undrawn
from reports.comparison.given import in_sequences
from reports.comparison.names import check_covariance, check_known
from reports.comparison.prepared import Data, prepare
from reports.metrics.criteria import NO_COVARIANCE, PART_TITLES, Candidate, Clustering, Found, Setting, climb, examine
from reports.metrics.criterion import CRITERIA, EXCHANGEABLE, ONLY_SYSTEMS, SEQUENTIAL, TESTS
from reports.metrics.optimum import HIGHER
from reports.metrics.prediction import paired_difference
from reports.metrics.reference import RHAT
from reports.studies.folder import temporary
from reports.studies.selection import bootstrap
from reports.studies.selection.bootstrap import Plan, RatioTest
from reports.studies.workers import Progress, Tell, as_finished, processes, telling

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

CSV, MANIFEST, PLOT, PAGE = "selection.csv", "manifest.json", "selection.png", "report.html"

# Points up to which the posterior is sampled without being asked.
LARGEST_SAMPLED = 5000

# Rows of sequences up to which leave-future-out samples the posterior again without being asked.
LARGEST_REFITTED = 500

# Part of EM's starts from which their collapses are told.
MANY = 0.25


@dataclass(frozen=True)
class Choice:
    """What one criterion chooses among some candidates.

    Parameters
    ----------
    criterion : str
    among : str
        The covariance structure of the candidates, or "all".
    best : Candidate
    runner_up : Candidate or None
        The second best, where there is one.
    margin, margin_se : float
        Best minus second in nats, and its standard error where it has one: of the paired difference for scores that are sums
        over points, of two independent estimates for the evidence.
    one_se : Candidate or None
        For scores that are sums over points, the candidate with the fewest parameters that is within one standard error of
        their paired difference from the best (after Breiman, Friedman, Olshen & Stone 1984, section 3.4.3).
    """

    criterion: str
    among: str
    best: Candidate
    runner_up: Candidate | None
    margin: float
    margin_se: float
    one_se: Candidate | None


@dataclass(frozen=True)
class Selection:
    """Every criterion for every candidate, and what each chooses.

    Parameters
    ----------
    table : DataFrame
        A row a criterion and candidate: ``criterion``, ``covariance``, ``components``, ``value`` and ``se`` in nats (larger is
        better), ``difference`` from the best of the same criterion and structure with ``difference_se``, and ``missing``, the
        reason why there is no value. Of a test, the value is its p-value with its Monte Carlo error, and has no difference.
    fits : DataFrame
        A row a candidate: ``covariance``, ``components``, ``parameters`` (free ones) and how each fit went.
    choices : list of Choice
        For each criterion, within each structure and then, of several, among all; tests choose within a structure alone.
        Where of several candidates only one has a value, there is no choice.
    warnings : list of str
        What speaks against believing some of the numbers.
    manifest : dict
    x : ndarray, shape (N, D)
        The data.
    clusterings : dict
        The clusters of each chosen candidate; a candidate to which neither EM nor CAVI could be fitted has none.
    tests : list of RatioTest
        Of each candidate, where the bootstrap test is among the criteria.
    series : dict
        Signal and forecast of each chosen candidate, where these are linear dynamical systems.
    """

    table: pd.DataFrame
    fits: pd.DataFrame
    choices: list[Choice]
    warnings: list[str]
    manifest: dict[str, Any]
    x: np.ndarray
    clusterings: dict[Candidate, Clustering]
    tests: list[RatioTest] = field(default_factory=list)
    series: dict[Candidate, xr.Dataset] = field(default_factory=dict)

    def choice(self, criterion: str, among: str | None = None) -> Choice | None:
        """What a criterion chooses within a structure, or among all candidates; None where it has no value."""
        among = among or ("all" if self.fits["covariance"].nunique() > 1 else self.fits["covariance"].iloc[0])
        return next((one for one in self.choices if (one.criterion, one.among) == (criterion, among)), None)

    @property
    def chosen(self) -> dict[Candidate, list[str]]:
        """The candidates that criteria choose among all, each with its criteria; that of the most criteria first."""
        found: dict[Candidate, list[str]] = {}
        for criterion in self.manifest["criteria"]:
            if one := self.choice(criterion):
                found.setdefault(one.best, []).append(criterion)
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0].components)))


def select(
    x: np.ndarray | pd.DataFrame,
    components: int | Iterable[int] = range(1, 9),
    *,
    rng: Rng,
    covariance: str | Sequence[str] = ("full",),
    criteria: str | Sequence[str] | None = None,
    folds: int = 10,
    restarts: int = 100,
    reg_covar: float = 0.0,
    alpha0: float = 1.0,
    prior: Mapping[str, Any] | None = None,
    features: Sequence[str] | None = None,
    kinds: Sequence[str] | Mapping[str, str] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    missing: str = "error",
    sequences: bool | str | Sequence[int] = False,
    sticky: float = 0.0,
    name: str = "data",
    facts: Mapping[str, Any] | None = None,
    replicates: int = 199,
    level: float = 0.05,
    folder: str | Path | None = None,
    workers: int = 1,
    progress: Progress = None,
) -> Selection:
    """Choose the number of clusters by every criterion.

    Parameters
    ----------
    x : ndarray or DataFrame, shape (N, D)
    components : int or iterable of int
        The numbers of clusters to choose from.
    rng : numpy.random.Generator or int
        Source of all randomness. What is found for a candidate depends neither on the other candidates nor on ``workers``.
    covariance : str or sequence of str
        The structures of numbers to choose from: full, tied, diag, spherical; where no column holds numbers there is none.
    criteria : str or sequence of str, optional
        Of `reports.metrics.criterion.CRITERIA`; by default all but tests, and above 5000 points none that needs draws from the
        posterior. Of sequences, whose K is the number of states, neither leave-one-out nor the bootstrap test is one, and
        cross-validation leaves out whole sequences, so that it needs several.
    folds : int
        Of the cross-validation, 2 to N; of sequences at most as many as there are.
    restarts : int
        Starts of EM and CAVI, half as many in every fold; the tenth part that is ahead after 20 passes is continued.
    reg_covar : float
        Added by EM to the diagonal of every covariance, in squared units of the data, so that no cluster collapses.
    alpha0, prior, features, kinds, levels, missing, sequences, sticky, name, facts
        See `reports.compare`.
    replicates, level : int, float
        Of the bootstrap test ("blrt"): data sets drawn for each K, each fitted from a fifth of the ``restarts``, and the level
        at which a K is rejected.
    folder : str or Path, optional
        Where the replicates of the bootstrap test are kept as they come in; an earlier test of the same data and settings goes
        on in it. Without one they are not kept.
    workers : int
        Processes.
    progress : bool or callable, optional
        True shows a bar, in a notebook or on standard error; a callable is told the number of parts of the work that are
        done, and their total. None is silent.

    Returns
    -------
    Selection
        A candidate to which a method could not be fitted has no value and takes no part in the choice.

    Raises
    ------
    ValueError
        If an argument is outside its range.
    """
    began = time.perf_counter()
    facts = dict(facts or {})
    rng = generator(rng)
    structures = distinct([covariance] if isinstance(covariance, str) else covariance)
    for structure in structures:
        check_covariance(structure)
    asked_for = list(
        islice([components] if isinstance(components, int | np.integer) else components, MOST_CANDIDATES + 1)
    )
    for number in asked_for:
        check_whole("components", number)
    numbers = sorted({int(number) for number in asked_for})
    if len(numbers) > MOST_CANDIDATES:
        raise ValueError(f"components has more than {MOST_CANDIDATES:,} numbers of clusters; give fewer")
    if not structures or not numbers:
        raise ValueError(f"nothing to choose from: components is {numbers} and covariance {structures}")
    x, sequences = in_sequences(x, sequences)
    data = prepare(
        x, None, features, None, 0.0, False, rng, kinds=kinds, levels=levels, missing=missing, sequences=sequences
    )
    if sticky and data.lengths is None:
        raise ValueError("sticky is a setting of sequences, and the rows are not given as such")
    for structure in structures:
        check_covariance(structure, data.kinds)
    if "gaussian" not in data.kinds:
        structures = (NO_COVARIANCE,)
    correlated = any(structure in ("full", "tied") for structure in structures)
    for number in (numbers[0], numbers[-1]):
        datasets.check_components(data.x, number, correlated=correlated, kinds=data.kinds)
    criteria = [criteria] if isinstance(criteria, str) else criteria
    asked = [name for name in CRITERIA if name not in TESTS] if criteria is None else criteria
    asked = _judging(asked, data, named=asked is criteria)
    if undrawn(data, structures):
        sampled = [name for name in asked if name in CRITERIA and CRITERIA[name].part in ("gibbs", "lfo")]
        if sampled and criteria is not None:
            raise ValueError(
                f"Gibbs sampling, which {', '.join(sampled)} needs, cannot draw {UNDRAWN}; choose others, or covariance "
                "diag or spherical"
            )
        asked = [name for name in asked if name not in sampled]
    check_whole("folds", folds)
    if data.lengths is not None:
        folds = min(folds, max(2, len(data.lengths)))
    criteria = check_criteria(asked, sampled=criteria or len(x) <= LARGEST_SAMPLED)
    crossed = any(CRITERIA[criterion].part.startswith("cv") for criterion in criteria)
    if folds < 1 or (crossed and not 2 <= folds <= len(data.x)):
        raise ValueError(f"folds is {folds}; expected 2 to {len(data.x)}, the number of rows")
    check_whole("restarts", restarts)
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; expected at least 1")
    check_reg_covar(reg_covar, data.kinds)
    check_starts(restarts, numbers[-1], data.x.shape[1])
    check_workers(workers)
    plan = Plan(replicates, level, max(1, restarts // 5))

    folds_rng, own_rng = rng.spawn(2)
    setting = Setting(
        data.x,
        criteria,
        _folds(data, folds, folds_rng),
        restarts,
        alpha0,
        dict(prior or {}),
        tuple(own_rng.integers(2**63, size=2).tolist()),
        reg_covar,
        data.kinds,
        tuple(data.n_levels),
        data.missing,
        data.lengths,
        sticky,
    )
    candidates = [Candidate(structure, number) for structure in structures for number in numbers]
    models = {candidate: setting.model(data.x, candidate) for candidate in candidates}
    parts = [part for part in distinct(CRITERIA[criterion].part for criterion in criteria) if part not in TESTS]
    # the long ones first, so that no worker is left with one at the end
    tasks = sorted(((c, part) for c in candidates for part in parts), key=lambda task: -task[0].components)
    found: dict[tuple[Candidate, str], Found] = {}
    tests: list[RatioTest] = []
    with telling(progress, "parts") as tell, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped")  # joblib's, which starts another
        if "blrt" in criteria:
            own_facts = bootstrap.depends(setting, plan)
            with temporary(folder) as where:
                tests = bootstrap.run(
                    setting, plan, candidates, where, own_facts, workers=workers, tell=_before(tell, len(tasks))
                )
        more = len(candidates) * bootstrap.parts(plan) if tests else 0
        if tasks:
            tell(more, more + len(tasks))
        with processes(workers), closing(as_finished(_examine, ((task, setting) for task in tasks))) as results:
            for task, result in results:
                found[task] = result
                tell(more + len(found), more + len(tasks))

    free = {c: family.n_free(c.components) + allocation.n_free() for c, (family, allocation) in models.items()}
    table, choices = tabulated([name for name in criteria if name not in TESTS], candidates, free, found)
    if tests:
        table, choices = _with_tests(table, choices, tests)
    fits = fitted(candidates, free, found)
    model = models[candidates[0]]
    manifest = {
        "selection": 1,
        **facts_of.describe_run("reports.select(...)", facts),
        "data": facts_of.describe_data(data, name, False, facts) | {"n_classes": facts.get("n_classes")},
        "model": {
            "alpha0": alpha0,
            "sticky": sticky,
            "prior": {name: np.asarray(x).tolist() for name, x in setting.prior.items()},
            "family": model[0].name,
            "text": {
                s: "; ".join((*model[1].equations, *models[Candidate(s, numbers[0])][0].equations)) for s in structures
            },
        }
        | facts_of.describe_columns(data),
        "components": numbers,
        "covariances": list(structures),
        "criteria": list(criteria),
        "folds": folds,
        "restarts": restarts,
        "reg_covar": reg_covar,
        "continued": climb(restarts)["keep"],
        "bootstrap": bootstrap.described(plan, tests) if tests else None,
        "failures": [
            {
                "covariance": c.covariance,
                "components": c.components,
                "part": part,
                "reason": next(iter(own.missing.values())),
            }
            for (c, part), own in sorted(found.items())
            if own.failed
        ],
        "choices": [asdict(choice) | as_named(choice) for choice in choices],
    }
    selection = Selection(table, fits, choices, [], manifest, data.x, {}, tests)
    for candidate, those in selection.chosen.items():
        if (clustering := _clustering(candidate, those, found, setting)) is not None:
            selection.clusterings[candidate] = clustering
    selection.warnings.extend(_warnings(selection))
    manifest |= {"warnings": selection.warnings, "seconds": time.perf_counter() - began}
    return selection


def _judging(criteria: Iterable[str], data: Data, *, named: bool) -> list[str]:
    """The criteria that can judge these rows.

    Of sequences none that leaves out single rows, nor of one sequence one that leaves it out; of other rows not
    leave-future-out, nor of many unless it was named.

    Raises
    ------
    ValueError
        If others were named.
    """
    criteria = list(criteria)
    if of_systems := [name for name in criteria if name in ONLY_SYSTEMS]:
        if named:
            raise ValueError(f"{', '.join(of_systems)} is for linear dynamical systems; give --lds, or leave it out")
        criteria = [name for name in criteria if name not in ONLY_SYSTEMS]
    if data.lengths is None:
        if named and (other := [name for name in criteria if name in SEQUENTIAL]):
            raise ValueError(f"{', '.join(other)} needs rows in the order of time; give sequences, or leave it out")
        return [name for name in criteria if name not in SEQUENTIAL]
    if not named and len(data.x) > LARGEST_REFITTED:
        criteria = [name for name in criteria if name not in SEQUENTIAL]
    parts = ("cv", "cv-cavi") if len(data.lengths) == 1 else ()
    able = [
        name for name, own in CRITERIA.items() if name not in (*EXCHANGEABLE, *ONLY_SYSTEMS) and own.part not in parts
    ]
    other = [name for name in criteria if name in CRITERIA and name not in able]
    if other and named:
        raise ValueError(
            f"{', '.join(other)} cannot judge {'one sequence' if parts else 'sequences'}: the rows that are left out or drawn "
            f"anew would have no order; choose from {', '.join(able)}"
        )
    return [name for name in criteria if name not in other]


def _folds(data: Data, folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of each fold: a random part of all rows, or of sequences whole ones, in the order of time."""
    if data.lengths is None:
        return np.array_split(rng.permutation(len(data.x)), folds)
    owner = np.repeat(np.arange(len(data.lengths)), data.lengths)
    return [np.flatnonzero(np.isin(owner, some)) for some in np.array_split(rng.permutation(len(data.lengths)), folds)]


def check_criteria(criteria: Iterable[str], *, sampled: object = True) -> tuple[str, ...]:
    """The names without repetitions in their usual order, or a ValueError that offers the nearest.

    Those that need draws from the posterior are left out unless ``sampled``.
    """
    asked = distinct(criteria)
    for criterion in asked:
        check_known("criterion", criterion, CRITERIA)
    if not asked:
        raise ValueError(f"no criterion given; choose from {', '.join(CRITERIA)}")
    return tuple(name for name in CRITERIA if name in asked and (sampled or CRITERIA[name].part != "gibbs"))


def choose(
    criterion: str,
    among: str,
    values: Mapping[Candidate, tuple[float, float]],
    pointwise: Mapping[Candidate, np.ndarray],
    parameters: Mapping[Candidate, int],
) -> Choice:
    """What a criterion chooses among candidates with a value and its standard error; of equals, that with fewer parameters."""
    ordered = sorted(values, key=lambda c: (-values[c][0], parameters[c]))
    best, second = ordered[0], ordered[1] if len(ordered) > 1 else None
    margin, se = difference(best, second, values, pointwise) if second else (np.nan, np.nan)
    near = None
    if pointwise:
        behind = {c: difference(best, c, values, pointwise) for c in ordered[1:]}
        near = min([best, *(c for c, (gap, own_se) in behind.items() if gap <= own_se)], key=lambda c: parameters[c])
    return Choice(criterion, among, best, second, margin, se, near)


def difference(
    one: Candidate,
    other: Candidate,
    values: Mapping[Candidate, tuple[float, float]],
    pointwise: Mapping[Candidate, np.ndarray],
) -> tuple[float, float]:
    """One value minus another, and the standard error of that, paired where both are sums over points."""
    if not pointwise:
        (a, a_se), (b, b_se) = values[one], values[other]
        return a - b, float(np.hypot(a_se, b_se))
    n = len(pointwise[one])
    _, _, _, mean, se = paired_difference("", "", "", pointwise[one], pointwise[other])
    return float(n * mean), float(n * se)


def _examine(task: tuple[Candidate, str], setting: Setting) -> tuple[tuple[Candidate, str], Found]:
    return task, examine(*task, setting)


def _clustering(
    candidate: Candidate,
    criteria: Sequence[str],
    found: Mapping[tuple[Candidate, str], Found],
    setting: Setting,
) -> Clustering | None:
    """The clusters of a candidate that these criteria choose: by EM if all of them are about EM's fits, else by CAVI.

    A fit that no criterion asked for is made.
    """
    by_em = all(CRITERIA[criterion].part in ("em", "cv", *TESTS) for criterion in criteria)
    parts = ("em", "cavi") if by_em else ("cavi", "em")
    there = [one.clustering for part in parts if (one := found.get((candidate, part))) and one.clustering]
    return there[0] if there else examine(candidate, parts[0], setting).clustering


def tabulated(
    criteria: Sequence[str],
    candidates: Sequence[Candidate],
    parameters: Mapping[Candidate, int],
    found: Mapping[tuple[Candidate, str], Found],
    *,
    together: bool = False,
) -> tuple[pd.DataFrame, list[Choice]]:
    """All values with their differences from the best of their structure, or of all ``together``, and all choices."""
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    choices: list[Choice] = []
    structures = distinct(c.covariance for c in candidates)
    together = together and len(structures) > 1
    of = {c: "all" if together else c.covariance for c in candidates}
    structures = distinct(of.values())
    for criterion in criteria:
        own = {c: found[c, CRITERIA[criterion].part] for c in candidates}
        values = {c: one.values[criterion] for c, one in own.items() if criterion in one.values}
        missing = {c: one.missing[criterion] for c, one in own.items() if criterion in one.missing}
        missing |= (unproven := _unproven(criterion, own, values))
        values = {c: value for c, value in values.items() if c not in unproven}
        pointwise = {c: one.pointwise[criterion] for c, one in own.items() if criterion in one.pointwise}
        within = {}
        for structure in structures:
            some = {c: v for c, v in values.items() if of[c] == structure}
            if len(some) >= min(2, sum(own == structure for own in of.values())):
                within[structure] = choose(criterion, structure, some, pointwise, parameters)
        choices += within.values()
        if len(values) > 1 and len(structures) > 1:
            choices.append(choose(criterion, "all", values, pointwise, parameters))
        for c in candidates:
            value, se = values.get(c, (np.nan, np.nan))
            gap = gap_se = np.nan
            if c in values and of[c] in within:
                best = within[of[c]].best
                gap, gap_se = (0.0, np.nan) if c == best else difference(c, best, values, pointwise)
            rows.append((criterion, *c, value, se, gap, gap_se, missing.get(c)))
    columns = ["criterion", "covariance", "components", "value", "se", "difference", "difference_se", "missing"]
    return pd.DataFrame(rows, columns=columns), choices


def _unproven(
    criterion: str, own: Mapping[Candidate, Found], values: Mapping[Candidate, tuple[float, float]]
) -> dict[Candidate, str]:
    """Candidates whose value is the highest and doubtful, each with the reason: they would be chosen for an error."""
    highest = max((v for c, (v, _) in values.items() if criterion not in own[c].doubts), default=-np.inf)
    return {
        c: f"{own[c].doubts[criterion]}, and its value, {f'{v:.1f}'.replace('-', '−')}, exceeds that of every candidate "
        "without this doubt"
        for c, (v, _) in values.items()
        if criterion in own[c].doubts and v > highest
    }


def fitted(
    candidates: Sequence[Candidate],
    parameters: Mapping[Candidate, int],
    found: Mapping[tuple[Candidate, str], Found],
) -> pd.DataFrame:
    """How the fits went, a row a candidate; a column is named after its part of the work."""
    import pandas as pd

    rows = []
    for c in candidates:
        row: dict[str, Any] = {**c._asdict(), "parameters": parameters[c]}
        for (candidate, part), own in found.items():
            if candidate == c:
                row |= {f"{part}_{fact}": value for fact, value in own.facts.items()} | {f"{part}_failed": own.failed}
        rows.append(row)
    return pd.DataFrame(rows)


def _warnings(selection: Selection) -> list[str]:
    """What speaks against believing some of the numbers, one sentence a structure and kind."""
    several, said = selection.fits["covariance"].nunique() > 1, [*_without_choice(selection), *_failures(selection)]
    for structure, fits in selection.fits.groupby("covariance", sort=False):
        said += [f"{structure}: {sentence}" if several else sentence for sentence in _doubts(fits)]
    largest = max(selection.manifest["components"])
    at_edge = [
        CRITERIA[c.criterion].title
        for c in selection.choices
        if c == selection.choice(c.criterion) and c.best.components == largest > 1 and c.criterion not in TESTS
    ]
    if at_edge:
        said.append(
            f"{', '.join(at_edge)}: the choice K = {largest} is the largest candidate, and the best may be larger still; raise "
            "--components."
        )
    return said


def _without_choice(selection: Selection) -> Iterator[str]:
    """Which criteria make no choice: those with a value for one of several candidates, or for none."""
    candidates = [Candidate(*key) for key in selection.fits[["covariance", "components"]].itertuples(index=False)]
    several = selection.fits["covariance"].nunique() > 1
    by_survivors: dict[tuple[tuple[Candidate, ...], str], list[str]] = {}
    for criterion in selection.manifest["criteria"]:
        if selection.choice(criterion) is None and criterion not in TESTS:
            rows = selection.table[selection.table["criterion"] == criterion]
            own, others = rows[rows["value"].notna()], rows[rows["value"].isna()]
            left = tuple(Candidate(*key) for key in own[["covariance", "components"]].itertuples(index=False))
            infinite = others[others["missing"].fillna("").str.startswith("minus infinity")]
            why = "".join(f"; at K = {one.components} it is {one.missing}" for one in infinite.head(1).itertuples())
            by_survivors.setdefault((left, why), []).append(CRITERIA[criterion].title)
    for (left, why), titles in by_survivors.items():
        alone = " and ".join(f"K = {c.components}{f' {c.covariance}' if several else ''}" for c in left)
        only = f"only {alone} has a value, of {len(candidates)} candidates" if left else "no candidate has a value"
        yield f"{_listed(titles)}: no choice, as {only}{why}."
    for structure in selection.manifest["covariances"] if selection.tests else ():
        chosen, why = bootstrap.sequential(_of(selection.tests, structure))
        if chosen is None:
            yield f"BLRT{f', {structure}' if several else ''}: no choice, as {why}."
        alike: dict[tuple[str, str], list[int]] = {}
        for one in _of(selection.tests, structure):
            if one.needed is not None and (chosen is None or one.candidate.components <= chosen.candidate.components):
                low, high = one.interval
                why = (
                    f"(p = {one.p:.2g}, 95% interval {low:.2g} to {high:.2g}); about {one.needed} replicates would tell"
                )
                alike.setdefault((one.answer, why), []).append(one.candidate.components)
        for (answer, why), ks in alike.items():
            said = f"K = {_listed(ks)} {'is' if len(ks) == 1 else 'are'} {answer}"
            yield f"BLRT{f', {structure}' if several else ''}: {said} within Monte Carlo error alone {why}."


def _failures(selection: Selection) -> Iterator[str]:
    """What could not be fitted at which K and why, a sentence a structure and part of the work."""
    several = selection.fits["covariance"].nunique() > 1
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for failure in selection.manifest["failures"]:
        groups.setdefault((failure["covariance"], failure["part"]), []).append(failure)
    for (structure, part), failures in groups.items():
        reason = re.split(", the last|;", failures[0]["reason"], maxsplit=1)[0]
        ks = _listed(sorted(failure["components"] for failure in failures))
        ridge = part in ("em", "cv") and re.search("collapse|singular", failures[0]["reason"])
        yield (
            f"{f'{structure}: ' if several else ''}{PART_TITLES[part]} failed at K = {ks} ({reason}) and has no values there"
            f"{'; raise --restarts, or give EM a ridge with --reg-covar' if ridge else ''}."
        )


def _doubts(fits: pd.DataFrame) -> list[str]:
    """What speaks against the fits under one structure."""
    said: list[str] = []

    def where(name: str, holds: Callable[[pd.Series], pd.Series]) -> list[int]:
        return [] if name not in fits else fits.loc[fits[name].notna() & holds(fits[name]), "components"].tolist()

    if "em_log_likelihood" in fits:
        ended = fits[fits["em_log_likelihood"].notna()]
        highest = ended["em_log_likelihood"].cummax()
        for k, fall in zip(ended["components"], highest - ended["em_log_likelihood"], strict=True):
            if fall > HIGHER:
                said.append(
                    f"EM’s likelihood at K = {k} is {fall:.2g} nats below that of fewer clusters: no start found "
                    "the optimum; raise --restarts."
                )
        few = where("em_fewest_points", lambda v: v < fits["em_parameters_a_cluster"])
        if few:
            said.append(
                f"at K = {_listed(few)} a cluster of EM has fewer points than free parameters; such maxima of the "
                "likelihood are often spurious, and AIC, BIC and ICL may choose them."
            )
    if "em_collapsed" in fits:
        many = fits[fits["em_collapsed"] >= MANY * fits["em_starts"]]
        if len(many):
            counts = [f"{r.em_collapsed:.0f} of {r.em_starts:.0f} at K = {r.components}" for r in many.itertuples()]
            said.append(f"starts of EM that ended in a collapse: {_listed(counts)}.")
    if {"em_log_likelihood", "cavi_log_likelihood_at_mean"} <= set(fits):
        gap = fits["cavi_log_likelihood_at_mean"] - fits["em_log_likelihood"]
        for k, nats in zip(fits["components"], gap, strict=True):
            if nats > HIGHER:
                said.append(
                    f"EM’s likelihood at K = {k} is {nats:.2g} nats below that at CAVI’s posterior mean: EM has not found the "
                    "highest; raise --restarts."
                )
    for part, title in (("em", "EM"), ("cavi", "CAVI")):
        unsettled = where(f"{part}_converged", lambda v: v.eq(False))
        if unsettled:
            said.append(f"{title} did not converge at K = {_listed(unsettled)}.")
    empty = where("cavi_empty", lambda v: v > 1)
    if empty:
        said.append(
            f"at K = {_listed(empty)} CAVI leaves more than one cluster empty: log K! counts equal labellings several times, "
            "and ELBO + log K! is too high."
        )
    apart = where("gibbs_rhat", lambda v: ~(v < RHAT))
    if apart:
        bridged = "bridge" in set(fits.get("gibbs_evidence", ()))
        too_small = (
            "the evidence and of LOO are too small there, and the evidence chooses none of these"
            if bridged
            else "LOO are too small there"
        )
        said.append(
            f"Gibbs chains did not mix at K = {_listed(apart)} (split R-hat above {RHAT}): the standard errors of {too_small}."
        )
    heavy = where("gibbs_khat_bad", lambda v: v > 0)
    if heavy:
        said.append(f"LOO has points with a high k-hat at K = {_listed(heavy)}, whose scores are unreliable.")
    return said


def _of(tests: Iterable[RatioTest], structure: str) -> list[RatioTest]:
    return [one for one in tests if one.candidate.covariance == structure]


def _with_tests(
    table: pd.DataFrame, choices: list[Choice], tests: Sequence[RatioTest]
) -> tuple[pd.DataFrame, list[Choice]]:
    """All values and choices with those of the bootstrap test, which chooses by its sequence and has no margin."""
    import pandas as pd

    rows = [
        {"criterion": "blrt", **one.candidate._asdict(), "value": one.p, "se": one.se, "missing": one.missing}
        for one in tests
    ]
    own = pd.DataFrame(rows, columns=table.columns)
    found = [bootstrap.sequential(_of(tests, structure))[0] for structure in distinct(own["covariance"])]
    more = [Choice("blrt", one.candidate.covariance, one.candidate, None, np.nan, np.nan, None) for one in found if one]
    return pd.concat([part for part in (table, own) if len(part)], ignore_index=True), [*choices, *more]


def _before(tell: Tell, rest: int) -> Tell:
    """A function to tell that has so many parts of the work still before it."""
    return lambda done, total: tell(done, total + rest)


def _listed(items: Sequence[object]) -> str:
    """Numbers of clusters, or titles, as words.

    >>> _listed([4]), _listed([4, 6, 7])
    ('4', '4, 6 and 7')
    """
    return ", ".join(map(str, items[:-1])) + f" and {items[-1]}" if len(items) > 1 else str(items[0])


def as_named(choice: Choice) -> dict[str, Any]:
    """Candidates by the names of their fields, and no number where there is none, as the manifest can hold them."""
    candidates = {
        name: None if getattr(choice, name) is None else getattr(choice, name)._asdict()
        for name in ("best", "runner_up", "one_se")
    }
    numbers = {name: getattr(choice, name) for name in ("margin", "margin_se")}
    return candidates | {name: None if value != value else value for name, value in numbers.items()}


def distinct(names: Iterable[str]) -> tuple[str, ...]:
    """The names without repetitions, in their order."""
    return tuple(dict.fromkeys(names))
