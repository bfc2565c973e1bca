"""Everything that is measured once the fits are there."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mixtures import Conjugate, Dirichlet, Draws, Fit, Gaussian, labels
from mixtures.engines.responsibilities import log_sum_draws
from mixtures.methods import cavi
from reports.comparison.beside import begin
from reports.comparison.catalogue import METHODS, REFERENCES, Options
from reports.comparison.prepared import Data
from reports.comparison.verdict import CLAIMS, judge, of_reference
from reports.metrics import (
    Row,
    agreement,
    checks,
    evidence,
    label_free,
    modes,
    prediction,
    prior,
    quality,
    recovery,
    reference,
    two_sample,
)
from reports.metrics.parameters import scalars
from reports.metrics.prediction import FEWEST_LOO_DRAWS, LARGEST_LOG_LIKELIHOOD

if TYPE_CHECKING:
    import xarray as xr

# Sizes that keep the work after the fits, and the folder, small; what they cut is cut for every method alike.
LARGEST_REFITTED = 2000

# An R-hat that more draws will not mend.
MODES_APART = 1.1
PREDICTIVE_DRAWS = 50
PREDICTIVE_POINTS = 1000
# Points drawn from each of two predictive densities that are compared.
DENSITY_POINTS = 1000
NOTHING_SAMPLED = "no MCMC draws to hold the others against"
COCLUSTERED_POINTS = 400
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
        facts: dict[str, Any] = {"reference": _no_reference("no method succeeded")}
        facts |= {
            "references": {},
            "relabelling": {},
            "modes": {},
            "evidence": {},
            "verdict": {},
            "prior_sensitivity": {},
        }
        return Measured({}, rows, {}, facts)

    scored = fits  # neither a predictive density nor an evidence has labels, and the exact ones are better than those of draws
    fits, relabelling = _aligned(
        {
            method: fit.as_draws(options.chains, options.draws, streams[method]) if fit.kind == "exact" else fit
            for method, fit in fits.items()
        },
        data,
    )
    drawn = {
        method: fit.as_draws(options.chains, options.draws, streams[method]) if fit.kind == "variational" else fit
        for method, fit in fits.items()
    }
    posteriors = {method: _posterior(fit, data) for method, fit in drawn.items()}
    some = data.x[_coclustered(len(data.x))]
    together = {method: label_free.together(fit, some) for method, fit in drawn.items()}
    averaged = {method: fit.responsibilities(data.x) for method, fit in drawn.items()}

    ratios = {
        method: _ratios(fit, drawn[method], data)
        for method, fit in fits.items()
        if isinstance(fit.posterior, Conjugate) or "log_ratio" in fit.sample_stats
    }

    likelihoods = {method: _log_likelihood(fit, data) for method, fit in drawn.items() if fit.kind != "point"}
    left_out = {
        method: begin(
            executor,
            _leave_one_out,
            fit,
            drawn[method],
            ratios.get(method),
            posteriors[method],
            likelihoods.get(method),
            data,
        )
        for method, fit in fits.items()
    }

    for method, fit in fits.items():
        if fit.kind != "point":
            rows += quality.tail_khat(method, posteriors[method], independent=independent(fit))
        rows += _own(fit, drawn[method], averaged[method], ratios.get(method), data, streams[method])
    checked = {method: diagnosed(fit, posteriors[method]) for method, fit in fits.items() if fit.kind == "mcmc"}
    rows += [row for those in checked.values() for row in those]
    judged = {
        method: reference_entry(
            method, reference.checks(those, fits[method].held.weights.shape[0], fits[method].sample_stats)
        )
        for method, those in checked.items()
        if method in REFERENCES or method not in METHODS
    } | {method: exact_entry(method) for method, fit in fits.items() if fit.kind == "exact"}
    facts = {"reference": _chosen(judged, options.reference), "references": judged, "relabelling": relabelling}
    facts["modes"] = _modes(fits, data)
    rows += [row for method, found in facts["modes"].items() for row in modes.rows(method, found)]

    weighed = {m: evidence.evidence(fit, data.x, evidence_streams[m]) for m, fit in scored.items()}
    rows += [row for found, _ in weighed.values() for row in found]
    facts["evidence"] = {method: missing for method, (_, missing) in weighed.items() if missing}

    against = facts["reference"]["method"]
    rows += _densities(scored, data, against)
    if against is not None:
        rows += _against(against, scored, drawn, posteriors, together, ratios, common_points)
        if options.two_sample:
            rows += _told_apart(against, posteriors, streams)

    trees = {
        m: _tree(
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
    for method, tree in trees.items():
        found = left_out[method]()
        # The same random numbers and labels for all, so that chance sets the methods less apart.
        found["checks"] = checks.check(fits[method], data.x, data.features, deepcopy(common))
        rows += [row for those, _ in found.values() for row in those]
        trees[method] = tree.assign({group: type(tree)(dataset) for group, (_, dataset) in found.items()})

    order = {method: i for i, method in enumerate([*fits, "oracle"])}
    rows.sort(key=lambda row: order[row.method])
    by_method = {method: list(those) for method, those in groupby(rows, key=lambda row: row.method)}
    facts["reference"] = contested(facts["reference"], judged, by_method)
    facts["verdict"] = _verdicts(fits, by_method, judged, facts["reference"])
    facts["prior_sensitivity"], found_of_prior = prior.examine(
        drawn, posteriors, averaged, facts["reference"], data.x, data.labels, rng.spawn(1)[0]
    )
    rows = sorted([*rows, *found_of_prior], key=lambda row: order[row.method])
    return Measured(fits, rows, trees, facts)


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
        if len(ratios.get(method, ())) == drawn[method].held.weights[..., 0].size:
            rows += _corrected(method, posteriors[method], truth, ratios[method])
        own_points, _ = drawn[method].sample(DENSITY_POINTS, deepcopy(rng))
        rows += label_free.predictive_tv(
            method,
            (label_free.density(scored[method], own_points), label_free.density(scored[method], points)),
            (label_free.density(scored[against], own_points), reference_density),
        )
        if drawn[method].n_components > 1:
            rows += label_free.coclustering_error(method, together[method], together[against])
    return rows


def _told_apart(against: str, posteriors: dict[str, xr.Dataset], streams: dict[str, np.random.Generator]) -> list[Row]:
    """How well a classifier tells each method's draws from the reference's."""
    rows = two_sample.floor(against, posteriors[against], streams[against].spawn(1)[0])
    for method in (m for m in posteriors if m != against):
        rng = streams[method].spawn(1)[0]
        rows += two_sample.two_sample(method, posteriors[method], posteriors[against], rng)
    return rows


def independent(fit: Fit) -> bool:
    """Whether the draws are independent, as all are but those of a Markov chain."""
    return fit.kind != "mcmc"


def _verdicts(
    fits: dict[str, Fit], rows: dict[str, list[Row]], judged: dict[str, dict[str, Any]], against: dict[str, Any]
) -> dict[str, Any]:
    """The verdict on every method: claims that one cluster has no parameters for are absent."""
    several = next(iter(fits.values())).n_components > 1
    claims = [claim for claim in CLAIMS if several or claim not in ("weights", "clusters")]
    return {
        method: of_reference(against, claims)
        if method == against["method"]
        else judge(rows[method], fit.kind, reference=against, caveat=caveat(fit, judged.get(method)), claims=claims)
        for method, fit in fits.items()
    }


def caveat(fit: Fit, judged: dict[str, Any] | None) -> str | None:
    """Why the method itself cannot be relied on: an optimiser that did not converge, a sampler that failed its checks."""
    if fit.kind == "mcmc":
        if judged is not None:
            return None if judged["trusted"] else f"the sampler failed its checks ({_failed(judged['checks'])})"
        return None if fit.converged else "the sampler's runs disagree"
    return None if fit.converged else "the optimiser did not converge"


def _aligned(fits: dict[str, Fit], data: Data) -> tuple[dict[str, Fit], dict[str, Any]]:
    """Every fit in the labelling of the first of the catalogue's methods, clusters numbered by their first mean."""
    pivot = next(method for method in (*METHODS, *fits) if method in fits)
    r = labels.sort_by_mean(best_draw(fits[pivot], data.x), data.x)
    aligned = {method: labels.align(fit, r, data.x) for method, fit in fits.items()}
    facts = {
        method: {
            "pivot": pivot,
            "moved": a.moved,
            "switched": a.switched if keeps_names(a.fit) else None,
            "agreement": _second_opinion(a.fit, data.x),
        }
        for method, a in aligned.items()
    }
    return {method: a.fit for method, a in aligned.items()}, facts


