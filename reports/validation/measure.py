"""Everything that is measured once the draws are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from reports.comparison.references import NOTHING_SAMPLED, failed_checks, no_reference, reference_entry
from reports.comparison.verdict import CORRELATIONS, judge, of_reference
from reports.metrics import Row, agreement, prior, quality, reference
from reports.metrics.agreement import Marginal
from reports.validation import evidence, predictive, scales
from reports.validation.catalogue import METHODS, REFERENCES
from reports.validation.faults import find
from reports.validation.results import Joined
from reports.validation.target import Target

if TYPE_CHECKING:
    import xarray as xr

# Scalars between which correlations are looked at; of more, the free ones alone.
MOST_PAIRED = 300


class Measured(NamedTuple):
    """Rows of the long table, trees to save, and what the manifest should say."""

    rows: list[Row]
    trees: dict[str, xr.DataTree]
    facts: dict[str, Any]


class _Names(NamedTuple):
    """The variable of every number, as both are called in a tree, and the numbers of the free variables."""

    of: dict[str, str]
    free: frozenset[str]

    @classmethod
    def of_target(cls, target: Target) -> _Names:
        of = {scales.safe(number): scales.safe(variable) for number, variable in target.scalars.items()}
        return cls(of, frozenset(scales.safe(number) for v in target.free.values() for number in v.scalars))

    def paired(self, values: Mapping[str, np.ndarray]) -> list[str]:
        """Numbers that vary, between which correlations are looked at."""
        moving = list(_varying(values))
        return moving if len(moving) <= MOST_PAIRED else [name for name in moving if name in self.free][:MOST_PAIRED]


def measure(
    joined: Mapping[str, Joined],
    target: Target,
    rng: np.random.Generator,
    *,
    observed: xr.Dataset | None = None,
    truth: Mapping[str, Any] | None = None,
) -> Measured:
    """Measure each method alone and against the reference, and pass the verdict."""
    streams = dict(zip(joined, rng.spawn(len(joined)), strict=True))
    posteriors = {m: scales.as_dataset(own.values, target.variables) for m, own in joined.items()}
    values = {m: scales.scaled(posterior) for m, posterior in posteriors.items()}
    densities = {m: _log_p(own, target) for m, own in joined.items()}
    names = _Names.of_target(target)
    rows: list[Row] = []
    missing: dict[str, dict[str, str]] = {}
    judged: dict[str, dict[str, Any]] = {}
    for method, own in joined.items():
        rows += _own(method, own, densities[method], streams[method])
        found, lacking = evidence.evidence(
            method, own, None if densities[method] is None else densities[method].density, target, streams[method]
        )
        rows += found
        if lacking:
            missing[method] = lacking
        if own.kind == "mcmc":
            checked = _diagnosed(method, own, values[method])
            rows += checked
            if method in REFERENCES or method not in METHODS:
                checks = reference.checks(checked, own.shape[0], own.stats)
                judged[method] = reference_entry(method, checks, after="")
    chosen = _chosen(judged, (*REFERENCES, *target.samplers))
    if (against := chosen["method"]) is not None:
        rows += _against(against, joined, values, densities, names)
    by_method = {m: [row for row in rows if row.method == m] for m in joined}
    chosen = _contested(chosen, judged, by_method, names)
    facts: dict[str, Any] = {"references": judged, "reference": chosen, "evidence": missing}
    facts["verdict"] = _verdicts(joined, by_method, judged, chosen, names)
    faults = find(target, joined, against, rng) if chosen["trusted"] else {}
    facts["faults"] = {method: fault.facts for method, fault in faults.items()}
    facts["prior_sensitivity"] = None
    if chosen["trusted"]:
        rows += evidence.divergences(rows, against)
    if chosen["trusted"] and densities[against] is not None:
        parts = densities[against]
        log_p = {"prior": parts.prior, "likelihood": parts.likelihood}
        rows += prior.power_scaled(against, _varying(values[against]), log_p)
        facts["prior_sensitivity"] = {"scaled": against}
    trees = {m: _tree(own, posteriors[m], densities[m]) for m, own in joined.items()}
    if observed is not None:
        of_data, said = _of_data(joined, posteriors, densities, observed, target, rng.spawn(1)[0])
        rows += [row for groups in of_data.values() for those, _ in groups.values() for row in those]
        for method, groups in of_data.items():
            trees[method] = trees[method].assign({name: type(trees[method])(d) for name, (_, d) in groups.items()})
        facts |= said
    rows += _recovery(truth or {}, joined, target)
    order = {m: i for i, m in enumerate(joined)}
    return Measured(sorted(rows, key=lambda row: order[row.method]), trees, facts)


def _of_data(
    joined: Mapping[str, Joined],
    posteriors: Mapping[str, xr.Dataset],
    densities: Mapping[str, Any],
    observed: xr.Dataset,
    target: Target,
    rng: np.random.Generator,
) -> tuple[dict[str, dict[str, tuple[list[Row], xr.Dataset]]], dict[str, Any]]:
    """Leave-one-out and predictive checks: rows and pointwise values by method and group, and the manifest's part."""
    replicated, before, missing = predictive.checks(joined, observed, target, rng)
    found = {}
    for method, own in joined.items():
        density = None if densities[method] is None else densities[method].density
        found[method] = predictive.leave_one_out(method, own, density, posteriors[method], target)
        if method in replicated:
            found[method]["checks"] = replicated[method]
    return found, {"prior_checks": before, "no_checks": missing}


def _log_p(own: Joined, target: Target) -> Any:
    """Prior, likelihood and Jacobian of every draw, (chain, draw) each, where all free variables are there."""
    if own.u is None:
        return None
    parts = target.parts(own.u.reshape(-1, target.size))
    return type(parts)(*(part.reshape(own.shape) for part in parts))


def _own(method: str, own: Joined, parts: Any, rng: np.random.Generator) -> list[Row]:
    """What can be said of a method without looking at another."""
    rows = [Row(method, f"seconds_{part}", "data", seconds) for part, seconds in own.seconds.items()]
    if len(own.bound):
        bound = own.info.get("elbo", own.bound[-1])
        rows.append(Row(method, "bound", "data", bound, own.info.get("elbo_se", np.nan)))
    if own.log_q is not None and parts is not None:
        ratios = (parts.density - own.log_q).ravel()
        rows.append(quality.khat(method, ratios))
        rows += quality.khat_interval(method, ratios, rng)
    return rows


def _diagnosed(method: str, own: Joined, values: Mapping[str, np.ndarray]) -> list[Row]:
    """Convergence of a sampler in every number that varies."""
    rows = reference.diagnose(method, _varying(values), own.stats)
    smallest = next(row.value for row in rows if row.metric == "ess_min")
    if own.seconds.get("run"):
        rows.append(Row(method, "ess_per_second", "all", smallest / own.seconds["run"]))
    return rows


def _recovery(truth: Mapping[str, Any], joined: Mapping[str, Joined], target: Target) -> list[Row]:
    """``truth_rank``: the probability under each method but points of values below the true one, a tie being half."""
    rows = []
    for method, own in ((method, own) for method, own in joined.items() if own.kind != "point"):
        for name in (name for name in truth if name in own.values):
            values = own.values[name].reshape(-1, *target.variables[name].shape)
            below = np.heaviside(np.asarray(truth[name]) - values, 0.5).mean(0)
            numbers = zip(target.variables[name].scalars, np.ravel(below), strict=True)
            rows += [Row(method, "truth_rank", scales.safe(number), float(rank)) for number, rank in numbers]
    return rows


