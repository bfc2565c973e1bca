"""`reports.calibrate`: of methods on mixtures, or of one's own on a PyMC model."""

from __future__ import annotations

from typing import Any

from reports.api import calibration
from reports.api.keywords import like
from reports.api.own import calibrate_model


@like(calibration.calibrate, calibrate_model, typed=False)  # each of them looks at its own
def calibrate(*arguments: Any, **options: Any) -> Any:
    """Calibrate methods on mixtures; where the first argument is a function, which no number of clusters is, on its model."""
    if "build" in options or any(map(callable, arguments[:1])):
        return calibrate_model(*arguments, **options)
    return calibration.calibrate(*arguments, **options)
