"""`reports.select`: every criterion for every number of clusters, and a result that shows, plots and saves itself."""

from __future__ import annotations

import json
from functools import wraps
from pathlib import Path
from typing import Any

from reports.studies.selection import study
from reports.studies.selection.study import CSV, MANIFEST, PAGE, PLOT, check_folder


class Selection(study.Selection):
    """Every criterion for every candidate, and what each chooses; see `reports.studies.selection.study.Selection`."""

    def save(self, folder: str | Path, *, report: bool = True) -> Path:
        """Write the table, the plot, the manifest and, unless ``report`` is false, the page into a new folder.

        Raises
        ------
        ResultsError
            If the folder is not empty or cannot be written.
        """
        from reports.page.selection import render
        from reports.plots.selection import plot_selection

        folder = Path(folder)
        check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.table.to_csv(folder / CSV, index=False)
        plot_selection(self.table).savefig(folder / PLOT, dpi=160)
        (folder / MANIFEST).write_text(json.dumps(self.manifest, indent=2) + "\n", encoding="utf-8")
        if report:
            (folder / PAGE).write_text(render(self), encoding="utf-8")
        return folder


@wraps(study.select)
def select(*args: Any, **settings: Any) -> Selection:  # noqa: D103  (its signature and docstring are those of what it runs)
    return Selection(**vars(study.select(*args, **settings)))
