"""One entry of a table: its seeds, their curves beside those of other rows, protocol, shares, verdict, command."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from analysis.record.entry import CURVE_FIELDS, Entry
from analysis.reporting.document import BAD, CODE, QUIET, Block, Column, Styled, Words, listing, paragraph
from analysis.reporting.missing import resume_command
from analysis.reporting.provenance import minute
from analysis.reporting.snapshot import Chapter
from analysis.reporting.table_section import HEADS, legend, line_of, provenance_listing
from analysis.table import names
from analysis.table.layout import Block as RowBlock
from analysis.table.layout import Row
from analysis.table.protocol import protocol
from analysis.table.resolved import ResolvedPart
from analysis.table.sheet import show
from analysis.table.value import Value
from analysis.watching.chart import Chart, Curve, curve
from analysis.watching.follower import Follower, Seen
from analysis.watching.page import TICK, Field, Form, Page, href, link, section
from analysis.watching.status import RunUnderWay
from trainables import shares
from trainables.commands import command_name
from trainables.spec import RunSpec, flatten
from trainables.storage.runs import weights_path

CHARTS = {"top1": "Top-1 on the test images (%)", "train_loss": "Training loss"}
LIVE_FIELDS = ("epoch", "train_loss", "top1")
"""Of the curve of a run under way."""
MOST_BESIDE = 6


def cell_href(chapter: Chapter, value: Value) -> str:
    """Empty where there is nothing to open. A difference opens the row that was the best beside the other one."""
    row, beside = value.row if value.runs else value.chosen, ""
    if not value.runs and chapter.grid is not None:
        blocks = (block for part in chapter.grid.resolved.parts if part.key == value.part for block in part.blocks)
        beside = next((one.minus for block in blocks for one in block.differences if one.key == value.row), "")
    cell = {"table": chapter.table.key, "part": value.part, "row": row, "pair": value.pair.key}
    return href("cell", **cell, beside=beside) if row else ""


def find_cell(chapter: Chapter, part: str, row: str, pair: str) -> Value | None:
    """The entry of these names that has runs."""
    values = chapter.grid.values if chapter.grid is not None else ()
    wanted = (part, row, pair)
    return next((one for one in values if one.runs and (one.part, one.row, one.pair.key) == wanted), None)


def cell_page(follower: Follower, view: Seen, chapter: Chapter, value: Value, beside: Sequence[str]) -> Page:
    """beside: the keys of other rows whose curves are shown too."""
    assert chapter.grid is not None
    others = {one.row: one for one in chapter.grid.values if one.runs and _place(one) == _place(value) and one != value}
    chosen = [others[row] for row in beside if row in others][:MOST_BESIDE]
    entries = follower.entries(run_id for one in (value, *chosen) for run_id in one.runs)
    own = [entries[run_id] for run_id in value.runs if run_id in entries]
    sections = [
        section("number", "", _number(chapter, value, view)),
        section("seeds", "Seeds", _seeds(chapter, value, entries, view)),
        section("choice", "Curves", [_choice(chapter, value, list(others.values()), beside)] if others else []),
        section("curves", "", _charts(chapter, (value, *chosen), entries, view)),
        section("protocol", "Protocol", _protocol(chapter, value)),
        section("shares", "Shares of low, high and mixed images", _shares(own)),
        section("provenance", "Provenance", [provenance_listing(own)] if own else []),
        section("command", "Train it", _command(chapter, value, view)),
        section("fields", "All fields of a run", _fields(chapter, value), folded=True),
    ]
    title = f"{value.label}, {names.pair(value.pair)}"
    return Page(title, chapter.title, tuple(each for each in sections if each.blocks))


def _place(value: Value) -> tuple[str, str]:
    return value.part, value.pair.key


def _number(chapter: Chapter, value: Value, view: Seen) -> Iterator[Block]:
    """The number, and the paper's beside it."""
    shown = show(value)
    words = f"{shown.text} ± {shown.spread}" if shown.spread else shown.text
    yield paragraph(
        Styled(words, "good" if value.best else QUIET if value.mean is None else "number"),
        f" {shown.remark}" if shown.remark else "",
        f" (the paper: {shown.paper})" if shown.paper else "",
        " · ",
        link("the whole table", href("table", name=chapter.table.key)),
    )
    judged = next((pair for pair in chapter.judged if pair[0] == value), None)
    if judged is not None and value.paper is not None:
        yield listing(HEADS, [line_of(*judged)])
        yield from (paragraph(words) for words in legend([value], view.snapshot.metric))
    elif judged is not None and judged[1].why:
        yield paragraph(f"{judged[1].word.capitalize()}: {judged[1].why}.")


def _seeds(chapter: Chapter, value: Value, entries: Mapping[str, Entry], view: Seen) -> Iterator[Block]:
    heads = [Column("Seed", right=True), Column("Run"), Column("State")]
    numbers = ("Best top-1", "at epoch", "Last top-1", "Epochs", "Seconds an epoch")
    columns = [*heads, *(Column(head, right=True) for head in numbers), Column("Ended (UTC)"), Column("Weights", 0.3)]
    lines = []
    for spec in _specs(chapter, value):
        entry = entries.get(spec.run_id)
        lines.append(_seed(spec, entry, view))
    yield listing(columns, lines)


