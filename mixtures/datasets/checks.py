"""What a Gaussian mixture with full covariances asks of its data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixtures.datasets.dataset import counted, listed
from mixtures.errors import DataError

EPS = np.finfo(np.float64).eps
SUMMED = 1e-4  # by what share of it a total of a spreadsheet may differ from the sum of the rounded entries
COARSE = 1e-6  # share of a column's range that rounding may take


def check_values(
    x: np.ndarray,
    features: Sequence[str],
    kinds: Sequence[str] | None = None,
    *,
    gaps: bool = False,
    varies: bool = True,
) -> None:
    """Raise where a data matrix has values that no mixture of these kinds can be fitted to.

    Parameters
    ----------
    x : (N, D) float64 array
    features : D column names, for the messages
    kinds : D of "gaussian", "bernoulli", "categorical", "poisson", optional
        By default all are Gaussian.
    gaps : bool
        Whether values may be missing, as NaN.
    varies : bool
        Whether a column of numbers or counts must hold different values, and, where Gaussian, none that others determine; new
        rows need not.

    Raises
    ------
    DataError
        For infinities; for NaN unless ``gaps``; for constant columns; and among Gaussian columns for whole numbers beyond
        2**53 that lose the digits in which they differ, and for columns that are a linear function of others.
    """
    missing = np.isnan(x)
    if missing.any() and not gaps:
        raise DataError(f"{missing_text(missing, features)}: leave these rows out with --missing drop")
    infinite = np.isinf(x)
    if infinite.any():
        row, column = np.argwhere(infinite)[0].tolist()
        raise DataError(
            f"{counted(int(infinite.sum()), 'infinite value')}, the first in column {features[column]!r}, "
            f"row {row + 1}: correct or remove the row, or leave the column out with --columns"
        )
    if not varies:
        return
    low, high = np.fmin.reduce(x, axis=0), np.fmax.reduce(x, axis=0)
    size = np.maximum(np.abs(low), np.abs(high))
    half_range = high / 2 - low / 2
    levels = np.array([kind in ("bernoulli", "categorical") for kind in kinds or [""] * x.shape[1]])
    constant = [features[j] for j in np.flatnonzero(~levels & (half_range <= 2 * EPS * size)).tolist()]
    if constant:
        what = "only 1 row: no column varies" if len(x) == 1 else f"constant column {listed(constant)}"
        if len(x) > 1 and (far := float(size[features.index(constant[0])])) >= 2.0**53:
            what += f", whose numbers near {far:.3g} are rounded to multiples of {np.spacing(far):.4g}"
        remedy = "give more rows" if len(x) == 1 else "leave it out with --columns"
        raise DataError(f"{what}: {remedy}")
    gaussian = np.ones(x.shape[1], dtype=bool) if kinds is None else np.array([kind == "gaussian" for kind in kinds])
    coarse = np.flatnonzero(gaussian & (size >= 2.0**53) & (np.spacing(size) > COARSE * 2 * half_range))
    if coarse.size:
        j = int(coarse[0])
        raise DataError(
            f"column {features[j]!r} has numbers near {high[j]:.3g}, which are rounded to multiples of "
            f"{np.spacing(size[j]):.0f}: subtract a number near them from all before writing the file"
        )
    if not gaussian.all():
        x, features = x[:, gaussian], [features[j] for j in np.flatnonzero(gaussian).tolist()]
    if missing.any():
        x = x[~np.isnan(x).any(axis=1)]
    if len(x) > x.shape[1] > 1:
        _check_independent(x, features)


def _check_independent(x: np.ndarray, features: Sequence[str]) -> None:
    """Raise if a column is, to rounding, a linear function of others."""
    from mixtures.families.scaling import dependence
    from mixtures.rows.moments import moments

    found = dependence(moments(x, root=True))
    if found is None:
        return
    column, *others = found.features
    what = found.named(features)
    if len(others) == 1 and np.array_equal(x[:, column], x[:, others[0]]):
        what = f"duplicated columns: {features[column]!r} holds the same values as {features[others[0]]!r}"
    raise DataError(f"{what}, so every covariance is singular: leave one of them out with --columns")


def check_last(x: np.ndarray, kinds: Sequence[str], name: str) -> None:
    """Raise where the last row, called ``name``, holds the totals of two columns of numbers or more, and of all that there are.

    Raises
    ------
    DataError
    """
    own = x[:, [kind in ("gaussian", "poisson") for kind in kinds]]
    if len(own) < 5 or own.shape[1] < 2 or not np.isfinite(own[-1]).all():
        return
    sums = np.nansum(own[:-1], axis=0)
    if own[-1].any() and np.all(np.abs(own[-1] - sums) <= SUMMED * np.abs(sums)):
        raise DataError(
            f"row {name!r}, the last, holds the sums of all others in each column of numbers: remove it, for it is no "
            "observation"
        )


def check_rows(n: int, d: int) -> None:
    """Raise where N rows are too few for the covariance of D features.

    Raises
    ------
    DataError
    """
    if n <= d:
        raise DataError(
            f"{counted(n, 'row')} for {counted(d, 'feature')}: a full covariance needs at least {d + 1} rows; "
            "give more rows or fewer columns with --columns"
        )


def missing_text(missing: np.ndarray, names: Sequence[str]) -> str:
    """Say how many entries are missing, in how many rows and in which columns; ``missing`` is (N, D) of bool."""
    per_column = missing.sum(axis=0)
    where = [f"{names[j]}: {per_column[j]}" for j in np.flatnonzero(per_column).tolist()]
    where = where if len(where) <= 6 else [*where[:6], f"{counted(len(where) - 6, 'more column')}"]
    return (
        f"{counted(int(missing.sum()), 'missing value')} in {missing.any(axis=1).sum()} of "
        f"{counted(len(missing), 'row')} ({', '.join(where)})"
    )


def check_components(
    x: np.ndarray, n_components: int, *, correlated: bool = True, kinds: Sequence[str] | None = None
) -> None:
    """Raise where the data are too few for K clusters.

    Parameters
    ----------
    x : (N, D) array
        NaN is missing.
    n_components : int
        The number of clusters K.
    correlated : bool
        Whether a cluster's Gaussian features may be correlated, which takes more rows than such features.
    kinds : D of "gaussian", "bernoulli", "categorical", "poisson", optional
        By default all features are Gaussian.

    Raises
    ------
    DataError
        If K < 1, K > N, N <= D where that matters, or K exceeds the number of distinct rows.

    Examples
    --------
    >>> import numpy as np
    >>> check_components(np.zeros((5, 1)), 2)
    Traceback (most recent call last):
        ...
    mixtures.errors.DataError: 2 clusters but only 1 distinct row: ask for at most 1 with -k
    """
    n = len(x)
    d = x.shape[1] if kinds is None else sum(kind == "gaussian" for kind in kinds)
    if n_components < 1:
        raise DataError(f"the number of clusters must be at least 1, got {n_components}: give another with -k")
    if n_components > n:
        raise DataError(f"{n_components} clusters but only {counted(n, 'row')}: ask for at most {n} with -k")
    if correlated:
        check_rows(n, d)
    # sorting all rows of a large table is slow, and its first rows nearly always answer
    distinct = n_patterns(x[: 64 * n_components])
    if distinct < n_components:
        distinct = n_patterns(x)
    if distinct < n_components:
        what = "distinct row" if d else "distinct pattern"
        raise DataError(
            f"{n_components} clusters but only {counted(distinct, what)}: ask for at most {distinct} with -k"
        )


def n_patterns(x: np.ndarray) -> int:
    """How many different rows there are, a missing value counted as one of its own.

    >>> n_patterns(np.array([[0, np.nan], [0, np.nan], [0, 1]]))
    2
    """
    return len(np.unique(np.where(np.isnan(x), np.inf, x), axis=0))
