"""From rows to what they say: means with their intervals, paired differences, coverage, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaln

from reports.studies.intervals import wilson_of_means

SETTINGS = ("truth", "true_k", "d", "separation", "imbalance", "covariance", "n", "k", "alpha")

BESIDE = ("oracle", "single")

CRITERIA: dict[str, tuple[str, Callable[[pd.DataFrame], pd.Series]]] = {
    "AIC": ("em", lambda fits: -fits["aic"] / 2),
    "BIC": ("em", lambda fits: -fits["bic"] / 2),
    "ICL": ("em", lambda fits: -fits["icl"] / 2),
    "test score of EM": ("em", lambda fits: fits["test"]),
    "ELBO": ("cavi", lambda fits: fits["bound"]),
    "ELBO + log K!": ("cavi", lambda fits: fits["bound"] + gammaln(fits["k"] + 1)),
    "test score of CAVI": ("cavi", lambda fits: fits["test"]),
}
"""What chooses K among the fits of a method, the highest being chosen; the test score knows what the others have to guess."""

COVERAGES = {
    "cover_weight": "the largest weight",
    "cover_density": "the log density at a point",
    "cover_variance": "the variance of a feature",
    "cover_mean": "the mean of a feature",
}
"""Coverage of 95% intervals, by what they are for."""

SHARES = ("near", *COVERAGES)
"""Measures that are shares of cases."""

ERROR = 0.05
"""Probability that any of several simultaneous intervals misses."""

COLLAPSED = 0.01
"""A fit has all but collapsed if its smallest variance is below this part of the smallest true one."""


class Slice(NamedTuple):
    """The rows that differ in one setting alone, with those of the methods that the other settings do not concern."""

    settings: dict[str, object]
    table: pd.DataFrame


class Difference(NamedTuple):
    """A paired difference in mean held-out log density, first method minus second, in nats a point.

    Attributes
    ----------
    mean, half : float
        Over the replicates in which both ended, and half the width of its 95% t-interval.
    both, total : int
        How many these were, of how many.
    wins : float
        Share of all replicates in which the first scored higher; who failed has lost, and if both did it is a tie.
    """

    mean: float
    half: float
    both: int
    total: int
    wins: float


def slices(table: pd.DataFrame, along: str) -> list[Slice]:
    """The parts of a table within which only one setting varies: those with the most values, if more than two have any."""
    rest = [name for name in SETTINGS if name != along]
    asked = table[~table["method"].isin(BESIDE)]
    if asked["alpha"].notna().any():
        asked = asked[asked["alpha"].notna()]  # maximum likelihood has no prior, and joins the others
    found = []
    for values, part in asked.groupby(rest, dropna=False, sort=True):
        key = {str(name): value for name, value in zip(rest, values, strict=True)}
        xs = part[along].dropna().unique()
        own = matching(table, key)
        found.append((len(xs), Slice(key, own[own[along].isna() | own[along].isin(xs)])))
    most = max((number for number, _ in found), default=0)
    return [part for number, part in found if number >= min(most, 3) and number > 1]


def matching(table: pd.DataFrame, settings: dict) -> pd.DataFrame:
    """The rows under these settings, and those that a setting does not concern."""
    keep = np.ones(len(table), bool)
    for name, value in settings.items():
        column = table[name]
        keep &= column.isna() if pd.isna(value) else (column.isna() | (column == value)).to_numpy()
    return table[keep]


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and half the width of its 95% t-interval; without a second value that is missing."""
    from scipy.special import stdtrit

    n = len(values)
    if n == 0:
        return np.nan, np.nan
    half = stdtrit(n - 1, 0.975) * values.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
    return float(values.mean()), float(half)


