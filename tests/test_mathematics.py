"""The Markdown beside the code: what it quotes and names is there, and GitHub can show it. Its examples run as doctests."""

import importlib
import inspect
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_layout import APART

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path
    for package in ("mixtures", "models")
    for path in (ROOT / package).rglob("*.md")
    if "datasets" not in path.parts
)
DOTTED = r"(?:mixtures|models|reports)(?:\.\w+)+"
every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


@cache
def resolve(name):
    """The object that a dotted name stands for."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            found = inspect.getattr_static(found, attribute) if inspect.isclass(found) else getattr(found, attribute)
        return found
    raise AttributeError(name)


def is_module(name):
    """Whether a name is that of a module, which is not imported: that may compile loops."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # of what is in a module
        return False


@cache
def source(name):
    """The code of a function or property, its white space collapsed."""
    found = resolve(name)
    found = getattr(found, "fget", None) or getattr(found, "func", None) or getattr(found, "__func__", found)
    return " ".join(inspect.getsource(found).split())


def fenced(text, language):
    """The contents of the fenced blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def inline(text):
    """The formulas within sentences."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"\$([^$]+)\$", re.sub(r"`[^`]*`", "", prose))


def test_every_method_structure_and_allocation_has_its_page():
    written = {path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES}
    code = {
        path.relative_to(ROOT).with_suffix("").as_posix()
        for folder in ("families", "allocations", "methods")
        for path in (ROOT / "mixtures" / folder).glob("[!_]*.py")
        if path.stem not in APART[folder]
    }
    assert code <= written


@every_page
def test_quoted_lines_are_in_the_code(path):
    for block in fenced(path.read_text(encoding="utf-8"), "python"):
        first, *lines = block.splitlines()
        assert re.fullmatch(rf"# {DOTTED}", first), f"a block should begin with a name, not with {first!r}"
        assert lines
        missing = [line for line in lines if " ".join(line.split()) not in source(first[2:])]
        assert missing == [], f"not in {first[2:]}"


@every_page
def test_names_and_links_lead_somewhere(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(rf"`({DOTTED})`", text):
        if not is_module(name):
            resolve(name)
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []


@every_page
def test_formulas_survive_markdown(path):
    """In a sentence GitHub takes a backslash before punctuation for an escape, and a vertical bar ends a table's cell."""
    text = path.read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(re.findall(r"^```\w+\n.*?^```$", text, flags=re.MULTILINE | re.DOTALL))
    formulas = inline(text)
    assert formulas
    for formula in formulas:
        assert not re.search(r"\\[^A-Za-z]", formula), formula
        assert formula == formula.strip(), formula
        assert "\n" not in formula, formula
    for formula in [*formulas, *fenced(text, "math")]:
        assert formula.count("{") == formula.count("}"), formula
        assert len(re.findall(r"\\left\b", formula)) == len(re.findall(r"\\right\b", formula)), formula
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert [row for row in rows if any("|" in formula for formula in re.findall(r"\$([^$]+)\$", row))] == []