def keeps_names(fit: Fit) -> bool:
    """Whether a switch of labels tells of clusters that trade places: not where draws are independent or names exchanged on
    purpose, as in Gibbs sampling."""
    return fit.kind == "mcmc" and not {"exchanges", "log_evidence_runs"} & fit.info.keys()


def _second_opinion(fit: Fit, x: np.ndarray) -> float | None:
    """Share of aligned draws that Stephens' relabelling leaves as they are, but for one order common to all."""
    if isinstance(fit.posterior, Conjugate) or fit.n_components == 1 or fit.kind == "point":
        return None
    r = label_free.per_draw(fit, x[_spread(len(x), min(len(x), RELABELLED_POINTS))])
    return labels.agreement(labels.stephens(r))


def _modes(fits: dict[str, Fit], data: Data) -> dict[str, Any]:
    """The modes among the draws of the posteriors that were sampled, and in which of them the other methods sit."""
    others = {m: fit.responsibilities(data.x) for m, fit in fits.items() if fit.kind in ("point", "variational")}
    return modes.find({m: fit for m, fit in fits.items() if fit.kind in ("mcmc", "exact")}, data.x, others)


def best_draw(fit: Fit, x: np.ndarray) -> Fit:
    """The held draw of highest likelihood on its own, whose labels are its own; a closed form as it is."""
    if isinstance(fit.posterior, Conjugate):
        return fit
    weights, theta = fit.held.flat()
    best = int(np.argmax(sum(log_sum_draws(block).sum(1) for _, block in fit.log_rho(x))))
    return replace(fit, posterior=Draws(weights[None, [best]], {name: v[None, [best]] for name, v in theta.items()}))


