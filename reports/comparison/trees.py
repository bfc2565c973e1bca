"""The DataTree of a method that is saved, and leave-one-out from what it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures import Conjugate, Draws, Fit
from mixtures.methods import cavi
from mixtures.sequences import SequenceFit
from reports.comparison.catalogue import Options
from reports.comparison.prepared import Data
from reports.metrics import Row, checks, prediction, series_checks
from reports.metrics.prediction import FEWEST_LOO_DRAWS, LARGEST_LOG_LIKELIHOOD

if TYPE_CHECKING:
    import xarray as xr

# Sizes that keep the work after the fits, and the folder, small; what they cut is cut for every method alike.
# Of refits, the U^2 K P products of a sweep of all of them, where U rows differ.
LARGEST_REFITTED = 200_000_000
REFITTED_TOL = 1e-8
PREDICTIVE_DRAWS = 50
PREDICTIVE_POINTS = 1000
COCLUSTERED_POINTS = 400


def size(
    posteriors: int, points: int, n: int, d: int, n_components: int, options: Options, each: int | None = None
) -> int:
    """Bytes of all trees of so many posteriors and point estimates; a folder takes about as many, for draws hardly compress.

    Theta has ``each`` numbers for one cluster, by default those of means and covariances.
    """
    chains, draws, K = options.chains, options.draws, n_components
    kept = _kept(chains, draws, n)
    kept = kept if chains * kept >= FEWEST_LOO_DRAWS else 0
    scalars = draws * K * (1 + (d + d * d if each is None else each)) + kept * n
    scalars += min(draws, PREDICTIVE_DRAWS) * min(n, PREDICTIVE_POINTS) * d
    of_data = n * (d + K + 1) * 8 + min(n, COCLUSTERED_POINTS) ** 2 * 4
    return posteriors * (chains * scalars * 8 + of_data) + points * of_data


def tree(
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

    def replicate(some: int) -> np.ndarray:
        own = _thin(drawn, some).held.flat()
        return checks.replicate(fit.family, *own, min(len(data.x), PREDICTIVE_POINTS), rng)

    heldout = drawn.responsibilities(data.heldout) if len(data.heldout) else None
    log_p = scored.log_predictive(data.x)
    return _assembled(fit, drawn, posterior, log_likelihood, together, averaged, log_p, heldout, replicate, data)


def tree_of_series(
    fit: Fit,
    drawn: SequenceFit,
    posterior: xr.Dataset,
    log_likelihood: xr.Dataset | None,
    together: np.ndarray,
    averaged: np.ndarray,
    log_p: np.ndarray,
    data: Data,
    rng: np.random.Generator,
) -> xr.DataTree:
    """The same of sequences, whose rows held out have their probabilities given all rows of their sequence."""

    def replicate(some: int) -> np.ndarray:
        lengths = series_checks.first_rows(data.points, PREDICTIVE_POINTS).lengths
        return series_checks.replicate(fit.family, *_thin(drawn, some).held.flat(), lengths, rng)

    heldout = None
    if data.lengths_heldout:
        order = np.argsort(np.concatenate([data.rows, data.rows_heldout]))
        heldout = drawn.responsibilities(data.whole)[np.argsort(order)[len(data.x) :]]
    return _assembled(fit, drawn, posterior, log_likelihood, together, averaged, log_p, heldout, replicate, data)


def _assembled(
    fit: Fit,
    drawn: Fit,
    posterior: xr.Dataset,
    log_likelihood: xr.Dataset | None,
    together: np.ndarray,
    averaged: np.ndarray,
    log_p: np.ndarray,
    heldout: np.ndarray | None,
    replicate: Callable[[int], np.ndarray],
    data: Data,
) -> xr.DataTree:
    import xarray as xr

    chains, draws = drawn.held.weights.shape[:2]
    features = {"feature": list(data.features)}
    points = coclustered(len(data.x))
    clusters = {
        "responsibilities": (("obs", "cluster"), averaged),
        "log_predictive": ("obs", log_p),
        "coclustering": (("point", "point_"), together.astype(np.float32)),
    }
    if heldout is not None:
        clusters["responsibilities_heldout"] = (("obs_heldout", "cluster"), heldout)
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
        replicated = replicate(some)
        groups["posterior_predictive"] = xr.Dataset(
            {"x": (("chain", "draw", "obs", "feature"), replicated.reshape(chains, some, *replicated.shape[1:]))},
            coords=features,
        )
    saved = xr.DataTree.from_dict(groups)
    saved.attrs["kind"] = fit.kind
    return saved


def log_likelihood(drawn: Fit, data: Data) -> xr.Dataset | None:
    """log p(x_n | theta), in sequences given the rows before, under as many draws as can be held, if these are enough."""
    import xarray as xr

    chains, draws = drawn.held.weights.shape[:2]
    kept = _kept(chains, draws, len(data.x))
    if chains * kept < FEWEST_LOO_DRAWS:
        return None
    some: Any = _thin(drawn, kept)
    log_p = some.log_likelihood(data.x) if data.lengths is None else some.log_steps(data.points)
    values = {"x": (("chain", "draw", "obs"), log_p)}
    return xr.Dataset(values, coords={"chain": range(chains), "draw": spread(draws, kept)})


def leave_one_out(
    fit: Fit,
    drawn: Fit,
    ratios: np.ndarray | None,
    posterior: xr.Dataset,
    log_likelihood: xr.Dataset | None,
    data: Data,
    rng: np.random.Generator,
) -> dict[str, tuple[list[Row], xr.Dataset]]:
    """Rows and pointwise values by group of the tree: from posterior draws, by refits for CAVI, through weighted draws of q."""
    import xarray as xr

    found: dict[str, tuple[list[Row], xr.Dataset]] = {}
    if data.sampled:
        return found
    if fit.kind == "mcmc" and log_likelihood is not None:
        observed = xr.Dataset({"x": (("obs", "feature"), data.x)}, coords={"feature": list(data.features)})
        groups = {
            "posterior": posterior.sel(draw=log_likelihood["draw"]),
            "log_likelihood": log_likelihood,
            "observed_data": observed,
        }
        found["loo"] = prediction.leave_one_out(fit.method, xr.DataTree.from_dict(groups), fit.family, rng)
    if fit.method == "cavi" and _refits(fit, data.x) <= LARGEST_REFITTED and cavi.can_leave_out(fit.family, data.x):
        elpd, moved = cavi.left_out(fit, data.x, tol=REFITTED_TOL)
        late = int((moved > REFITTED_TOL).sum())
        found["loo_refitted"] = prediction.refitted(fit.method, elpd, fit.log_predictive(data.x), late)
    if fit.kind == "variational" and ratios is not None:
        own = drawn if isinstance(fit.posterior, Conjugate) else fit
        chains, draws, _ = own.held.weights.shape
        kept = _kept(chains, draws, len(data.x))
        if chains * kept >= FEWEST_LOO_DRAWS:
            log_p = _thin(own, kept).log_likelihood(data.x).reshape(-1, len(data.x))
            some = ratios.reshape(chains, draws)[:, spread(draws, kept)].ravel()
            found["loo_approximate"] = prediction.approximate_leave_one_out(fit.method, log_p, some)
    return found


def _refits(fit: Fit, x: np.ndarray) -> int:
    """Products of one sweep of all refits without a point; rows alike are refitted once."""
    return len(np.unique(x, axis=0)) ** 2 * fit.n_components * (1 + fit.family.monomials[-1, 0])


def _kept(chains: int, draws: int, n: int) -> int:
    """Draws of each chain for which the log likelihood of every point is held."""
    return min(draws, LARGEST_LOG_LIKELIHOOD // (chains * n))


def _thin(fit: Fit, draws: int) -> Fit:
    """The fit with so many evenly spaced draws of each chain."""
    held = fit.held
    chosen = spread(held.weights.shape[1], draws)
    return replace(
        fit, posterior=Draws(held.weights[:, chosen], {name: v[:, chosen] for name, v in held.theta.items()})
    )


def spread(draws: int, kept: int) -> np.ndarray:
    """Numbers of so many draws, evenly spaced from the first."""
    return np.linspace(0, draws, kept, endpoint=False).astype(int)


def coclustered(n: int) -> np.ndarray:
    """Rows whose co-clustering is kept: all, or evenly spaced ones of many."""
    return np.linspace(0, n - 1, min(n, COCLUSTERED_POINTS)).astype(int)
