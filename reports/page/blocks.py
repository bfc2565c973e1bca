"""What a section is made of: notices, facts, code, tables, figures. The template draws each by its `kind`."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

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
    """One line of a verdict: what the method is, or is not, fit for, and why."""

    name: str
    fit: bool | None
    because: str


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


@dataclass(frozen=True)
class Image:
    """An embedded figure; `width` is its share of the page's width in percent."""

    source: str
    alt: str
    width: int


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


def value(x: float | None, digits: int = 3) -> Cell:
    """Return a number's cell; a missing one is a dash and sorts last."""
    return Cell(number(x, digits), None if x is None or x != x else float(x))


def image(figure: matplotlib.figure.Figure, alt: str, *, raster: bool = False) -> Image:
    """Embed a figure: as SVG where it is lines and letters, as a fine PNG of 256 colours where it is thousands of marks."""
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
    mime = "image/png" if raster else "image/svg+xml"
    share = min(100, round(100 * figure.get_size_inches()[0] / style.WIDTH))
    return Image(f"data:{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}", alt, share)
