"""`reports.compare`: several methods on one data set, and a result that shows, plots and saves itself."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixtures import Fit
from reports.comparison import run
from reports.comparison.results import PAGE, Results

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Comparison:
    """Methods side by side on one data set.

    Parameters
    ----------
    fits : dict of Fit
        By method, in one labelling.
    failures : dict of str
        What went wrong, by method.
    results : Results
        The numbers, draws and facts from which tables and pages are made.
    """

    fits: dict[str, Fit]
    failures: dict[str, str]
    results: Results

    def table(self) -> pd.DataFrame:
        """The main numbers, one row a method; NaN where a number does not apply."""
        return run.summary(self.results)

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained page."""
        from reports.page import render

        path = Path(path)
        path.write_text(render(self.results), encoding="utf-8")
        return path

    def save(
        self, folder: str | Path, *, report: bool = True, overwrite: bool = False, executor: Executor | None = None
    ) -> Path:
        """Write metrics, manifest and draws into a folder, and then, unless ``report`` is false, the page.

        An ``executor`` draws a part of the page meanwhile; see `reports.comparison.beside`.

        Raises
        ------
        ResultsError
            If the folder holds something else, or an earlier comparison and ``overwrite`` is false.
        """
        if not report:
            return self.results.save(folder, overwrite=overwrite)
        from reports.page import begin_to_render

        page = begin_to_render(self.results, executor)
        folder = self.results.save(folder, overwrite=overwrite)
        (folder / PAGE).write_text(page(), encoding="utf-8")
        return folder


@wraps(run.compare)
def compare(*args: Any, **settings: Any) -> Comparison:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Comparison(*run.compare(*args, **settings))
