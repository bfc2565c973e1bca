"""`reports.compare_dynamics`: several methods on one linear dynamical system, in what the likelihood tells of it."""

from __future__ import annotations

from typing import Any

from reports.api.keywords import like
from reports.api.validation import Validation
from reports.validation.catalogue import Options
from reports.validation.dynamics import compare


@like(compare, Options)
def compare_dynamics(*args: Any, **settings: Any) -> Validation:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Validation(*compare(*args, **settings))
