"""What results share: a short repr, cards and tables in a notebook, and every plot of their page by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reports.comparison.names import check_known
from reports.comparison.progress import in_notebook

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from reports.page.blocks import Section


class Shown(ABC):
    """A result that shows itself: a class says what its page is made of, and which part of it a notebook shows."""

    @abstractmethod
    def __repr__(self) -> str:
        """What it is, in a line or two."""

    @abstractmethod
    def _view(self) -> Any:
        """What the page's templates ask for names and colours."""

    @abstractmethod
    def _sections(self, view: Any) -> Iterable[Section]:
        """The sections of its page, drawn as they are asked for."""

    @abstractmethod
    def _blocks(self, view: Any) -> Sequence[Any]:
        """The blocks that a notebook shows."""

    @property
    def plots(self) -> list[str]:
        """Names of the plots of the page, in its order; the first call draws them, which takes some seconds."""
        return list(self._figures())

    def plot(self, name: str) -> Figure:
        """A plot of the page as a matplotlib figure, which a notebook shows and ``savefig`` writes.

        The first call draws the page as far as that plot.

        Parameters
        ----------
        name : str
            One of ``plots``.

        Raises
        ------
        ValueError
            If the page has no such plot.
        """
        figures = self._figures(name)
        check_known("plot", name, figures)
        if in_notebook():
            show_figures()
        return figures[name]

    def _figures(self, name: str | None = None) -> dict[str, Figure]:
        """The figures of the page by name, as far as the one of a name where it has one."""
        from reports.page.build import figures

        drawn, coming = self._drawing
        while name is None or name not in figures(drawn):
            section = next(coming, None)
            if section is None:
                break
            drawn.append(section)
        return figures(drawn)

    @cached_property
    def _drawing(self) -> tuple[list[Section], Iterator[Section]]:
        return [], iter(self._sections(self._view()))

    def _repr_html_(self) -> str:
        from reports.page.build import fragment

        view = self._view()
        return fragment(view, self._blocks(view))


def show_figures() -> None:
    """Have the notebook show a figure that a cell returns as a picture, unless it knows how to; pyplot is not needed."""
    from IPython import get_ipython
    from IPython.core.pylabtools import select_figure_formats
    from matplotlib.figure import Figure

    shell = get_ipython()
    formatters = shell.display_formatter.formatters.values()
    if not any(Figure in formatter.type_printers for formatter in formatters):
        select_figure_formats(shell, {"png"})