def _seed(spec: RunSpec, entry: Entry | None, view: Seen) -> list[Words]:
    run = link(spec.run_id[:6], href("run", id=spec.run_id), CODE)
    if entry is None:
        under_way = view.running.get(spec.run_id)
        now: Words = Styled("not run yet", QUIET) if under_way is None else "under way"
        epoch = "" if under_way is None else f"{under_way.epoch} of {under_way.epochs}"
        return [str(spec.seed), run, now, "", "", "", epoch, "", "", ""]
    state: Words = "done" if entry.done else Styled(f"failed: {entry.reason}", BAD)
    pace = f"{entry.seconds / entry.epochs:.1f}" if entry.seconds and entry.epochs else ""
    weights = weights_path(view.snapshot.results, spec.run_id)
    return [
        str(spec.seed),
        run,
        state,
        number(entry.best_top1),
        str(entry.best_epoch or ""),
        number(entry.last_top1),
        f"{entry.epochs or 0} of {spec.epochs}",
        pace,
        minute(str(entry.provenance.get("ended") or "")),
        Styled(str(weights), CODE) if weights.is_file() else Styled("not here", QUIET),
    ]


def number(found: float | None) -> str:
    return "" if found is None else f"{found:.2f}"


def _choice(chapter: Chapter, value: Value, others: Sequence[Value], beside: Sequence[str]) -> Form:
    options = tuple((one.row, name_row(one, chapter)) for one in others)
    field = Field("beside", f"Beside those of (at most {MOST_BESIDE})", TICK, tuple(beside), options)
    kept = {"table": chapter.table.key, "part": value.part, "row": value.row, "pair": value.pair.key}
    return Form((field,), "Show", tuple((name, word) for name, word in kept.items() if word))


def _charts(chapter: Chapter, values: Sequence[Value], entries: Mapping[str, Entry], view: Seen) -> Iterator[Chart]:
    for name, words in CHARTS.items():
        curves = [
            curve_of(
                entries.get(spec.run_id) or view.running[spec.run_id], name, name_row(one, chapter), f"seed {spec.seed}"
            )
            for one in values
            for spec in _specs(chapter, one)
            if spec.run_id in entries or spec.run_id in view.running
        ]
        if any(each.points for each in curves):
            yield Chart(f"{words} by epoch", "Epoch", words, tuple(curves))


def name_row(value: Value, chapter: Chapter) -> str:
    """Its label; with its key where another row has the same label."""
    assert chapter.grid is not None
    alike = {one.row for one in chapter.grid.values if one.label == value.label and one.part == value.part}
    return value.label if len(alike) == 1 else f"{value.label} ({value.row})"


def curve_of(run: Entry | RunUnderWay, name: str, group: str, words: str) -> Curve:
    place = (CURVE_FIELDS if isinstance(run, Entry) else LIVE_FIELDS).index(name)
    return curve(group, words, ((row[0], row[place]) for row in run.curve))


def _specs(chapter: Chapter, value: Value) -> tuple[RunSpec, ...]:
    """The runs of an entry, trained or not."""
    assert chapter.grid is not None
    resolved = chapter.grid.resolved
    if value.kind == "student":
        return resolved.untaught[value.pair]
    if value.kind == "teacher":
        return tuple(filter(None, [resolved.teacher_of(value.pair)]))
    return resolved.cells[value.part, value.row, value.pair]


def _row(chapter: Chapter, value: Value) -> tuple[ResolvedPart, Row] | None:
    assert chapter.grid is not None
    parts = (part for part in chapter.grid.resolved.parts if part.key == value.part)
    return next(((part, row) for part in parts for row in part.rows if row.key == value.row), None)


def _protocol(chapter: Chapter, value: Value) -> Iterator[Block]:
    found = _row(chapter, value)
    if found is None or chapter.grid is None:
        return
    part, row = found
    alone = replace(
        part, part=replace(part.part, accuracies=False), blocks=(RowBlock((row,)),), pairs=(value.pair,), left_out=()
    )
    yield paragraph(f"{protocol(replace(chapter.grid.resolved, parts=(alone,))).common}.")
    if row.note:
        yield paragraph(row.note)


def _shares(entries: Sequence[Entry]) -> Iterator[Block]:
    """What the runs really had, and what they should have had where that is far off."""
    words = [(entry, shares.in_words([shares.means(entry.shares)])) for entry in entries]
    lines: list[list[Words]] = [
        [str(entry.spec.seed), text, Styled(shares.describe_deviation(entry.spec, entry.shares), BAD)]
        for entry, text in words
        if text
    ]
    if lines:
        yield listing([Column("Seed", right=True), Column("Mean over the epochs"), Column("", 0.4)], lines)


def _command(chapter: Chapter, value: Value, view: Seen) -> Iterator[Block]:
    retry = bool(value.failed)
    yield paragraph(Styled(command(chapter, value, str(view.snapshot.results), retry=retry), CODE))


def command(chapter: Chapter, value: Value, results: str, *, retry: bool) -> str:
    """What trains this entry alone; of a user's own table, and with files of --use, the sweep that asked for it."""
    sweep, found = chapter.sweep, _row(chapter, value)
    if sweep.settings.own_table or "--use" in sweep.command:
        return resume_command(sweep.command, results, retry=retry)
    rows = (found[1].varies or found[1].key,) if found else sweep.settings.rows
    narrow = replace(sweep.settings, rows=rows, pairs=(value.pair.key,))
    folders = {"--data-dir": sweep.data_dir, "--teachers": sweep.teachers}
    words = [chapter.table.key, *narrow.options(), *(word for pair in folders.items() if pair[1] for word in pair)]
    return f"{command_name('run')} {shlex.join([*words, '--results', results, *(['--retry'] if retry else [])])}"


def _fields(chapter: Chapter, value: Value) -> Iterator[Block]:
    yield from fields_of(_specs(chapter, value)[:1])


def fields_of(specs: Iterable[RunSpec]) -> Iterator[Block]:
    """Everything that decides a run's weights."""
    for spec in specs:
        shown = [(name, "" if word is None else str(word)) for name, word in flatten(spec).items()]
        yield listing([Column("Field"), Column("Value", 0.6)], [(Styled(name, CODE), word) for name, word in shown])
