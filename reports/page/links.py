"""Links in the text of a page: `[[slug|shown]]` to a term of the glossary, `[[#id|shown]]` to a place on the page.

Without words, `[[slug]]` shows the term and `[[#id]]` what the place is called, as "Figure 3". In running text the first
sight in a section of a term's own `words` is such a link too. What leads nowhere is shown as its words where it has some, and
as it was written where it has none: it may be text from the data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from markupsafe import Markup, escape

from reports.page.glossary import TERMS, Term

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
LINK = re.compile(r"\[\[(#?)([^\[\]|\s]+)(?:\|([^\[\]]+))?\]\]")


def spellings(glossary: Mapping[str, Term]) -> tuple[dict[str, str], re.Pattern[str]]:
    """Return the terms' own words, each with its slug, and what finds them in running text."""
    words = {word: term.slug for term in glossary.values() for word in term.words}
    found = "|".join(
        f"[{word[0].upper()}{word[0].lower()}]{re.escape(word[1:])}" for word in sorted(words, key=len, reverse=True)
    )
    return words, re.compile(rf"(?<![\w&/.-])(?:{found})(?![\w/]|-\w)")


WORDS, WORD = spellings(TERMS)


class Links:
    """Turns text into HTML with its links, and remembers which terms were used.

    Parameters
    ----------
    places
        Every id of the page that may be led to -> what it is called.
    glossary
        The terms of the page; where there are none their words stay words.
    said
        What is made of every text first, such as `reports.page.words.spoken`.
    """

    def __init__(
        self, places: Mapping[str, str], glossary: Mapping[str, Term] = TERMS, said: Callable[[str], str] = str
    ) -> None:
        self.places, self.glossary, self.said = places, glossary, said
        self._terms = dict(glossary) or TERMS
        self._words_of, self._word = (WORDS, WORD) if self._terms == TERMS else spellings(self._terms)
        self.used, self._seen = set[str](), set[str]()

    def html(self, text: object) -> Markup:
        """Return text, escaped, with its links."""
        return Markup(LINK.sub(lambda found: self._link(*found.groups()), str(escape(self.said(str(text))))))

    def prose(self, text: object) -> Markup:
        """Return running text, escaped, with its links and with the terms that this section has not linked yet."""
        parts, end = [], 0
        safe = str(escape(self.said(str(text))))
        for found in LINK.finditer(safe):
            parts += [self._terms_in(safe[end : found.start()]), self._link(*found.groups())]
            end = found.end()
        return Markup("".join([*parts, self._terms_in(safe[end:])]))

    @staticmethod
    def command(text: object) -> Markup:
        """Return a command, escaped, whose options no line breaks."""
        return Markup(_unbroken(str(escape(text))))

    def begin(self) -> str:
        """Begin a section: its terms are linked anew."""
        self._seen = set()
        return ""

    def definition(self, term: Term) -> Markup:
        """Return a term's definition, which is HTML, with its links."""
        return Markup(LINK.sub(lambda found: self._link(*found.groups()), term.definition))

    def plain(self, text: object) -> str:
        """Return text with the words of its links alone, for attributes."""
        return LINK.sub(lambda found: self._words(*found.groups()), self.said(str(text)))

    def terms(self) -> list[Term]:
        """Return the terms used so far and those that their definitions lead to, by name."""
        found, new = set[str](), set(self.used)
        while new:
            found |= new
            inside = {slug for one in new for place, slug, _ in LINK.findall(self._terms[one].definition) if not place}
            new = {slug for slug in inside if slug in self._terms} - found
        return sorted((self._terms[slug] for slug in found), key=lambda term: term.term.casefold())

    def _terms_in(self, text: str) -> str:
        return _unbroken(self._word.sub(lambda found: self._first(found[0]), text))

    def _first(self, word: str) -> str:
        words = self._words_of
        slug = words.get(word) or words.get(word[0].lower() + word[1:]) or words[word[0].upper() + word[1:]]
        return word if slug in self._seen else self._link("", slug, word)

    def _link(self, place: str, slug: str, shown: str | None) -> str:
        words = self._words(place, slug, shown)
        if place and slug in self.places:
            return f'<a href="#{escape(slug)}">{words}</a>'
        if not place and slug in self.glossary:
            self.used.add(slug)
            self._seen.add(slug)
            return f'<a href="#term-{slug}" class="term">{words}</a>'
        return words

    def _words(self, place: str, slug: str, shown: str | None) -> str:
        names = self.places if place else {slug: term.term for slug, term in self._terms.items()}
        return shown or names.get(slug) or f"[[{place}{slug}]]"


def _unbroken(html: str) -> str:
    """HTML in which no line ends within the name of an option, as it might behind each hyphen."""
    return OPTION.sub(lambda found: f'<span class="option">{found[0]}</span>', html)
