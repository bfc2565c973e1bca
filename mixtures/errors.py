"""What can go wrong in a fit, by name, and the version that a fit was saved by."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

VERSION = "_mixtures_version"


class DataError(ValueError):
    """Data that cannot be used: one line that names the trouble and the remedy."""


class CollapseError(ValueError):
    """A cluster shrank onto too few points for its parameters to exist or to keep their digits.

    Parameters
    ----------
    message : str
    runs : ndarray of bool, optional
        Of several states looked at together, those in which it happened, with their batch shape.
    """

    def __init__(self, message: str, runs: np.ndarray | bool = True) -> None:
        super().__init__(message)
        self.runs = np.asarray(runs)


class FeatureError(ValueError):
    """Features that a model cannot have as they are.

    Parameters
    ----------
    text : str
        With {0}, {1}, ... in the places of the features.
    features : sequence of int
        Their numbers.
    """

    def __init__(self, text: str, features: Sequence[int]) -> None:
        self.text, self.features = text, features
        super().__init__(text.format(*(f"feature {j}" for j in features)))

    def __reduce__(self) -> tuple[type[FeatureError], tuple[str, Sequence[int]]]:
        return type(self), (self.text, self.features)

    def named(self, names: Sequence[str]) -> str:
        """The message with the features' names in the place of their numbers."""
        return self.text.format(*(repr(names[j]) for j in self.features))


class SingularError(FeatureError, CollapseError):
    """Features that depend on each other, so that every cluster's covariance is singular."""


class FarRowError(FeatureError, CollapseError):
    """A row so far from the others that rounding hides how these lie, and clusters among them collapse."""


class DistinctRowsError(ValueError):
    """There are fewer distinct rows than clusters to seed; ``distinct`` says how many."""

    def __init__(self, message: str, distinct: int) -> None:
        super().__init__(message)
        self.distinct = distinct


class ConvergenceWarning(UserWarning):
    """The ascent stopped at ``max_iter`` before the bound settled."""


class VersionWarning(UserWarning):
    """What was saved by another version of this package is read by this one."""


def reason_of(error: BaseException) -> str:
    """What a report says of an error: a refusal of this package is a sentence and stands alone, a crash is named by its class.

    Examples
    --------
    >>> reason_of(CollapseError("a cluster collapsed")), reason_of(ZeroDivisionError("division by zero"))
    ('a cluster collapsed', 'ZeroDivisionError: division by zero')
    """
    frames = traceback.extract_tb(error.__traceback__)
    refused = isinstance(error, CollapseError | FeatureError | DistinctRowsError) or (
        bool(frames) and _is_ours(Path(frames[-1].filename)) and (frames[-1].line or "").startswith("raise ")
    )
    text = str(error)
    return text if refused and text else f"{type(error).__name__}: {text or 'no message'}"


def _is_ours(path: Path) -> bool:
    root = Path(__file__).parents[1]
    return any(path.is_relative_to(root / name) for name in ("mixtures", "models", "reports"))


@cache
def installed() -> str:
    """The version of this package."""
    from importlib.metadata import version

    return version("mixtures")


def stamped(state: dict[str, Any]) -> dict[str, Any]:
    """The state with the version that saves it."""
    return state | {VERSION: installed()}


def unstamped(state: dict[str, Any], name: str) -> dict[str, Any]:
    """The state without its version.

    Warns
    -----
    VersionWarning
        If that is not the version that reads it.
    """
    state = dict(state)
    saved = state.pop(VERSION, None)
    if saved != installed():
        by = f"version {saved}" if saved else "a version that did not say so"
        warnings.warn(
            f"this {name} was saved by {by} of mixtures and is read by version {installed()}: its numbers may mean something "
            "else; fit it again",
            VersionWarning,
            stacklevel=4,
        )
    return state
