"""The points of a comparison: checked, split and in the units in which it reports."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixtures.checks import check_real, check_whole
from mixtures.datasets.dataset import counted, listed
from mixtures.datasets.kinds import MISSING_VALUES
from mixtures.errors import FeatureError
from mixtures.families.discrete import refuse_probabilities
from mixtures.model import Family
from mixtures.rows.sequences import Sequences
from mixtures.sequences import probabilities
from mixtures.tables import family_of, parameters_of
from reports.comparison.given import Given, read
from reports.metrics.recovery import UNKNOWN, is_known

if TYPE_CHECKING:
    import xarray as xr

# Methods that take rows in blocks.
FROM_BLOCKS = ("em", "map", "cavi")

# Rows up to which all are measured, and how many of more: 4000 draws take a second for about 100,000 of their terms N K.
LARGEST_MEASURED, MEASURED = 100_000, 10_000


@dataclass(frozen=True)
class Data:
    """The points a comparison is about, in the units in which it reports: (x as given - centre) / scale.

    ``rows`` says where the points of ``x`` stood in the data as given, ``index`` what these rows are called; ``labels`` are
    text, empty where a class is not known. ``kinds`` are those of `mixtures.tables.KINDS`, one a feature; ``levels`` has, by
    categorical or binary feature, the names of its levels in the order of its codes. Only numbers are centred and scaled.
    ``digest`` is that of the data as given, and ``notes`` say what was guessed of them. ``missing`` says whether values are
    (NaN), which the model then integrates out. Where the rows are in the order of time ``lengths`` has the number of rows of
    each sequence in ``x``; what is held out is then the last part of each, ``lengths_heldout`` rows, and else None.
    Where ``x`` is a sample of the rows that the methods are fitted to, ``n_fitted`` is the number of these.
    """

    x: np.ndarray
    rows: np.ndarray
    heldout: np.ndarray
    rows_heldout: np.ndarray
    features: tuple[str, ...]
    labels: np.ndarray | None
    labels_heldout: np.ndarray | None
    truth: dict[str, np.ndarray] | None
    centre: np.ndarray
    scale: np.ndarray
    kinds: tuple[str, ...]
    levels: dict[str, tuple[str, ...]]
    index: np.ndarray
    index_heldout: np.ndarray
    digest: str
    notes: tuple[str, ...] = ()
    missing: bool = False
    lengths: tuple[int, ...] | None = None
    lengths_heldout: tuple[int, ...] | None = None
    n_fitted: int | None = None

    @property
    def sampled(self) -> bool:
        """Whether the methods are fitted to more rows than these."""
        return self.n_fitted is not None

    @property
    def points(self) -> Any:
        """What the methods are fitted to: ``x``, as sequences where it is in the order of time."""
        return self.x if self.lengths is None else Sequences(self.x, self.lengths)

    @property
    def whole(self) -> Sequences:
        """Every sequence with the part of it that was held out."""
        assert self.lengths is not None
        if self.lengths_heldout is None:
            return Sequences(self.x, self.lengths)
        order = np.argsort(np.concatenate([self.rows, self.rows_heldout]))
        return Sequences(np.concatenate([self.x, self.heldout])[order], np.add(self.lengths, self.lengths_heldout))

    @property
    def n_levels(self) -> list[int]:
        """The number of levels of every feature, 0 where it has none."""
        return [len(self.levels.get(feature, ())) for feature in self.features]

    def model(
        self, n_components: int, covariance: str, prior: Mapping[str, Any] | None = None, rows: Any = None
    ) -> Family:
        """The family of clusters of these points, or of the ``rows`` of which they are a sample.

        Raises
        ------
        ValueError
            If the family cannot have them; the message has the names of the features.
        """
        try:
            return family_of(
                self.x if rows is None else rows,
                n_components,
                self.kinds,
                covariance=covariance,
                prior=prior,
                n_levels=self.n_levels,
                missing=self.missing,
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
            variables["row_heldout"] = ("obs_heldout", self.rows_heldout)
            variables["index_heldout"] = ("obs_heldout", self.index_heldout)
        for end, labels in (("", self.labels), ("_heldout", self.labels_heldout)):
            if labels is not None and len(labels):
                variables[f"label{end}"] = (f"obs{end}", labels)
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
    missing: str = "error",
    sequences: bool | Sequence[int] = False,
) -> Data:
    """Check ``x`` and what belongs to it, hold out a random share of its rows, and standardise by the rest if asked.

    ``missing`` says what to do about missing values: refuse them ("error"), leave their rows out ("drop"), or keep them for the
    model to integrate over ("model"). ``sequences`` are the lengths of those that the rows are, in the order of time, or True
    for one; then the last part of each is held out.

    Raises
    ------
    ValueError
        If shapes do not agree, a value is infinite or is missing where none may be, or ``test_fraction`` is outside [0, 1).
    """
    if missing not in MISSING_VALUES:
        raise ValueError(f"missing is {missing!r}; expected one of {', '.join(MISSING_VALUES)}")
    given = read(x, features, kinds, levels, index, missing != "error")
    if classes is not None and len(classes) != len(given.x):
        raise ValueError(f"labels has {len(classes)} entries for {len(given.x)} rows")
    lengths = lengths_of(sequences, given.x)
    if lengths is not None and missing == "drop":
        raise ValueError(
            "a row that is left out would bring its neighbours together as if no time had passed; keep the gaps with "
            "missing='model'"
        )
    source = digest(given.x)
    gaps = np.isnan(given.x).any(1)
    if missing == "drop" and gaps.any():
        if gaps.all():
            raise ValueError("every row has a missing value; give missing='model', or leave columns out")
        note = f"left out {counted(int(gaps.sum()), 'row')} with missing values"
        given = replace(given, x=given.x[~gaps], index=given.index[~gaps], notes=(*given.notes, note))
        classes = None if classes is None else [own for own, gap in zip(classes, gaps, strict=True) if not gap]
    x, kinds, names = given.x, given.kinds, given.features
    check_real("test_fraction", test_fraction)
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction is {test_fraction}; expected 0 to below 1")
    ends = None if lengths is None else np.round(test_fraction * np.array(lengths)).astype(int)
    n_test = round(test_fraction * len(x)) if ends is None else int(ends.sum())
    if test_fraction > 0 and not 0 < n_test < len(x) - 1:
        raise ValueError(
            f"test_fraction {test_fraction} of {len(x)} rows leaves {n_test} to test and {len(x) - n_test} to fit"
        )
    order = np.sort(rng.permutation(len(x))[n_test:])
    if ends is not None:
        edges = np.cumsum(np.array(lengths))
        order = np.delete(
            np.arange(len(x)), np.concatenate([np.arange(b - n, b) for b, n in zip(edges, ends, strict=True)])
        )
    held = np.setdiff1d(np.arange(len(x)), order)
    labels = None if classes is None else _as_text(classes)
    if labels is not None and not is_known(labels[order]).any():
        labels = None
    if truth is not None:
        if not isinstance(truth, Mapping):
            raise ValueError(f"truth is {truth!r:.60}; expected the parameters by name")
        expected = (*(("weights",) if lengths is None else ("initial", "transitions")), *parameters_of(kinds))
        if lacking := set(expected) - set(truth):
            raise ValueError(f"truth lacks {', '.join(sorted(lacking))}")
        truth = {k: np.asarray(truth[k], dtype=float) for k in expected}
        _check_truth(truth)
    _refuse_unseen(given, order, held, test_fraction)
    if (nowhere := np.isnan(x[order]).all(0)).any():
        raise ValueError(
            f"feature {names[int(np.argmax(nowhere))]!r} is missing in all {len(order)} rows that test_fraction "
            f"{test_fraction:g} leaves to fit; hold out fewer rows, or leave the feature out"
        )
    still = (_range(x[order]) == 0) & (_range(x) > 0)
    if still.any():
        raise ValueError(
            f"feature {names[int(np.argmax(still))]!r} is constant over the {len(order)} rows that test_fraction "
            f"{test_fraction:g} leaves to fit; hold out fewer rows, or leave the feature out"
        )
    centre, scale = np.zeros(x.shape[1]), np.ones(x.shape[1])
    numbers = np.flatnonzero(np.array(kinds) == "gaussian")
    if standardize and len(numbers):
        fitted = x[np.ix_(order, numbers)]
        with np.errstate(over="ignore", invalid="ignore"):
            centre[numbers], scale[numbers] = np.nanmean(fitted, axis=0), np.nanstd(fitted, axis=0)
        lost = ~np.isfinite(scale) | ((scale == 0) & (_range(x) > 0))
        if lost.any():
            name = names[int(np.argmax(lost))]
            raise ValueError(f"the variance of {name!r} is too large or too small for a number; rescale it")
        if not np.all(scale > 0):
            raise ValueError(f"feature {names[int(np.argmin(scale))]!r} is constant; leave it out")
        x = (x - centre) / scale
        if truth is not None:
            unit = scale[numbers]
            truth["means"] = (truth["means"] - centre[numbers]) / unit
            truth["covariances"] = truth["covariances"] / np.outer(unit, unit)
    return Data(
        x[order],
        order,
        x[held],
        held,
        names,
        None if labels is None else labels[order],
        None if labels is None else labels[held],
        truth,
        centre,
        scale,
        kinds,
        given.levels,
        given.index[order],
        given.index[held],
        source,
        given.notes,
        missing=bool(np.isnan(x).any()),
        lengths=None if ends is None else tuple((np.array(lengths) - ends).tolist()),
        lengths_heldout=None if ends is None or not n_test else tuple(ends.tolist()),
    )


def lengths_of(sequences: bool | Sequence[int], x: np.ndarray) -> tuple[int, ...] | None:
    """The lengths of the sequences that the rows of x are, in the order of time; None where they have no order.

    Raises
    ------
    ValueError
        If these are not positive whole numbers that add up to the rows.
    """
    if sequences is False:
        return None
    return tuple(Sequences(x, None if sequences is True else sequences).lengths.tolist())


def _range(x: np.ndarray) -> np.ndarray:
    """Largest less smallest value of each feature, (D,)."""
    return np.nanmax(x, axis=0) - np.nanmin(x, axis=0)


def _check_truth(truth: Mapping[str, np.ndarray]) -> None:
    """Refuse true parameters that are no probabilities where they should be, or whose sums are not one."""
    first = "weights" if "weights" in truth else "initial"
    K = len(truth[first])
    try:
        for name, values in truth.items():
            if len(values) != K:
                raise ValueError(f"{name} are of {counted(len(values), 'cluster')}, and {first} of {K}")
        for name, shape in {"weights": (K,), "initial": (K,), "transitions": (K, K)}.items():
            if name in truth:
                probabilities(name, truth[name], shape)
        if "probabilities" in truth:
            refuse_probabilities(truth["probabilities"], sums=truth["probabilities"].ndim == 3)
    except ValueError as error:
        raise ValueError(f"truth: {error}") from error


def _refuse_unseen(given: Given, order: np.ndarray, held: np.ndarray, test_fraction: float) -> None:
    """Refuse a split that holds out all rows of a level: no method could learn of it."""
    for name, levels in given.levels.items():
        column = given.x[:, given.features.index(name)]
        column = np.where(np.isnan(column), -1, column)
        unseen = sorted(set(column[held].tolist()) - set(column[order].tolist()) - {-1})
        if unseen:
            raise ValueError(
                f"{listed([levels[int(code)] for code in unseen])} of {name!r} stands only in rows that test_fraction "
                f"{test_fraction:g} holds out, unseen by any method; hold out fewer rows, join levels, or give another seed"
            )


def _as_text(classes: Any) -> np.ndarray:
    """Class labels as text, empty where there is none: None, NaN and their like, and masked entries."""
    import pandas as pd

    if isinstance(getattr(classes, "dtype", None), np.dtype):
        given = np.asarray(classes)
    else:  # whole numbers beside a gap would become floats
        given = np.asarray(classes.astype(object) if hasattr(classes, "astype") else classes, dtype=object)
    if given.ndim != 1:
        raise ValueError(f"labels has shape {given.shape}; expected one label a row")
    missing = pd.isna(given)
    if isinstance(classes, np.ma.MaskedArray):
        missing = missing | np.ma.getmaskarray(classes)
    values = given.astype(str) if given.dtype.kind in "mM" else given.astype(object)
    return np.array([UNKNOWN if gap else _text_of(value) for gap, value in zip(missing, values, strict=True)])


def _text_of(label: Any) -> str:
    if isinstance(label, bytes):
        return label.decode(errors="backslashreplace")
    return str(0.0 if isinstance(label, float) and label == 0 else label)


def thinned(data: Data, rng: np.random.Generator) -> tuple[Data, np.ndarray | None]:
    """The points to measure, and all rows to fit where the points are a random sample of them; with the points held out too.

    Rows in the order of time are never sampled.
    """
    if data.lengths is not None or len(data.x) <= LARGEST_MEASURED:
        return data, None
    own, held = (
        np.sort(rng.choice(n, min(n, MEASURED), replace=False, shuffle=False)) for n in (len(data.x), len(data.heldout))
    )
    note = (
        f"every method is fitted to all {len(data.x):,} rows; whatever is measured point by point is measured on a random "
        f"sample of {len(own):,}"
    )
    return replace(
        data,
        x=data.x[own],
        rows=data.rows[own],
        index=data.index[own],
        labels=None if data.labels is None else data.labels[own],
        heldout=data.heldout[held],
        rows_heldout=data.rows_heldout[held],
        index_heldout=data.index_heldout[held],
        labels_heldout=None if data.labels_heldout is None else data.labels_heldout[held],
        notes=(*data.notes, note),
        n_fitted=len(data.x),
    ), data.x


def check_sampled(
    methods: Sequence[str], reference: str, data: Data, test_fraction: float, standardize: bool, extra: bool
) -> None:
    """Refuse what needs all rows in memory, where x is a sample of them.

    Raises
    ------
    ValueError
    """
    other = [method for method in methods if method not in FROM_BLOCKS]
    if reference != "auto":
        other.append(reference)
    if other:
        raise ValueError(
            f"{', '.join(other)} cannot be fitted to rows that are not in memory; choose from {', '.join(FROM_BLOCKS)}, or "
            "give a sample of the rows"
        )
    asked = {
        "test_fraction": test_fraction > 0,
        "standardize": standardize,
        "sequences": data.lengths is not None,
        "truth": data.truth is not None,
        "extra": extra,
    }
    if unfit := [name for name, wanted in asked.items() if wanted]:
        raise ValueError(f"{', '.join(unfit)} cannot be used where x is a sample of the rows")


def check_image(image: Sequence[int] | None, data: Data) -> list[int] | None:
    """Rows and columns of the picture that the features are the pixels of, if they are.

    Raises
    ------
    ValueError
        If they are not as many, or a feature is neither a count nor has two levels.
    """
    if image is None:
        return None
    for side in image:
        check_whole("image", side)
    shape = [int(side) for side in image]
    if len(shape) != 2 or min(shape) < 1 or shape[0] * shape[1] != len(data.features):
        raise ValueError(
            f"image is {'x'.join(map(str, shape))}; expected rows x columns, {len(data.features)} pixels in all"
        )
    counts = all(kind == "poisson" for kind in data.kinds)
    if not (counts or all(n == 2 for n in data.n_levels)):
        raise ValueError("image is for features of two levels each, or counts; these are of other kinds")
    return shape


def digest(x: Any) -> str:
    """SHA-256 of numbers in float64 and row by row."""
    return hashlib.sha256(np.ascontiguousarray(x, dtype=np.float64).tobytes()).hexdigest()
