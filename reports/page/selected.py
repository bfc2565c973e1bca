"""The page of a selection, of mixtures, of hidden Markov models and of linear dynamical systems."""

from __future__ import annotations

from reports.page import selection, selection_systems
from reports.page.blocks import Section
from reports.page.build import write
from reports.page.selection import View
from reports.studies.selection.result import Selection


def look(found: Selection) -> View:
    """Return what its sections ask for."""
    return selection_systems.SystemsView(found) if found.manifest.get("systems") else View(found)


def sections(view: View) -> list[Section]:
    """Return the sections of the page."""
    makes = selection_systems.SECTIONS if isinstance(view, selection_systems.SystemsView) else selection.SECTIONS
    return [section for make in makes if (section := make(view)) is not None]


def render(found: Selection) -> str:
    """Return the report of a selection as one self-contained HTML page."""
    view = look(found)
    return write(view, sections(view))