def _posterior(fit: Fit, data: Data) -> xr.Dataset:
    """All held draws in the units of the data, features by name."""
    tree = fit.draws(fit.held.weights[..., 0].size, np.random.default_rng(0))
    names = {"feature": list(data.features), "feature_": list(data.features)}
    return tree["posterior"].to_dataset().assign_coords(names)


def _coclustered(n: int) -> np.ndarray:
    """Rows whose co-clustering is kept: all, or evenly spaced ones of many."""
    return np.linspace(0, n - 1, min(n, COCLUSTERED_POINTS)).astype(int)


def _ratios(fit: Fit, drawn: Fit, data: Data) -> np.ndarray:
    """log p(x, pi, theta) - log q(pi, theta) of the draws from q, up to a constant where the method has recorded them."""
    if isinstance(fit.posterior, Conjugate):
        return quality.log_ratios(fit, drawn, data.x)
    return fit.sample_stats["log_ratio"].ravel()


def _corrected(
    method: str, posterior: xr.Dataset, truth: Mapping[str, agreement.Marginal], ratios: np.ndarray
) -> list[Row]:
    """Medians of importance-weighted draws against the reference's, where the weights can be relied on."""
    log_weights, khat = quality.smoothed(ratios)
    return quality.corrected_medians(method, posterior, truth, log_weights) if quality.usable(khat, len(ratios)) else []


def _own(
    fit: Fit, drawn: Fit, r: np.ndarray, ratios: np.ndarray | None, data: Data, rng: np.random.Generator
) -> list[Row]:
    """What can be said of a method without looking at another; ``r`` are its responsibilities averaged over draws."""
    method, log_labellings = fit.method, float(np.log(np.arange(1, fit.n_components + 1)).sum())
    rows = [Row(method, f"seconds_{part}", "data", seconds) for part, seconds in fit.seconds.items()]
    if len(fit.bound):
        bound, error = fit.info.get("elbo", fit.bound[-1]), fit.info.get("elbo_se", np.nan)
        rows.append(Row(method, "bound", "data", bound, error))
        if fit.kind == "variational":
            rows.append(Row(method, "bound_all_labellings", "data", bound + log_labellings, error))
    rows += [Row(method, name, "data", fit.info[name]) for name in ("aic", "bic", "icl") if name in fit.info]
    if ratios is not None:
        rows.append(quality.khat(method, ratios))
        rows += quality.khat_interval(method, ratios, rng.spawn(1)[0])
        if isinstance(fit.posterior, Conjugate):
            rows.append(Row(method, "bound_marginal", "data", ratios.mean(), ratios.std(ddof=1) / np.sqrt(len(ratios))))
    rows.append(label_free.occupied(method, drawn, data.x))
    if data.labels is not None:
        rows += recovery.recovery(method, r, data.labels)
    if isinstance(fit.posterior, Conjugate):
        by_labels = fit.responsibilities(data.x)
        rows.append(label_free.occupied_by_labels(method, by_labels))
        if data.labels is not None:
            rows += recovery.recovery(method, by_labels, data.labels, suffix="_qz")
    return rows


