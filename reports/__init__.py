"""The evaluation harness: compare methods on one data set, measure how they differ, write the report."""

from reports.api.comparison import Comparison, compare
from reports.api.selection import Selection, select
from reports.comparison.results import Results, ResultsError

__all__ = ["Comparison", "Results", "ResultsError", "Selection", "compare", "select"]
