"""The numbers of a comparison as tables: all of them in long form, and the main ones one row a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reports.comparison.results import COLUMNS, Results
from reports.metrics import Row
from reports.metrics.agreement import WORST
from reports.metrics.parameters import BLOCKS

if TYPE_CHECKING:
    import pandas as pd

INFINITE = (
    "median_shift",
    "train_log_density",
    "train_log_difference",
    "heldout_log_density",
    "heldout_log_difference",
)
"""Metrics that are infinite where an estimate is at the boundary, and where a point is impossible under it."""


def frame(rows: list[Row]) -> pd.DataFrame:
    """The long table; what could not be computed is left out, and what is infinite unless its metric can be."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(COLUMNS))
    values = table["value"].astype(float)
    return table[np.isfinite(values) | (np.isinf(values) & table["metric"].isin(INFINITE))].reset_index(drop=True)


def summary(results: Results) -> pd.DataFrame:
    """The main numbers of a comparison, one row a method; NaN where a number does not apply.

    Of what is measured on every parameter, the worst of all blocks; of an optimiser its ``starts`` and how many of them found
    its best optimum (``starts_at_best``).
    """
    import pandas as pd

    agreement = ["median_shift", "width_ratio", "coverage95", "wasserstein"]
    columns = [
        "train_log_density",
        "heldout_log_density",
        "bound",
        "aic",
        "bic",
        "sabic",
        "icl",
        "entropy_r2",
        "g2",
        "elpd_loo",
        "elpd_loo_refitted",
        "elpd_loo_approximate",
        *agreement,
        "coclustering_error",
        "predictive_tv",
        "khat",
        "rhat_max",
        "ess_min",
        "divergences",
        "ari",
        "accuracy",
        "seconds_compile",
        "seconds_run",
    ]
    rows = results.metrics
    parts = [rows[rows["target"].isin(["data", "all"]) & rows["metric"].isin(columns)]]
    for metric in agreement:
        own = rows[rows["target"].isin(BLOCKS) & (rows["metric"] == metric)]
        parts.append(own.loc[own["value"].map(WORST[metric]).groupby(own["method"]).idxmax()])
    wide = pd.concat(parts).pivot(index="method", columns="metric", values="value")
    wide = wide.reindex(index=list(results.manifest["methods"]), columns=[c for c in columns if c in wide])
    info = {method: entry["info"] for method, entry in results.manifest["methods"].items()}
    for column, name in (("starts", "restarts"), ("starts_at_best", "reached")):
        known = {method: own[name] for method, own in info.items() if own.get(name) is not None and "restarts" in own}
        if known:
            wide[column] = pd.Series(known, dtype=float)
    return wide
