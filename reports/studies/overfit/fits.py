"""The methods of a study, all on the same data, under the same prior and from the same starts."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mixtures import COVARIANCES, Dirichlet, Fit, Markov
from mixtures.dynamics.fit import DynamicsFit
from mixtures.labels import align
from mixtures.methods import cavi, em, gibbs
from mixtures.model import Family
from reports.comparison.catalogue import METHODS, Options
from reports.metrics.boundary import to_boundary
from reports.metrics.optimum import at_mean
from reports.studies.overfit import systems
from reports.studies.overfit.grid import Cell
from reports.studies.overfit.truths import Replicate, of_data_set, prior

TITLES = {
    "oracle": "the true density",
    "single": "one cluster, maximum likelihood",
    "em": "EM, maximum likelihood",
    "map": "EM, posterior mode under the prior of CAVI",
    "cavi": "CAVI, posterior predictive",
    "cavi-plugin": "CAVI, density at the posterior mean",
    "gibbs": "Gibbs, posterior predictive",
    "advi": "ADVI mean-field, posterior predictive",
    "advi-fullrank": "ADVI full-rank, posterior predictive",
    "nuts": "NUTS, posterior predictive",
}

TOGETHER = {"gibbs": 4, "advi": 1, "advi-fullrank": 1, "nuts": 1}
"""How many replicates are measured at once by methods that do not fit many data sets side by side; the others do 100."""

# Enough for the predictive density and the intervals of few points, at half a second a data set.
GIBBS = {"draws": 250, "tune": 100, "chains": 4, "walkers": 16}

Outcome = Fit | DynamicsFit | Exception


def fit(cell: Cell, data: Sequence[Replicate]) -> list[Outcome]:
    """A fit of each replicate, or what stopped it; a failure of one leaves the others as they are."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # whether a fit converged is recorded
            return _fit(cell, data)
    except Exception as error:  # whatever stops a method is counted and shown
        return [error] if len(data) == 1 else [fit(cell, [one])[0] for one in data]


def _fit(cell: Cell, data: Sequence[Replicate]) -> list[Outcome]:
    k = cell.k or 1
    xs = [one.x for one in data]
    rngs = [np.random.default_rng(one.fit) for one in data]
    if cell.truth.linear:
        return systems.fit_each(cell.method, k, cell.restarts, xs, rngs, cell.start)
    families = [_family(cell, np.asarray(x), k) for x in xs]
    series, alpha = cell.truth.stay is not None, cell.alpha or 1.0
    allocation: Any = Markov.symmetric(k, alpha, alpha) if series else Dirichlet.symmetric(k, alpha)
    # one engine: which is quicker depends on how many data sets there are, and so would the last digits
    engine = "auto" if series else "plain"
    climb: dict[str, Any] = {"restarts": cell.restarts, "engine": engine}
    if cell.method == "map":
        return [*em.fit_many(xs, families, allocation, rng=rngs, prior=True, **climb)]
    if cell.method in ("em", "single"):
        climb |= {"restarts": 1 if cell.method == "single" else cell.restarts, "reg_covar": cell.reg_covar}
        ends = em.fit_many(xs, families, allocation, rng=rngs, **climb)
        return [to_boundary(end, x) if isinstance(end, Fit) else end for end, x in zip(ends, xs, strict=True)]
    if cell.method == "cavi":
        return [*cavi.fit_many(xs, families, allocation, rng=rngs, **climb)]
    if cell.method == "gibbs":
        settings: dict[str, Any] = GIBBS | {"engine": engine}
        module: Any = gibbs
    else:
        spec = METHODS[cell.method]
        settings, module = spec.settings(Options(restarts=cell.restarts)), importlib.import_module(spec.module)
    fits = [
        module.fit(x, family, allocation, rng=rng, **settings)
        for x, family, rng in zip(xs, families, rngs, strict=True)
    ]
    starts = cavi.fit_many(xs, families, allocation, rng=[np.random.default_rng(one.fit) for one in data], **climb)
    return [
        align(own, start.responsibilities(x), x).fit if isinstance(start, Fit) else start
        for own, start, x in zip(fits, starts, xs, strict=True)
    ]


def _family(cell: Cell, x: np.ndarray, k: int) -> Family:
    """The family that is fitted, under its weak default prior from x; categories have all levels that there are."""
    if cell.truth.kinds:
        return of_data_set(cell.truth.name, x, k, cell.covariance)
    if cell.covariance is not None:
        return COVARIANCES[cell.covariance].from_data(x, k)
    known: dict[str, Any] = {"levels": [cell.truth.levels] * cell.truth.d} if cell.truth.levels else {}
    kind: Any = type(prior(cell.truth))
    return kind.from_data(x, k, **known)


def plug_in(fit: Fit) -> Fit:
    """The point at E_q[pi], E_q[theta] of a closed-form posterior: what its predictive is without averaging."""
    return replace(at_mean(fit), method="cavi-plugin")
