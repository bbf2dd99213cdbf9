"""A report as one HTML page that needs no other file, no script and no network."""

from __future__ import annotations

import base64

from jinja2 import Environment
from markupsafe import Markup

from analysis.reporting.document import Document, kind_of
from analysis.table.render import html_panel, open_html_templates
from analysis.table.sheet import Panel

_PNG = b"\x89PNG"


def page(document: Document) -> str:
    """The page; its sections are listed at the top."""
    return open_templates().get_template("report.html").render(document=document)


def open_templates(*packages: str) -> Environment:
    """The report's templates, and those of other packages that show its blocks."""
    templates = open_html_templates(*packages, "analysis.reporting")
    templates.filters |= {"kind": kind_of, "table": _table, "data_uri": _data_uri}
    return templates


def _table(panel: Panel) -> Markup:
    return Markup(html_panel(panel, 3).rstrip("\n"))


def _data_uri(image: bytes) -> str:
    kind = "png" if image.startswith(_PNG) else "svg+xml"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
