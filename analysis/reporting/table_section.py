"""One table of a report: its numbers, its picture, each cell against the paper, by what protocol and where it ran."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from analysis.record.entry import Entry
from analysis.reporting import pictures
from analysis.reporting.document import (
    BAD,
    CODE,
    COPIED,
    GOOD,
    QUIET,
    Block,
    Column,
    Group,
    Heading,
    Listing,
    Styled,
    Words,
    listing,
    paragraph,
)
from analysis.reporting.provenance import ORIGIN, hours, minute, origins, sum_up
from analysis.reporting.snapshot import Chapter, Snapshot
from analysis.table import captions, names
from analysis.table.grid import Grid
from analysis.table.layout import Table
from analysis.table.protocol import protocol
from analysis.table.published import UNKNOWN
from analysis.table.sheet import make_sheet, show
from analysis.table.value import Value
from analysis.table.verdicts import ABOVE, BELOW, NOT_COMPARABLE, ONE_SEED, PAPER_RUNS, Verdict, compared
from trainables import shares
from trainables.commands import command_name, count

_STYLES = {ABOVE: GOOD, BELOW: BAD, NOT_COMPARABLE: QUIET, ONE_SEED: QUIET}
DOUBT = "?"
ALONE = "(no teacher)"
"""The row of the protocol that speaks of the students alone."""
OWN = 0.54
"""How much of a printed line the numbers of a row have in the table of the protocol."""
SHARES = 0.15
"""How much of it the shares have, where runs recorded any."""
MOST, PAD = 40, 5
"""Letters of the longest entry of a column that count for its width, and what is added."""
HEADS = (
    Column("Row", 0.19),
    Column("Epoch"),
    *(Column(head, right=True) for head in ("Measured", "Runs", "Paper", "Its runs", "Difference", "Noise", "p")),
    Column("Verdict", 0.18),
)
"""Of an entry beside the paper's."""


def table_sections(snapshot: Snapshot, *, printed: bool) -> Iterator[Block]:
    """A section for each table; printed: with the pictures of the PDF."""
    for chapter in snapshot.chapters:
        yield Heading(chapter.title)
        yield from _section(chapter, snapshot, printed)


def _section(chapter: Chapter, snapshot: Snapshot, printed: bool) -> Iterator[Block]:
    grid = chapter.grid
    if grid is None:
        yield paragraph(f"This table cannot be drawn: {chapter.reason}.")
        return
    yield from others(chapter, snapshot)
    if grid.values:
        yield make_sheet(grid)
    else:
        yield paragraph(" ".join((captions.caption(grid), *captions.notes(grid))))
    yield from _picture(grid, snapshot, printed)
    yield from details(chapter, snapshot)


def details(chapter: Chapter, snapshot: Snapshot) -> Iterator[Block]:
    """What stands below a table: its entries against the paper, its protocol, and where it ran."""
    if chapter.grid is not None:
        yield from _compare_with_paper(chapter, snapshot.metric)
        yield from _protocol(chapter.table, chapter.grid, snapshot)
        yield from _provenance(chapter.grid, snapshot)


def others(chapter: Chapter, snapshot: Snapshot) -> Iterator[Block]:
    """That other sweeps asked for the table with other settings."""
    key = chapter.table.key
    if len({sweep.settings for sweep in snapshot.sweeps if key in sweep.tables}) > 1:
        yield paragraph(
            f"By the settings of the latest sweep that named it ({minute(chapter.sweep.asked)}). Others "
            "asked for it with other settings: ",
            Styled(f"{command_name('tables')} {key} --results {snapshot.results} --sweep K", CODE),
        )


def _picture(grid: Grid, snapshot: Snapshot, printed: bool) -> Iterator[Block]:
    if pictures.is_drawn(grid):
        yield from [pictures.draw_picture(grid, printed=printed)] if grid.values else []
        return
    found = pictures.find_pictures(snapshot.results / "tables", grid.table.key, grid.resolved.title)
    if found:
        yield from found
    elif grid.table.kind.trains:
        yield paragraph("A sweep draws this figure when its runs are done.")


