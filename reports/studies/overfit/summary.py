"""From rows to what they say: means with their intervals, paired differences, coverage, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaln

from reports.studies.intervals import median_interval, wilson_of_means
from reports.studies.overfit.grid import KINDS, LINEAR

SETTINGS = (
    "truth", "true_k", "d", "separation", "imbalance", "concentration", "levels", "stay", "covariance", "n", "k", "alpha",
)  # fmt: skip

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
    "cover_stay": "the mean probability to stay",
    "cover_density": "the log density at a point",
    "cover_variance": "the variance of a feature",
    "cover_dependence": "the covariance of two features",
    "cover_mean": "the mean of a feature",
}
"""Coverage of 95% intervals, by what they are for."""

SHARES = ("near", "boundary", "infinite", *COVERAGES)
"""Measures that are shares of cases."""

UNBOUNDED = ("test", "kl", "gap")
"""Measures that are infinite where a test point is impossible."""

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


def curve(table: pd.DataFrame, along: str, measure: str, *, medians: bool = False) -> pd.DataFrame:
    """Mean of a measure by method along a setting, or its median, which infinite values do not spoil.

    Returns
    -------
    DataFrame
        Columns method, x (missing for a method that the setting does not concern), centre (the mean, or the median), low and
        high (the ends of its 95% interval: Wilson's for `SHARES`, of a median between two of the values), median, count (of
        numbers), infinite (how many of them) and total (of replicates).
    """
    rows = []
    for (method, x), part in table.groupby(["method", along], dropna=False, sort=True):
        values = part[measure].dropna().to_numpy(float)
        if not len(values):
            continue
        if medians:
            centre, low, high = median_interval(values, ERROR)
        else:
            centre, half = interval(values)
            low, high = wilson_of_means(values)[1:] if measure in SHARES else (centre - half, centre + half)
        infinite = int(np.isinf(values).sum())
        rows.append((method, x, centre, low, high, median_interval(values, ERROR)[0], len(values), infinite, len(part)))
    columns = ["method", "x", "centre", "low", "high", "median", "count", "infinite", "total"]
    return pd.DataFrame(rows, columns=columns)


def paired(table: pd.DataFrame, first: str, second: str, measure: str = "test") -> Difference | None:
    """The difference between two methods under one setting, replicate by replicate; None where one was not measured."""
    a, b = (table[table["method"] == m].set_index("replicate")[measure] for m in (first, second))
    if a.empty or b.empty:
        return None
    both = pd.concat([a, b], axis=1, join="inner").to_numpy(float)
    with np.errstate(invalid="ignore"):  # of two infinite ones
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
        together with those of all other rows, and ``decided``: 1 if that interval is above zero, -1 if below, else 0. Of
        discrete data, where scores may be infinite, the interval is that of the ``median`` difference, from ``low`` to
        ``high``, and excludes zero where the sign test rejects; the others have no median.
    """
    rows, medians = [], []
    for key, own in settings_of(table, first):
        for other in others:
            if (difference := paired(own, first, other)) is not None:
                rows.append(key | {"other": other} | difference._asdict())
                medians.append(ordered_differences(own, first, other) if discrete(own).any() else np.empty(0))
    found = pd.DataFrame(rows, columns=[*SETTINGS, "other", *Difference._fields])
    by_median = np.array([len(values) > 0 for values in medians], bool)
    half = np.where(by_median, np.nan, found["half"].to_numpy(float))
    intervals = int(np.isfinite(half).sum() + by_median.sum())
    wide = simultaneous(half, found["both"].to_numpy(float), intervals)
    mean = found["mean"].to_numpy(float)
    level = ERROR / max(intervals, 1)
    ends = [median_interval(values, level) if len(values) else (np.nan,) * 3 for values in medians]
    median, low, high = np.array(ends, float).reshape(-1, 3).T
    with np.errstate(invalid="ignore"):
        decided = np.where(np.abs(mean) > wide, np.sign(mean), 0) + (low > 0) - (high < 0)
    found["both"] = np.where(by_median, [len(values) for values in medians], found["both"])
    return found.assign(simultaneous=wide, median=median, low=low, high=high, decided=decided.astype(int))


def ordered_differences(table: pd.DataFrame, first: str, second: str) -> np.ndarray:
    """First test score minus second, sorted, over the replicates in which both methods ended; of two equal ones zero."""
    a, b = (table[table["method"] == m].set_index("replicate")["test"] for m in (first, second))
    both = pd.concat([a, b], axis=1, join="inner").dropna().to_numpy(float)
    with np.errstate(invalid="ignore"):  # of two infinite ones
        difference = both[:, 0] - both[:, 1]
    return np.sort(np.where(both[:, 0] == both[:, 1], 0, difference))


