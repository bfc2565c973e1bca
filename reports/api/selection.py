"""`reports.select`: every criterion for every number of clusters, and a result that shows, plots and saves itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.api.keywords import like
from reports.api.shown import Shown
from reports.comparison.files import write_file, write_folder, write_text
from reports.comparison.manifest import write
from reports.comparison.results import check_empty
from reports.metrics.criterion import CRITERIA
from reports.studies.selection import result, study, systems
from reports.studies.selection.bootstrap import is_kept
from reports.studies.selection.result import CSV, MANIFEST, PAGE, PLOT

if TYPE_CHECKING:
    import pandas as pd

    from reports.page.blocks import Section
    from reports.page.selection import View


class Selection(Shown, result.Selection):
    """Every criterion for every candidate, and what each chooses; see `reports.studies.selection.result.Selection`.

    In a notebook it shows what is chosen, and by how much.
    """

    def summary(self) -> pd.DataFrame:
        """What each criterion chooses among all candidates, a row a criterion.

        Returns
        -------
        DataFrame
            Columns ``covariance`` and ``components`` of the choice, ``runner_up_covariance`` and ``runner_up_components``,
            ``margin`` in nats and ``margin_se``; missing where there is none, and all of them where there is no choice.
        """
        import pandas as pd

        columns = ["covariance", "components", "runner_up_covariance", "runner_up_components", "margin", "margin_se"]
        rows = {}
        for criterion in self.manifest["criteria"]:
            one = self.choice(criterion)
            second = (one and one.runner_up) or (None, None)
            rows[criterion] = (*one.best, *second, one.margin, one.margin_se) if one else (None,) * len(columns)
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        kinds = dict.fromkeys(["components", "runner_up_components"], "Int64") | dict.fromkeys(columns[-2:], "float64")
        return frame.astype(kinds).rename_axis("criterion")

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained page."""
        from reports.page.selected import render

        return write_text(path, render(self))

    def save(self, folder: str | Path, *, report: bool = True) -> Path:
        """Write the table, the plot, the manifest and, unless ``report`` is false, the page into a new folder, in one move.

        Into the folder where the replicates of its bootstrap test are kept they are written one by one, the manifest last.

        Raises
        ------
        ResultsError
            If the folder is not empty or cannot be written.
        """

        def fill(part: Path) -> None:
            write_file(part / CSV, lambda path: self.table.to_csv(path, index=False))
            write_file(part / PLOT, lambda path: self._view().plot().savefig(path, dpi=160, format="png"))
            if report:
                self.to_html(part / PAGE)
            write(part / MANIFEST, self.manifest)

        folder = Path(folder)
        if is_kept(folder):
            fill(folder)
            return folder
        check_empty(folder)
        write_folder(folder, fill)
        return folder

    def __repr__(self) -> str:
        data, view = self.manifest["data"], self._view()
        several = len(view.structures) > 1 or "systems" in self.manifest
        said = [
            f"{view.candidate(best) if several else f'K = {best.components}'} by "
            + ", ".join(CRITERIA[one].title for one in criteria)
            for best, criteria in self.chosen.items()
        ]
        return f"<Selection for {data['name']}, {data['n']} points in {data['d']}-D: {'; '.join(said) or 'no choice'}>"

    def _view(self) -> View:
        from reports.page.selected import look

        return look(self)

    def _sections(self, view: View) -> list[Section]:
        from reports.page.selected import sections

        return sections(view)

    def _blocks(self, view: View) -> list[Any]:
        from reports.page.selection import choice

        return choice(view).blocks


@like(systems.select_dynamics)
def select_dynamics(*args: Any, **settings: Any) -> Selection:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Selection(**vars(systems.select_dynamics(*args, **settings)))


@like(study.select)
def select(*args: Any, **settings: Any) -> Selection:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Selection(**vars(study.select(*args, **settings)))
