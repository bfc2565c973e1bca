"""What the manifest says of each method: what it is, whether it succeeded, and what it said while it ran."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mixtures.errors import reason_of


def entry_of(title: str, kind: str, bound_kind: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """The manifest's entry of a method that has not come to anything yet."""
    return {
        "title": title,
        "kind": kind,
        "bound_kind": bound_kind,
        "options": options,
        "status": "failed",
        "error": None,
        "converged": None,
        "seconds": {},
        "info": {},
        "warnings": [],
    }


@contextmanager
def noted(entry: dict[str, Any], reason: Callable[[Exception], str] = reason_of) -> Iterator[None]:
    """Put what is warned of inside into the entry of a method, and whatever is raised, so that the other methods go on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        try:
            yield
        except Exception as error:  # whatever a method raises, the report shows it
            entry["error"] = reason(error)
            entry["traceback"] = traceback.format_exc()
    entry["warnings"] = list(
        dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning | RuntimeWarning))
    )


def plain(value: Any) -> Any:
    """Arrays as lists, down to the last level, as the manifest can hold them."""
    if isinstance(value, Mapping):
        return {name: plain(v) for name, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
