"""The evaluation harness: compare methods on one data set, measure how they differ, write the report."""

from reports.comparison import Comparison, compare
from reports.results import Results, ResultsError
from reports.selection import Selection, select

__all__ = ["Comparison", "Results", "ResultsError", "Selection", "compare", "select"]
