"""Choose the number of clusters K, and the covariance structure, by every criterion, and say by how much."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures import datasets
from mixtures.checks import check_whole
from mixtures.model import Allocation, Family
from mixtures.seeds import Rng, generator
from reports.comparison import manifest as facts_of
from reports.comparison.capacity import check_starts, check_workers
from reports.comparison.catalogue import check_reg_covar
from reports.comparison.given import in_sequences
from reports.comparison.names import check_covariance
from reports.comparison.prepared import Data, prepare
from reports.metrics.criteria import NO_COVARIANCE, Candidate, Clustering, Found, Setting, climb, examine
from reports.metrics.criterion import CRITERIA, TESTS
from reports.studies.folder import temporary
from reports.studies.selection import bootstrap
from reports.studies.selection.asked import criteria_for, numbers_of_clusters
from reports.studies.selection.bootstrap import Plan, RatioTest
from reports.studies.selection.choices import as_named, distinct, tabulated, with_tests
from reports.studies.selection.doubts import warnings_of
from reports.studies.selection.examined import examined, fitted
from reports.studies.selection.result import Selection
from reports.studies.workers import Progress, Tell, telling

if TYPE_CHECKING:
    import pandas as pd


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
    numbers = numbers_of_clusters(components)
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
    asked = [criteria] if isinstance(criteria, str) else criteria
    criteria = criteria_for(data, structures, asked, rows=len(x))
    check_whole("folds", folds)
    if data.lengths is not None:
        folds = min(folds, max(2, len(data.lengths)))
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
    rest = len(candidates) * len(parts)
    tests: list[RatioTest] = []
    with telling(progress, "parts") as tell, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="A worker stopped")  # joblib's, which starts another
        if "blrt" in criteria:
            own_facts = bootstrap.depends(setting, plan)
            with temporary(folder) as where:
                tests = bootstrap.run(
                    setting, plan, candidates, where, own_facts, workers=workers, tell=_stretch(tell, after=rest)
                )
        tell = _stretch(tell, before=len(candidates) * bootstrap.parts(plan) if tests else 0)
        found = examined(examine, candidates, parts, setting, workers=workers, tell=tell)

    free = {c: family.n_free(c.components) + allocation.n_free() for c, (family, allocation) in models.items()}
    table, choices = tabulated([name for name in criteria if name not in TESTS], candidates, free, found)
    if tests:
        table, choices = with_tests(table, choices, tests)
    fits = fitted(candidates, free, found)
    manifest = {
        "selection": 1,
        **facts_of.describe_run("reports.select(...)", facts),
        "data": facts_of.describe_data(data, name, False, facts) | {"n_classes": facts.get("n_classes")},
        "model": _describe_model(setting, models) | facts_of.describe_columns(data),
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
    selection.warnings.extend(warnings_of(selection))
    manifest |= {"warnings": selection.warnings, "seconds": time.perf_counter() - began}
    return selection


def _folds(data: Data, folds: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The rows of each fold: a random part of all rows, or of sequences whole ones, in the order of time."""
    if data.lengths is None:
        return np.array_split(rng.permutation(len(data.x)), folds)
    owner = np.repeat(np.arange(len(data.lengths)), data.lengths)
    return [np.flatnonzero(np.isin(owner, some)) for some in np.array_split(rng.permutation(len(data.lengths)), folds)]


def _describe_model(setting: Setting, models: Mapping[Candidate, tuple[Family, Allocation]]) -> dict[str, Any]:
    """What the candidates have in common, and the model of each structure in symbols."""
    family, allocation = next(iter(models.values()))
    text: dict[str, str] = {}
    for candidate, (own, _) in models.items():
        text.setdefault(candidate.covariance, "; ".join((*allocation.equations, *own.equations)))
    return {
        "alpha0": setting.alpha0,
        "sticky": setting.sticky,
        "prior": {name: np.asarray(x).tolist() for name, x in setting.prior.items()},
        "family": family.name,
        "text": text,
    }


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


def _stretch(tell: Tell, *, before: int = 0, after: int = 0) -> Tell:
    """A function that is told of one stretch of the work, so many parts of which are done before it and left after it."""
    return lambda done, total: tell(before + done, before + total + after)
