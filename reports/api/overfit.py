"""`reports.overfit`: methods on many small data sets whose density is known, and a result that shows and saves itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixtures.datasets.limits import read_file
from reports.api.kept import Kept, in_folder
from reports.api.keywords import careful
from reports.studies.overfit import grid as grids
from reports.studies.overfit import study
from reports.studies.workers import Progress, telling

if TYPE_CHECKING:
    import pandas as pd

    from reports.page.blocks import Section
    from reports.page.overfit_view import View


@dataclass(frozen=True, repr=False)
class Overfitting(Kept, study.Study):
    """An overfitting study; see `reports.studies.overfit.study.Study`. In a notebook it shows its findings.

    Parameters
    ----------
    folder : Path
        With the manifest and the cells.
    """

    folder: Path

    def summary(self) -> pd.DataFrame:
        """CAVI's test score minus that of each other method under each setting.

        Returns
        -------
        DataFrame
            See `reports.studies.overfit.summary.against`.
        """
        return self._view().differences

    def again(self, name: str) -> pd.DataFrame:
        """The rows of one fit, measured again, by its name on the page, such as "3f9a1c20be:17".

        Raises
        ------
        ValueError
            If the study has no such fit.
        """
        import pandas as pd

        return pd.DataFrame(study.again(self.grid, name))

    def __repr__(self) -> str:
        view = self._view()
        methods = ", ".join(view.label(method) for method in view.methods)
        return f"<Overfitting study {self.grid.title!r}: {view.subtitle.rstrip('.')}; {methods}>"

    def _page(self, folder: str = "") -> str:
        from reports.page.overfit import render

        return render(self, folder)

    def _view(self) -> View:
        from reports.page.overfit_view import View

        return View(self)

    def _sections(self, view: View) -> list[Section]:
        from reports.page.overfit import sections

        return sections(view)

    def _blocks(self, view: View) -> list[Any]:
        from reports.page.overfit import claim
        from reports.page.overfit_findings import findings

        return [*claim(view).blocks, *findings(view).blocks]


@careful
def overfit(
    grid: str | Path | Mapping[str, Any] = "quick",
    folder: str | Path | None = None,
    *,
    replicates: int | None = None,
    seed: int | None = None,
    start: str | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    progress: Progress = None,
) -> Overfitting:
    """Measure when EM overfits few data, whether variational Bayes does too, and where it loses.

    Of discrete data, too: how often an estimate is 0, and a value that occurs thereby impossible.

    Parameters
    ----------
    grid : str, Path or mapping
        A preset ("quick", "small-data", "prior", "misspecified", "discrete", "hmm", "lds"), the path of a TOML file, or what
        such a file would hold: keys of one block, as in ``{"n": [20, 100], "methods": ["em", "cavi"]}``, or under "block" a
        list of several. See `reports.studies.overfit.grid`.
    folder : str or Path, optional
        Where the numbers are kept as they come in; an earlier study of the same kind goes on in it. Without one they are kept
        as long as the result is; `Overfitting.save` keeps them.
    replicates, seed : int, optional
        Data sets of each cell, and seed of all randomness, in the place of the grid's own.
    start : {"known", "stationary", "diffuse", "free"}, optional
        How the states of linear dynamical systems start, in the place of the grid's own, or known.
    workers, scheduler
        See `reports.studies.workers.measure_all`. The numbers do not depend on the workers.
    progress : bool or callable, optional
        True shows a bar, in a notebook or on standard error; a callable is told how many fits are there, and their total.
        None is silent.

    Returns
    -------
    Overfitting

    Raises
    ------
    ValueError
        If the grid is none, is empty or contradicts itself.
    ResultsError
        If the folder cannot be used, or the workers are lost; what was finished is kept.
    """
    if isinstance(grid, Mapping):
        name, text, asked = "grid", _toml(grid), ""
    elif grid in grids.PRESETS or (isinstance(grid, str) and not grid.endswith(".toml")):
        name, text, asked = str(grid), grids.preset(str(grid)), f"--preset {grid}"
    else:
        name, text, asked = str(grid), read_file(Path(grid)).decode("utf-8-sig"), str(grid)
    chosen = grids.parse(text, name, replicates=replicates, seed=seed, start=start)

    if asked:
        asked += "".join(f" --{key} {own}" for key, own in (("seed", seed), ("start", start)) if own is not None)

    def run(where: Path) -> Overfitting:
        found = study.run(
            chosen,
            where,
            workers=workers,
            scheduler=scheduler,
            command="reports.overfit(...)",
            asked=asked,
            tell=tell,
        )
        return Overfitting(**vars(found), folder=where)

    with telling(progress, "fits") as tell:
        return in_folder(folder, run)


def _toml(table: Mapping[str, Any]) -> str:
    """A grid as TOML; scalars and lists of them are written as in JSON."""
    blocks = table.get("block", [{}])
    parts = [
        {name: x for name, x in table.items() if name != "block"},
        *([blocks] if isinstance(blocks, Mapping) else blocks),
    ]
    return "\n[[block]]\n".join("".join(f"{name} = {json.dumps(x)}\n" for name, x in part.items()) for part in parts)