def curve(table: pd.DataFrame, along: str, measure: str) -> pd.DataFrame:
    """Mean of a measure by method along a setting.

    Returns
    -------
    DataFrame
        Columns method, x (missing for a method that the setting does not concern), mean, low and high (the ends of its 95%
        interval, Wilson's for `SHARES`), median, count (of numbers) and total (of replicates).
    """
    rows = []
    for (method, x), part in table.groupby(["method", along], dropna=False, sort=True):
        values = part[measure].dropna().to_numpy(float)
        if len(values):
            mean, half = interval(values)
            low, high = wilson_of_means(values)[1:] if measure in SHARES else (mean - half, mean + half)
            rows.append((method, x, mean, low, high, float(np.median(values)), len(values), len(part)))
    return pd.DataFrame(rows, columns=["method", "x", "mean", "low", "high", "median", "count", "total"])


def paired(table: pd.DataFrame, first: str, second: str, measure: str = "test") -> Difference | None:
    """The difference between two methods under one setting, replicate by replicate; None where one was not measured."""
    a, b = (table[table["method"] == m].set_index("replicate")[measure] for m in (first, second))
    if a.empty or b.empty:
        return None
    both = pd.concat([a, b], axis=1, join="inner").to_numpy(float)
    difference = both[:, 0] - both[:, 1]
    mean, half = interval(difference[np.isfinite(difference)])
    scored = np.nan_to_num(both, nan=-np.inf)
    wins = np.where(scored[:, 0] == scored[:, 1], 0.5, scored[:, 0] > scored[:, 1])
    return Difference(mean, half, int(np.isfinite(difference).sum()), len(both), float(wins.mean()))


def settings_of(table: pd.DataFrame, method: str) -> Iterator[tuple[dict, pd.DataFrame]]:
    """Every setting under which a method was measured, with the rows of all methods under it."""
    keys = table.loc[table["method"] == method, list(SETTINGS)].drop_duplicates().sort_values(list(SETTINGS))
    for key in keys.to_dict("records"):
        yield key, matching(table, key)


def against(table: pd.DataFrame, first: str, others: Sequence[str]) -> pd.DataFrame:
    """The paired differences of one method from others, a row a setting and other.

    Returns
    -------
    DataFrame
        The settings, ``other``, the fields of `Difference`, ``simultaneous``, half the width of an interval that holds at 95%
        together with those of all other rows, and ``decided``: 1 if that interval is above zero, -1 if below, else 0.
    """
    rows = [
        key | {"other": other} | difference._asdict()
        for key, own in settings_of(table, first)
        for other in others
        if (difference := paired(own, first, other)) is not None
    ]
    found = pd.DataFrame(rows, columns=[*SETTINGS, "other", *Difference._fields])
    wide = simultaneous(found["half"].to_numpy(float), found["both"].to_numpy(float))
    decided = np.where(np.abs(found["mean"].to_numpy(float)) > wide, np.sign(found["mean"].to_numpy(float)), 0)
    return found.assign(simultaneous=wide, decided=decided.astype(int))


