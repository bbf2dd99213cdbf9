"""Ledgers for the tests of reports, with names that want to be code, and a strict reader of HTML."""

from __future__ import annotations

import base64
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import made_up
from made_up import cells

from analysis import paper
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table import published
from analysis.table.layout import Table
from trainables.spec import RunSpec

HOSTILE = "<script>alert('x')</script> & \"$\\input{/etc/passwd}$ 100% _a^b~ #1 {\\bf} é \u202e ]]> --"
SETTINGS = Settings(pairs=("resnet56/resnet20",), teachers=(("resnet56", "f" * 64),))
TABLES = ("table5", "table13")
COMMAND = "python sweeps/run.py table5 table13 --data-dir 'my data' --teachers T --results old"
OFFSETS = (-0.2, 0.0, 0.2)
"""Of the seeds from the paper's number; and of whole rows, in the order of the table."""
ROWS = {"kd": 0.1, "kd_cutmix": 3.0, "kd_he_da_20": -3.0}
PROVENANCE = {
    "device": "NVIDIA MADE-UP",
    "commit": "0123456789abcdef",
    "dirty": True,
    "torch": "2.9.0+made",
    "started": "2026-01-02T03:04:05+00:00",
    "ended": "2026-01-03T04:05:06+00:00",
}


def numbers(table: Table, settings: Settings) -> dict[RunSpec, float]:
    """Each run of the rows as far from the paper's number as OFFSETS and ROWS say."""
    return {
        spec: (published.find(table.key, cell.part, cell.row, cell.pair) or 50.0) + offset + ROWS.get(cell.row, 0.0)
        for cell in cells(table, settings)
        for spec, offset in zip(cell.specs, OFFSETS, strict=False)
    }


def write_ledger(results: Path, settings: Settings = SETTINGS, *, reason: str = HOSTILE) -> Path:
    """Table 5 without one row and with a failed run, and Table 13."""
    results.mkdir(parents=True, exist_ok=True)
    gone = {spec for cell in cells(paper.find("table5"), settings) if cell.row == "dkd" for spec in cell.specs}
    bad = next(cell for cell in cells(paper.find("table5"), settings) if cell.row == "dkd_he_da").specs[2]
    with Ledger.open(results / "ledger.sqlite") as ledger:
        ledger.remember(TABLES, replace(settings, seeds=1), "python sweeps/run.py (an earlier one)")
        ledger.remember(TABLES, settings, COMMAND)
        ledger.remember(TABLES, settings, COMMAND)
        for name in TABLES:
            for spec, top1 in numbers(paper.find(name), settings).items():
                if spec == bad:
                    ledger.record(made_up.result(spec, 0, failed=True) | {"reason": reason, "provenance": PROVENANCE})
                elif spec not in gone:
                    ledger.record(made_up.result(spec, top1, provenance=PROVENANCE))
    return results


class Page(HTMLParser):
    """A page that is well-formed: every element is closed where it was opened. text: of everything that is shown."""

    VOID = ("meta", "img", "br", "hr", "link", "input")

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str]] = []
        self.tags: set[str] = set()
        self.tables: list[list[list[str]]] = []
        self.text = self.title = ""
        self.feed(content)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        assert len(found) == len(attrs), f"an attribute twice in <{tag}>"
        self.tags.add(tag)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        if tag == "img":
            self.images.append(found)
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> is not the innermost"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            return
        if "title" in self.open:
            self.title += data
            return
        self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def table(self, *heads: str) -> list[list[str]]:
        """The lines of every listing with these heads, one after the other."""
        return [line for table in self.tables if table[0] == list(heads) for line in table[1:]]


def image(attributes: dict[str, str]) -> bytes:
    """The content of an embedded image."""
    kind, _, data = attributes["src"].partition(";base64,")
    assert kind in ("data:image/svg+xml", "data:image/png"), kind
    return base64.b64decode(data, validate=True)