def _compare_with_paper(chapter: Chapter, metric: str) -> Iterator[Block]:
    """Each entry that has a number in the paper beside it, pair by pair; of the others, how many and why."""
    if not chapter.judged:
        return
    yield Heading("Against the paper", 2)
    titles = {part.key: part.title for part in chapter.table.parts}
    groups: dict[tuple[str, str], list[tuple[Words, ...]]] = {}
    for value, verdict in chapter.judged:
        if value.paper is not None:
            pair = names.pair(value.pair)
            groups.setdefault((pair, titles[value.part]), []).append(line_of(value, verdict))
    if groups:
        titled = [Group(", ".join(filter(None, title)), tuple(lines)) for title, lines in groups.items()]
        yield Listing(HEADS, tuple(titled))
        printed = [value for value, _ in chapter.judged if value.paper is not None]
        yield from (paragraph(words) for words in legend(printed, metric))
    counts = Counter(verdict.why for _, verdict in chapter.judged if verdict.word == NOT_COMPARABLE)
    yield from (paragraph(f"Not comparable ({count(times, 'cell')}): {why}.") for why, times in counts.items())


def legend(values: list[Value], metric: str) -> Iterator[str]:
    """What the marks mean, and the columns that say of which epoch and of how many runs the paper's numbers are."""
    if any(value.copied for value in values):
        yield f"{COPIED}: the paper has this number from earlier papers."
    accuracies = [value for value in values if value.paper_epoch]
    if accuracies:
        epoch = "Epoch: the test epoch of the paper's number, and of the measured one beside it"
        if any(value.paper_epoch == UNKNOWN for value in accuracies):
            epoch += f"; {DOUBT}: not known, and ours is of the {metric} one"
        if any(value.of_another_epoch for value in accuracies):
            epoch += f". Where it is not the {metric} one, the table above shows another number than this listing"
        doubt = f"; {DOUBT}: not known, and {PAPER_RUNS} are taken" if not all(v.paper_runs for v in accuracies) else ""
        yield f"{epoch}. Its runs: how many runs the paper's number is the mean of{doubt}."


def line_of(value: Value, verdict: Verdict) -> tuple[Words, ...]:
    """An entry beside the paper's, under HEADS."""
    measured = compared(value)
    shown = show(replace(value, mean=measured.mean, std=measured.std) if measured else value)
    printed = show(replace(value, of_another_epoch=False)).paper
    why = "" if verdict.word == NOT_COMPARABLE else verdict.why
    words = f"{verdict.word}{'' if why.startswith('(') else ','} {why}" if why else verdict.word
    return (
        value.label,
        DOUBT if value.paper_epoch == UNKNOWN else value.paper_epoch,
        f"{shown.text} ± {shown.spread}" if shown.spread else shown.text,
        str(value.n) if value.n == value.asked else f"{value.n} of {value.asked}",
        f"{printed}{COPIED}" if value.copied else printed,
        str(value.paper_runs or DOUBT) if value.paper_epoch else "",
        "" if verdict.difference is None else f"{verdict.difference:+z.2f}",
        "" if verdict.noise is None else f"{verdict.noise:.2f}",
        "" if verdict.p is None else f"{verdict.p:.3f}" if verdict.p >= 0.001 else "< 0.001",
        Styled(words, _STYLES[verdict.word]) if verdict.word in _STYLES else words,
    )


