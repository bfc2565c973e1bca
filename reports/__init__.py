"""The evaluation harness: compare methods on one data set, measure how they differ, write the report."""

from reports.comparison import Comparison, compare
from reports.results import Results, ResultsError

__all__ = ["Comparison", "Results", "ResultsError", "compare"]
