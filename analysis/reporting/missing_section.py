"""How a report ends: what was asked for and is not finished, what of the paper was not run, and what failed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from analysis import paper
from analysis.record.settings import Settings
from analysis.reporting import pictures
from analysis.reporting.comparison import paper_settings
from analysis.reporting.document import CODE, Block, Column, Group, Heading, Listing, Styled, Words, listing, paragraph
from analysis.reporting.missing import Coverage, Gap, coverage, full_command, resume_command, sweep_options, unfinished
from analysis.reporting.snapshot import Chapter, Snapshot, tables
from analysis.table import names
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from trainables.recipes import Pair


def missing_section(snapshot: Snapshot) -> Iterator[Block]:
    yield from _figures(snapshot)
    yield from _unfinished(snapshot)
    yield from _list_not_run(snapshot)
    if failed := list(failed_runs(snapshot)):
        yield Heading("Failed runs")
        yield from failed


def _figures(snapshot: Snapshot) -> Iterator[Block]:
    """Figures beside the tables that no table here stands for."""
    folder = snapshot.results / "tables"
    for name in pictures.list_other_figures(folder, set(paper.tables())):
        for picture in pictures.find_pictures(folder, name, f"Figure {name[6:]}"):
            yield Heading(picture.alt)
            yield picture


def _pairs(pairs: Sequence[Pair]) -> str:
    return ", ".join(names.pair(pair) for pair in pairs)


def _unfinished(snapshot: Snapshot) -> Iterator[Block]:
    """What the latest sweeps asked for and the ledger lacks, and the commands that go on."""
    gaps = {chapter.table.key: unfinished(chapter.grid.values) for chapter in snapshot.chapters if chapter.grid}
    lacking = [chapter for chapter in snapshot.chapters if gaps.get(chapter.table.key)]
    if not lacking:
        return
    yield Heading("Asked for and not finished")
    counts = [Column(head, right=True) for head in ("Done", "Failed", "Asked")]
    groups = tuple(Group(one.title, tuple(map(_gap, gaps[one.table.key]))) for one in lacking)
    yield Listing((Column("Rows", 0.34), Column("Pairs", 0.36), *counts), groups)
    yield paragraph("To go on:")
    for chapter in {chapter.sweep.command: chapter for chapter in lacking}.values():
        same = [one for one in lacking if one.sweep.command == chapter.sweep.command]
        retry = any(gap.state.failed for one in same for gap in gaps[one.table.key])
        yield paragraph(Styled(resume_command(chapter.sweep.command, str(snapshot.results), retry=retry), CODE))


def _gap(gap: Gap) -> tuple[Words, ...]:
    state = gap.state
    return Styled(", ".join(gap.rows), CODE), _pairs(gap.pairs), *map(str, (state.done, state.failed, state.asked))


def _list_not_run(snapshot: Snapshot) -> Iterator[Block]:
    """The paper's tables of which cells lack runs by the paper's own settings, and its pictures that are not drawn."""
    done = {run_id for run_id, entry in snapshot.runs.items() if entry.done}
    chapters = {chapter.table.key: chapter for chapter in snapshot.chapters}
    latest = snapshot.sweeps[-1] if snapshot.sweeps else None
    lines: list[list[Words]] = []
    commands: dict[tuple[str, ...], list[str]] = {}
    for table in _of_the_paper():
        chapter = chapters.get(table.key)
        sweep = chapter.sweep if chapter else latest
        covered = coverage(table, sweep.settings if sweep else Settings(), done)
        missing = _name_missing(covered, undrawn=_is_undrawn(snapshot, table, chapter))
        if missing:
            complete = f"{covered.complete} of {covered.cells}" if covered.cells else "-"
            lines.append([table.title, complete, missing])
            commands.setdefault(sweep_options(table, sweep) if sweep else (), []).append(table.key)
    if not lines:
        return
    yield Heading("Of the paper, not run")
    yield paragraph(
        "Cells that lack runs by the paper's data, schedule and seeds, whatever else was run; and pictures not drawn:"
    )
    yield listing([Column("Table", 0.32), Column("Complete"), Column("Missing", 0.5)], lines)
    yield paragraph("To run what is missing of all of them, or of those that are named:")
    for options, names_of in commands.items():
        yield paragraph(Styled(full_command(names_of, options, str(snapshot.results)), CODE))


def _of_the_paper() -> list[Table]:
    return [table for table in tables() if re.match(r"(table|figure)\d", table.key) and table.kind.trains]


def _is_undrawn(snapshot: Snapshot, table: Table, chapter: Chapter | None) -> bool:
    """Whether a picture is not in the folder, or of other runs than the paper's."""
    if not table.kind.needs_weights:
        return False
    if not pictures.find_pictures(snapshot.results / "tables", table.key, table.title):
        return True
    if chapter is None:
        return False
    wanted = resolve(table, paper_settings(table, chapter.sweep.settings))
    return chapter.grid is None or chapter.grid.resolved.runs != wanted.runs


def _name_missing(covered: Coverage, *, undrawn: bool) -> str:
    """Rows by their keys and pairs, and the picture; all of a table where none of it is there."""
    if covered.cells and not covered.complete and not any(gap.state.done for gap in covered.gaps):
        return "all of it"
    gaps = [f"{', '.join(gap.rows)} ({_pairs(gap.pairs)})" for gap in covered.gaps]
    return "; ".join([*gaps, "the picture"] if undrawn else gaps)


def failed_runs(snapshot: Snapshot) -> Iterator[Block]:
    failed = [entry for entry in snapshot.runs.values() if not entry.done]
    if not failed:
        return
    lines: list[list[Words]] = [
        [Styled(entry.name, CODE), str(entry.epochs or 0), entry.reason or ""] for entry in failed
    ]
    yield listing([Column("Run", 0.46), Column("Epochs", right=True), Column("Reason", 0.42)], lines)
