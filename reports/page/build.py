"""From results to one HTML page that needs nothing outside itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from importlib.resources import files
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from reports.comparison.beside import begin
from reports.page.blocks import Section
from reports.page.glossary import TERMS
from reports.page.links import Links
from reports.page.sections import SECTIONS, SHARED
from reports.page.view import View
from reports.page.words import moment, spoken
from reports.plots import style

if TYPE_CHECKING:
    from reports.comparison.results import Results


def render(results: Results, executor: Executor | None = None) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    results
        Live or loaded from a folder: manifest, metrics, data and trees. A method without a tree is shown as failed.
    executor
        Draws a part of the sections; see `reports.comparison.beside`.
    """
    return begin_to_render(results, executor)()


def begin_to_render(results: Results, executor: Executor | None) -> Callable[[], str]:
    """Have the executor begin with its part of the page; what is returned does the rest and returns the page."""
    sections = look(results)[1]
    first, last = (sections.index(section) for section in shared(results))
    its_part = begin(executor, _part, results, slice(first, last + 1))

    def page() -> str:
        before, after = _part(results, slice(first)), _part(results, slice(last + 1, None))
        return write(look(results)[0], [*before, *its_part(), *after])

    return page


def look(results: Results) -> tuple[View, Sequence[Callable[[Any], Section | None]]]:
    """Return the view of results and the sections of their page."""
    if not results.is_validation:
        return View(results), SECTIONS
    from reports.page.validation import SECTIONS as OF_ANY_MODEL
    from reports.page.validation_view import ValidationView

    return ValidationView(results), OF_ANY_MODEL


def shared(results: Results) -> tuple[Callable[[Any], Section | None], Callable[[Any], Section | None]]:
    """Return the sections with which the part of another process begins and ends."""
    if not results.is_validation:
        return SHARED
    from reports.page.validation import SHARED as OF_ANY_MODEL

    return OF_ANY_MODEL


def _part(results: Results, which: slice) -> list[Section]:
    view, sections = look(results)
    with style.made_elsewhere(view.added):
        return drawn(called([section for make in sections[which] if (section := make(view)) is not None], speech(view)))


def write(view: Any, sections: Sequence[Section]) -> str:
    """Return sections as one self-contained HTML page; the view has a name, a subtitle, the manifest and colours."""
    said = speech(view)
    sections = [replace(section, title=said(section.title)) for section in numbered(called(sections, said))]
    links = Links(addresses(sections), getattr(view, "glossary", TERMS), said)
    return _fill("page.html", view, links, sections=sections, css=_text("page.css"), js=_text("page.js"))


def fragment(view: Any, blocks: Sequence[Any]) -> str:
    """Return blocks as HTML that stands among other HTML, such as a notebook's: its style reaches nothing outside itself."""
    css = _text("page.css").replace(":root", "&").replace("body {", "& {")  # nested in the rule of the fragment
    return _fill("fragment.html", view, Links({}, {}, speech(view)), blocks=blocks, css=css)


def speech(view: Any) -> Callable[[str], str]:
    """Return what a page makes of its texts: a view whose clusters are states has their word as ``one``."""
    one, kept = getattr(view, "one", "cluster"), tuple(getattr(view, "names_with_clusters", ()))
    return as_it_is if one == "cluster" else lambda text: spoken(text, one, kept)


def as_it_is(text: str) -> str:
    """Return a text as it was written."""
    return text


def called(sections: Sequence[Section], said: Callable[[str], str]) -> list[Section]:
    """Return the sections with the letters in their figures as they are said; those drawn by another process are so already."""
    if said is as_it_is:
        return list(sections)
    from matplotlib.text import Text

    drawn = [image.figure for section in sections for block in section.blocks for image in getattr(block, "images", ())]
    for figure in filter(None, drawn):
        for text in figure.findobj(Text):
            if (new := said(old := text.get_text())) != old:
                text.set_text(new)
    return list(sections)


def drawn(sections: list[Section]) -> list[Section]:
    """Return the sections with their figures embedded, so that this is done beside what another process does."""
    for image in (image for section in sections for block in section.blocks for image in getattr(block, "images", ())):
        image.source  # noqa: B018  (kept from the first time that it is asked for)
    return sections


def numbered(sections: Sequence[Section]) -> list[Section]:
    """Return the sections with figures and tables numbered through the page, each with an id of its own.

    Figures without an image are left out, and of rows that ask for one id all but the first lose it.
    """
    counts, taken = Counter[str](), Counter[tuple[str, str]]()

    def first(one: str) -> str:
        taken["row", one] += 1
        return one if taken["row", one] == 1 else ""

    def placed(block: Any, section: Section) -> Any:
        if block.kind not in ("figure", "table"):
            return block
        slug = block.slug or section.id
        counts[block.kind] += 1
        taken[block.kind, slug] += 1
        if (times := taken[block.kind, slug]) > 1:
            slug = f"{slug}-{times}"
        ids = {"ids": [first(one) for one in block.ids]} if block.kind == "table" else {}
        return replace(block, slug=slug, number=counts[block.kind], **ids)

    return [
        replace(section, blocks=[placed(b, section) for b in section.blocks if b.kind != "figure" or b.images])
        for section in sections
    ]


def figures(sections: Sequence[Section]) -> dict[str, Any]:
    """Return the matplotlib figures of a page by the slug of their block, those that stand abreast with a letter each."""
    named = {}
    for block in (block for section in numbered(sections) for block in section.blocks if block.kind == "figure"):
        for letter, image in zip(ascii_lowercase, block.images, strict=False):
            if image.figure is not None:
                named[block.slug if len(block.images) == 1 else f"{block.slug}-{letter}"] = image.figure
    return named


def addresses(sections: Sequence[Section]) -> dict[str, str]:
    """Return every id that text may lead to, with the words that stand for it."""
    found = {section.id: section.title for section in sections}
    for block in (block for section in sections for block in section.blocks):
        if block.kind in ("figure", "table"):
            found[block.id] = f"{block.kind.capitalize()}\u00a0{block.number}"
        if block.kind == "table":
            found |= {one: "its row" for one in block.ids if one}
    return found


def _fill(template: str, view: Any, links: Links, css: str, js: str = "", **context: Any) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "linked": links.html,
        "prose": links.prose,
        "plain": links.plain,
        "command": links.command,
        "moment": moment,
    }
    return environment.get_template(template).render(view=view, links=links, css=Markup(css), js=Markup(js), **context)


def _text(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")
