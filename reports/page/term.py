"""A technical word of the pages and what it means."""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """A word of the field.

    Its slug, itself, one or two sentences that say what it is, a formula as HTML, where it comes from, and the spellings that
    mean nothing else on these pages.
    """

    slug: str
    term: str
    definition: str
    formula: str = ""
    source: str = ""
    words: tuple[str, ...] = ()
