"""Choose the latent dimension, or the structure, of a linear dynamical system by every criterion, and say by how much."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.dynamics import cavi, em
from mixtures.dynamics.checks import check_states, checked
from mixtures.dynamics.structures import NAMES
from mixtures.engines.kalman import as_data
from mixtures.rows.reading import Rows
from mixtures.seeds import Rng, generator
from reports.comparison import manifest as facts_of
from reports.comparison.capacity import MOST_CANDIDATES, check_fits, check_workers
from reports.comparison.given import names_of_series
from reports.comparison.names import check_known
from reports.comparison.prepared import digest
from reports.metrics import systems
from reports.metrics.criteria import Candidate
from reports.metrics.criterion import CRITERIA
from reports.metrics.criterion import SYSTEMS as CHOSEN_BY
from reports.metrics.optimum import HIGHER
from reports.metrics.reference import RHAT
from reports.metrics.systems import LATENT, LEAST, NUMBERED, STARTS, Setting, examine, of
from reports.studies.selection.choices import as_named, distinct, tabulated
from reports.studies.selection.doubts import listed
from reports.studies.selection.examined import examined, fitted
from reports.studies.selection.result import Selection
from reports.studies.workers import Progress, telling

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

PART_TITLES = {
    "em": "EM",
    "cavi": "VB",
    "held": "the last part by EM",
    "held-cavi": "the last part by VB",
    "gibbs": "the evidence",
}

# Draws of q over which states and forecasts of a chosen system are averaged.
DRAWN = 60


def candidates_of(specs: Sequence[str]) -> list[Candidate]:
    """The candidates that words such as "local-level" and "latent=1:4" name.

    Raises
    ------
    ValueError
        If there is no structure of a name, or its numbers are missing or none.

    Examples
    --------
    >>> candidates_of(["local-level", "autoregression=1:2"])[-1]
    Candidate(covariance='autoregression', components=2)
    """
    found: list[Candidate] = []
    for spec in specs:
        if not isinstance(spec, str):
            raise ValueError(f"candidates has {spec!r:.60}; expected names such as local-level")
        name, given, text = spec.strip().partition("=")
        if name == "random-regression":
            raise ValueError("random-regression needs its regressors, which no candidate has")
        check_known("structure", name, [LATENT, *(own for own in NAMES if own != "random-regression")])
        if not given and name not in NUMBERED:
            found.append(Candidate(name, of(Candidate(name, 0), 1).H))
            continue
        if (name in NUMBERED) != bool(given):
            wanted = f"the number of {NUMBERED[name]}, as in {name}=1:4" if name in NUMBERED else "no number"
            raise ValueError(f"--lds has {spec!r}; expected {wanted}")
        first, colon, last = text.partition(":")
        last = last if colon else first
        if not (first.isdecimal() and last.isdecimal() and LEAST[name] <= int(first) <= int(last)):
            raise ValueError(
                f"--lds has {spec!r}; expected numbers of {NUMBERED[name]}, such as {name}={LEAST[name]}:4"
            )
        if int(last) - int(first) >= MOST_CANDIDATES:
            raise ValueError(f"--lds has {spec!r}; expected at most {MOST_CANDIDATES:,} candidates")
        found += [Candidate(name, number) for number in range(int(first), int(last) + 1)]
    if not found:
        raise ValueError("nothing to choose from: name systems, such as local-level or latent=1:4")
    return list(dict.fromkeys(found))


def select_dynamics(
    x: Rows,
    candidates: str | Sequence[str] = "latent=1:4",
    *,
    rng: Rng,
    criteria: Sequence[str] | None = None,
    restarts: int = 5,
    start: str = "known",
    features: Sequence[str] = (),
    index: Sequence[str] = (),
    name: str = "series",
    facts: Mapping[str, Any] | None = None,
    workers: int = 1,
    progress: Progress = None,
) -> Selection:
    """Choose the latent dimension, or the structure, of a linear dynamical system by every criterion.

    The rows are centred, and no state starts diffuse; see `reports.metrics.systems`.

    Parameters
    ----------
    x : ndarray, shape (T, D), Sequences, or list of ndarray
        NaN where a value is missing.
    candidates : str or sequence of str
        Structures by name, and latent systems by their numbers of states, as "local-level,autoregression=1:3" or "latent=1:4".
    rng : numpy.random.Generator or int
        Source of all randomness. What is found for a candidate depends neither on the other candidates nor on ``workers``.
    criteria : sequence of str, optional
        Of aic, bic, held, held-cavi, elbo and evidence; by default all, but for those of VB where the start is stationary.
    restarts : int
        Starts of EM and VB.
    start : {"known", "stationary", "free"}
        How states start: at zero with known variances, in the distribution that the transition leaves as it is or, of several
        sequences, with a free mean and covariance. Structures of trends and seasons have a known start alone.
    features, index : sequence of str
        Names of the features, and of the rows.
    name, facts, workers, progress
        See `reports.select`.

    Returns
    -------
    Selection
        In its tables ``covariance`` is a structure, and ``components`` its number: of states, of values before, or of rows in a
        period. A candidate to which a method could not be fitted has no value and takes no part in the choice.

    Raises
    ------
    ValueError
        If an argument is outside its range, or a candidate does not suit the data.
    """
    began, facts, rng = time.perf_counter(), dict(facts or {}), generator(rng)
    specs = candidates.split(",") if isinstance(candidates, str) else list(candidates)
    chosen_from = candidates_of(specs)
    asked = distinct(_criteria(start) if criteria is None else criteria)
    for criterion in asked:
        check_known("criterion of linear dynamical systems", criterion, CHOSEN_BY)
        if criterion not in _criteria(start):
            raise ValueError(f"{criterion} has no number: {cavi.STATIONARY}")
    if not asked:
        raise ValueError(f"no criterion given; choose from {', '.join(CHOSEN_BY)}")
    if restarts < 1:
        raise ValueError(f"restarts is {restarts}; expected at least 1")
    check_fits(restarts, "starts", "ask for fewer with --restarts")
    check_workers(workers)
    rows = as_data(x).x
    D = rows.shape[1]
    features, index = names_of_series(features, index, len(rows), D)
    _check_start(start, len(rows.lengths))
    centre = np.nanmean(rows.x, axis=0)
    criteria = tuple(one for one in CHOSEN_BY if one in asked)
    lengths = tuple(int(n) for n in rows.lengths)
    seed = tuple(rng.integers(2**63, size=2).tolist())
    setting = Setting(rows.x - centre, lengths, criteria, restarts, seed, start)
    for candidate in chosen_from:
        check_states(rows.lengths, candidate.components)
        checked(rows, setting.started(candidate, setting.points))
    parts = distinct(CRITERIA[criterion].part for criterion in criteria)
    with telling(progress, "parts") as tell:
        found = examined(examine, chosen_from, parts, setting, workers=workers, tell=tell)
    models = {candidate: setting.model(candidate) for candidate in chosen_from}
    free = {candidate: model.identified() for candidate, model in models.items()}
    table, choices = tabulated(criteria, chosen_from, free, found, together=True)
    manifest = {
        "selection": 1,
        "systems": True,
        **facts_of.describe_run("reports.select_dynamics(...)", facts),
        "data": {
            "name": name,
            "source": facts.get("source"),
            "n": len(rows),
            "d": D,
            "n_missing": int(np.isnan(rows.x).sum()),
            "lengths": list(lengths),
            "features": features,
            "index": index,
            "digest": digest(rows.x),
            "centre": centre.tolist(),
            "notes": list(facts.get("notes", ())),
        },
        "model": {"equations": list(models[chosen_from[0]].equations)},
        "components": sorted({c.components for c in chosen_from}),
        "covariances": list(distinct(c.covariance for c in chosen_from)),
        "criteria": list(criteria),
        "restarts": restarts,
        "start": start,
        "held": systems.HELD,
        "failures": [
            {"system": word(c), "part": PART_TITLES[part], "reason": next(iter(own.missing.values()))}
            for (c, part), own in sorted(found.items())
            if own.failed
        ],
        "choices": [asdict(choice) | as_named(choice) for choice in choices],
    }
    selection = Selection(table, fitted(chosen_from, free, found), choices, [], manifest, rows.x, {})
    for candidate in selection.chosen:
        selection.series[candidate] = in_time(setting, candidate, centre)
    selection.warnings.extend(_warnings(selection))
    manifest |= {"warnings": selection.warnings, "seconds": time.perf_counter() - began}
    return selection


def _criteria(start: str) -> tuple[str, ...]:
    """The criteria that there are: VB fits no stationary start."""
    return tuple(one for one in CHOSEN_BY if start != "stationary" or CRITERIA[one].part not in ("cavi", "held-cavi"))


def _check_start(start: str, sequences: int) -> None:
    """Refuse starts under which densities cannot be compared.

    Raises
    ------
    ValueError
    """
    if start == "diffuse":
        raise ValueError(
            "systems that start diffuse have densities of different numbers of values, which cannot be compared; choose start "
            "known or stationary"
        )
    check_known("start", start, STARTS)
    if start == "free" and sequences == 1:
        raise ValueError(
            "a free start of one sequence has a variance that is estimated as zero; choose start known or stationary"
        )


def word(candidate: Candidate) -> str:
    """A candidate as it is asked for.

    >>> word(Candidate("latent", 2)), word(Candidate("local-level", 1))
    ('latent=2', 'local-level')
    """
    return (
        f"{candidate.covariance}={candidate.components}" if candidate.covariance in NUMBERED else candidate.covariance
    )


def in_time(setting: Setting, candidate: Candidate, centre: np.ndarray) -> xr.Dataset:
    """Signal and forecast of a candidate in the units of the data; see `reports.validation.identified.in_time`.

    They are by VB or, of a stationary start, at the posterior mode.
    """
    from reports.validation import identified

    fit_ = em.map_ if setting.start == "stationary" else cavi.fit
    fit = fit_(setting.points, setting.model(candidate), rng=setting.rng(candidate, "cavi"), tol=systems.GAIN)
    theta = fit.parameters(DRAWN, setting.rng(candidate, "held"))
    found = identified.in_time(fit.model, setting.points, theta)
    for variable in ("signal", "forecast"):
        found[variable] = found[variable] + centre
    return found


def _warnings(selection: Selection) -> Iterator[str]:
    """What speaks against believing some of the numbers."""
    fits, manifest = selection.fits, selection.manifest
    for criterion in manifest["criteria"]:
        if selection.choice(criterion) is None:
            yield f"{CRITERIA[criterion].title}: no choice, as fewer than two candidates have a value."
    for failure in manifest["failures"]:
        yield f"{failure['part']} failed for {failure['system']} ({failure['reason']}) and has no values there."
    yield from _unsettled(fits)
    latent = fits[fits["covariance"] == LATENT]
    if len(latent) > 1:
        largest = Candidate(LATENT, int(latent["components"].max()))
        edge = [CRITERIA[name].title for name in manifest["criteria"] if _chooses(selection, name, largest)]
        if edge:
            yield f"{', '.join(edge)}: the choice {word(largest)} is the largest candidate, and the best may be larger still."
    if "em_log_likelihood" in latent:
        fall = latent["em_log_likelihood"].cummax() - latent["em_log_likelihood"]
        for number, nats in zip(latent["components"], fall, strict=True):
            if nats > HIGHER:
                yield (
                    f"EM’s likelihood at latent={number} is {nats:.2g} nats below that of fewer states: no start found the "
                    "optimum; raise --restarts."
                )


def _chooses(selection: Selection, criterion: str, candidate: Candidate) -> bool:
    one = selection.choice(criterion)
    return one is not None and one.best == candidate


def _unsettled(fits: pd.DataFrame) -> Iterator[str]:
    """Which ascents did not converge, and which chains did not mix."""
    for part in ("em", "cavi", "held", "held-cavi"):
        if f"{part}_converged" in fits:
            those = fits[fits[f"{part}_converged"].eq(False)]
            if len(those):
                yield f"{PART_TITLES[part]} did not converge for {_words(those)}."
    if "gibbs_rhat" in fits:
        those = fits[fits["gibbs_rhat"].notna() & ~(fits["gibbs_rhat"] < RHAT)]
        if len(those):
            yield (
                f"Gibbs chains did not mix for {_words(those)} (split R-hat above {RHAT}): the standard errors of the evidence "
                "are too small there, and the evidence chooses none of these above all others."
            )
    if "em_modulus" in fits:
        those = fits[
            fits["em_modulus"].notna() & (fits["em_modulus"] > 1) & fits["covariance"].isin((LATENT, "autoregression"))
        ]
        if len(those):
            yield f"EM’s estimate explodes for {_words(those)}: an eigenvalue of A is above 1 in modulus."


def _words(fits: pd.DataFrame) -> str:
    return listed(
        [word(Candidate(str(c), int(k))) for c, k in zip(fits["covariance"], fits["components"], strict=True)]
    )
