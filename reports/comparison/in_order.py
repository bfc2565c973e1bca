"""Everything that is measured once the fits of sequences are there: what `measure` does, for rows in the order of time.

Nothing here takes rows for exchangeable: predictive densities are those of a row given the rows before it, points that share
a state are counted on paths drawn from the posterior, and nothing is left out of the middle.
"""

from __future__ import annotations

import warnings
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures import Conjugate
from mixtures.allocations.markov import Markov
from mixtures.errors import ConvergenceWarning
from mixtures.methods import cavi, gibbs
from mixtures.rows.sequences import Sequences
from mixtures.sequences import SequenceFit, given
from mixtures.tables import parameters_of
from reports.comparison import references, trees
from reports.comparison.catalogue import METHODS, Options
from reports.comparison.measure import (
    DENSITY_POINTS,
    Measured,
    aligned,
    corrected,
    independent,
    judged_samplers,
    modes_of,
    nothing,
    own_numbers,
    posterior_of,
    ratios_of,
    second_opinions,
    told_apart,
    told_of,
    verdicts,
)
from reports.comparison.prepared import Data
from reports.comparison.verdict import NOT_MEASURED
from reports.metrics import (
    Row,
    agreement,
    ahead,
    chain,
    classes,
    evidence,
    future,
    goodness,
    label_free,
    modes,
    optimum,
    paths,
    prediction,
    prior,
    quality,
    recovery,
    series_checks,
)

if TYPE_CHECKING:
    import xarray as xr

# The likelihood of one sequence is sum_k pi_k c_k, the largest at the state of the largest c_k.
ONE_START = (
    "one sequence has one start, in which its likelihood is linear: the largest is at 0 and 1 whatever the data, which says "
    "nothing of the method"
)
VERTEX = 1e-6

# Rows up to which leave-future-out is not waited for, and draws of the posterior of each beginning.
FEW, DRAWS_A_FIT = 200, 2000


