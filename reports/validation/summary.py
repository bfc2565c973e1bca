"""The main numbers of a validation, one row a method."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports.metrics.agreement import WORST

if TYPE_CHECKING:
    import pandas as pd

    from reports.comparison.results import Results

WORST_OF = ("median_shift", "width_ratio", "coverage95", "wasserstein")
PLAIN = (
    "correlation_error",
    "khat",
    "rhat_max",
    "ess_min",
    "divergences",
    "elpd_loo",
    "seconds_compile",
    "seconds_run",
)
EVIDENCE = ("bridge", "smc", "importance", "elbo", "laplace")


def summary(results: Results) -> pd.DataFrame:
    """Of every measure of agreement the worst over all numbers, then one number each; NaN where one does not apply.

    The evidence stands in a column for each way to it (``evidence_bridge``, ``evidence_elbo``, ...), in nats.
    """
    import pandas as pd

    rows = results.metrics
    columns: dict[str, pd.Series] = {}
    for metric in WORST_OF:
        own = rows[rows["metric"] == metric]
        columns[metric] = own.loc[own["value"].map(WORST[metric]).groupby(own["method"]).idxmax()].set_index("method")[
            "value"
        ]
    for metric in PLAIN:
        own = rows[(rows["metric"] == metric) & rows["target"].isin(["all", "data"])]
        columns[metric] = own.set_index("method")["value"]
    for target in EVIDENCE:
        own = rows[(rows["metric"] == "log_evidence") & (rows["target"] == target)]
        columns[f"evidence_{target}"] = own.set_index("method")["value"]
    table = pd.DataFrame({name: column for name, column in columns.items() if len(column)})
    return table.reindex(list(results.manifest["methods"])).rename_axis("method")
