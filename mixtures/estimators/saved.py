"""The version that an estimator was saved by."""

from __future__ import annotations

import warnings
from functools import cache
from importlib.metadata import version
from typing import Any

KEY = "_mixtures_version"


class VersionWarning(UserWarning):
    """An estimator was saved by another version of this package than reads it."""


@cache
def installed() -> str:
    """The version of this package."""
    return version("mixtures")


def stamped(state: dict[str, Any]) -> dict[str, Any]:
    """The state with the version that saves it."""
    return state | {KEY: installed()}


def unstamped(state: dict[str, Any], name: str) -> dict[str, Any]:
    """The state without its version.

    Warns
    -----
    VersionWarning
        If that is not the version that reads it.
    """
    state = dict(state)
    saved = state.pop(KEY, None)
    if saved != installed():
        by = f"version {saved}" if saved else "a version that did not say so"
        warnings.warn(
            f"this {name} was saved by {by} of mixtures and is read by version {installed()}: its numbers may mean something "
            "else; fit it again",
            VersionWarning,
            stacklevel=4,
        )
    return state
