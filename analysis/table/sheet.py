"""A table as it is shown, before any format: panels of lines of entries with spreads, notes and paper's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from analysis.table import captions, names
from analysis.table.grid import Grid
from analysis.table.kinds import HyperparameterTable
from analysis.table.layout import increase_key
from analysis.table.matrix import Axis, Varied, effect, varied_of
from analysis.table.resolved import ResolvedPart
from analysis.table.stats import ALPHA
from analysis.table.value import Value
from trainables.recipes import Pair

NOTHING = "—"


@dataclass(frozen=True)
class Shown:
    """One entry: `text` ± `spread` (`paper`); `note` and `lost` say how many runs it has and how many failed.

    near_best: not told from the best one by a paired test. second: the next best. of: what it shows. href: where a page
    has more of it.
    """

    text: str
    spread: str = ""
    paper: str = ""
    note: str = ""
    lost: str = ""
    best: bool = False
    near_best: bool = False
    second: bool = False
    of: Value | None = field(default=None, compare=False, repr=False)
    href: str = ""

    @property
    def remark(self) -> str:
        return ", ".join(word for word in (self.note, self.lost) if word)

    @property
    def aside(self) -> str:
        """The paper's number and the remark."""
        return " ".join(word for word in (f"({self.paper})" if self.paper else "", self.remark) if word)


@dataclass(frozen=True)
class Line:
    label: str
    entries: tuple[Shown, ...]


@dataclass(frozen=True)
class Panel:
    """One grid of entries. heads: rows of column names, the first of each names the row. groups: ruled off."""

    title: str
    heads: tuple[tuple[str, ...], ...]
    groups: tuple[tuple[Line, ...], ...]

    @property
    def lines(self) -> tuple[Line, ...]:
        return tuple(line for group in self.groups for line in group)


@dataclass(frozen=True)
class Sheet:
    key: str
    title: str
    panels: tuple[Panel, ...]
    caption: str
    notes: tuple[str, ...]
    short: str
    """A caption of one or two sentences."""

    @property
    def entries(self) -> tuple[Shown, ...]:
        return tuple(entry for panel in self.panels for line in panel.lines for entry in line.entries)

    def with_entries(self, change: Callable[[Shown], Shown]) -> Sheet:
        """The same with each entry changed."""

        def changed(line: Line) -> Line:
            return replace(line, entries=tuple(map(change, line.entries)))

        panels = (
            replace(panel, groups=tuple(tuple(map(changed, group)) for group in panel.groups)) for panel in self.panels
        )
        return replace(self, panels=tuple(panels))


def make_sheet(grid: Grid) -> Sheet:
    """The table laid out as in the paper."""
    words = captions.caption(grid), captions.notes(grid), captions.short(grid)
    return Sheet(grid.table.key, grid.resolved.title, make_panels(grid), *words)


def make_panels(grid: Grid) -> tuple[Panel, ...]:
    """One panel for each part of the table; of a table of cost one for each pair."""
    asked = grid.resolved
    parts = asked.parts
    if asked.table.kind.timed:
        return tuple(_rates(grid, part, pair) for part in parts for pair in part.pairs)
    if not asked.settings.vary:
        return tuple(_panel(grid, part) for part in parts)
    return tuple(panel for part in parts for panel in _panels_of(grid, part))


def _panels_of(grid: Grid, part: ResolvedPart) -> Iterator[Panel]:
    """The part; of two varied fields a matrix for each row and pair instead of the combinations, of more their main
    effects too."""
    varied = [each for pair in part.pairs for each in varied_of(grid, part, pair)]
    apart = {each.row.key for each in varied if len(each.axes) == 2}
    kept = [replace(block, rows=tuple(row for row in block.rows if row.varies not in apart)) for block in part.blocks]
    yield _panel(grid, replace(part, blocks=tuple(block for block in kept if block.rows)))
    for each in varied:
        if len(each.axes) == 2:
            yield _matrix(each)
        elif len(each.axes) > 2:
            yield _effects(each)


def _matrix(varied: Varied) -> Panel:
    """The first field down, the second across."""
    down, across = varied.axes
    lines = tuple(
        Line(
            f"{down.name} = {word}",
            tuple(
                show(varied.cells[first, second]) if (first, second) in varied.cells else Shown(NOTHING)
                for second in across.values
            ),
        )
        for first, word in zip(down.values, down.words, strict=True)
    )
    return Panel(varied.title, (("", *(f"{across.name} = {word}" for word in across.words)),), (lines,))


