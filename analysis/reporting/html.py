"""A report as one HTML page that needs no other file, no script and no network."""

from __future__ import annotations

import base64
import html

from analysis.reporting.document import CODE, Block, Document, Heading, Listing, Paragraph, Picture, Styled, Words
from analysis.table.render import html_panel
from analysis.table.sheet import Sheet

_STYLE = """
:root { color-scheme: light dark; --line: light-dark(#ccc, #555); --quiet: light-dark(#666, #aaa);
  --good: light-dark(#00603f, #5fd3a8); --bad: light-dark(#a03a00, #ff9d66); }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 78rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; margin-bottom: .2rem; overflow-wrap: anywhere; }
h2 { margin-top: 3rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p { max-width: 60rem; overflow-wrap: anywhere; }
nav { columns: 18rem; margin: 1.5rem 0; }
nav a { display: block; }
div { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; margin: 1rem 0; }
th, td { padding: .2rem .7rem; text-align: center; white-space: nowrap; font-weight: normal; vertical-align: top; }
th:first-child { text-align: left; }
tbody { border-top: 1px solid; }
small { display: block; opacity: .75; }
i { opacity: .8; font-size: 85%; font-style: normal; }
code { font-size: 87%; overflow-wrap: anywhere; }
.list th, .list td { text-align: left; }
.list .right { text-align: right; font-variant-numeric: tabular-nums; }
.list .wide { white-space: normal; min-width: 11rem; overflow-wrap: anywhere; }
.list tbody + tbody { border-top-color: var(--line); }
.list .title { font-weight: bold; }
.quiet { color: var(--quiet); }
.good { color: var(--good); font-weight: 600; }
.bad { color: var(--bad); font-weight: 600; }
.strong { font-weight: bold; }
figure { margin: 0; }
img { display: block; max-width: 100%; height: auto; margin: 1rem 0; background: #fff; }
@media print { div { overflow-x: visible; } nav { display: none; } body { font-size: 11px; } }
""".strip()
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_PNG = b"\x89PNG"


def page(document: Document) -> str:
    """The page; its sections are listed at the top."""
    title = _text(document.title)
    sections = [block for block in document.blocks if isinstance(block, Heading) and block.level == 1]
    links = [f'<a href="#s{number}">{_text(block.text)}</a>' for number, block in enumerate(sections, 1)]
    body = [f"<h1>{title}</h1>", f'<p class="quiet">{_text(document.subtitle)}</p>', "<nav>", *links, "</nav>"]
    number = 0
    for block in document.blocks:
        number += isinstance(block, Heading) and block.level == 1
        body += _block(block, number)
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>\n{_STYLE}\n</style>",
    ]
    lines = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", *body, "</body>", "</html>"]
    return "\n".join(lines) + "\n"


def _block(block: Block, section: int) -> list[str]:
    """number of the section: where the list of sections leads to."""
    if isinstance(block, Heading):
        text = _text(block.text)
        return [f'<h2 id="s{section}">{text}</h2>' if block.level == 1 else f"<h3>{text}</h3>"]
    if isinstance(block, Paragraph):
        return [f"<p>{''.join(map(_words, block.words))}</p>"]
    if isinstance(block, Listing):
        return _listing(block)
    if isinstance(block, Sheet):
        panels = [line for panel in block.panels for line in html_panel(panel, 3)]
        return [*panels, *(f"<p>{_text(words)}</p>" for words in (block.caption, *block.notes))]
    return _picture(block)


def _text(text: str) -> str:
    return html.escape(" ".join(text.split()))


def _words(words: Words) -> str:
    if not isinstance(words, Styled):
        return html.escape(words)
    if words.style == CODE:
        return f"<code>{html.escape(words.text)}</code>"
    return f'<span class="{words.style}">{html.escape(words.text)}</span>'


def _listing(block: Listing) -> list[str]:
    kinds = ["right" if column.right else "wide" if column.share else "" for column in block.columns]
    marks = [f' class="{kind}"' if kind else "" for kind in kinds]
    out = ['<div><table class="list">']
    if any(column.head for column in block.columns):
        heads = zip(block.columns, marks, strict=True)
        cells = "".join(f'<th scope="col"{mark}>{_text(column.head)}</th>' for column, mark in heads)
        out.append(f"<thead><tr>{cells}</tr></thead>")
    for group in block.groups:
        out.append("<tbody>")
        if group.title:
            title = f'<th scope="rowgroup" class="title" colspan="{len(marks)}">{_text(group.title)}</th>'
            out.append(f"<tr>{title}</tr>")
        for line in group.lines:
            cells = "".join(f"<td{mark}>{_words(words)}</td>" for words, mark in zip(line, marks, strict=True))
            out.append(f"<tr>{cells}</tr>")
        out.append("</tbody>")
    return [*out, "</table></div>"]


def _picture(picture: Picture) -> list[str]:
    """Nothing where there is no form of it that a browser shows."""
    if picture.page is None:
        return []
    kind = "png" if picture.page.startswith(_PNG) else "svg+xml"
    data = base64.b64encode(picture.page).decode()
    return [f'<figure><img alt="{_text(picture.alt)}" src="data:image/{kind};base64,{data}"></figure>']