def _varying(values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those that vary by more than rounding."""
    return {name: v for name, v in values.items() if np.ptp(v) > 1e-12 * np.abs(v).max()}


def _against(
    against: str,
    joined: Mapping[str, Joined],
    values: Mapping[str, dict[str, np.ndarray]],
    densities: Mapping[str, Any],
    names: _Names,
) -> list[Row]:
    """What every other method differs by from the reference, in the variables that it has."""
    truth = {name: Marginal(v, joined[against].independent) for name, v in _varying(values[against]).items() if v.size}
    rows = []
    for method in (m for m in joined if m != against):
        unjudged = {scales.safe(name) for name in joined[method].unjudged}
        own = {
            name: v
            for name, v in values[method].items()
            if name in truth and truth[name].unit > 0 and names.of[name] not in unjudged
        }
        for name, v in own.items():
            rows += agreement.of_one(method, name, Marginal(v, joined[method].independent), truth[name])
        paired = names.paired(own)
        if correlated := agreement.correlations(method, own, values[against], paired, every=True):
            rows += [*correlated, Row(method, "correlation_pairs", "all", len(paired) * (len(paired) - 1) / 2)]
        rows += _worst(method, rows, names.of)
        if (log_q := joined[method].log_q) is not None and densities[method] is not None:
            ratios = (densities[method].density - log_q).ravel()
            log_weights, khat = quality.smoothed(ratios)
            if quality.usable(khat, len(ratios)):
                kept = {name: truth[name] for name in own}
                rows += quality.reweighted(method, own, kept, np.exp(log_weights))
    return rows


def _worst(method: str, rows: list[Row], of: Mapping[str, str]) -> list[Row]:
    """The row of each metric that is furthest from ideal in each variable of several numbers, under the variable's name."""
    found = []
    for variable in dict.fromkeys(of.values()):
        numbers = [row for row in rows if row.method == method and of.get(row.target) == variable]
        for metric, size in agreement.WORST.items():
            own = [row for row in numbers if row.metric == metric]
            if len(own) > 1:
                found.append(max(own, key=lambda row: size(row.value))._replace(target=variable))
    return found


def _chosen(judged: Mapping[str, dict[str, Any]], preferred: Sequence[str]) -> dict[str, Any]:
    """The first of our own samplers that can be trusted, in the order of ``preferred``, else the first that ran."""
    ordered = [judged[method] for method in preferred if method in judged]
    return next((e for e in ordered if e["trusted"]), ordered[0] if ordered else no_reference(NOTHING_SAMPLED))


def _contested(
    entry: dict[str, Any],
    judged: Mapping[str, dict[str, Any]],
    rows: Mapping[str, list[Row]],
    names: _Names,
) -> dict[str, Any]:
    """The reference, no longer trusted where the second sampler passed its checks too and differs from it."""
    if not entry["trusted"]:
        return entry
    for method in (m for m in REFERENCES if m != entry["method"] and m in judged and judged[m]["trusted"]):
        said = judge(rows[method], "mcmc", claims=list(dict.fromkeys(names.of.values())), block=names.of.get)
        if apart := [each["because"] for each in said.values() if each["state"] == "differs"]:
            reason = f"passed its checks, and so did {METHODS[method].title}, which differs ({'; '.join(apart)})"
            return entry | {"trusted": False, "reason": reason}
    return entry


def _verdicts(
    joined: Mapping[str, Joined],
    rows: Mapping[str, list[Row]],
    judged: Mapping[str, dict[str, Any]],
    against: dict[str, Any],
    names: _Names,
) -> dict[str, Any]:
    """The verdict on every method, a claim a variable that it has and that varies, and one on how they depend on each other."""
    of = names.of
    varying = {of[row.target] for those in rows.values() for row in those if row.target in of}
    found = {}
    for method, own in joined.items():
        variables = [scales.safe(name) for name in own.values if name not in own.unjudged]
        claims = [name for name in variables if name in varying] or variables
        if method == against["method"]:
            found[method] = of_reference(against, claims)
            continue
        if any(row.metric == "correlation_error" for row in rows[method]):
            claims.append(CORRELATIONS)
        caveat = _caveat(own, judged.get(method))
        pairs = next((int(row.value) for row in rows[method] if row.metric == "correlation_pairs"), None)
        found[method] = judge(
            rows[method], own.kind, reference=against, caveat=caveat, claims=claims, block=of.get, pairs=pairs
        )
    return found


def _caveat(own: Joined, judged: dict[str, Any] | None) -> str | None:
    """Why a method itself cannot be relied on."""
    if judged is not None:
        return None if judged["trusted"] else f"the sampler failed its checks ({failed_checks(judged['checks'])})"
    if own.converged is False:
        return "the sampler's runs disagree" if own.kind == "mcmc" else "the optimiser did not converge"
    return None


def _tree(own: Joined, posterior: xr.Dataset, parts: Any) -> xr.DataTree:
    """What is saved of a method."""
    import xarray as xr

    groups = {"posterior": posterior}
    if own.stats:
        groups["sample_stats"] = xr.Dataset({name: (("chain", "draw"), v) for name, v in own.stats.items()})
    if len(own.bound):
        groups["ascent"] = xr.Dataset({"bound": ("iteration", own.bound)}, attrs={"unit": "nats"})
    if parts is not None:
        logs = {"log_prior": parts.prior, "log_likelihood": parts.likelihood, "log_density": parts.density}
        logs |= {} if own.log_q is None else {"log_q": own.log_q}
        groups["densities"] = xr.Dataset({name: (("chain", "draw"), v) for name, v in logs.items()})
    tree = xr.DataTree.from_dict(groups)
    tree.attrs["kind"] = own.kind
    return tree
