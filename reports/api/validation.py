"""`reports.validate`: results of one's own against a trusted posterior of any PyMC model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.api.keywords import like
from reports.api.saved import Saved
from reports.comparison.results import Results
from reports.validation import run
from reports.validation.catalogue import Options

if TYPE_CHECKING:
    import pandas as pd

    from reports.page.validation_view import ValidationView
    from reports.validation.results import Joined


@dataclass(repr=False)
class Validation(Saved):
    """Results of one's own and methods of this package, held against a sampler. In a notebook it shows its verdict.

    Parameters
    ----------
    joined : dict of reports.validation.results.Joined
        By method, draws of all variables.
    failures : dict of str
        What went wrong, by method.
    results : Results
        The numbers, draws and facts from which tables and pages are made.
    """

    joined: dict[str, Joined]
    failures: dict[str, str]
    results: Results

    def summary(self) -> pd.DataFrame:
        """The main numbers, one row a method; see `reports.validation.summary.summary`."""
        from reports.validation.summary import summary

        return summary(self.results)

    table = summary

    def __repr__(self) -> str:
        from reports.page.validation_view import ValidationView
        from reports.page.words import listing

        view = ValidationView(self.results)
        reference = view.manifest["reference"]
        if view.reference is None:
            judged = "no reference"
        else:
            judged = f"reference {view.label(view.reference)}{'' if reference['trusted'] else ', not trusted'}"
        said = "".join(f"; {view.label(m)}: {view.overall(m)}" for m in view.added if m in view.trees)
        failed = f"; failed: {listing([view.label(m) for m in self.failures])}" if self.failures else ""
        methods = listing([view.label(m) for m in view.methods])
        size = view.manifest["model"]["n_parameters"]
        return f"<Validation of {methods} on {view.name}: {size} free numbers; {judged}{said}{failed}>"

    def _blocks(self, view: ValidationView) -> list[Any]:
        from reports.page.blocks import Facts
        from reports.page.glance import summary
        from reports.page.opening import verdict
        from reports.page.right import answers

        return [Facts(answers(view)), *verdict(view).blocks, summary(view)]


@like(run.validate, Options)
def validate(*args: Any, **settings: Any) -> Validation:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Validation(*run.validate(*args, **settings))
