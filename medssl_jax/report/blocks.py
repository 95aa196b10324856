"""What a section of the report is made of; the template knows how each looks."""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from medssl_jax.files import inert

_GLUE = "\u00a0"
_INTERVAL = re.compile(r"\([^)]{,24}\)( \*)?")  # no sentence in parentheses


class Text(NamedTuple):
    """A paragraph; `tone` is plain, lead, bad or missing."""

    text: str
    tone: str = "plain"
    kind: str = "text"


class Picture(NamedTuple):
    """A figure as a data URI; `alt` says what it shows to those who cannot see it."""

    source: str
    alt: str
    caption: str
    kind: str = "picture"


class Gallery(NamedTuple):
    """Pictures side by side where there is room; `least_rem` wide each."""

    pictures: Sequence[Picture]
    least_rem: int = 25
    kind: str = "gallery"


class Sheet(NamedTuple):
    """The frames of a volume in one picture, a data URI; lengths are in its pixels.

    corners: "x y" of each frame's upper left.
    coarse: its pixels are to be seen as such.
    """

    source: str
    wide: int
    high: int
    frame_wide: int
    frame_high: int
    corners: Sequence[str]
    coarse: bool


class Panel(NamedTuple):
    """One volume of a stack: sheets of it, from the lowest, that lie on each other.

    ratio: how wide a frame is shown, over its height.
    """

    title: str
    alt: str
    layers: Sequence[int]
    ratio: float


class Stack(NamedTuple):
    """Volumes that are scrolled through together; on paper, some of their frames.

    name: what is scrolled through.
    groups: panels that stand side by side, one group for each example.
    places: what each place of the slider is called; stills, those on paper.
    least_rem: how wide a panel is at least, where there is room.
    key: names and colours of what is laid over the volumes.
    """

    name: str
    sheets: Sequence[Sheet]
    groups: Sequence[Sequence[Panel]]
    places: Sequence[str]
    stills: Sequence[int]
    caption: str
    least_rem: int = 9
    key: Sequence[tuple[str, str]] = ()
    kind: str = "stack"

    def corner(self, layer: int, place: int) -> str:
        """Return where a sheet has its frame for a place, at the same share of it."""
        last = len(self.sheets[layer].corners) - 1
        share = place / max(len(self.places) - 1, 1)
        return self.sheets[layer].corners[round(share * last)]


class Table(NamedTuple):
    """Rows under a header; numbers are written by `cell`."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    tall: bool = False  # scrolls on a screen, not on paper
    kind: str = "table"


Block = Text | Picture | Gallery | Stack | Table


class Section(NamedTuple):
    """A part of the report with a heading."""

    title: str
    blocks: Sequence[Block]


def missing(file: str, so: str, *, where: str = "This run folder") -> Text:
    """Say what a section lacks and what follows."""
    return Text(f"{where} has no {file}, so {so}.", "missing")


def cell(value: Any) -> str:
    """Write a table's cell: three decimals, a dash for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        large_or_tiny = value and not 1e-3 <= abs(value) < 1e5
        return f"{value:.3g}" if large_or_tiny else f"{value:.3f}"
    return str(value)


def shown(text: str) -> Markup:
    """Say where a cell's text may go on in a new line, where the table is too wide.

    Within an interval, and between a number and its per cent, it may not; behind
    underscores it may.
    """
    glued = _INTERVAL.sub(lambda found: found[0].replace(" ", _GLUE), text)
    parts = glued.replace(" %", f"{_GLUE}%").split("_")
    return Markup("_<wbr>").join(parts)


def is_loose(text: str) -> bool:
    """Say whether a cell is a list, an interval, or a long name, which may be broken."""
    return any(mark in text for mark in (", ", " (", "_"))


def plain(value: Any) -> str:
    """Write a table's cell for CSV: every digit, nothing for what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return cell(value) if isinstance(value, bool) else str(inert(value))


def is_number(value: Any) -> bool:
    """Say whether a cell is set to the right, digits under digits."""
    return value is None or isinstance(value, int | float)
