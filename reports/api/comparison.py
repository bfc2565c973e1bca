"""`reports.compare`: several methods on one data set, and a result that shows, plots and saves itself."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixtures import Fit
from reports.api.shown import Shown, like
from reports.comparison import run
from reports.comparison.files import write_text
from reports.comparison.results import Results, ResultsError

if TYPE_CHECKING:
    import pandas as pd

    from reports.page.blocks import Section
    from reports.page.view import View


@dataclass(repr=False)
class Comparison(Shown):
    """Methods side by side on one data set. In a notebook it shows its verdict and the main numbers.

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

    def verdict(self) -> pd.DataFrame:
        """Whether each method agrees with the reference, a row a method and claim.

        Returns
        -------
        DataFrame
            Columns ``method``, ``claim`` (weights, locations, spreads, clusters, density), ``state`` ("agrees", "differs",
            "cannot tell", or "reference" for the trusted reference itself) and ``because``, the check that decided it. A
            method that failed has no rows.
        """
        import pandas as pd

        rows = [
            (method, claim, said["state"], said["because"])
            for method, own in self.results.manifest["verdict"].items()
            for claim, said in own.items()
        ]
        return pd.DataFrame(rows, columns=["method", "claim", "state", "because"])

    def summary(self) -> pd.DataFrame:
        """The main numbers, one row a method; NaN where a number does not apply.

        Of what is measured on every parameter it holds the worst; ``verdict`` says which parameter that is.
        """
        return run.summary(self.results)

    table = summary

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

    def __repr__(self) -> str:
        from reports.page.words import listing

        view = self._view()
        data, reference = view.manifest["data"], view.manifest["reference"]
        if view.reference is None:
            judged = "no reference"
        else:
            judged = f"reference {view.label(view.reference)}{'' if reference['trusted'] else ', not trusted'}"
        failed = f"; failed: {listing([view.label(m) for m in self.failures])}" if self.failures else ""
        methods = listing([view.label(m) for m in view.methods])
        return (
            f"<Comparison of {methods} on {data['name']}: {data['n']} points in {data['d']}-D, K = {view.n_clusters}; "
            f"{judged}{failed}>"
        )

    def _view(self) -> View:
        from reports.page.view import View

        return View(self.results)

    def _sections(self, view: View) -> Iterator[Section]:
        from reports.page.sections import SECTIONS

        return (section for make in SECTIONS if (section := make(view)) is not None)

    def _blocks(self, view: View) -> list[Any]:
        from reports.page.convergence import optima
        from reports.page.glance import summary
        from reports.page.opening import verdict

        return [*verdict(view).blocks, summary(view), *optima(view)]


@like(run.compare)
def compare(*args: Any, **settings: Any) -> Comparison:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Comparison(*run.compare(*args, **settings))
