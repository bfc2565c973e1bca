"""What can go wrong in a fit, by name, and the version that a fit was saved by."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np

VERSION = "_mixtures_version"


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


class DistinctRowsError(ValueError):
    """There are fewer distinct rows than clusters to seed; ``distinct`` says how many."""

    def __init__(self, message: str, distinct: int) -> None:
        super().__init__(message)
        self.distinct = distinct


class ConvergenceWarning(UserWarning):
    """The ascent stopped at ``max_iter`` before the bound settled."""


class VersionWarning(UserWarning):
    """What was saved by another version of this package is read by this one."""


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
