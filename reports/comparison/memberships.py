"""Which cluster each row of the data belongs to, beside the row's own name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def by_method(manifest: Mapping[str, Any]) -> str | None:
    """The method whose memberships are written: the reference, or else the first that succeeded; None where none did."""
    reference = manifest["reference"]["method"]
    succeeded = (name for name, method in manifest["methods"].items() if method["status"] == "ok")
    return reference if reference is not None else next(succeeded, None)


def of_results(manifest: Mapping[str, Any], data: xr.Dataset, trees: Mapping[str, xr.DataTree]) -> pd.DataFrame | None:
    """The memberships by `by_method`; None where no method succeeded."""
    method = by_method(manifest)
    if method is None:
        return None
    return memberships(data, trees[method]["clusters"].to_dataset(), manifest["data"]["left_out"])


def memberships(data: xr.Dataset, clusters: xr.Dataset, left_out: Sequence[str] = ()) -> pd.DataFrame:
    """A row for each row of the data, in their order, and behind them those that were left out.

    Parameters
    ----------
    data : xarray.Dataset
        As `reports.comparison.results.Results` holds it.
    clusters : xarray.Dataset
        ``responsibilities`` (obs, cluster) of one method, averaged over its posterior, and where rows were held out
        ``responsibilities_heldout`` (obs_heldout, cluster).
    left_out : sequence of str
        Names of rows that no method saw for a missing value.

    Returns
    -------
    DataFrame
        Columns ``index``, the row's name; ``label``, its known class, where there are any; ``used``, "fitted", "held out"
        or "left out", where some were not fitted; ``cluster``, the most probable one, by its number; and ``cluster_0`` and so
        on, its probabilities.
    """
    import pandas as pd

    parts = []
    for end, used in (("", "fitted"), ("_heldout", "held out")):
        if f"responsibilities{end}" not in clusters:
            continue
        r = clusters[f"responsibilities{end}"].transpose(f"obs{end}", "cluster").values
        part = pd.DataFrame({"row": data[f"row{end}"].values, "index": data[f"index{end}"].values})
        if f"label{end}" in data:
            part["label"] = data[f"label{end}"].values
        part["used"] = used
        part["cluster"] = r.argmax(1)
        parts.append(part.join(pd.DataFrame(r, columns=[f"cluster_{k}" for k in range(r.shape[1])])))
    whole = pd.concat(parts).sort_values("row").drop(columns="row")
    if len(left_out):
        whole["cluster"] = whole["cluster"].astype("Int64")
        whole = pd.concat([whole, pd.DataFrame({"index": list(left_out), "used": "left out"})])
    whole = whole.reset_index(drop=True)
    return whole.drop(columns="used") if (whole["used"] == "fitted").all() else whole


def as_csv(table: pd.DataFrame) -> str:
    """The table as it is written, probabilities with six digits."""
    return str(table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
