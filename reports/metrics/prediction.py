"""How well a fit predicts: log predictive densities on the points it saw and on points it did not, and PSIS-LOO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.metrics import Row

if TYPE_CHECKING:
    import xarray as xr


def log_density(method: str, metric: str, log_p: np.ndarray) -> Row:
    """Mean log predictive density in nats a point, with the standard error over the points (N,)."""
    return Row(method, metric, "data", log_p.mean(), _error(log_p))


def paired_difference(method: str, against: str, metric: str, log_p: np.ndarray, other: np.ndarray) -> Row:
    """Mean difference in nats a point from another method on the same points, with its paired standard error."""
    return Row(method, metric, against, (log_p - other).mean(), _error(log_p - other))


def leave_one_out(method: str, tree: xr.DataTree) -> list[Row]:
    """Expected log predictive density by Pareto-smoothed importance sampling (Vehtari, Gelman & Gabry 2017), in nats.

    The draws are taken for exact posterior draws; for a variational method that is an approximation.
    """
    import warnings

    import arviz_stats

    with warnings.catch_warnings():
        # The report shows the number of large k-hats, which is what this warning says.
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto distribution")
        loo = arviz_stats.loo(tree, pointwise=True)
    bad = float((loo.pareto_k.values > loo.good_k).sum())
    return [
        Row(method, "elpd_loo", "data", float(loo.elpd), float(loo.se)),
        Row(method, "p_loo", "data", float(loo.p)),
        Row(method, "loo_khat_bad", "data", bad),
    ]


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
