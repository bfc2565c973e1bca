"""From results to one HTML page that needs nothing outside itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from reports.comparison.beside import begin
from reports.page.blocks import Section
from reports.page.sections import SECTIONS, SHARED_FROM
from reports.page.view import View

if TYPE_CHECKING:
    from reports.comparison.results import Results


def render(results: Results, executor: Executor | None = None) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    results
        Live or loaded from a folder: manifest, metrics, data and trees. A method without a tree is shown as failed.
    executor
        Draws the second part of the sections; see `reports.comparison.beside`.
    """
    return begin_to_render(results, executor)()


def begin_to_render(results: Results, executor: Executor | None) -> Callable[[], str]:
    """Have the executor begin with its part of the page; what is returned does the rest and returns the page."""
    later = begin(executor, _sections, results, slice(SHARED_FROM, None))
    return lambda: write(View(results), [*_sections(results, slice(SHARED_FROM)), *later()])


def _sections(results: Results, which: slice) -> list[Section]:
    view = View(results)
    return [section(view) for section in SECTIONS[which]]


def write(view: Any, sections: Sequence[Section]) -> str:
    """Return sections as one self-contained HTML page; the view has a name, a subtitle, the manifest and colours."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    here = files(__package__)
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string((here / "page.html").read_text("utf-8"))
    return template.render(
        view=view,
        sections=sections,
        css=Markup((here / "page.css").read_text("utf-8")),
        js=Markup((here / "page.js").read_text("utf-8")),
    )
