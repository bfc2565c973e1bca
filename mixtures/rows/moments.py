"""Means and variances of the features by one reading of the rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mixtures.errors import FeatureError
from mixtures.rows.arrays import refuse_missing
from mixtures.rows.reading import Rows, as_rows, folded
from mixtures.rows.weights import as_weights

# A feature whose residual on those before it is below this share of its standard deviation.
NEARLY_DEPENDENT = 1e-2


@dataclass(frozen=True)
class Moments:
    """What one reading of the data tells.

    Parameters
    ----------
    rows : int
        Number of rows with a positive weight.
    n : float
        Sum of the weights: the number of observations.
    mean : ndarray, shape (D,)
    squares : ndarray, shape (D,)
        Sum of w_n (x_n - mean)^2.
    low, high : ndarray, shape (D,)
        Smallest and largest value of each feature.
    eps : float
        Relative rounding of the numbers as they were given.
    scatter : ndarray, shape (D, D), optional
        Sum of w_n (x_n - mean) (x_n - mean)^T, of which squares is the diagonal; only where the root was asked for.
    root : ndarray, shape (D, D), optional
        The lower triangular L with L L^T = scatter / n.
    seen : ndarray, shape (D,), optional
        Sum of the weights of the rows in which each feature was seen; None for n.
    """

    rows: int
    n: float
    mean: np.ndarray
    squares: np.ndarray
    low: np.ndarray
    high: np.ndarray
    eps: float
    scatter: np.ndarray | None = None
    root: np.ndarray | None = None
    seen: np.ndarray | None = None

    def join(self, other: Moments) -> Moments:
        """The moments of both sets of rows together (Chan, Golub & LeVeque 1983)."""
        n = self.n + other.n
        step = other.mean - self.mean
        between = self.n * other.n / n
        both = self.scatter is not None and other.scatter is not None
        return Moments(
            self.rows + other.rows,
            n,
            self.mean + step * (other.n / n),
            self.squares + other.squares + step**2 * between,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            max(self.eps, other.eps),
            self.scatter + other.scatter + np.outer(step, step) * between if both else None,  # type: ignore[operator]
        )


def moments(x: Rows, weights: np.ndarray | None = None, *, root: bool = False) -> Moments:
    """Moments of the rows, those of zero weight left out, with the root of their covariance if asked for.

    Raises
    ------
    ValueError
        If a value is missing or infinite, or there is no row.
    """
    x = as_rows(x)
    weights = as_weights(x, weights)
    result = folded(x, weights, partial(_moments, root), Moments.join, "moments")
    if result is None:
        raise ValueError("x has no rows that count: each is missing or has weight zero")
    return replace(result, root=_covariance_root(x, weights, result)) if root else result


def _moments(scattered: bool, block: np.ndarray, weights: np.ndarray | None, start: int) -> Moments | None:
    refuse_missing(block, start)
    return block_moments(block, weights, scattered)


def seen_moments(x: Rows, weights: np.ndarray | None = None) -> Moments:
    """Moments of the values that are not missing, feature by feature; squares is n times each variance.

    Raises
    ------
    ValueError
        If a value is infinite, nothing was seen, or a feature never was.
    """
    x = as_rows(x)
    weights = as_weights(x, weights)
    rows, n, columns = folded(x, weights, _seen, _both_seen, "moments") or (0, 0.0, [])
    if not rows:
        raise ValueError("x has no rows that count: each is missing or has weight zero")
    never = [d for d, column in enumerate(columns) if column is None]
    if never:
        raise FeatureError("{0} is missing in all rows; leave it out", never[:1])
    each = [column for column in columns if column is not None]
    names = ("mean", "squares", "low", "high")
    mean, squares, low, high = (np.concatenate([getattr(column, name) for column in each]) for name in names)
    often = np.array([column.n for column in each])
    return Moments(rows, n, mean, squares / often * n, low, high, max(column.eps for column in each), seen=often)


def _seen(block: np.ndarray, w: np.ndarray | None, start: int) -> tuple[int, float, list[Moments | None]]:
    """Rows that count, their weight, and the moments of what was seen of each feature."""
    refuse_missing(block, start, missing=True)
    w = np.ones(len(block)) if w is None else w
    seen = ~np.isnan(block)
    known = seen.any(1) & (w > 0)
    each = [block_moments(block[here][:, [d]], w[here], False) if here.any() else None for d, here in enumerate(seen.T)]
    return int(known.sum()), float(w[known].sum()), each


def _both_seen(
    a: tuple[int, float, list[Moments | None]], b: tuple[int, float, list[Moments | None]]
) -> tuple[int, float, list[Moments | None]]:
    columns = [one.join(other) if one and other else one or other for one, other in zip(a[2], b[2], strict=True)]
    return a[0] + b[0], a[1] + b[1], columns


def root_of(rows: np.ndarray) -> np.ndarray:
    """The lower triangular L with L L^T = rows^T rows and a diagonal of at least 0, shape (D, D), by a QR decomposition."""
    return _lower(np.linalg.qr(rows, mode="r"))


def _lower(r: np.ndarray) -> np.ndarray:
    """The transpose of a factor R (min(N, D), D) of a QR decomposition, with no negative number on its diagonal, (D, D)."""
    R = np.zeros((r.shape[1], r.shape[1]))
    R[: len(r)] = r
    return (R * np.where(R.diagonal() < 0, -1, 1)[:, None]).T


def _covariance_root(x: Rows, weights: np.ndarray | None, data: Moments) -> np.ndarray:
    """`Moments.root`: from the scatter, or by a second reading where features are nearly dependent.

    The scatter has then lost the digits that tell them apart; the rows themselves still have them.
    """
    assert data.scatter is not None
    sd = np.sqrt(data.squares / data.n)
    scale = np.where(sd > 0, sd, 1)
    if not np.all(np.isfinite(scale)):
        return np.full(data.scatter.shape, np.nan)
    try:
        L = np.linalg.cholesky(data.scatter / data.n / np.outer(scale, scale))
        if L.diagonal().min() > NEARLY_DEPENDENT:
            return scale[:, None] * L
    except np.linalg.LinAlgError:
        pass
    mean = data.mean

    def offset(block: np.ndarray, w: np.ndarray | None, start: int) -> np.ndarray:
        if w is not None:
            block, w = block[w > 0], w[w > 0]
        rows = (block - mean) / scale
        return np.linalg.qr(rows if w is None else rows * np.sqrt(w)[:, None], mode="r")

    R = folded(x, weights, offset, lambda a, b: np.linalg.qr(np.concatenate([a, b]), mode="r"), "moments")
    assert R is not None
    return scale[:, None] * _lower(R) / np.sqrt(data.n)


def block_moments(x: np.ndarray, weights: np.ndarray | None, scattered: bool) -> Moments | None:
    """Moments of one block, with its scatter if it is to be ``scattered``; None where no row counts."""
    eps = float(np.finfo(x.dtype).eps)
    x = x.astype(np.float64, copy=False)
    if weights is not None and not np.all(weights):
        x, weights = x[weights > 0], weights[weights > 0]
    if not len(x):
        return None
    w = np.ones(len(x)) if weights is None else weights
    n = float(w.sum())
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        offset = x - x[0]
        shift = w @ offset / n
        mean = x[0] + shift
        np.subtract(x, mean, out=offset)
        scatter = (offset.T if weights is None else offset.T * w) @ offset if scattered else None
        squares = w @ np.multiply(offset, offset, out=offset) if scatter is None else scatter.diagonal()
    return Moments(len(x), n, mean, squares, x.min(0), x.max(0), eps, scatter)
