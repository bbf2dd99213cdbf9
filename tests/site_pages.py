"""The built pages of a site: their links, and what they load."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_REFERENCES = {"a": "href", "link": "href", "img": "src", "script": "src", "source": "src", "iframe": "src"}
LOADED = ("link", "img", "script", "source", "iframe")


@dataclass
class Page:
    """anchors: what a link can point to. references: of each tag with a link, tag and target."""

    anchors: set[str] = field(default_factory=set)
    references: list[tuple[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.page.anchors |= {value for name in ("id", "name") if (value := found.get(name))}
        if target := found.get(_REFERENCES.get(tag, "")):
            self.page.references.append((tag, target))


def read_pages(site: Path) -> dict[Path, Page]:
    """Every page, by its resolved path."""
    pages = {}
    for path in sorted(site.rglob("*.html")):
        reader = _Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        pages[path.resolve()] = reader.page
    return pages


def dead_links(pages: dict[Path, Page]) -> list[str]:
    """Links within the site that lead nowhere. A page of errors, whose links begin at a server's root, has none."""
    dead = []
    for path, page in pages.items():
        for _, target in page.references:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not file.is_file():
                dead.append(f"{path.name}: {target}: no such file")
            elif parts.fragment and file in pages and unquote(parts.fragment) not in pages[file].anchors:
                dead.append(f"{path.name}: {target}: no such anchor")
    return dead


def fetched(pages: dict[Path, Page]) -> set[str]:
    """What the pages load from elsewhere."""
    return {
        target
        for page in pages.values()
        for tag, target in page.references
        if tag in LOADED and urlsplit(target).netloc
    }
