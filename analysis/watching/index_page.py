"""The first page: every table as far as it is filled, and what was asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from analysis.reporting.document import Block, paragraph
from analysis.reporting.missing_section import failed_runs
from analysis.reporting.snapshot import Chapter
from analysis.reporting.summary_section import last_run, what_ran
from analysis.table.sheet import Sheet, Shown, make_sheet
from analysis.watching.cell_page import cell_href
from analysis.watching.follower import Seen
from analysis.watching.page import Page, Section, href, link, section
from trainables.commands import count

DOWNLOADS = {"latex": "LaTeX", "csv": "CSV", "markdown": "Markdown", "json": "JSON"}
FEW = 3
"""So many tables are open at first."""


def index_page(view: Seen) -> Page:
    snapshot = view.snapshot
    ended = last_run(snapshot)
    chapters = [chapter for chapter in snapshot.chapters if chapter.grid is None or chapter.grid.values]
    sections = [
        *(_table(chapter, folded=place >= FEW) for place, chapter in enumerate(chapters)),
        section("failed", "Failed runs", failed_runs(snapshot), folded=False),
        section("ran", "What ran", what_ran(snapshot), folded=True),
    ]
    subtitle = f"{count(len(snapshot.runs), 'run')} in the ledger" + (f", the last ended {ended} UTC" if ended else "")
    return Page(str(snapshot.results), subtitle, tuple(each for each in sections if each.blocks))


def _table(chapter: Chapter, *, folded: bool) -> Section:
    return section(
        f"table-{chapter.table.key}", chapter.title, table_blocks(chapter), folded=folded, aside=how_far(chapter)
    )


def how_far(chapter: Chapter) -> str:
    """`45 of 60 runs, 1 failed`."""
    if chapter.grid is None or not chapter.table.kind.trains:
        return ""
    found = {value.runs: value for value in chapter.grid.values if value.runs and value.kind != "teacher"}
    asked, done, failed = (sum(getattr(value, name) for value in found.values()) for name in ("asked", "n", "failed"))
    return f"{done} of {count(asked, 'run')}" + (f", {failed} failed" if failed else "")


def table_blocks(chapter: Chapter) -> Iterator[Block]:
    """A table whose entries open, and the links to its files and to all that the report says of it."""
    key = chapter.table.key
    if chapter.grid is None:
        yield paragraph(f"This table cannot be drawn: {chapter.reason}.")
        return
    yield linked(chapter)
    files = [link(words, href("download", table=key, form=form)) for form, words in DOWNLOADS.items()]
    words = [link("Against the paper, protocol, provenance, picture", href("table", name=key)), *files]
    yield paragraph(*[each for word in words for each in (word, " · ")][:-1])


def linked(chapter: Chapter) -> Sheet:
    """The table with a link at each entry that has runs."""
    assert chapter.grid is not None

    def with_link(entry: Shown) -> Shown:
        value = entry.of
        return entry if value is None or not value.runs else replace(entry, href=cell_href(chapter, value))

    return make_sheet(chapter.grid).with_entries(with_link)
