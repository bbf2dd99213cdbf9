"""A report before any format: headings, paragraphs, listings, tables and pictures, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.table.sheet import Sheet

CODE, GOOD, BAD, QUIET = "code", "good", "bad", "quiet"
COPIED = "†"
"""Behind a number that the paper has from earlier papers."""


@dataclass(frozen=True)
class Styled:
    """Words in one of the styles above, or a link where there are links."""

    text: str
    style: str
    href: str = ""


Words = str | Styled


@dataclass(frozen=True)
class Heading:
    """level: 1 begins a section, 2 a part of it."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Paragraph:
    words: tuple[Words, ...]


@dataclass(frozen=True)
class Column:
    """share: of a printed line, within which the text is broken; 0: as wide as its text. right: numbers."""

    head: str
    share: float = 0.0
    right: bool = False


@dataclass(frozen=True)
class Group:
    """Lines below one another, with a title above them (or none)."""

    title: str
    lines: tuple[tuple[Words, ...], ...]


@dataclass(frozen=True)
class Listing:
    """Lines of words; it may go on over pages."""

    columns: tuple[Column, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Picture:
    """page: SVG or PNG for a screen. print: the same as PDF or PNG files; the name, content and width of each.

    The width is a share of a line's. href: where a page finds it, instead of its content.
    """

    name: str
    alt: str
    page: bytes | None
    print: tuple[tuple[str, bytes, float], ...] = ()
    href: str = ""


Block = Heading | Paragraph | Listing | Sheet | Picture


@dataclass(frozen=True)
class Document:
    title: str
    subtitle: str
    blocks: tuple[Block, ...]

    @property
    def sections(self) -> list[Heading]:
        return [block for block in self.blocks if isinstance(block, Heading) and block.level == 1]


def kind_of(block: Block) -> str:
    """`Heading`, `Paragraph` ...: how templates tell blocks apart."""
    return type(block).__name__


def paragraph(*words: Words) -> Paragraph:
    return Paragraph(words)


def listing(columns: Sequence[Column], lines: Sequence[Sequence[Words]], title: str = "") -> Listing:
    """A listing of one group."""
    return Listing(tuple(columns), (Group(title, tuple(map(tuple, lines))),))