def simultaneous(half: np.ndarray, n: np.ndarray, intervals: int | None = None) -> np.ndarray:
    """Half widths (M,) of t-intervals of n values each that all hold together with 95%, from those of single ones.

    By Bonferroni's inequality, so whatever the dependence between them, over so many intervals: by default over those that
    are not missing.
    """
    from scipy.special import stdtrit

    intervals = int(np.isfinite(half).sum()) if intervals is None else intervals
    with np.errstate(invalid="ignore"):
        return half * stdtrit(n - 1, 1 - ERROR / 2 / max(intervals, 1)) / stdtrit(n - 1, 0.975)


def discrete(table: pd.DataFrame) -> pd.Series:
    """Whether the data of a row hold anything but numbers: points may then be impossible."""
    return table["truth"].isin(table.loc[table["impossible"].notna(), "truth"].unique())


def contained(table: pd.DataFrame) -> pd.Series:
    """Whether the fitted model contains the truth: at least the true K, of Gaussian clusters full covariances."""
    gaussian = (table["truth"] == "gaussian") & (table["covariance"] == "full")
    return (gaussian | table["truth"].isin((*KINDS, LINEAR))) & (table["k"] >= table["true_k"])


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
    """The table with what follows from it.

    The gap between train and test; whether a fit failed, or has all but collapsed; of discrete data whether its test score is
    minus infinity.
    """
    collapsed = (table["smallest_variance"] < COLLAPSED).astype(float).where(table["smallest_variance"].notna())
    failed = table["failure"].notna()
    infinite = (table["impossible"] > 0).astype(float).where(table["impossible"].notna())
    return table.assign(
        gap=table["train"] - table["test"],
        failed=failed.astype(float),
        near=collapsed.mask(failed),
        infinite=infinite.mask(failed),
    )


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
        if ended.empty or (criterion == "ELBO + log K!" and "truth" in ended and (ended["truth"] == LINEAR).any()):
            continue
        scored = ended.assign(score=score(ended)).dropna(subset="score")
        if scored.empty:
            continue
        of = scored.loc[scored.groupby("replicate")["score"].idxmax()].set_index("replicate")
        best = scored.groupby("replicate")["test"].max()
        own = pd.DataFrame({"k": of["k"], "loss": (best - of["test"]).where(best > -np.inf), "kl": of["kl"]})
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
        95% Wilson interval low to high, none (replicates without a choice), total, infinite (choices whose test score is minus
        infinity), loss and kl of the others with half the width of their 95% intervals, and of (from K to how often it was
        chosen).
    """
    from scipy.stats import binomtest

    fitted = true_k in set(table["k"].dropna())
    rows = []
    for (criterion, method), own in chosen(table).groupby(["criterion", "method"], sort=False):
        hits, total = int((own["k"] == true_k).sum()), len(own)
        interval95 = binomtest(hits, total).proportion_ci(method="wilson") if fitted else (np.nan, np.nan)
        row = {"criterion": criterion, "method": method, "right": hits / total if fitted else np.nan}
        row |= {"low": interval95[0], "high": interval95[1], "none": int(own["k"].isna().sum()), "total": total}
        row["infinite"] = int(np.isinf(own["kl"]).sum())
        for measure in ("loss", "kl"):
            values = own[measure].dropna().to_numpy(float)
            row[measure], row[f"{measure}_half"] = interval(values[np.isfinite(values)])
        rows.append(row | {"of": own["k"].value_counts().sort_index().to_dict()})
    return pd.DataFrame(rows)


def worst(table: pd.DataFrame, number: int = 15) -> pd.DataFrame:
    """Replicates that failed or scored minus infinity, three of every method at most, then those whose score fell furthest.

    The fall is that below the oracle or, where there is none, below the best method on the same data.
    """
    fits = table[~table["method"].isin(("oracle", "cavi-plugin"))]
    lost_all = fits["failure"].notna() | np.isneginf(fits["test"])
    failed = fits[lost_all].groupby("method", sort=True).head(3)
    best = fits.groupby(["truth", "n", "replicate", "true_k", "d", "separation", "imbalance", "stay"], dropna=False)[
        "test"
    ]
    lost = fits["kl"].fillna(best.transform("max") - fits["test"])
    rest = fits.assign(lost=lost)[~lost_all].nlargest(max(0, number - len(failed)), "lost")
    return pd.concat([failed, rest])
