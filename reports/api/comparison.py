"""`reports.compare`: several methods on one data set, and a result that shows, plots and saves itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixtures import Fit
from reports.api.keywords import like
from reports.api.saved import Saved
from reports.comparison import run, tables
from reports.comparison.catalogue import Options
from reports.comparison.results import Results

if TYPE_CHECKING:
    import pandas as pd

    from reports.page.view import View


@dataclass(repr=False)
class Comparison(Saved):
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

    def summary(self) -> pd.DataFrame:
        """The main numbers, one row a method; NaN where a number does not apply.

        Of what is measured on every parameter it holds the worst; ``verdict`` says which parameter that is.
        """
        return tables.summary(self.results)

    table = summary

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
            f"<Comparison of {methods} on {data['name']}: {view.n_fitted} points in {data['d']}-D, K = {view.n_clusters}; "
            f"{judged}{failed}>"
        )

    def _blocks(self, view: View) -> list[Any]:
        from reports.page.convergence import optima
        from reports.page.glance import summary
        from reports.page.opening import verdict

        return [*verdict(view).blocks, summary(view), *optima(view)]


@like(run.compare, Options)
def compare(*args: Any, **settings: Any) -> Comparison:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Comparison(*run.compare(*args, **settings))