def simultaneous(half: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Half widths (M,) of t-intervals of n values each that all hold together with 95%, from those of single ones.

    By Bonferroni's inequality, so whatever the dependence between them. A missing one does not count.
    """
    from scipy.special import stdtrit

    intervals = np.isfinite(half).sum()
    with np.errstate(invalid="ignore"):
        return half * stdtrit(n - 1, 1 - ERROR / 2 / max(intervals, 1)) / stdtrit(n - 1, 0.975)


def contained(table: pd.DataFrame) -> pd.Series:
    """Whether the fitted model contains the truth: Gaussian clusters, full covariances and at least the true K."""
    return (table["truth"] == "gaussian") & (table["covariance"] == "full") & (table["k"] >= table["true_k"])


def coverages(table: pd.DataFrame) -> pd.DataFrame:
    """Coverage of 95% intervals, a row a method, setting and quantity, the lowest first.

    Returns
    -------
    DataFrame
        Columns method, the settings, measure (of `COVERAGES`), mean, and low and high, the ends of its 95% Wilson interval.
    """
    rows = []
    for key, own in table.groupby(["method", *SETTINGS], dropna=False, sort=False):
        for measure in COVERAGES:
            values = own[measure].dropna().to_numpy(float)
            if len(values):
                rows.append((*key, measure, *wilson_of_means(values)))
    columns = ["method", *SETTINGS, "measure", "mean", "low", "high"]
    return pd.DataFrame(rows, columns=columns).sort_values("mean", kind="stable", ignore_index=True)


def with_outcomes(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the gap between train and test, whether a fit failed, and whether it has all but collapsed."""
    collapsed = (table["smallest_variance"] < COLLAPSED).astype(float).where(table["smallest_variance"].notna())
    failed = table["failure"].notna()
    return table.assign(gap=table["train"] - table["test"], failed=failed.astype(float), near=collapsed.mask(failed))


def chosen(table: pd.DataFrame) -> pd.DataFrame:
    """The K that every criterion chooses on every replicate, of a slice along K.

    Returns
    -------
    DataFrame
        Columns criterion, method, replicate, k (missing where no fit ended), loss (how far the test score of the chosen fit is
        below that of the best K by the same method, in nats a point) and kl (how far it is below that of the true density).
    """
    rows = []
    for criterion, (method, score) in CRITERIA.items():
        fits = table[(table["method"] == method) & table["k"].notna()]
        ended = fits[fits["test"].notna()]
        if ended.empty:
            continue
        scored = ended.assign(score=score(ended)).dropna(subset="score")
        of = scored.loc[scored.groupby("replicate")["score"].idxmax()].set_index("replicate")
        best = scored.groupby("replicate")["test"].max()
        own = pd.DataFrame({"k": of["k"], "loss": best - of["test"], "kl": of["kl"]})
        own = own.reindex(sorted(fits["replicate"].unique())).rename_axis("replicate").reset_index()
        rows.append(own.assign(criterion=criterion, method=method))
    columns = ["criterion", "method", "replicate", "k", "loss", "kl"]
    return pd.concat(rows)[columns] if rows else pd.DataFrame(columns=columns)


def selection(table: pd.DataFrame, true_k: float) -> pd.DataFrame:
    """How often each criterion chooses the true K, and what its choice costs, over the replicates of a slice along K.

    Returns
    -------
    DataFrame
        Columns criterion, method, right (share of all replicates, none where the true K is unknown or was not fitted) with its
        95% Wilson interval low to high, none (replicates without a choice), total, loss and kl with half the width of their 95%
        intervals, and of (from K to how often it was chosen).
    """
    from scipy.stats import binomtest

    fitted = true_k in set(table["k"].dropna())
    rows = []
    for (criterion, method), own in chosen(table).groupby(["criterion", "method"], sort=False):
        hits, total = int((own["k"] == true_k).sum()), len(own)
        interval95 = binomtest(hits, total).proportion_ci(method="wilson") if fitted else (np.nan, np.nan)
        row = {"criterion": criterion, "method": method, "right": hits / total if fitted else np.nan}
        row |= {"low": interval95[0], "high": interval95[1], "none": int(own["k"].isna().sum()), "total": total}
        for measure in ("loss", "kl"):
            row[measure], row[f"{measure}_half"] = interval(own[measure].dropna().to_numpy(float))
        rows.append(row | {"of": own["k"].value_counts().sort_index().to_dict()})
    return pd.DataFrame(rows)


def worst(table: pd.DataFrame, number: int = 15) -> pd.DataFrame:
    """Replicates that failed, the same number for every method at most, then those whose test score fell furthest.

    The fall is that below the oracle or, where there is none, below the best method on the same data.
    """
    fits = table[~table["method"].isin(("oracle", "cavi-plugin"))]
    failed = fits[fits["failure"].notna()].groupby("method", sort=True).head(3)
    best = fits.groupby(["truth", "n", "replicate", "true_k", "d", "separation", "imbalance"], dropna=False)["test"]
    lost = fits["kl"].fillna(best.transform("max") - fits["test"])
    rest = fits.assign(lost=lost)[fits["failure"].isna()].nlargest(max(0, number - len(failed)), "lost")
    return pd.concat([failed, rest])