def _oracle(data: Data) -> list[Row]:
    """Predictive density and cluster recovery of the parameters that generated the data."""
    assert data.truth is not None
    K = len(data.truth["weights"])
    family, allocation = Gaussian.from_data(data.x, K), Dirichlet.symmetric(K)
    theta = family.from_data_units({name: data.truth[name] for name in family.dims})
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
            rows.append(prediction.log_density(method, f"{name}_log_density", value))
            if against is not None and method != against:
                rows.append(
                    prediction.paired_difference(method, against, f"{name}_log_difference", value, log_p[against])
                )
    return rows


def _tree(
    fit: Fit,
    scored: Fit,
    drawn: Fit,
    posterior: xr.Dataset,
    log_likelihood: xr.Dataset | None,
    together: np.ndarray,
    averaged: np.ndarray,
    data: Data,
    rng: np.random.Generator,
) -> xr.DataTree:
    """The method's DataTree: posterior, observed_data and clusters always, the other groups where they apply."""
    import xarray as xr

    chains, draws, _ = drawn.held.weights.shape
    features = {"feature": list(data.features)}
    points = _coclustered(len(data.x))
    clusters = {
        "responsibilities": (("obs", "cluster"), averaged),
        "log_predictive": ("obs", scored.log_predictive(data.x)),
        "coclustering": (("point", "point_"), together.astype(np.float32)),
    }
    groups = {
        "posterior": posterior,
        "observed_data": xr.Dataset({"x": (("obs", "feature"), data.x)}, coords=features),
        "clusters": xr.Dataset(clusters, coords={"point": points, "point_": points}),
    }
    if len(fit.bound):
        groups["ascent"] = xr.Dataset({"bound": ("iteration", fit.bound)}, attrs={"unit": "nats"})
    if fit.sample_stats:
        groups["sample_stats"] = xr.Dataset({name: (("chain", "draw"), v) for name, v in fit.sample_stats.items()})
    if log_likelihood is not None:
        groups["log_likelihood"] = log_likelihood
    if fit.kind != "point":
        some = min(draws, PREDICTIVE_DRAWS)
        replicated = checks.replicate(
            fit.family, *_thin(drawn, some).held.flat(), min(len(data.x), PREDICTIVE_POINTS), rng
        )
        groups["posterior_predictive"] = xr.Dataset(
            {"x": (("chain", "draw", "obs", "feature"), replicated.reshape(chains, some, *replicated.shape[1:]))},
            coords=features,
        )
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["kind"] = fit.kind
    return tree


def _log_likelihood(drawn: Fit, data: Data) -> xr.Dataset | None:
    """log p(x_n | theta) under as many draws as can be held, if they are enough for leave-one-out."""
    import xarray as xr

    chains, draws, _ = drawn.held.weights.shape
    kept = _kept(chains, draws, len(data.x))
    if chains * kept < FEWEST_LOO_DRAWS:
        return None
    values = {"x": (("chain", "draw", "obs"), _thin(drawn, kept).log_likelihood(data.x))}
    return xr.Dataset(values, coords={"chain": range(chains), "draw": _spread(draws, kept)})


