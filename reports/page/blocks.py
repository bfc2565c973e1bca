"""What a section is made of: notices, facts, code, tables, figures. The template draws each by its `kind`.

Any text of a block may hold links, `[[slug|shown text]]`, to a term of `reports.page.glossary`, and
`[[#id|shown text]]` to a figure, table, row or section of the page: see `reports.page.links`. Figures and tables are
numbered when the page is written; text refers to one as `[[#fig-traces]]`, which becomes "Figure 3".
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from reports.page.numbers import DASH, number
from reports.plots import style

if TYPE_CHECKING:
    import matplotlib.figure

DPI = 170


MANY = 60
"""A table with more cells than this scrolls on a narrow screen; a smaller one shows each row as a block."""


def row_id(*parts: str) -> str:
    """Return the id of a table's row that is about these things, for `Table.ids` and for links to it.

    >>> row_id("cavi", "median_shift", "means[0, eruptions]")
    'row-cavi-median_shift-means-0-eruptions'
    """
    return "-".join(["row", *(re.sub(r"[^\w.]+", "-", part).strip("-") for part in parts)])


@dataclass(frozen=True)
class Cell:
    """One table entry.

    Its text, the number it is sorted by where it is one, a method whose colour marks it, a tone ("good" or "bad"), a note
    below it, and where it leads ("#id").
    """

    text: str
    sort: float | None = None
    method: str = ""
    tone: str = ""
    note: str = ""
    href: str = ""

    @property
    def sorted(self) -> str:
        """The number it is sorted by as a browser reads it."""
        if self.sort is None:
            return ""
        return f"{self.sort:.10g}".replace("inf", "Infinity")


@dataclass(frozen=True)
class Table:
    """A table with a caption; `fold` hides it behind that caption until it is asked for.

    `slug` makes its id, "table-slug", and should be given where other text refers to it; without one the id comes from the
    section. `ids` are the ids of its rows, one each, from `row_id`. `number` is set when the page is written.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    fold: bool = False
    slug: str = ""
    ids: Sequence[str] = ()
    number: int = 0

    @property
    def id(self) -> str:
        """Its address on the page."""
        return f"table-{self.slug}"

    @property
    def stacks(self) -> bool:
        """Whether a narrow screen shows each row as a block with the names of the columns."""
        return len(self.columns) > 2 and len(self.columns) * len(self.rows) <= MANY

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
class Download:
    """A text file that the page holds, and what is in it."""

    kind: ClassVar[str] = "download"
    name: str
    content: str
    text: str

    @property
    def source(self) -> str:
        """The file as an address that holds it."""
        return f"data:text/csv;base64,{base64.b64encode(self.content.encode()).decode()}"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    kind: ClassVar[str] = "bullets"
    items: Sequence[str]


State = Literal["agrees", "differs", "cannot tell", "reference"]

SIGNS: dict[State, str] = {"agrees": "✓", "differs": "✗", "cannot tell": "?", "reference": "★"}


@dataclass(frozen=True)
class Use:
    """One claim of a verdict: what it is about, its state, and the check that decided it.

    `name` is the claim ("locations"). The check: `quantity` ("median shift") of `parameter` ("means[1, waiting]"), its
    `value` with its error ("0.71 ± 0.04"), the `limit` ("within ±0.5"), `why` that is the limit, and `href`, the row of a table
    that holds the number ("#row-..."). `because` is a sentence where these do not say it all. `said` stands in the place of
    the state's name where a page has words of its own. What is empty is left out.
    """

    name: str
    state: State
    because: str = ""
    quantity: str = ""
    parameter: str = ""
    value: str = ""
    limit: str = ""
    why: str = ""
    href: str = ""
    said: str = ""

    @property
    def tone(self) -> str:
        """The class that colours it."""
        return self.state.replace(" ", "-")

    @property
    def words(self) -> str:
        """Its state, with a sign for those who do not see the colour."""
        return f"{SIGNS[self.state]} {self.said or self.state}"


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


