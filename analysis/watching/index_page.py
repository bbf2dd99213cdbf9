"""The first page: every table as far as it is filled, and what was asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from analysis.reporting.document import Block, paragraph
from analysis.reporting.missing_section import failed_runs
from analysis.reporting.snapshot import Chapter
from analysis.reporting.summary_section import last_run, what_ran
from analysis.table.sheet import Sheet, Shown, make_sheet
from analysis.watching.cell_page import cell_href
from analysis.watching.follower import Seen
from analysis.watching.page import Page, Section, href, link, section
from analysis.watching.search_page import list_searches
from analysis.watching.status import RunUnderWay
from analysis.watching.status_section import status_sections
from trainables.commands import count

DOWNLOADS = {"latex": "LaTeX", "csv": "CSV", "markdown": "Markdown", "json": "JSON"}
FEW = 3
"""So many tables are open at first."""


def index_page(view: Seen) -> Page:
    snapshot = view.snapshot
    ended = last_run(snapshot)
    chapters = [chapter for chapter in snapshot.chapters if chapter.grid is None or chapter.grid.values]
    sections = [
        *status_sections(view),
        *(_table(view, chapter, folded=place >= FEW) for place, chapter in enumerate(chapters)),
        section("searches", "Searches", list_searches(view), folded=False),
        section("failed", "Failed runs", failed_runs(snapshot), folded=False),
        section("ran", "What ran", what_ran(snapshot), folded=True),
    ]
    subtitle = f"{count(len(snapshot.runs), 'run')} in the ledger" + (f", the last ended {ended} UTC" if ended else "")
    return Page(str(snapshot.results), subtitle, tuple(each for each in sections if each.blocks))


def _table(view: Seen, chapter: Chapter, *, folded: bool) -> Section:
    more = link("against the paper, protocol, provenance, picture", href("table", name=chapter.table.key))
    blocks = (*show_table(view, chapter), paragraph("More: ", more))
    return section(f"table-{chapter.table.key}", chapter.title, blocks, folded=folded, aside=say_how_far(chapter))


def say_how_far(chapter: Chapter) -> str:
    """`45 of 60 runs, 1 failed`."""
    if chapter.grid is None or not chapter.table.kind.trains:
        return ""
    found = {value.runs: value for value in chapter.grid.values if value.runs and value.kind != "teacher"}
    asked, done, failed = (sum(getattr(value, name) for value in found.values()) for name in ("asked", "n", "failed"))
    return f"{done} of {count(asked, 'run')}" + (f", {failed} failed" if failed else "")


def show_table(view: Seen, chapter: Chapter) -> Iterator[Block]:
    """A table whose entries open, and the links to its files."""
    if chapter.grid is None:
        yield paragraph(f"This table cannot be drawn: {chapter.reason}.")
        return
    yield link_entries(chapter, view.running)
    files = [link(words, href("download", table=chapter.table.key, form=form)) for form, words in DOWNLOADS.items()]
    yield paragraph("As a file: ", *[word for each in files for word in (each, " · ")][:-1])


def link_entries(chapter: Chapter, running: Mapping[str, RunUnderWay]) -> Sheet:
    """The table with a link at each entry that has runs, and the epoch of those under way."""
    assert chapter.grid is not None

    def add_link(entry: Shown) -> Shown:
        value = entry.of
        if value is None:
            return entry
        under_way = [running[run_id] for run_id in value.runs if run_id in running]
        slowest = min(under_way, key=lambda run: run.epoch, default=None)
        epoch = f"epoch {slowest.epoch} of {slowest.epochs}" if slowest else ""
        note = ", ".join(filter(None, (entry.note, epoch)))
        return replace(entry, href=cell_href(chapter, value), note=note)

    return make_sheet(chapter.grid).with_entries(add_link)
