"""The evaluation harness: compare methods on one data set, measure how they differ, write the report."""

from reports.api.calibration import Calibration, calibrate
from reports.api.comparison import Comparison, compare
from reports.api.overfit import Overfitting, overfit
from reports.api.selection import Selection, select
from reports.comparison.results import Results, ResultsError

__all__ = [
    "Calibration",
    "Comparison",
    "Overfitting",
    "Results",
    "ResultsError",
    "Selection",
    "calibrate",
    "compare",
    "overfit",
    "select",
]