def _protocol(table: Table, grid: Grid, snapshot: Snapshot) -> Iterator[Block]:
    """By which numbers every row is trained, from the specs of its runs; and where, if not all ran at one place."""
    found = protocol(grid.resolved)
    if not found.rows:
        return
    yield Heading("Protocol", 2)
    labels = {row.key: row.label for row in grid.resolved.rows}
    texts = list(zip(found.heads, *found.rows, strict=True))[1:]
    letters = [min(MOST, max(map(len, words))) for words in texts]
    measured, places = _shares(grid, snapshot), _places(grid, snapshot)
    room = OWN - SHARES if measured else OWN
    widths = [room * (width + PAD) / sum(other + PAD for other in letters) for width in letters]
    own = [Column(head, width) for head, width in zip(found.heads[1:], widths, strict=True)]
    behind = [(head, texts) for head, texts in (("Shares", measured), ("Source", places)) if texts]
    columns = [
        Column("Row", 0.17),
        Column("Key", 0.17),
        *own,
        *(Column(head, SHARES if texts is measured else 0.0) for head, texts in behind),
    ]
    lines: list[list[Words]] = [
        [labels.get(key, "Student Acc."), Styled(key, CODE), *words, *(texts.get(key, "-") for _, texts in behind)]
        for key, *words in found.rows
    ]
    yield listing(columns, lines)
    yield paragraph("All rows: " if found.heads[1:] else "", f"{found.common}.")
    if found.notes:
        yield paragraph(". ".join(found.notes) + ".")
    yield paragraph(
        "T: one temperature for all samples, or that of the samples of low energy, of high energy (the share r of the "
        "training set each) and of the others. x, after: the learning rate is multiplied by x after these epochs."
        + (
            " Shares: of the training images that really had low or high energy, or were mixed; off: by more than "
            f"{100 * shares.MOST_OFF:g} points from r."
            if measured
            else ""
        )
        + (" Source: by its number under Provenance." if places else "")
    )


def _shares(grid: Grid, snapshot: Snapshot) -> dict[str, str]:
    """By row, the shares of low, high and mixed images in its runs."""
    found: dict[str, list[Entry]] = {}
    for value in grid.values:
        if value.kind == "row":
            found.setdefault(value.row, []).extend(
                snapshot.runs[run_id] for run_id in value.runs if run_id in snapshot.runs
            )
    texts = {row: shares.in_words(shares.means(entry.shares) for entry in entries) for row, entries in found.items()}
    off = {
        row: sum(bool(shares.describe_deviation(entry.spec, entry.shares)) for entry in entries)
        for row, entries in found.items()
    }
    return {
        row: text + (f" ({off[row]} of {len(found[row])} off)" if off[row] else "")
        for row, text in texts.items()
        if text
    }


def _places(grid: Grid, snapshot: Snapshot) -> dict[str, str]:
    """By row, the numbers of the sources of its runs; empty where a table has only one source."""
    source = origins(_find_used(grid, snapshot)).source
    if source.nunique() < 2:
        return {}
    found: dict[str, set[int]] = {}
    for value in grid.values:
        key = ALONE if value.kind == "student" else value.row
        found.setdefault(key, set()).update(source[source.index.intersection(list(value.runs))])
    return {key: ", ".join(map(str, sorted(places))) for key, places in found.items() if places}


def _find_used(grid: Grid, snapshot: Snapshot) -> list[Entry]:
    """The runs behind a table's numbers, and those that taught them."""
    left = deque(run_id for value in grid.values for run_id in value.runs)
    found: dict[str, Entry] = {}
    while left:
        entry = snapshot.runs.get(left.popleft())
        if entry is not None and entry.run_id not in found:
            found[entry.run_id] = entry
            left += [entry.spec.teacher_run] if entry.spec.teacher_run else []
    return list(found.values())


def _provenance(grid: Grid, snapshot: Snapshot) -> Iterator[Block]:
    """Where the numbers of a table come from."""
    if used := _find_used(grid, snapshot):
        yield Heading("Provenance", 2)
        yield provenance_listing(used)


def provenance_listing(entries: Iterable[Entry]) -> Listing:
    """A line for each device, commit and version of PyTorch."""
    heads = [Column("Source"), Column("Device", 0.2), Column("Commit", 0.18), Column("PyTorch", 0.14)]
    counts = [Column(head, right=True) for head in ("Runs", "Failed", "Hours")]
    lines: list[list[Words]] = [
        [
            str(one.source),
            one.device,
            Styled(one.commit, CODE),
            one.torch,
            str(one.runs),
            str(one.runs - one.done),
            hours(one.seconds),
            minute(one.ended),
        ]
        for _, one in sum_up(origins(entries), ["source", *ORIGIN]).iterrows()
    ]
    return listing([*heads, *counts, Column("Last run (UTC)")], lines)
