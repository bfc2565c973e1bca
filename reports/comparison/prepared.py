"""The points of a comparison: checked, split and in the units in which it reports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.rows import check_matrix
from reports.metrics.recovery import UNKNOWN, is_known

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Data:
    """The points a comparison is about, in the units in which it reports: (x as given - centre) / scale.

    ``rows`` says where the points of ``x`` stood in the data as given; ``labels`` are text, empty where a class is not known.
    """

    x: np.ndarray
    rows: np.ndarray
    heldout: np.ndarray
    features: tuple[str, ...]
    labels: np.ndarray | None
    truth: dict[str, np.ndarray] | None
    centre: np.ndarray
    scale: np.ndarray

    def dataset(self) -> xr.Dataset:
        """The same as labelled arrays, truth included."""
        import xarray as xr

        variables: dict[str, Any] = {"x": (("obs", "feature"), self.x), "row": ("obs", self.rows)}
        if len(self.heldout):
            variables["x_heldout"] = (("obs_heldout", "feature"), self.heldout)
        if self.labels is not None:
            variables["label"] = ("obs", self.labels)
        for key, value in (self.truth or {}).items():
            variables[f"true_{key}"] = (("true_cluster", "feature", "feature_")[: np.ndim(value)], value)
        return xr.Dataset(variables, coords={"feature": list(self.features)})


def prepare(
    x: Any,
    classes: Any,
    features: Sequence[str] | None,
    truth: Mapping[str, np.ndarray] | None,
    test_fraction: float,
    standardize: bool,
    rng: np.random.Generator,
) -> Data:
    """Check ``x`` and what belongs to it, hold out a random share of its rows, and standardise by the rest if asked.

    Raises
    ------
    ValueError
        If shapes do not agree, a value is missing or infinite, or ``test_fraction`` is outside [0, 1).
    """
    if features is None:
        features = getattr(x, "columns", None)
    x = check_matrix(x)
    features = [f"x{i}" for i in range(x.shape[1])] if features is None else [str(name) for name in features]
    if len(features) != x.shape[1] or len(set(features)) != len(features):
        raise ValueError(f"features has {len(set(features))} distinct names for {x.shape[1]} columns")
    if classes is not None and len(classes) != len(x):
        raise ValueError(f"labels has {len(classes)} entries for {len(x)} rows")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}; expected 0 to below 1")
    n_test = round(test_fraction * len(x))
    if test_fraction > 0 and not 0 < n_test < len(x) - 1:
        raise ValueError(
            f"test_fraction {test_fraction} of {len(x)} rows leaves {n_test} to test and {len(x) - n_test} to fit"
        )
    order = np.sort(rng.permutation(len(x))[n_test:])
    held = np.setdiff1d(np.arange(len(x)), order)
    labels = None if classes is None else _as_text(classes)[order]
    if labels is not None and not is_known(labels).any():
        labels = None
    if truth is not None:
        if missing := {"weights", "means", "covariances"} - set(truth):
            raise ValueError(f"truth lacks {', '.join(sorted(missing))}")
        truth = {k: np.asarray(truth[k], dtype=float) for k in ("weights", "means", "covariances")}
    still = (np.ptp(x[order], axis=0) == 0) & (np.ptp(x, axis=0) > 0)
    if still.any():
        raise ValueError(
            f"feature {features[int(np.argmax(still))]!r} is constant over the {len(order)} rows that test_fraction "
            f"{test_fraction:g} leaves to fit; hold out fewer rows, or leave the feature out"
        )
    centre, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    if standardize:
        centre, scale = x[order].mean(0), x[order].std(0)
        if not np.all(scale > 0):
            raise ValueError(f"feature {features[int(np.argmin(scale))]!r} is constant; leave it out")
        x = (x - centre) / scale
        if truth is not None:
            truth["means"] = (truth["means"] - centre) / scale
            truth["covariances"] = truth["covariances"] / np.outer(scale, scale)
    return Data(x[order], order, x[held], tuple(features), labels, truth, centre, scale)


def _as_text(classes: Any) -> np.ndarray:
    """Class labels as text, empty where there is none: None, NaN and their like, and masked entries."""
    import pandas as pd

    values = np.asarray(classes, dtype=object)
    missing = pd.isna(values) | np.ma.getmaskarray(classes)
    return np.array([UNKNOWN if gap else str(value) for gap, value in zip(missing, values, strict=True)])


def digest(x: Any) -> str:
    """SHA-256 of the data as given, in float64 and row by row."""
    return hashlib.sha256(np.ascontiguousarray(x, dtype=np.float64).tobytes()).hexdigest()