def _effects(varied: Varied) -> Panel:
    """Of each value of each field the mean over all combinations that have it."""

    def shown(axis: Axis, value: str) -> Shown:
        found = effect(varied, axis, value)
        spread = "" if found.std is None else percent(found.std)
        return Shown(percent(found.mean), spread) if found.n else Shown(NOTHING)

    groups = tuple(
        tuple(
            Line(f"{axis.name} = {word}", (shown(axis, value),))
            for value, word in zip(axis.values, axis.words, strict=True)
        )
        for axis in varied.axes
    )
    return Panel(f"Main effects: {varied.title}", (("", "Mean of all combinations"),), groups)


def show(value: Value) -> Shown:
    """An entry's number in words; what it lacks where it lacks something."""
    return replace(_in_words(value), of=value)


def _in_words(value: Value) -> Shown:
    write = _WRITE.get(value.kind, seconds if value.unit == "s" else percent)
    paper = "" if value.paper is None else write(value.paper) + (captions.OTHER_EPOCH if value.of_another_epoch else "")
    if value.kind in ("increase", "difference"):
        if value.mean is None:
            return Shown(NOTHING, paper=paper)
        spread = "" if value.std is None else f"{value.std:.2f}"
        if spread and value.p is not None and value.p < ALPHA:
            spread += captions.SIGNIFICANT
        # Incomplete: another row may still become the best.
        note = "" if value.state == "done" else "incomplete"
        if value.kind == "difference" and len(value.measured) < value.asked:
            note = f"{len(value.measured)}/{value.asked} seeds"
        return Shown(write(value.mean), spread, paper, note)
    if value.mean is None and value.state == "failed":
        return Shown("failed", paper=paper)
    lost = f"{value.failed} failed" if value.failed else ""
    if value.mean is None:
        return Shown(NOTHING, paper=paper, note=f"{value.n}/{value.asked}", lost=lost)
    text = write(value.mean)
    spread = "" if value.std is None else f"{value.std:.{len(text.partition('.')[2])}f}"
    note = "" if value.n == value.asked else f"{value.n}/{value.asked} seeds"
    return Shown(text, spread, paper, note, lost, value.best, value.near_best, value.second)


percent = "{:.2f}".format


def seconds(number: float) -> str:
    return f"{number:.3f}" if number < 1 else f"{number:.2f}"


_WRITE: dict[str, Callable[[float], str]] = {
    "difference": "{:+z.2f}".format,
    "increase": "{:+z.2f}%".format,
    "setting": "{:.1f}".format,
}


def _line(grid: Grid, part: ResolvedPart, row: str) -> Line:
    values = [grid.cells[part.key, row, pair] for pair in part.pairs]
    return Line(values[0].label, tuple(show(value) for value in values))


def _panel(grid: Grid, part: ResolvedPart) -> Panel:
    """Pairs across, rows down: accuracies, then each block with its differences."""
    groups: list[tuple[str, ...]] = [("teacher", "student")] if part.part.accuracies else []
    if isinstance(grid.resolved.table.kind, HyperparameterTable):
        groups = [tuple(HyperparameterTable.lines)]
    else:
        for block in part.blocks:
            groups.append(tuple(row.key for row in block.rows))
            derived = [difference.key for difference in block.differences]
            groups.append(tuple(key for key in derived if (part.key, key, part.pairs[0]) in grid.cells))
    return Panel(
        part.part.title,
        (
            ("Teacher", *(names.network(pair.teacher) for pair in part.pairs)),
            ("Student", *(names.network(pair.student) for pair in part.pairs)),
        ),
        tuple(tuple(_line(grid, part, row) for row in rows) for rows in groups if rows),
    )


def _rates(grid: Grid, part: ResolvedPart, pair: Pair) -> Panel:
    """Rates across, as in Table 7: seconds per epoch, then the increase over each baseline."""
    rows = part.rows
    measured = Line("Seconds/epoch", tuple(show(grid.cells[part.key, row.key, pair]) for row in rows))
    increases = tuple(
        Line(
            f"Over {base.label}",
            tuple(show(grid.cells[part.key, increase_key(row.key, base.key), pair]) for row in rows),
        )
        for base in rows
        if base.key in grid.table.kind.baselines
    )
    title = f"{part.part.title} {names.pair(pair)}".strip()
    head = ("Augmented share", *(row.label for row in rows))
    return Panel(title, (head,), tuple(group for group in ((measured,), increases) if group))
