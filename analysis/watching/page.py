"""A page before it is HTML: sections of the report's blocks, and of curves; and the HTML of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from urllib.parse import urlencode

from jinja2 import Environment

from analysis.reporting.document import Block, Styled
from analysis.reporting.html import open_templates
from analysis.watching.chart import Chart, draw

FILES = {
    "report.css": ("analysis.reporting", "text/css"),
    "watch.css": ("analysis.watching", "text/css"),
    "watch.js": ("analysis.watching", "text/javascript"),
}
"""What a page loads: its package and its kind."""
drawing = threading.Lock()
"""matplotlib's settings belong to the whole process."""
TEXT, CHOICE, TICK = "text", "choice", "tick"


@dataclass(frozen=True)
class Field:
    """What a form asks for. kind: of the above. options: value and words of a choice; of ticks, all that there are."""

    name: str
    label: str
    kind: str = TEXT
    chosen: tuple[str, ...] = ("",)
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Form:
    """It asks for the same page with what is entered. kept: what the page is asked for anyway."""

    fields: tuple[Field, ...]
    button: str
    kept: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Section:
    """It is replaced by itself when it changes; a form is not.

    folded: None for one that is always open, else whether it is shut at first. aside: beside its title.
    """

    key: str
    title: str
    blocks: tuple[Block | Chart | Form, ...]
    folded: bool | None = None
    aside: str = ""

    @property
    def is_form(self) -> bool:
        return any(isinstance(block, Form) for block in self.blocks)


@dataclass(frozen=True)
class Page:
    title: str
    subtitle: str
    sections: tuple[Section, ...]


def section(
    key: str, title: str, blocks: Iterable[Block | Chart | Form], folded: bool | None = None, aside: str = ""
) -> Section:
    return Section(key, title, tuple(blocks), folded, aside)


def href(path: str, **query: str | list[str]) -> str:
    """A link to a page of this server; what is empty is left out."""
    words = urlencode({name: value for name, value in query.items() if value}, doseq=True)
    return f"/{path}?{words}" if words else f"/{path}"


def link(text: str, to: str, style: str = "") -> Styled:
    return Styled(text, style, to)


def render(page: Page, *, version: str, trouble: str, seconds: float) -> str:
    """version: of what is shown. trouble: why it is older than the folder. seconds: until it asks again."""
    template = _templates().get_template("page.html")
    return template.render(page=page, version=version, trouble=trouble, seconds=seconds)


def static(name: str) -> tuple[str, str]:
    """The content and the kind of one of FILES."""
    package, kind = FILES[name]
    return files(package).joinpath("templates", name).read_text(encoding="utf-8"), kind


@cache
def _templates() -> Environment:
    templates = open_templates("analysis.watching")
    templates.filters["draw"] = draw
    return templates
