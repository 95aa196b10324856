"""What a section of the report is made of; the template knows how each looks."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple


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


class Table(NamedTuple):
    """Rows under a header; numbers are written by `cell`."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    tall: bool = False  # scrolls on a screen, not on paper
    kind: str = "table"


Block = Text | Picture | Gallery | Table


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


def is_number(value: Any) -> bool:
    """Say whether a cell is set to the right, digits under digits."""
    return value is None or isinstance(value, int | float)
