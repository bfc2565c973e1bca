"""Rows that Dask holds, as the estimators take them: checked block by block, and predicted when an answer is asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from mixtures.chunks import Chunked, mapped
from mixtures.rows.arrays import as_real
from mixtures.rows.reading import as_rows, chunk_of
from mixtures.rows.weights import as_weights

Answer = Callable[[np.ndarray], np.ndarray]


def rows_of(
    estimator: Any, X: Any, sample_weight: Any, finite: bool | str, reset: bool, least: int = 1
) -> tuple[Chunked, Chunked | None]:
    """Rows and weights, when their names, numbers of columns and values have been checked as scikit-learn does.

    Parameters
    ----------
    estimator : Mixture
    X : dask.array or dask.dataframe
    sample_weight : ndarray, dask.array or series, shape (N,), or None
    finite, reset
        See `sklearn.utils.validation.validate_data`.
    least : int
        Fewest rows.
    """
    names_of(estimator, X, reset)
    name = type(estimator).__name__
    rows = as_rows(X)
    assert isinstance(rows, Chunked)
    if len(rows) < least:
        raise ValueError(
            f"Found array with {len(rows)} sample(s) (shape={rows.shape}) while a minimum of {least} is required by {name}."
        )
    rows.fold(partial(_check, name, finite), _neither, name="check")
    return rows, as_weights(rows, sample_weight)


def names_of(estimator: Any, X: Any, reset: bool) -> None:
    """Check, or note if ``reset``, how many columns X has and what they are called."""
    if X.ndim != 2:
        raise ValueError(f"Expected 2D array, got an array of shape {X.shape} instead.")
    like = X._meta if hasattr(X, "to_dask_array") else np.empty((0, X.shape[1]))
    validate_data(estimator, like, reset=reset, skip_check_array=True)


def scaled(weights: Chunked) -> Chunked:
    """The weights divided by their mean, for their scale does not matter."""
    found = weights.fold(lambda block, _, start: (float(np.sum(block)), len(block)), _sums, name="weights")
    return weights.derive(partial(_divided, found[0] / found[1]), 0)


def counted(X: Any, rows: np.ndarray, weights: Any) -> Any:
    """The weights of the rows (N,) that count, zero elsewhere, in the way that X holds its rows."""
    if not isinstance(X, Chunked):
        return rows * (1.0 if weights is None else weights)
    own = X.aligned(rows.astype(float))
    return own if weights is None else own.derive(_product, 0, weights)


def answered(estimator: Any, X: Any, density: Callable[[], Answer], answer: Answer) -> Any:
    """The `dask.array` of what the estimator answers for the rows of a `dask.array` or `dask.dataframe`."""
    own = estimator._unnamed()
    names_of(estimator, X, False)
    like = answer(np.zeros((1, len(estimator.means_))))
    kind = like.dtype
    if kind == np.float64:
        kind = np.result_type(np.asarray(X._meta).dtype, estimator.means_.dtype)
    function = partial(own._answer, density=density, answer=answer)
    return mapped(X, function, like.shape[1] if like.ndim == 2 else 0, kind)


def total(X: Any, sample_weight: Any, function: Answer) -> tuple[float, float]:
    """sum_n w_n f(x_n), and the sum of the weights of rows of which something was seen."""
    rows = as_rows(X)
    assert isinstance(rows, Chunked)
    return rows.fold(partial(_total, function, rows.width), _sums, as_weights(rows, sample_weight), "score")


def _check(name: str, finite: bool | str, block: Any, weights: None, start: int) -> None:
    if len(block):
        check_array(block, dtype=[np.float64, np.float32], ensure_all_finite=finite, estimator=name, input_name="X")


def _neither(a: None, b: None) -> None:
    """What is joined of checks: nothing."""


def _total(function: Answer, width: int, block: Any, weights: Any, start: int) -> tuple[float, float] | None:
    x, w = chunk_of(block, weights, width)
    if not len(x):
        return None
    w = np.ones(len(x)) if w is None else w
    return float(function(x).astype(np.float64) @ w), float(w[~np.isnan(x).all(1)].sum())


def _sums(a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    return a[0] + b[0], a[1] + b[1]


def _divided(by: float, block: Any, weights: None) -> np.ndarray:
    return as_real(block).astype(np.float64, copy=False) / by


def _product(block: Any, weights: Any) -> np.ndarray:
    return as_real(block) * as_real(weights)
