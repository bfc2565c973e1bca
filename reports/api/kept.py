"""Results of studies that are kept in a folder as they come in: where that is, and how they are saved elsewhere."""

from __future__ import annotations

import shutil
import weakref
from abc import abstractmethod
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import mkdtemp

from reports.api.shown import Shown
from reports.comparison.files import write_folder, write_text
from reports.comparison.results import check_empty
from reports.studies.folder import PAGE


class Kept(Shown):
    """The result of a study, with the folder that has its numbers."""

    folder: Path

    @abstractmethod
    def _page(self, folder: str = "") -> str:
        """Its page as HTML, which may say in which folder the numbers are."""

    def to_html(self, path: str | Path) -> Path:
        """Write the report as one self-contained page."""
        return write_text(path, self._page())

    def save(self, folder: str | Path) -> Path:
        """Write the numbers, the manifest and the page into a new folder, or the page into the study's own.

        Raises
        ------
        ResultsError
            If the folder has something else in it.
        OSError
            If it cannot be written.
        """
        folder = Path(folder)
        page = self._page(str(folder))
        if folder.resolve() == self.folder.resolve():
            write_text(folder / PAGE, page)
            return folder

        def fill(part: Path) -> None:
            shutil.copytree(self.folder, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".mixtures-*", PAGE))
            write_text(part / PAGE, page)

        check_empty(folder)
        write_folder(folder, fill)
        return folder


def in_folder[R](folder: str | Path | None, run: Callable[[Path], R]) -> R:
    """Run a study in a folder; without one, in a temporary folder that is deleted with the result."""
    if folder is not None:
        return run(Path(folder))
    temporary = Path(mkdtemp(prefix="mixtures-"))
    with ExitStack() as failed:
        failed.callback(shutil.rmtree, temporary, ignore_errors=True)
        result = run(temporary / "study")
        failed.pop_all()
    weakref.finalize(result, shutil.rmtree, temporary, ignore_errors=True)
    return result