TALL = 1.0
"""Height over width from which a printed figure has a page of its own; two others fit on one."""


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

    @cached_property
    def tall(self) -> bool:
        """Whether it needs a sheet of paper to itself."""
        assert self.figure is not None
        width, height = self.figure.get_size_inches()
        return bool(height > TALL * width)

    def __getstate__(self) -> dict[str, Any]:
        kept = {name: getattr(self, name) for name in ("alt", "raster", "source", "width", "tall")}
        return kept | {"figure": None}


@dataclass(frozen=True)
class Drawing:
    """A picture that is SVG already, such as a graph by Graphviz."""

    svg: str
    alt: str
    width: ClassVar[int] = 60
    tall: ClassVar[bool] = False
    figure: ClassVar[None] = None

    @property
    def source(self) -> str:
        """The picture as a data address."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


@dataclass(frozen=True)
class Figure:
    """One figure, or several abreast, under one caption.

    `alt` says what is seen, for those who do not see it: the finding, not the kind of plot. It takes the place of a single
    image's own words; beside those of several it describes them all. `slug` makes the id, "fig-slug", as that of a table.
    """

    kind: ClassVar[str] = "figure"
    caption: str
    images: Sequence[Image | Drawing]
    alt: str = ""
    slug: str = ""
    number: int = 0

    @property
    def id(self) -> str:
        """Its address on the page."""
        return f"fig-{self.slug}"


@dataclass
class Section:
    """One section of the page: the sentences that say what it shows, then its blocks."""

    id: str
    title: str
    lead: str
    blocks: list = field(default_factory=list)


def known(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> tuple[list[str], list[list[Cell]]]:
    """Leave out the columns of a table in which every cell is a dash.

    >>> known(["n", "loss"], [[Cell("40"), Cell("–")], [Cell("120"), Cell("–")]])[0]
    ['n']
    """
    kept = [j for j in range(len(columns)) if any(row[j].text != DASH for row in rows)]
    return [columns[j] for j in kept], [[row[j] for j in kept] for row in rows]


def value(x: float | None, digits: int = 3) -> Cell:
    """Return a number's cell; a missing one is a dash and sorts last."""
    return Cell(number(x, digits), None if x is None or x != x else float(x))


def image(figure: matplotlib.figure.Figure, alt: str, *, raster: bool = False) -> Image:
    """Return a figure with its alternative text; see `Image`."""
    return Image(figure, alt, raster)


def embedded(figure: matplotlib.figure.Figure, raster: bool) -> bytes:
    """Draw a figure as SVG, or as a PNG of 256 colours."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image as Picture

    buffer = io.BytesIO()
    with style.drawing(), warnings.catch_warnings(), drawn_once(figure):
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        if raster:
            canvas = FigureCanvasAgg(figure)
            figure.savefig(io.BytesIO(), format="rgba", dpi=DPI)
            picture = Picture.fromarray(np.asarray(canvas.renderer.buffer_rgba()))
            few = picture.convert("RGB").quantize(256, Picture.Quantize.FASTOCTREE, dither=Picture.Dither.NONE)
            palette = few.getpalette() or []
            ground = 3 * int(few.getpixel((0, 0)))  # type: ignore[arg-type]
            palette[ground : ground + 3] = [255, 255, 255]  # the nearest of 256 colours is not quite white
            few.putpalette(palette)
            few.save(buffer, "png")
        else:
            figure.savefig(buffer, format="svg", dpi=DPI, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


@contextmanager
def drawn_once(figure: matplotlib.figure.Figure) -> Iterator[None]:
    """Have `savefig` draw a figure once: its first draw, which is thrown away, only lays the figure out here."""
    layout, draw = figure.get_layout_engine(), figure.draw
    if layout is None:
        yield
        return

    def lay_out(renderer: Any) -> None:
        figure.draw = draw  # type: ignore[method-assign]
        layout.execute(figure)

    figure.draw = lay_out  # type: ignore[method-assign]
    try:
        yield
    finally:
        figure.draw = draw  # type: ignore[method-assign]
