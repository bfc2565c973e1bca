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


def leave_one_out(method: str, tree: xr.DataTree) -> tuple[list[Row], xr.Dataset]:
    """Expected log predictive density by Pareto-smoothed importance sampling (Vehtari, Gelman & Gabry 2017), in nats.

    Only for draws from the posterior itself: the weights 1 / p(x_n | theta) turn p(theta | x) into p(theta | x_-n), and an
    approximation of the one into nothing of use.

    Parameters
    ----------
    tree : DataTree
        Groups ``posterior`` and ``log_likelihood`` with the same draws, and ``observed_data``.

    Returns
    -------
    rows : list of Row
        ``elpd_loo``, ``p_loo`` and ``loo_khat_bad``, the number of points whose k-hat is too large.
    pointwise : Dataset
        ``elpd`` and ``pareto_k`` (obs), and ``pit`` (obs, feature), the leave-one-out probability integral transform.
    """
    import warnings

    import arviz_stats
    import xarray as xr

    with warnings.catch_warnings():
        # The report shows the number of large k-hats, which is what this warning says.
        warnings.filterwarnings("ignore", message="Estimated shape parameter of Pareto distribution")
        loo = arviz_stats.loo(tree, pointwise=True)
    bad = float((loo.pareto_k.values > loo.good_k).sum())
    weights = loo.log_weights.stack(s=("chain", "draw")).transpose("s", "obs").values
    x = tree["observed_data"].to_dataset()["x"]
    pointwise = xr.Dataset(
        {
            "elpd": ("obs", loo.elpd_i.values),
            "pareto_k": ("obs", loo.pareto_k.values),
            "pit": (("obs", "feature"), _pit(tree["posterior"].to_dataset(), weights, x)),
        },
        coords={"feature": x["feature"]},
        attrs={"p": float(loo.p), "n_samples": int(loo.n_samples), "good_k": float(loo.good_k)},
    )
    rows = [
        Row(method, "elpd_loo", "data", float(loo.elpd), float(loo.se)),
        Row(method, "p_loo", "data", float(loo.p)),
        Row(method, "loo_khat_bad", "data", bad),
    ]
    return rows, pointwise


def refitted(method: str, elpd: np.ndarray, log_density: np.ndarray) -> tuple[list[Row], xr.Dataset]:
    """Rows and pointwise values of an exact leave-one-out, from log densities without (N,) and with (N,) each point."""
    import xarray as xr

    p = float(log_density.sum() - elpd.sum())
    rows = [
        Row(method, "elpd_loo", "data", elpd.sum(), np.sqrt(elpd.size) * elpd.std()),
        Row(method, "p_loo", "data", p),
    ]
    return rows, xr.Dataset({"elpd": ("obs", elpd)}, attrs={"p": p, "n_samples": 1, "good_k": 0.7})


def _pit(posterior: xr.Dataset, log_weights: np.ndarray, x: xr.DataArray) -> np.ndarray:
    """P(replicate <= x_n | all points but n) of every feature, shape (N, D), from leave-one-out weights (S, N).

    The distribution function of each feature's mixture stands in for simulated replicates.
    """
    from scipy.special import ndtr, softmax

    draws = posterior.stack(s=("chain", "draw")).transpose("s", "cluster", ...)
    weights, means = draws["weights"].values, draws["means"].values
    sds = np.sqrt(np.diagonal(draws["covariances"].values, axis1=-2, axis2=-1))
    loo = softmax(log_weights, axis=0)
    pit = np.zeros(x.shape)
    for d in range(x.shape[1]):
        for k in range(weights.shape[1]):
            standard = (x.values[:, d] - means[:, [k], d]) / sds[:, [k], d]
            pit[:, d] += (loo * weights[:, [k]] * ndtr(standard)).sum(0)
    return np.clip(pit, 0, 1)


def _error(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan
