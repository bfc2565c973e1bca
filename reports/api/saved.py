"""Results in memory that have a verdict by method, and go to a folder or a page of their own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING

from reports.api.shown import Shown
from reports.comparison.files import write_text
from reports.comparison.results import Results, ResultsError

if TYPE_CHECKING:
    import pandas as pd

    from reports.page.blocks import Section
    from reports.page.view import View


class Saved(Shown):
    """Methods side by side, with the numbers from which tables and pages are made."""

    results: Results

    def verdict(self) -> pd.DataFrame:
        """Whether each method agrees with the reference, a row a method and claim.

        Returns
        -------
        DataFrame
            Columns ``method``, ``claim`` (weights, locations, spreads, clusters, density), ``state`` ("agrees", "differs",
            "cannot tell", or "reference" for the trusted reference itself; in a validation also "within limits": a departure is
            certain, and the limits allow it) and ``because``, the check that decided it. A method that failed has no rows.
        """
        import pandas as pd

        view = self._view()
        rows = [
            (method, claim, view.word(method, said["state"]), said["because"])
            for method, own in self.results.manifest["verdict"].items()
            for claim, said in own.items()
        ]
        return pd.DataFrame(rows, columns=["method", "claim", "state", "because"])

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained page."""
        from reports.page import render

        return write_text(path, render(self.results))

    def save(
        self, folder: str | Path, *, report: bool = True, overwrite: bool = False, executor: Executor | None = None
    ) -> Path:
        """Write metrics, manifest, draws and, unless ``report`` is false, the page: one folder in one move.

        An ``executor`` draws a part of the page meanwhile; see `reports.comparison.beside`. Where the page cannot be drawn, the
        numbers are written without it.

        Raises
        ------
        ResultsError
            If the folder holds something else, or an earlier comparison and ``overwrite`` is false.
        """
        if not report:
            return self.results.save(folder, overwrite=overwrite)
        from reports.page import begin_to_render

        page = begin_to_render(self.results, executor)
        try:
            return self.results.save(folder, overwrite=overwrite, page=page)
        except (OSError, ResultsError):
            raise
        except Exception:  # a defect of the page costs no fits
            self.results.save(folder, overwrite=overwrite)
            raise

    def _view(self) -> View:
        from reports.page.build import look

        return look(self.results)[0]

    def _sections(self, view: View) -> Iterator[Section]:
        from reports.page.build import look

        return (section for make in look(self.results)[1] if (section := make(view)) is not None)
