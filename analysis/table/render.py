"""A table's numbers as text, Markdown, HTML, CSV, JSON or LaTeX."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from analysis.table import captions
from analysis.table.grid import Grid
from analysis.table.latex import PLAIN, LatexStyle, latex
from analysis.table.sheet import Line, Panel, Sheet, Shown, make_sheet
from analysis.table.value import Value
from trainables.errors import UserError

TEXT_WIDTH = 120
_TIDY = ("table", "part", "kind", "row", "label", "teacher", "student", "unit", "metric")
_TIDY_NUMBERS = ("asked", "n", "failed", "mean", "std", "p", "paper", "paper_epoch", "paper_runs", "state", "best")


def text(sheet: Sheet, width: int = TEXT_WIDTH) -> str:
    """For a terminal: the paper's numbers beside the measured ones, or below where the lines would be too long."""
    parts = [sheet.title]
    for panel in sheet.panels:
        wide = _text_panel(panel, stacked=False)
        fits = max(len(line) for line in wide) <= width
        lines = wide if fits else _text_panel(panel, stacked=True)
        parts.append("\n".join([panel.title, *lines] if panel.title else lines))
    marked = any(entry.best for entry in sheet.entries)
    legend = " In brackets: the best of its block." if marked else ""
    legend += " With ~: not told from it." if any(entry.near_best for entry in sheet.entries) else ""
    paragraphs = [_wrap(paragraph, width) for paragraph in (sheet.caption + legend, *sheet.notes)]
    return "\n\n".join([*parts, *paragraphs]) + "\n"


def _wrap(paragraph: str, width: int) -> str:
    return "\n".join(textwrap.wrap(paragraph, width, break_long_words=False, break_on_hyphens=False))


def _text_entry(entry: Shown) -> tuple[str, str]:
    main = f"[{entry.text}]" if entry.best else f"~{entry.text}" if entry.near_best else entry.text
    main += f" ± {entry.spread}" if entry.spread else ""
    return main, entry.aside


def _text_lines(line: Line, stacked: bool) -> list[list[str]]:
    entries = [_text_entry(entry) for entry in line.entries]
    if not stacked:
        return [[line.label, *(" ".join(word for word in entry if word) for entry in entries)]]
    below = [["", *(second for _, second in entries)]] if any(second for _, second in entries) else []
    return [[line.label, *(main for main, _ in entries)], *below]


def _text_panel(panel: Panel, stacked: bool) -> list[str]:
    blocks = [[list(head) for head in panel.heads]]
    blocks += [[row for line in group for row in _text_lines(line, stacked)] for group in panel.groups]
    widths = [max(len(row[i]) for block in blocks for row in block) for i in range(len(panel.heads[0]))]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    out = []
    for block in blocks:
        out += ["  ".join(word.ljust(size) for word, size in zip(row, widths, strict=True)).rstrip() for row in block]
        out.append(rule)
    return out


def markdown_text(string: str) -> str:
    """Text that GitHub's Markdown shows as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|~#$&])", r"\\\1", " ".join(string.split()))


def _md_entry(entry: Shown) -> str:
    mark = "**" if entry.best else "*" if entry.near_best else ""
    words = [f"{mark}{markdown_text(entry.text)}{mark}"]
    words += [f"± {markdown_text(entry.spread)}"] if entry.spread else []
    words += [f"<sub>({markdown_text(entry.paper)})</sub>"] if entry.paper else []
    return " ".join([*words, *([f"<sub>{markdown_text(entry.remark)}</sub>"] if entry.remark else [])])


def markdown(sheet: Sheet) -> str:
    """As GitHub reads it: one header row, so a teacher stands above its student in one entry."""
    out = [f"**{markdown_text(sheet.title)}**", ""]
    for panel in sheet.panels:
        out += [markdown_text(panel.title), ""] if panel.title else []
        out.append(
            markdown_row(
                ["<br>".join(markdown_text(name) for name in column) for column in zip(*panel.heads, strict=True)]
            )
        )
        out.append(markdown_row([":--", *(":-:" for _ in panel.heads[0][1:])]))
        out += [
            markdown_row([markdown_text(line.label), *(_md_entry(entry) for entry in line.entries)])
            for line in panel.lines
        ]
        out.append("")
    return "\n".join([*out, markdown_text(sheet.caption), *(f"\n{markdown_text(note)}" for note in sheet.notes), ""])


def markdown_row(entries: Sequence[str]) -> str:
    """Entries that are Markdown already, as a line of a table."""
    return f"| {' | '.join(entries)} |"


def open_html_templates(*packages: str) -> Environment:
    """The HTML templates in the folders `templates` of some packages; what they show is escaped."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


_TEMPLATES = open_html_templates("analysis.table")


def html_panel(panel: Panel, level: int) -> str:
    """A table in a box that scrolls where it is too wide; level: of its heading."""
    return str(_TEMPLATES.get_template("panel.html").module.show_panel(panel, level))  # type: ignore[attr-defined]


def html(sheet: Sheet) -> str:
    """One file that needs no other."""
    return _TEMPLATES.get_template("table.html").render(sheet=sheet)


def tidy(grid: Grid, value: Value) -> dict[str, Any]:
    """One entry under the names of the CSV's columns."""
    pair = {"teacher": value.pair.teacher, "student": value.pair.student}
    named: dict[str, Any] = {"table": grid.table.key, "metric": grid.metric} | pair
    return {name: named[name] if name in named else getattr(value, name) for name in (*_TIDY, *_TIDY_NUMBERS)}


def to_csv(grid: Grid) -> str:
    """Tidy: one line an entry, numbers in full."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, (*_TIDY, *_TIDY_NUMBERS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(tidy(grid, value) for value in grid.values)
    return buffer.getvalue()


def to_json(grid: Grid) -> str:
    """Everything in full: entries with their runs and each run's number, settings, deviations, caption, notes."""
    return (
        json.dumps(
            {
                "table": grid.table.key,
                "title": grid.resolved.title,
                "metric": grid.metric,
                "comparable": grid.comparable,
                "shortened": grid.shortened,
                "deviations": captions.protocol(grid),
                "caption": captions.caption(grid),
                "notes": captions.notes(grid),
                "settings": json.loads(grid.settings.as_json()),
                "devices": grid.devices,
                "entries": [
                    tidy(grid, value)
                    | {"chosen": value.chosen, "measured": value.measured, "seeds": value.seeds, "runs": value.runs}
                    for value in grid.values
                ],
            },
            indent=1,
            ensure_ascii=False,
            allow_nan=False,
        )
        + "\n"
    )


_OF_SHEET: dict[str, Callable[[Sheet], str]] = {"text": text, "markdown": markdown, "html": html}
_OF_GRID: dict[str, Callable[[Grid], str]] = {"csv": to_csv, "json": to_json}
TIDY = tuple(_OF_GRID)
FORMATS = ("text", "latex", "markdown", "html", *TIDY)


def render(grid: Grid, form: str, sheet: Sheet | None = None, style: LatexStyle = PLAIN) -> str:
    """The table in one of FORMATS. sheet: of the grid, where it was made before. style: of LaTeX."""
    if form in _OF_GRID:
        return _OF_GRID[form](grid)
    if form not in FORMATS:
        raise UserError(f"unknown form {form!r}: use one of {', '.join(FORMATS)}")
    sheet = sheet or make_sheet(grid)
    return latex(sheet, style) if form == "latex" else _OF_SHEET[form](sheet)
