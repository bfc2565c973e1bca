"""Estimates at the boundary and what they rule out: shares of discrete fits, with intervals that hold together."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from reports.studies.overfit.summary import ERROR, SETTINGS, discrete

MEASURES = ("boundary", "infinite")


def boundaries(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of fits with an estimate at the boundary, and with a test score of minus infinity, a row a method and setting.

    Parameters
    ----------
    table : DataFrame
        See `reports.studies.overfit.summary.with_outcomes`.

    Returns
    -------
    DataFrame
        Columns method, the settings, fits, failed, for each of `MEASURES` the share of the fits that ended with the ends
        ``_low`` and ``_high`` of its interval, and impossible, the median share of test points with probability zero over the
        fits that have any. The intervals (Clopper & Pearson 1934, *Biometrika* 26:404-413) hold together with 95%, by
        Bonferroni's inequality.
    """
    own = table[discrete(table) & (table["method"] != "oracle")]
    groups = [*own.groupby(["method", *SETTINGS], dropna=False, sort=False)]
    level = ERROR / max(1, len(MEASURES) * len(groups))
    rows = []
    for key, part in groups:
        row = dict(zip(["method", *SETTINGS], key, strict=True))
        row |= {"fits": len(part), "failed": int(part["failed"].sum())}
        for measure in MEASURES:
            values = part[measure].dropna()
            row |= dict(zip((measure, f"{measure}_low", f"{measure}_high"), _exact(values, level), strict=True))
        some = part.loc[part["impossible"] > 0, "impossible"]
        rows.append(row | {"impossible": float(some.median()) if len(some) else np.nan})
    return pd.DataFrame(rows)


def _exact(values: pd.Series, level: float) -> tuple[float, float, float]:
    """The share of ones with its exact interval of this error; missing without a value."""
    if values.empty:
        return np.nan, np.nan, np.nan
    low, high = stats.binomtest(int(values.sum()), len(values)).proportion_ci(1 - level, "exact")
    return float(values.mean()), float(low), float(high)
