"""The points of a comparison: checked, split and in the units in which it reports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.errors import FeatureError
from mixtures.model import Family
from mixtures.rows import check_matrix
from mixtures.tables import KINDS, family_of, parameters_of, unknown
from reports.metrics.recovery import UNKNOWN, is_known

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Data:
    """The points a comparison is about, in the units in which it reports: (x as given - centre) / scale.

    ``rows`` says where the points of ``x`` stood in the data as given, ``index`` what these rows are called; ``labels`` are
    text, empty where a class is not known. ``kinds`` are those of `mixtures.tables.KINDS`, one a feature; ``levels`` has, by
    categorical or binary feature, the names of its levels in the order of its codes. Only numbers are centred and scaled.
    """

    x: np.ndarray
    rows: np.ndarray
    heldout: np.ndarray
    features: tuple[str, ...]
    labels: np.ndarray | None
    truth: dict[str, np.ndarray] | None
    centre: np.ndarray
    scale: np.ndarray
    kinds: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    index: np.ndarray

    @property
    def n_levels(self) -> list[int]:
        """The number of levels of every feature, 0 where it has none."""
        return [len(self.levels.get(feature, ())) for feature in self.features]

    def model(self, n_components: int, covariance: str, prior: Mapping[str, Any] | None = None) -> Family:
        """The family of clusters of these points.

        Raises
        ------
        ValueError
            If the family cannot have them; the message has the names of the features.
        """
        try:
            return family_of(
                self.x, n_components, self.kinds, covariance=covariance, prior=prior, n_levels=self.n_levels
            )
        except FeatureError as error:
            raise ValueError(error.named(self.features)) from error

    def dataset(self) -> xr.Dataset:
        """The same as labelled arrays, truth included."""
        import xarray as xr

        variables: dict[str, Any] = {"x": (("obs", "feature"), self.x), "row": ("obs", self.rows)}
        variables["index"] = ("obs", self.index)
        if len(self.heldout):
            variables["x_heldout"] = (("obs_heldout", "feature"), self.heldout)
        if self.labels is not None:
            variables["label"] = ("obs", self.labels)
        for key, value in (self.truth or {}).items():
            axes = ("true_cluster", *(f"true_{key}_{axis}" for axis in range(1, np.ndim(value))))
            variables[f"true_{key}"] = (axes, value)
        return xr.Dataset(variables, coords={"feature": list(self.features)})


def prepare(
    x: Any,
    classes: Any,
    features: Sequence[str] | None,
    truth: Mapping[str, np.ndarray] | None,
    test_fraction: float,
    standardize: bool,
    rng: np.random.Generator,
    *,
    kinds: Sequence[str] | Mapping[str, str] | None = None,
    levels: Mapping[str, Sequence[str]] | None = None,
    index: Sequence[Any] | np.ndarray | None = None,
) -> Data:
    """Check ``x`` and what belongs to it, hold out a random share of its rows, and standardise by the rest if asked.

    Raises
    ------
    ValueError
        If shapes do not agree, a value is missing or infinite, or ``test_fraction`` is outside [0, 1).
    """
    if features is None:
        features = getattr(x, "columns", None)
    index = getattr(x, "index", None) if hasattr(x, "columns") and index is None else index
    if hasattr(x, "columns"):
        x, own, named = _columns(x)
        kinds = own if kinds is None else kinds
        levels = named | dict(levels or {})
    x = check_matrix(x)
    features = [f"x{i}" for i in range(x.shape[1])] if features is None else [str(name) for name in features]
    if len(features) != x.shape[1] or len(set(features)) != len(features):
        raise ValueError(f"features has {len(set(features))} distinct names for {x.shape[1]} columns")
    kinds = _kinds(kinds, features)
    levels = _levels(x, kinds, features, levels or {})
    if classes is not None and len(classes) != len(x):
        raise ValueError(f"labels has {len(classes)} entries for {len(x)} rows")
    if index is not None and len(index) != len(x):
        raise ValueError(f"index has {len(index)} entries for {len(x)} rows")
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
        expected = ("weights", *parameters_of(kinds))
        if missing := set(expected) - set(truth):
            raise ValueError(f"truth lacks {', '.join(sorted(missing))}")
        truth = {k: np.asarray(truth[k], dtype=float) for k in expected}
    still = (np.ptp(x[order], axis=0) == 0) & (np.ptp(x, axis=0) > 0)
    if still.any():
        raise ValueError(
            f"feature {features[int(np.argmax(still))]!r} is constant over the {len(order)} rows that test_fraction "
            f"{test_fraction:g} leaves to fit; hold out fewer rows, or leave the feature out"
        )
    centre, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    numbers = np.flatnonzero(np.array(kinds) == "gaussian")
    if standardize and len(numbers):
        centre[numbers], scale[numbers] = x[np.ix_(order, numbers)].mean(0), x[np.ix_(order, numbers)].std(0)
        if not np.all(scale > 0):
            raise ValueError(f"feature {features[int(np.argmin(scale))]!r} is constant; leave it out")
        x = (x - centre) / scale
        if truth is not None:
            unit = scale[numbers]
            truth["means"] = (truth["means"] - centre[numbers]) / unit
            truth["covariances"] = truth["covariances"] / np.outer(unit, unit)
    names = np.arange(1, len(x) + 1).astype(str) if index is None else np.array([str(name) for name in index])
    return Data(x[order], order, x[held], tuple(features), labels, truth, centre, scale, kinds, levels, names[order])


def _kinds(kinds: Sequence[str] | Mapping[str, str] | None, features: Sequence[str]) -> tuple[str, ...]:
    """One kind a feature: all numbers by default, and where only some are named."""
    if kinds is None or isinstance(kinds, Mapping):
        given = kinds or {}
        for name in given:
            if name not in features:
                raise ValueError(unknown("feature", str(name), features))
        kinds = [given.get(name, "gaussian") for name in features]
    if len(kinds) != len(features):
        raise ValueError(f"kinds has {len(kinds)} entries for {len(features)} columns")
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(unknown("kind of column", kind, KINDS))
    return tuple(kinds)


def _levels(
    x: np.ndarray, kinds: Sequence[str], features: Sequence[str], levels: Mapping[str, Sequence[str]]
) -> dict[str, tuple[str, ...]]:
    """The names of levels by categorical or binary feature; where none are given, their codes."""
    found = {}
    for j, (name, kind) in enumerate(zip(features, kinds, strict=True)):
        if kind in ("categorical", "bernoulli"):
            high = 1 if kind == "bernoulli" else max(1, int(np.max(x[:, j])))
            own = tuple(str(level) for level in levels.get(name, range(high + 1)))
            if len(set(own)) < len(own) or (kind == "bernoulli" and len(own) != 2) or not all(own):
                raise ValueError(f"{name!r} has the levels {own}; expected distinct names, of a binary feature two")
            found[name] = own
    return found


def _columns(frame: Any) -> tuple[np.ndarray, tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Numbers and codes of a DataFrame (N, D), the kinds of its columns by their types, and the names of their levels.

    Text and categories are nominal, of two levels binary; booleans are binary; all other columns are numbers.
    """
    import pandas as pd

    columns, kinds, levels = [], [], {}
    for name, column in frame.items():
        if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
            columns.append(np.asarray(column, dtype=float))
            kinds.append("gaussian")
            continue
        own = column.astype("category").cat
        if -1 in own.codes.values:
            raise ValueError(f"{str(name)!r} has missing values; leave those rows out")
        columns.append(own.codes.to_numpy(float))
        kinds.append("bernoulli" if len(own.categories) == 2 else "categorical")
        levels[str(name)] = tuple(str(level) for level in own.categories)
    return np.column_stack(columns), tuple(kinds), levels


def _as_text(classes: Any) -> np.ndarray:
    """Class labels as text, empty where there is none: None, NaN and their like, and masked entries."""
    import pandas as pd

    values = np.asarray(classes, dtype=object)
    missing = pd.isna(values) | np.ma.getmaskarray(classes)
    return np.array([UNKNOWN if gap else str(value) for gap, value in zip(missing, values, strict=True)])


def digest(x: Any) -> str:
    """SHA-256 of the data as given, in float64 and row by row; of columns that are no numbers, of their codes."""
    if hasattr(x, "columns"):
        x = _columns(x)[0]
    return hashlib.sha256(np.ascontiguousarray(x, dtype=np.float64).tobytes()).hexdigest()
