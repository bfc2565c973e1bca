"""Starts that a user gives: labels, responsibilities, means, or a clusterer."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted, has_fit_parameter

from mixtures.fit import Fit

# How far from one the responsibilities of a row may add up to.
TOLERANCE = 1e-4


class Start(NamedTuple):
    """Responsibilities (N, k), labels (N,) in 0..k-1, means (k, D) or a Fit; k; and which rows (N,) count, None being all."""

    guess: Any
    clusters: int
    rows: np.ndarray | None = None


def start_of(init: Any, X: Any, shape: tuple[int, int], sample_weight: Any, K: int) -> Start:
    """What ``init`` says of where to begin.

    Parameters
    ----------
    init
        See `mixtures.GaussianMixture`.
    X : array-like of shape (N, D)
        As the user gave it, for a clusterer that knows its features by name.
    shape : tuple
        (N, D).
    sample_weight : array-like of shape (N,), or None
    K : int
        Clusters at most.

    Raises
    ------
    ValueError
        If it is none of the accepted, or has more than K clusters.
    """
    if isinstance(init, Fit):
        if len(init.family.unit) != shape[1]:
            raise ValueError(f"the Fit given as init has {len(init.family.unit)} features, and X has {shape[1]}")
        start = Start(init, init.n_components)
    elif hasattr(init, "fit"):
        start = _of_array(_answer(init, X, sample_weight), shape, K, f"the {type(init).__name__} given as init")
    else:
        start = _of_array(init, shape, K, "init")
    if start.clusters > K:
        raise ValueError(
            f"init has {start.clusters} clusters, and n_components is {K}; set n_components={start.clusters}"
        )
    return start


def _answer(clusterer: Any, X: Any, sample_weight: Any) -> Any:
    """Its probabilities or labels for X; one that is not fitted, as `sklearn.base.clone` leaves it, is fitted to X first."""
    try:
        check_is_fitted(clusterer)
    except NotFittedError:
        if is_classifier(clusterer):
            raise ValueError(
                f"the {type(clusterer).__name__} given as init is not fitted; give a fitted one, or a clusterer"
            ) from None
        weighted = sample_weight is not None and has_fit_parameter(clusterer, "sample_weight")
        clusterer = clone(clusterer).fit(X, **({"sample_weight": sample_weight} if weighted else {}))
    for method in ("predict_proba", "predict"):
        if hasattr(clusterer, method):
            return getattr(clusterer, method)(X)
    if hasattr(clusterer, "labels_"):
        return clusterer.labels_
    raise ValueError(
        f"{type(clusterer).__name__} given as init has no predict_proba, predict or labels_; give a clusterer"
    )


def _of_array(init: Any, shape: tuple[int, int], K: int, name: str) -> Start:
    """Labels, responsibilities or means, told apart by their shape."""
    array, (N, D) = np.asarray(init), shape
    if np.ma.is_masked(init):
        raise ValueError(f"{name} has masked entries; give each row a label, -1 for one that is in no cluster")
    if array.shape == (N,):
        return _of_labels(array, name)
    expected = f"labels ({N},), responsibilities ({N}, {K}) whose rows sum to one, or means ({K}, {D})"
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise ValueError(f"{name} has shape {array.shape} and holds {array.dtype}; expected {expected}")
    array = array.astype(np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} has missing or infinite values; expected {expected}")
    total = array.sum(1)
    if len(array) == N and array.min() >= 0 and np.abs(total - 1).max() <= TOLERANCE:
        return Start(array / total[:, None], array.shape[1])
    if array.shape[1] == D and len(array) <= K:
        return Start(array, len(array))
    raise ValueError(f"{name} has shape {array.shape}; expected {expected}")


def _of_labels(labels: np.ndarray, name: str) -> Start:
    """Clusters in the order of their sorted labels; rows of label -1, which stands for noise, do not count."""
    if labels.dtype.kind == "c":
        raise ValueError(f"{name} holds complex numbers; expected labels")
    if _missing(labels).any():
        raise ValueError(f"{name} has missing labels; give those rows the label -1")
    if labels.dtype.kind == "O":
        labels = _numbered(labels)
    noise = np.asarray(labels == -1) if labels.dtype.kind in "fi" else np.zeros(len(labels), bool)
    if noise.all():
        raise ValueError(f"{name} has no row in a cluster: every label is -1")
    values = np.unique(labels[~noise])
    return Start(np.searchsorted(values, np.where(noise, values[0], labels)), len(values), ~noise)


def _missing(labels: np.ndarray) -> np.ndarray:
    """Which labels are not finite numbers or are marks of what is missing: None, NaN, NaT or pandas' own."""
    if labels.dtype.kind == "f":
        return ~np.isfinite(labels)
    if labels.dtype.kind in "mM":
        return np.isnat(labels)
    if labels.dtype.kind != "O":
        return np.zeros(len(labels), bool)
    return np.array([label is None or str(label) == "<NA>" or bool(label != label) for label in labels])


def _numbered(labels: np.ndarray) -> np.ndarray:
    """Objects as whole numbers in their order, or where they have none by type and text; -1 for -1."""
    different = set(labels.tolist())
    try:
        values = sorted(different - {-1})
    except TypeError:
        values = sorted(different - {-1}, key=lambda label: (type(label).__name__, str(label)))
    number = {label: place for place, label in enumerate(values)} | {-1: -1}
    return np.array([number[label] for label in labels.tolist()])