def _leave_one_out(
    fit: Fit,
    drawn: Fit,
    ratios: np.ndarray | None,
    posterior: xr.Dataset,
    log_likelihood: xr.Dataset | None,
    data: Data,
) -> dict[str, tuple[list[Row], xr.Dataset]]:
    """Rows and pointwise values by group of the tree: from posterior draws, by refits for CAVI, through weighted draws of q."""
    import xarray as xr

    found = {}
    if fit.kind == "mcmc" and log_likelihood is not None:
        observed = xr.Dataset({"x": (("obs", "feature"), data.x)}, coords={"feature": list(data.features)})
        groups = {
            "posterior": posterior.sel(draw=log_likelihood["draw"]),
            "log_likelihood": log_likelihood,
            "observed_data": observed,
        }
        found["loo"] = prediction.leave_one_out(fit.method, xr.DataTree.from_dict(groups))
    if fit.method == "cavi" and len(data.x) <= LARGEST_REFITTED:
        found["loo_refitted"] = prediction.refitted(
            fit.method, cavi.leave_one_out(fit, data.x), fit.log_predictive(data.x)
        )
    if fit.kind == "variational" and ratios is not None:
        own = drawn if isinstance(fit.posterior, Conjugate) else fit
        chains, draws, _ = own.held.weights.shape
        kept = _kept(chains, draws, len(data.x))
        if chains * kept >= FEWEST_LOO_DRAWS:
            log_p = _thin(own, kept).log_likelihood(data.x).reshape(-1, len(data.x))
            some = ratios.reshape(chains, draws)[:, _spread(draws, kept)].ravel()
            found["loo_approximate"] = prediction.approximate_leave_one_out(fit.method, log_p, some)
    return found


def _kept(chains: int, draws: int, n: int) -> int:
    """Draws of each chain for which the log likelihood of every point is held."""
    return min(draws, LARGEST_LOG_LIKELIHOOD // (chains * n))


def _thin(fit: Fit, draws: int) -> Fit:
    """The fit with so many evenly spaced draws of each chain."""
    held = fit.held
    chosen = _spread(held.weights.shape[1], draws)
    return replace(
        fit, posterior=Draws(held.weights[:, chosen], {name: v[:, chosen] for name, v in held.theta.items()})
    )


def _spread(draws: int, kept: int) -> np.ndarray:
    """Numbers of so many draws, evenly spaced from the first."""
    return np.linspace(0, draws, kept, endpoint=False).astype(int)


def reference_entry(method: str, checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The manifest's entry on the reference."""
    failed = [check for check in checks if not check["passed"]]
    reason = "is the reference and passed its checks"
    if failed:
        reason = f"failed its checks after relabelling ({_failed(checks)})"
        if any(c["name"] == "largest R-hat" and c["value"] is not None and c["value"] > MODES_APART for c in failed):
            reason += "; chains so far apart are what a posterior with several modes looks like"
    return {
        "method": method,
        "trusted": not failed,
        "reason": reason,
        "checks": checks,
        "floor_note": "Wasserstein-1 between two halves of the reference: what two runs of half its length differ by.",
    }


def _failed(checks: list[dict[str, Any]]) -> str:
    """The checks that were not passed, each with its value: numbers of draws whole, R-hat to the third decimal."""

    def text(value: float | None) -> str:
        return "unknown" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.4g}"

    return ", ".join(f"{check['name']} {text(check['value'])}" for check in checks if not check["passed"])


def exact_entry(method: str) -> dict[str, Any]:
    """The manifest's entry on an exact reference."""
    return {
        "method": method,
        "trusted": True,
        "reason": "is exact and needs no check",
        "checks": [],
        "floor_note": "Wasserstein-1 between two halves of the draws: what the number of draws alone makes of no difference.",
    }


def _chosen(judged: dict[str, dict[str, Any]], asked: str) -> dict[str, Any]:
    """The reference asked for; else the first that can be trusted, in the order of preference, else the first."""
    if asked != "auto":
        return judged.get(asked, _no_reference(f"{METHODS[asked].title} was asked for as the reference and failed"))
    ordered = [judged[method] for method in REFERENCES if method in judged]
    return next(
        (entry for entry in ordered if entry["trusted"]), ordered[0] if ordered else _no_reference(NOTHING_SAMPLED)
    )


def contested(
    chosen: dict[str, Any], judged: dict[str, dict[str, Any]], rows: Mapping[str, list[Row]]
) -> dict[str, Any]:
    """The reference, no longer trusted where another sampler passed its checks too and differs from it."""
    if not (chosen["trusted"] and chosen["checks"]):
        return chosen
    for method in REFERENCES:
        if method == chosen["method"] or not judged.get(method, chosen | {"trusted": False})["trusted"]:
            continue
        apart = [said["because"] for said in judge(rows[method], "mcmc").values() if said["state"] == "differs"]
        if apart:
            reason = f"passed its checks, and so did {METHODS[method].title}, which differs ({'; '.join(apart)})"
            return chosen | {"trusted": False, "reason": reason}
    return chosen


def _no_reference(reason: str) -> dict[str, Any]:
    return {"method": None, "trusted": False, "reason": reason, "checks": [], "floor_note": None}
