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
    later = begin(executor, _part, results, slice(SHARED_FROM, None))
    return lambda: write(View(results), [*_part(results, slice(SHARED_FROM)), *later()])


def _part(results: Results, which: slice) -> list[Section]:
    return draw(View(results), which)


def draw(view: View, which: slice = slice(None)) -> list[Section]:
    """Return the sections of the page, or a part of them."""
    return [section(view) for section in SECTIONS[which]]


def write(view: Any, sections: Sequence[Section]) -> str:
    """Return sections as one self-contained HTML page; the view has a name, a subtitle, the manifest and colours."""
    return _fill("page.html", view, sections=sections, css=_text("page.css"), js=_text("page.js"))


def fragment(view: Any, blocks: Sequence[Any]) -> str:
    """Return blocks as HTML that stands among other HTML, such as a notebook's: its style reaches nothing outside itself."""
    css = _text("page.css").replace(":root", "&").replace("body {", "& {")  # nested in the rule of the fragment
    return _fill("fragment.html", view, blocks=blocks, css=css)


def _fill(template: str, view: Any, css: str, js: str = "", **context: Any) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(view=view, css=Markup(css), js=Markup(js), **context)


def _text(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")
