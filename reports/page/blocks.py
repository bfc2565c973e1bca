"""What a section is made of: notices, facts, code, tables, figures. The template draws each by its `kind`."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from reports.page.numbers import number
from reports.plots import style

if TYPE_CHECKING:
    import matplotlib.figure

DPI = 170


@dataclass(frozen=True)
class Cell:
    """One table entry: its text, the number it is sorted by where it is one, a method whose colour marks it, a note."""

    text: str
    sort: float | None = None
    method: str = ""
    tone: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption; `fold` hides it behind that caption until it is asked for."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    fold: bool = False

    @property
    def numeric(self) -> list[bool]:
        """Whether each column holds numbers, and is set flush right."""
        return [any(row[i].sort is not None for row in self.rows) for i in range(len(self.columns))]


@dataclass(frozen=True)
class Notice:
    """A sentence that must be seen; `tone` is "info", "good" or "warn"."""

    kind: ClassVar[str] = "notice"
    text: str
    tone: str = "info"


@dataclass(frozen=True)
class Facts:
    """Named facts, one a line."""

    kind: ClassVar[str] = "facts"
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Text shown as it was typed."""

    kind: ClassVar[str] = "code"
    text: str
    label: str


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


@dataclass(frozen=True)
class Use:
    """One line of a verdict: what is judged, whether it is good, why, and the verdict's own word where it has one."""

    name: str
    fit: bool | None
    because: str
    state: str = ""


@dataclass(frozen=True)
class Card:
    """One method's verdict."""

    method: str
    title: str
    kind_words: str
    error: str
    uses: Sequence[Use]


@dataclass(frozen=True)
class Cards:
    """The verdict, one card a method."""

    kind: ClassVar[str] = "cards"
    cards: Sequence[Card]


@dataclass
class Image:
    """A matplotlib figure and the words for it; it is embedded when a page asks for its `source`, or a process hands it on.

    As SVG where it is lines and letters; as a fine PNG of 256 colours (`raster`) where it is thousands of marks.
    """

    figure: matplotlib.figure.Figure | None
    alt: str
    raster: bool = False

    @cached_property
    def source(self) -> str:
        """The figure as a data address."""
        assert self.figure is not None
        picture = embedded(self.figure, self.raster)
        return f"data:image/{'png' if self.raster else 'svg+xml'};base64,{base64.b64encode(picture).decode()}"

    @cached_property
    def width(self) -> int:
        """Its share of the page's width in percent."""
        assert self.figure is not None
        return min(100, round(100 * self.figure.get_size_inches()[0] / style.WIDTH))

    def __getstate__(self) -> dict[str, Any]:
        return {"figure": None, "alt": self.alt, "raster": self.raster, "source": self.source, "width": self.width}


@dataclass(frozen=True)
class Figure:
    """One figure, or several abreast, under one caption."""

    kind: ClassVar[str] = "figure"
    caption: str
    images: Sequence[Image]


@dataclass
class Section:
    """One section of the page: the sentences that say what it shows, then its blocks."""

    id: str
    title: str
    lead: str
    blocks: list = field(default_factory=list)


def figures(sections: Sequence[Section]) -> dict[str, matplotlib.figure.Figure]:
    """Return the matplotlib figures of sections by name: that of their section, numbered from its second figure on."""
    named = {}
    for section in sections:
        drawn = [each for block in section.blocks if isinstance(block, Figure) for each in block.images]
        for place, each in enumerate(drawn, 1):
            assert each.figure is not None
            named[section.id if place == 1 else f"{section.id}-{place}"] = each.figure
    return named


def value(x: float | None, digits: int = 3) -> Cell:
    """Return a number's cell; a missing one is a dash and sorts last."""
    return Cell(number(x, digits), None if x is None or x != x else float(x))


def image(figure: matplotlib.figure.Figure, alt: str, *, raster: bool = False) -> Image:
    """Return a figure with its alternative text; see `Image`."""
    return Image(figure, alt, raster)


def embedded(figure: matplotlib.figure.Figure, raster: bool) -> bytes:
    """Draw a figure as SVG, or as a PNG of 256 colours."""
    from PIL import Image as Picture

    buffer = io.BytesIO()
    with style.drawing(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if raster:
            full = io.BytesIO()
            figure.savefig(full, format="png", dpi=DPI, pil_kwargs={"compress_level": 0})
            with Picture.open(full) as picture:
                picture.convert("RGB").quantize(256, Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE).save(
                    buffer, "png"
                )
        else:
            figure.savefig(buffer, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