def measure(fits: dict[str, Any], data: Data, options: Options, rng: np.random.Generator) -> Measured:
    """Align the fits, measure each alone, against the data and against the reference, and pass the verdict."""
    x = data.points
    rows = [] if data.truth is None else _oracle(data)
    streams, evidence_streams = (dict(zip(METHODS, rng.spawn(len(METHODS)), strict=True)) for _ in range(2))
    common, common_points = rng.spawn(2)
    for method in (m for m in fits if m not in METHODS):
        streams[method], evidence_streams[method] = rng.spawn(2)
    if not fits:
        return nothing(rows)

    scored = fits
    shape = options.chains, options.draws
    fits, relabelling = aligned(
        {m: fit.as_draws(*shape, streams[m]) if fit.kind == "exact" else fit for m, fit in fits.items()}, data
    )
    told_of(relabelling, second_opinions(fits, x))
    drawn: dict[str, Any] = {
        m: fit.as_draws(*shape, streams[m]) if fit.kind == "variational" else fit for m, fit in fits.items()
    }
    posteriors = {m: posterior_of(fit, data) for m, fit in drawn.items()}
    averaged = {m: fit.responsibilities(x) for m, fit in drawn.items()}
    ratios = {
        m: ratios_of(fit, drawn[m], data)
        for m, fit in fits.items()
        if isinstance(fit.posterior, Conjugate) or "log_ratio" in fit.sample_stats
    }
    likelihoods = {m: trees.log_likelihood(fit, data) for m, fit in drawn.items() if fit.kind != "point"}
    shown = trees.coclustered(len(x))
    shared = {m: paths.shared(fit, x, shown, streams[m].spawn(1)[0]) for m, fit in drawn.items()}
    together = {m: found for m, (found, _) in shared.items()}

    for m, fit in fits.items():
        if fit.kind != "point":
            rows += quality.tail_khat(m, posteriors[m], independent=independent(fit))
        rows += own_numbers(fit, averaged[m], ratios.get(m), data, streams[m])
        rows.append(Row(m, "occupied", "data", shared[m][1]))
        rows += optimum.log_likelihood(fit, x, likelihoods.get(m))
        rows.append(Row(m, "n_parameters", "data", goodness.n_parameters(fit)))
        rows += goodness.penalised(fit, x) + classes.classes(m, averaged[m])
    diagnoses, judged, fits = judged_samplers(fits, posteriors)
    rows += diagnoses
    facts: dict[str, Any] = {
        "reference": references.chosen(judged, options.reference),
        "references": judged,
        "relabelling": relabelling,
        "modes": modes_of(fits, data),
    }
    rows += [row for m, found in facts["modes"].items() for row in modes.rows(m, found)]
    weighed = {m: evidence.evidence(fit, x, evidence_streams[m]) for m, fit in scored.items()}
    rows += [row for found, _ in weighed.values() for row in found]
    facts["evidence"] = {m: missing for m, (_, missing) in weighed.items() if missing}

    against = facts["reference"]["method"]
    log_p = {m: ahead.train(fit, x) for m, fit in drawn.items()}
    rows += _scores("train", log_p, against)
    if data.lengths_heldout:
        rows += _scores(
            "heldout", {m: ahead.heldout(f, data.whole, data.lengths_heldout) for m, f in drawn.items()}, against
        )
    asked = options.leave_future_out
    if asked or (asked is None and len(x) <= FEW):
        found_of_future, facts["leave_future_out"] = _future(fits, x, options, streams, against)
        rows += found_of_future
    found_of_chain = {m: chain.derived(posterior) for m, posterior in posteriors.items()}
    if against is not None:
        rows += _against(against, drawn, posteriors, found_of_chain, together, ratios, x, common_points)
        if options.two_sample:
            rows += told_apart(against, posteriors, streams)

    saved = {}
    for m, fit in fits.items():
        tree = trees.tree_of_series(
            fit,
            drawn[m],
            posteriors[m],
            likelihoods.get(m),
            together[m].matrix,
            averaged[m],
            log_p[m],
            data,
            streams[m],
        )
        states = drawn[m].viterbi(x).states
        rows += chain.visits(m, states, x, fit.n_components)
        groups = {"chain": found_of_chain[m], "path": chain.path(states)}
        # The same random numbers and labels for all, so that chance sets the methods less apart.
        of_checks, groups["checks"] = series_checks.check(
            drawn[m], x, data.features, data.kinds, deepcopy(common), data.levels
        )
        rows += of_checks
        if (pseudo := ahead.pseudo_residuals(drawn[m], x, data.features, deepcopy(common))) is not None:
            rows += pseudo[0]
            groups["pseudo_residuals"] = pseudo[1]
        saved[m] = tree.assign({name: type(tree)(dataset) for name, dataset in groups.items()})

    order = {m: i for i, m in enumerate([*fits, "oracle"])}
    rows.sort(key=lambda row: order[row.method])
    by_method = {m: list(those) for m, those in groupby(rows, key=lambda row: row.method)}
    facts["reference"] = references.contested(facts["reference"], judged, by_method)
    facts["verdict"] = verdicts(fits, by_method, judged, facts["reference"])
    for m in (m for m, fit in fits.items() if _start_unknown(fit, x)):
        if (said := facts["verdict"][m].get("initial")) is not None and not said["checks"]:
            said["because"] = said["because"].replace(NOT_MEASURED, ONE_START)
    at_scales = partial(prior.scales, next(iter(drawn.values())), x, data.labels, averaged, rng.spawn(1)[0])
    facts["prior_sensitivity"], found_of_prior = prior.examine(
        drawn, posteriors, averaged, facts["reference"], x, data.labels, at_scales
    )
    rows = sorted([*rows, *found_of_prior], key=lambda row: order[row.method])
    return Measured(fits, rows, saved, facts)


def _start_unknown(fit: Any, x: Sequences) -> bool:
    """Whether a point estimate of the start is at the boundary because there is one sequence; see `ONE_START`."""
    return fit.kind == "point" and len(x.lengths) == 1 and bool((fit.held.weights[..., 0] > 1 - VERTEX).any())


def _scores(part: str, log_p: dict[str, np.ndarray], against: str | None) -> list[Row]:
    """Mean log predictive densities of rows given those before them, and their paired differences from those of ``against``."""
    rows = []
    for m, value in log_p.items():
        rows += prediction.impossible(m, f"{part}_impossible", value)
        rows.append(prediction.log_density(m, f"{part}_log_density", value))
        if against is not None and m != against:
            rows.append(prediction.paired_difference(m, against, f"{part}_log_difference", value, log_p[against]))
    return rows


