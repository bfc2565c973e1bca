"""The evaluation harness: compare methods on one data set, measure how they differ, write the report."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.api.calibrating import calibrate
    from reports.api.calibration import Calibration
    from reports.api.comparison import Comparison, compare
    from reports.api.dynamics import compare_dynamics
    from reports.api.overfit import Overfitting, overfit
    from reports.api.own import OwnCalibration, calibrate_model
    from reports.api.selection import Selection, select, select_dynamics
    from reports.api.validation import Validation, validate
    from reports.comparison.results import Results, ResultsError

__all__ = [
    "Calibration",
    "Comparison",
    "Overfitting",
    "OwnCalibration",
    "Results",
    "ResultsError",
    "Selection",
    "Validation",
    "calibrate",
    "calibrate_model",
    "compare",
    "compare_dynamics",
    "overfit",
    "select",
    "select_dynamics",
    "validate",
]

# Where each of these is loaded from when it is first asked for, so that the shell's command hears signals from its start.
HOMES = {
    "reports.api.calibrating": ("calibrate",),
    "reports.api.calibration": ("Calibration",),
    "reports.api.comparison": ("Comparison", "compare"),
    "reports.api.dynamics": ("compare_dynamics",),
    "reports.api.overfit": ("Overfitting", "overfit"),
    "reports.api.own": ("OwnCalibration", "calibrate_model"),
    "reports.api.selection": ("Selection", "select", "select_dynamics"),
    "reports.api.validation": ("Validation", "validate"),
    "reports.comparison.results": ("Results", "ResultsError"),
}


def __getattr__(name: str) -> Any:
    """What is exported, when it is first asked for."""
    for home, names in HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'reports' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
