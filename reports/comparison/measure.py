"""Everything that is measured once the fits are there."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures import Conjugate, Dirichlet, Draws, Fit, labels
from mixtures.families.parameters import blocks_of
from mixtures.tables import parameters_of
from reports.comparison import references, trees
from reports.comparison.beside import begin
from reports.comparison.catalogue import METHODS, REFERENCES, Options
from reports.comparison.prepared import Data
from reports.comparison.verdict import EVERY, judge, of_reference
from reports.metrics import (
    Row,
    agreement,
    checks,
    classes,
    evidence,
    goodness,
    label_free,
    modes,
    optimum,
    prediction,
    prior,
    quality,
    recovery,
    reference,
    residuals,
    two_sample,
)
from reports.metrics.parameters import scalars

if TYPE_CHECKING:
    import xarray as xr

# Points drawn from each of two predictive densities that are compared.
DENSITY_POINTS = 1000
RELABELLED_POINTS = 300


class Measured(NamedTuple):
    """Aligned fits, rows of the long table, trees to save, and what the manifest should say of them."""

    fits: dict[str, Fit]
    rows: list[Row]
    trees: dict[str, xr.DataTree]
    facts: dict[str, Any]


def measure(
    fits: dict[str, Fit], data: Data, options: Options, rng: np.random.Generator, executor: Executor | None = None
) -> Measured:
    """Align the fits, measure each alone, against the data and against the reference, and pass the verdict."""
    rows = [] if data.truth is None else _oracle(data)
    streams, evidence_streams = (dict(zip(METHODS, rng.spawn(len(METHODS)), strict=True)) for _ in range(2))
    common, common_points = rng.spawn(2)
    for method in (m for m in fits if m not in METHODS):
        streams[method], evidence_streams[method] = rng.spawn(2)
    if not fits:
        return nothing(rows)

    scored = fits  # neither a predictive density nor an evidence has labels, and the exact ones are better than those of draws
    fits, relabelling = aligned(
        {
            method: fit.as_draws(options.chains, options.draws, streams[method]) if fit.kind == "exact" else fit
            for method, fit in fits.items()
        },
        data,
    )
    of_all = None if data.sampled else data.x
    opinions = begin(executor, second_opinions, fits, data.points)
    of_evidence = begin(executor, weighed, scored, of_all, evidence_streams)
    modes_found = begin(executor, modes_of, fits, data)
    drawn = {
        method: fit.as_draws(options.chains, options.draws, streams[method]) if fit.kind == "variational" else fit
        for method, fit in fits.items()
    }
    posteriors = {method: posterior_of(fit, data) for method, fit in drawn.items()}
    some = data.x[trees.coclustered(len(data.x))]
    together = {method: label_free.together(fit, some) for method, fit in drawn.items()}
    averaged = {method: fit.responsibilities(data.x) for method, fit in drawn.items()}
    first = next(iter(drawn.values()))
    at_scales = begin(executor, prior.scales, first, data.x, data.labels, averaged, rng.spawn(1)[0])

    ratios = {
        method: ratios_of(fit, drawn[method], data)
        for method, fit in fits.items()
        if not data.sampled and (isinstance(fit.posterior, Conjugate) or "log_ratio" in fit.sample_stats)
    }

    likelihoods = {
        method: trees.log_likelihood(fit, data)
        for method, fit in drawn.items()
        if fit.kind != "point" and not data.sampled
    }
    left_out = {
        method: begin(
            executor,
            trees.leave_one_out,
            fit,
            drawn[method],
            ratios.get(method),
            posteriors[method],
            likelihoods.get(method),
            data,
            deepcopy(common),
        )
        for method, fit in fits.items()
    }

    for method, fit in fits.items():
        if fit.kind != "point":
            rows += quality.tail_khat(method, posteriors[method], independent=independent(fit))
        rows += own_numbers(fit, averaged[method], ratios.get(method), data, streams[method])
        rows.append(label_free.occupied(method, drawn[method], data.x))
        if data.sampled:
            rows.append(Row(method, "n_parameters", "data", goodness.n_parameters(fit)))
            rows += [Row(method, name, "data", fit.info[name]) for name in goodness.CRITERIA if name in fit.info]
        else:
            rows += optimum.log_likelihood(fit, data.x, likelihoods.get(method))
            rows += goodness.fit_statistics(scored[method], data.x) + goodness.penalised(fit, data.x)
        rows += classes.classes(method, averaged[method])
    diagnoses, judged, fits = judged_samplers(fits, posteriors)
    rows += diagnoses
    facts: dict[str, Any] = {
        "reference": references.chosen(judged, options.reference),
        "references": judged,
        "relabelling": relabelling,
    }
    told_of(relabelling, opinions())
    facts["modes"] = modes_found()
    rows += [row for method, found in facts["modes"].items() for row in modes.rows(method, found)]

    evidences = of_evidence()
    rows += [row for found, _ in evidences.values() for row in found]
    facts["evidence"] = {method: missing for method, (_, missing) in evidences.items() if missing}

    against = facts["reference"]["method"]
    rows += _densities(scored, data, against)
    if against is not None:
        rows += _against(against, scored, drawn, posteriors, together, ratios, common_points)
        if options.two_sample:
            rows += told_apart(against, posteriors, streams)

    saved = {
        m: trees.tree(
            fits[m],
            scored[m],
            drawn[m],
            posteriors[m],
            likelihoods.get(m),
            together[m].matrix,
            averaged[m],
            data,
            streams[m],
        )
        for m in fits
    }
    for method, tree in saved.items():
        found = left_out[method]()
        # The same random numbers and labels for all, so that chance sets the methods less apart.
        found["checks"] = checks.check(fits[method], data.x, data.features, data.kinds, deepcopy(common), data.levels)
        if (unexplained := residuals.residuals(fits[method], data.x, data.features)) is not None:
            found["residuals"] = unexplained
        rows += [row for those, _ in found.values() for row in those]
        saved[method] = tree.assign({group: type(tree)(dataset) for group, (_, dataset) in found.items()})

    order = {method: i for i, method in enumerate([*fits, "oracle"])}
    rows.sort(key=lambda row: order[row.method])
    by_method = {method: list(those) for method, those in groupby(rows, key=lambda row: row.method)}
    facts["reference"] = references.contested(facts["reference"], judged, by_method)
    facts["verdict"] = verdicts(fits, by_method, judged, facts["reference"])
    scaled = facts["reference"] | (
        {"trusted": False} if data.sampled else {}
    )  # power-scaling takes the likelihood of all rows
    facts["prior_sensitivity"], found_of_prior = prior.examine(
        drawn, posteriors, averaged, scaled, data.x, data.labels, at_scales
    )
    rows = sorted([*rows, *found_of_prior], key=lambda row: order[row.method])
    return Measured(fits, rows, saved, facts)


def _against(
    against: str,
    scored: dict[str, Fit],
    drawn: dict[str, Fit],
    posteriors: dict[str, xr.Dataset],
    together: dict[str, label_free.Together],
    ratios: dict[str, np.ndarray],
    rng: np.random.Generator,
) -> list[Row]:
    """What every other method differs by from the reference; points are drawn with the same random numbers for all."""
    truth = agreement.marginals(posteriors[against], independent=independent(drawn[against]))
    points, _ = drawn[against].sample(DENSITY_POINTS, rng)
    reference_density = label_free.density(scored[against], points)
    rows = []
    for method in (m for m in drawn if m != against):
        own = agreement.marginals(posteriors[method], independent=independent(drawn[method]))
        rows += agreement.marginal_agreement(method, own, truth)
        rows += agreement.lost_correlations(method, posteriors[method], posteriors[against])
        if len(ratios.get(method, ())) == drawn[method].held.size:
            rows += corrected(method, posteriors[method], truth, ratios[method])
        own_points, _ = drawn[method].sample(DENSITY_POINTS, deepcopy(rng))
        rows += label_free.predictive_tv(
            method,
            (label_free.density(scored[method], own_points), label_free.density(scored[method], points)),
            (label_free.density(scored[against], own_points), reference_density),
        )
        if drawn[method].n_components > 1:
            rows += label_free.coclustering_error(method, together[method], together[against])
    return rows


def told_apart(against: str, posteriors: dict[str, xr.Dataset], streams: dict[str, np.random.Generator]) -> list[Row]:
    """How well a classifier tells each method's draws from the reference's."""
    rows = two_sample.floor(against, posteriors[against], streams[against].spawn(1)[0])
    for method in (m for m in posteriors if m != against):
        rng = streams[method].spawn(1)[0]
        rows += two_sample.two_sample(method, posteriors[method], posteriors[against], rng)
    return rows


def independent(fit: Fit) -> bool:
    """Whether the draws are independent, as all are but those of a Markov chain."""
    return fit.kind != "mcmc"


def verdicts(
    fits: dict[str, Fit], rows: dict[str, list[Row]], judged: dict[str, dict[str, Any]], against: dict[str, Any]
) -> dict[str, Any]:
    """The verdict on every method: claims for which the model has no parameters are absent."""
    one = next(iter(fits.values()))
    said = {*blocks_of((*one.allocation.dims, *one.family.parameters)), "clusters", "density"}
    said -= {*blocks_of(tuple(one.allocation.dims)), "clusters"} if one.n_components == 1 else set()
    claims = [claim for claim in EVERY if claim in said]
    return {
        method: of_reference(against, claims)
        if method == against["method"]
        else judge(
            rows[method], fit.kind, reference=against, caveat=references.caveat(fit, judged.get(method)), claims=claims
        )
        for method, fit in fits.items()
    }


def aligned(fits: dict[str, Fit], data: Data) -> tuple[dict[str, Fit], dict[str, Any]]:
    """Every fit in the labelling of the first of the catalogue's methods, clusters numbered by their first mean.

    What `second_opinions` adds to the facts takes longer.
    """
    pivot = next(method for method in (*METHODS, *fits) if method in fits)
    r = labels.sort_by_mean(best_draw(fits[pivot], data.points), data.points)
    found = {method: labels.align(fit, r, data.points) for method, fit in fits.items()}
    facts = {
        method: {
            "pivot": pivot,
            "moved": a.moved,
            "switched": a.switched if keeps_names(a.fit) else None,
        }
        for method, a in found.items()
    }
    return {method: a.fit for method, a in found.items()}, facts


def keeps_names(fit: Fit) -> bool:
    """Whether a switch of labels tells of clusters that trade places: not where draws are independent or names exchanged on
    purpose, as in Gibbs sampling."""
    return fit.kind == "mcmc" and not {"exchanges", "log_evidence_runs"} & fit.info.keys()


def second_opinions(fits: dict[str, Fit], x: np.ndarray) -> dict[str, float | None]:
    """By method, the share of aligned draws that another way to relabel leaves as they are."""
    return {method: _second_opinion(fit, x) for method, fit in fits.items()}


def told_of(relabelling: dict[str, Any], opinions: dict[str, float | None]) -> None:
    """Add second opinions to what is told of the relabelling of each method."""
    for method, agreement_ in opinions.items():
        relabelling[method]["agreement"] = agreement_


def weighed(
    fits: dict[str, Fit], x: np.ndarray | None, streams: dict[str, np.random.Generator]
) -> dict[str, tuple[list[Row], dict[str, str]]]:
    """By method, what it has to say about the evidence."""
    return {method: evidence.evidence(fit, x, streams[method]) for method, fit in fits.items()}


def _second_opinion(fit: Fit, x: np.ndarray) -> float | None:
    """Share of aligned draws that Stephens' relabelling leaves as they are, but for one order common to all."""
    if isinstance(fit.posterior, Conjugate) or fit.n_components == 1 or fit.kind == "point":
        return None
    if fit.allocation.independent:
        r = label_free.per_draw(fit, x[trees.spread(len(x), min(len(x), RELABELLED_POINTS))])
    else:
        r = label_free.per_draw(fit, x, -(-len(x) // RELABELLED_POINTS))
    return labels.agreement(labels.stephens(r))


def modes_of(fits: dict[str, Fit], data: Data) -> dict[str, Any]:
    """The modes among the draws of the posteriors that were sampled, and in which of them the other methods sit.

    None are told where the points are a sample of the rows, whose modes are others.
    """
    if data.sampled:
        return {}
    x = data.points
    others = {m: fit.responsibilities(x) for m, fit in fits.items() if fit.kind in ("point", "variational")}
    return modes.find({m: fit for m, fit in fits.items() if fit.kind in ("mcmc", "exact")}, x, others)


def best_draw(fit: Fit, x: np.ndarray) -> Fit:
    """The held draw of highest likelihood on its own, whose labels are its own; a closed form as it is."""
    if isinstance(fit.posterior, Conjugate):
        return fit
    weights, theta = fit.held.flat()
    best = int(np.argmax(fit.total_log_likelihood(x)))
    return replace(fit, posterior=Draws(weights[None, [best]], {name: v[None, [best]] for name, v in theta.items()}))


def posterior_of(fit: Fit, data: Data) -> xr.Dataset:
    """All held draws in the units of the data, features by name."""
    tree = fit.draws(fit.held.size, np.random.default_rng(0))
    return tree["posterior"].to_dataset().assign_coords(fit.family.coords(data.features, data.levels))


def ratios_of(fit: Fit, drawn: Fit, data: Data) -> np.ndarray:
    """log p(x, pi, theta) - log q(pi, theta) of the draws from q, up to a constant where the method has recorded them."""
    if isinstance(fit.posterior, Conjugate):
        return quality.log_ratios(fit, drawn, data.points)
    return fit.sample_stats["log_ratio"].ravel()


def corrected(
    method: str, posterior: xr.Dataset, truth: Mapping[str, agreement.Marginal], ratios: np.ndarray
) -> list[Row]:
    """Medians of importance-weighted draws against the reference's, where the weights can be relied on."""
    log_weights, khat = quality.smoothed(ratios)
    return quality.corrected_medians(method, posterior, truth, log_weights) if quality.usable(khat, len(ratios)) else []


def nothing(rows: list[Row]) -> Measured:
    """What there is where no method succeeded."""
    empty: dict[str, Any] = {name: {} for name in ("references", "relabelling", "modes", "evidence", "verdict")}
    none = references.no_reference("no method succeeded")
    return Measured({}, rows, {}, empty | {"reference": none, "prior_sensitivity": None})


def judged_samplers(
    fits: dict[str, Fit], posteriors: dict[str, xr.Dataset]
) -> tuple[list[Row], dict[str, dict[str, Any]], dict[str, Fit]]:
    """The diagnostics of all samplers, the manifest's entry of each method that could be the reference, and the fits.

    A sampler that cannot be the reference, and whose draws fail the checks, has not converged.
    """
    checked = {method: diagnosed(fit, posteriors[method]) for method, fit in fits.items() if fit.kind == "mcmc"}
    judged = {
        method: references.reference_entry(
            method, reference.checks(those, fits[method].held.weights.shape[0], fits[method].sample_stats)
        )
        for method, those in checked.items()
    }
    astray = {m for m, entry in judged.items() if m in METHODS and m not in REFERENCES and not entry["trusted"]}
    could_be = {m: entry for m, entry in judged.items() if m in REFERENCES or m not in METHODS}
    could_be |= {method: references.exact_entry(method) for method, fit in fits.items() if fit.kind == "exact"}
    fits = {method: replace(fit, converged=False) if method in astray else fit for method, fit in fits.items()}
    return [row for those in checked.values() for row in those], could_be, fits


def own_numbers(fit: Fit, r: np.ndarray, ratios: np.ndarray | None, data: Data, rng: np.random.Generator) -> list[Row]:
    """What can be said of a method without looking at another; ``r`` are its responsibilities averaged over draws."""
    method, log_labellings = fit.method, float(np.log(np.arange(1, fit.n_components + 1)).sum())
    rows = [Row(method, f"seconds_{part}", "data", seconds) for part, seconds in fit.seconds.items()]
    if len(fit.bound):
        bound = fit.info.get("elbo", fit.info.get("log_likelihood", fit.bound[-1]))
        error = fit.info.get("elbo_se", np.nan)
        rows.append(Row(method, "bound", "data", bound, error))
        if fit.kind == "variational":
            rows.append(Row(method, "bound_all_labellings", "data", bound + log_labellings, error))
    if ratios is not None:
        rows.append(quality.khat(method, ratios))
        rows += quality.khat_interval(method, ratios, rng.spawn(1)[0])
        if isinstance(fit.posterior, Conjugate):
            rows.append(Row(method, "bound_marginal", "data", ratios.mean(), ratios.std(ddof=1) / np.sqrt(len(ratios))))
    if data.labels is not None:
        rows += recovery.recovery(method, r, data.labels)
    if isinstance(fit.posterior, Conjugate):
        by_labels = fit.responsibilities(data.points)
        if data.lengths is None:
            rows.append(label_free.occupied_by_labels(method, by_labels))
        if data.labels is not None:
            rows += recovery.recovery(method, by_labels, data.labels, suffix="_qz")
    return rows


def _oracle(data: Data) -> list[Row]:
    """Predictive density and cluster recovery of the parameters that generated the data."""
    assert data.truth is not None
    K = len(data.truth["weights"])
    family, allocation = data.model(K, "full"), Dirichlet.symmetric(K)
    theta = family.from_data_units({name: data.truth[name] for name in parameters_of(data.kinds)})
    posterior = Draws(data.truth["weights"][None, None], {name: v[None, None] for name, v in theta.items()})
    truth = Fit("oracle", "point", family, allocation, posterior, np.empty(0), True, {})
    rows = _densities({"oracle": truth}, data, None)
    if data.labels is not None:
        rows += recovery.recovery("oracle", truth.responsibilities(data.x), data.labels)
    return rows


def diagnosed(fit: Fit, posterior: xr.Dataset) -> list[Row]:
    """Convergence of a sampler in every scalar of its aligned draws."""
    rows = reference.diagnose(fit.method, scalars(posterior), fit.sample_stats)
    smallest = next(row.value for row in rows if row.metric == "ess_min")
    if "rhat" in fit.info:
        rows.append(Row(fit.method, "rhat_unlabelled", "all", fit.info["rhat"]))
    if "run" in fit.seconds:
        rows.append(Row(fit.method, "ess_per_second", "all", smallest / fit.seconds["run"]))
    return rows


def _densities(fits: dict[str, Fit], data: Data, against: str | None) -> list[Row]:
    """Mean log predictive densities, and their paired differences from those of ``against``."""
    rows = []
    for name, points in (("train", data.x), ("heldout", data.heldout)):
        if not len(points):
            continue
        log_p = {method: fit.log_predictive(points) for method, fit in fits.items()}
        for method, value in log_p.items():
            rows += prediction.impossible(method, f"{name}_impossible", value)
            rows.append(prediction.log_density(method, f"{name}_log_density", value))
            if against is not None and method != against:
                rows.append(
                    prediction.paired_difference(method, against, f"{name}_log_difference", value, log_p[against])
                )
    return rows