def _future(
    fits: dict[str, Any], x: Sequences, options: Options, streams: dict[str, np.random.Generator], against: str | None
) -> tuple[list[Row], dict[str, Any]]:
    """Leave-future-out of the methods that are quick to fit again, and what the page says of it."""
    log_p: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {}
    for m in (m for m in REFITTED if m in fits):
        rng = streams[m].spawn(1)[0]
        refit = partial(REFITTED[m], fits[m], options, rng)
        try:
            first = future.first_step(x.lengths)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # of fits to beginnings, k-hat and the errors tell
                score = future.leave_future_out(refit, x, first)
        except ValueError as error:
            facts[m] = {"missing": str(error)}
            continue
        log_p[m] = score.elpd
        worst = float(score.khat.max()) if len(score.khat) else None
        facts[m] = {"fits": score.fits, "first": first, "khat": worst}
    if len(log_p) == len(REFITTED) and against not in log_p:
        row = prediction.paired_difference("cavi", "gibbs", "lfo", log_p["cavi"], log_p["gibbs"])
        facts["cavi"]["less_gibbs"] = [float(row.value), float(row.se)]
    return _scores("lfo", log_p, against if against in log_p else None), facts


def _again_by_cavi(fit: SequenceFit, options: Options, rng: np.random.Generator, x: Any) -> Any:
    return cavi.fit(x, fit.family, fit.allocation, rng=rng, restarts=options.restarts).as_draws(1, DRAWS_A_FIT, rng)


def _again_by_gibbs(fit: SequenceFit, options: Options, rng: np.random.Generator, x: Any) -> Any:
    return gibbs.fit(x, fit.family, fit.allocation, rng=rng, draws=DRAWS_A_FIT // 4)


REFITTED = {"cavi": _again_by_cavi, "gibbs": _again_by_gibbs}


def _against(
    against: str,
    drawn: dict[str, SequenceFit],
    posteriors: dict[str, xr.Dataset],
    chains: dict[str, xr.Dataset],
    together: dict[str, label_free.Together],
    ratios: dict[str, np.ndarray],
    x: Sequences,
    rng: np.random.Generator,
) -> list[Row]:
    """What every other method differs by from the reference; points are drawn with the same random numbers for all."""
    own_kind = independent(drawn[against])
    truth = agreement.marginals(posteriors[against], independent=own_kind)
    of_chain = agreement.marginals(chain.compared(chains[against]), independent=own_kind)
    at, points = ahead.points(drawn[against], x, DENSITY_POINTS, deepcopy(rng))
    reference_density = _density(drawn[against], x, at, points)
    rows = []
    for m in (m for m in drawn if m != against):
        mine = independent(drawn[m])
        found = agreement.marginal_agreement(m, agreement.marginals(posteriors[m], independent=mine), truth)
        rows += [row for row in found if not (_start_unknown(drawn[m], x) and row.target.startswith("initial"))]
        other = agreement.marginals(chain.compared(chains[m]), independent=mine)
        rows += agreement.marginal_agreement(m, other, {name: v for name, v in of_chain.items() if name in other})
        rows += agreement.lost_correlations(m, posteriors[m], posteriors[against])
        if len(ratios.get(m, ())) == drawn[m].held.size:
            rows += corrected(m, posteriors[m], truth, ratios[m])
        own = ahead.points(drawn[m], x, DENSITY_POINTS, deepcopy(rng))
        rows += label_free.predictive_tv(
            m,
            (_density(drawn[m], x, *own), _density(drawn[m], x, at, points)),
            (_density(drawn[against], x, *own), reference_density),
        )
        if drawn[m].n_components > 1:
            rows += label_free.coclustering_error(m, together[m], together[against])
    return rows


def _density(fit: SequenceFit, x: Sequences, at: np.ndarray, points: np.ndarray) -> label_free.Density:
    return label_free.of_draws(ahead.log_densities(fit, x, at, points))


def _oracle(data: Data) -> list[Row]:
    """Predictive density and cluster recovery of the parameters that generated the data."""
    assert data.truth is not None
    A, x = data.truth["transitions"], data.points
    allocation, family = Markov.symmetric(len(A)), data.model(len(A), "full")
    theta = {name: data.truth[name] for name in parameters_of(data.kinds)}
    truth = replace(given(family, allocation, data.truth["initial"], A, theta), method="oracle")
    rows = _scores("train", {"oracle": ahead.train(truth, x)}, None)
    if data.lengths_heldout:
        rows += _scores("heldout", {"oracle": ahead.heldout(truth, data.whole, data.lengths_heldout)}, None)
    if data.labels is not None:
        rows += recovery.recovery("oracle", truth.responsibilities(x), data.labels)
    return rows
