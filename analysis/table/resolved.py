"""A table together with the settings that were asked for: its rows, columns and runs, worked out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from analysis.record.settings import Settings, parse_pair
from analysis.record.specs import assistant_spec, teacher_spec, vanilla_spec
from analysis.table.layout import Block, Part, Row, Table
from analysis.table.titles import title
from analysis.table.varied import REFERENCE, Combinations, combine, row_spec, with_students
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import RunSpec, flatten

CellKey = tuple[str, str, Pair]
"""The keys of a part and of a row in it (or of a derived row), and the column."""


@dataclass(frozen=True)
class ResolvedPart:
    """A part with the rows and the pairs that were asked for. left_out: combinations of varied fields that no run can
    have, a line each."""

    part: Part
    blocks: tuple[Block, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return self.part.key

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for block in self.blocks for row in block.rows)


@dataclass(frozen=True)
class ResolvedTable:
    """A table under some settings. The runs are made when they are first asked for."""

    table: Table
    settings: Settings
    """The table's own: on one data set, with its number of epochs and seeds."""
    parts: tuple[ResolvedPart, ...]
    """Those that have a row that was asked for, or that show a teacher alone."""

    @property
    def on_paper_data(self) -> bool:
        """Whether the runs see the images of the paper's table: its data set, and not a user's own part of it."""
        return self.settings.dataset == self.table.dataset and not self.settings.data

    @property
    def title(self) -> str:
        return title(self.table, self.settings)

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for part in self.parts for row in part.rows)

    @property
    def seeds(self) -> range:
        return range(1, self.settings.seeds + 1)

    @cached_property
    def cells(self) -> dict[CellKey, tuple[RunSpec, ...]]:
        """Of every entry with a taught student, a run for each seed."""
        timing = self.table.kind.timed
        return {
            (part.key, row.key, pair): self._of_all_seeds(row_spec(self.settings, row, pair, timing=timing))
            for part in self.parts
            for row in part.rows
            for pair in part.pairs
        }

    @cached_property
    def untaught(self) -> dict[Pair, tuple[RunSpec, ...]]:
        """The students without a teacher that the table prints above its rows: of each pair a run for each seed."""
        pairs = dict.fromkeys(pair for part in self.parts if part.part.accuracies and part.rows for pair in part.pairs)
        return {pair: self._of_all_seeds(vanilla_spec(self.settings, pair, 1)) for pair in pairs}

    def _of_all_seeds(self, first: RunSpec) -> tuple[RunSpec, ...]:
        return tuple(first if seed == first.seed else first.with_seed(seed) for seed in self.seeds)

    @cached_property
    def teachers(self) -> tuple[RunSpec, ...]:
        """The teachers and assistants that must be trained, in the order of the columns, each after its own teacher."""
        return tuple(dict.fromkeys(self._teachers()))

    def _teachers(self) -> Iterator[RunSpec]:
        settings, given = self.settings, dict(self.settings.teachers)
        for part in self.parts:
            for pair in part.pairs:
                if pair.teacher not in given:
                    yield teacher_spec(settings, pair.teacher)
                for row in part.rows:
                    assistant = row.treat(settings.recipe, pair).assistant
                    if assistant is not None:
                        yield assistant_spec(settings, pair, assistant)

    def teacher_of(self, pair: Pair) -> RunSpec | None:
        """The run that trains a pair's teacher; None where its weights were given."""
        found = (spec for spec in self.teachers if spec.student == pair.teacher and spec.teacher is None)
        return next(found, None)

    @property
    def runs(self) -> tuple[RunSpec, ...]:
        """Every run whose record the table shows or uses, once."""
        if not self.table.kind.trains:
            return ()
        students = [spec for specs in self.cells.values() for spec in specs]
        untaught = [spec for specs in self.untaught.values() for spec in specs]
        return tuple(dict.fromkeys([*students, *untaught, *self.teachers]))

    @property
    def run_ids(self) -> list[str]:
        """The ids of `runs`, each followed by what it was in earlier revisions."""
        return list(dict.fromkeys(one.run_id for spec in self.runs for one in (spec, *spec.earlier)))


def resolve(table: Table, settings: Settings) -> ResolvedTable:
    """The table with the rows and pairs that the settings ask for, else all of its own."""
    settings = table.kind.own_settings(table.key, settings.on(table.dataset))
    asked = tuple(parse_pair(text) for text in dict.fromkeys(settings.pairs))
    parts = (_resolve_part(part, settings, asked or part.pairs(settings.recipe)) for part in table.parts)
    return ResolvedTable(table, settings, tuple(part for part in parts if part.rows or not part.part.rows))


def _resolve_part(part: Part, settings: Settings, pairs: tuple[Pair, ...]) -> ResolvedPart:
    pairs = with_students(pairs, settings)
    asked = {*settings.rows} or {row.key for row in part.rows}
    shown = {*asked, REFERENCE} if settings.vary else asked
    blocks: list[Block] = []
    left_out: list[str] = []
    for block in part.blocks:
        made = [block.more(key) for key in settings.rows] if block.more is not None else []
        rows = [row for row in (*block.rows, *made) if row is not None and row.key in shown]
        blocks.append(replace(block, rows=tuple(_label_overrides(row, settings, pairs) for row in rows)))
        for row in rows if settings.vary else ():
            found = combine(row, settings, pairs) if row.key in asked else Combinations()
            blocks.append(Block(tuple(_label_overrides(each, settings, pairs) for each in found.rows)))
            left_out += found.left_out
    return ResolvedPart(part, tuple(block for block in blocks if block.rows), pairs, tuple(left_out))


def _label_overrides(row: Row, settings: Settings, pairs: tuple[Pair, ...]) -> Row:
    """The row with what was set in its runs behind its label, which may name a number that they do not have."""
    if not settings.overrides:
        return row
    changed: dict[str, str] = {}
    plain = replace(settings, overrides=())
    for pair in pairs:
        usual, own = (flatten(row_spec(each, row, pair)) for each in (plain, settings))
        changed |= {path: value for path, value in settings.overrides if own.get(path) != usual.get(path)}
    words = ", ".join(f"{path} = {value}" for path, value in changed.items())
    return replace(row, label=f"{row.label}, set {words}") if words else row


def check_rows(tables: Sequence[Table], settings: Settings) -> None:
    """Refuse rows that none of the tables has."""
    parts = [part for table in tables for part in table.parts]
    known = sorted({row.key for part in parts for row in part.rows})
    if unknown := [row for row in settings.rows if not any(part.has(row) for part in parts)]:
        sums = "A+B is a sum of two rows of ablation; " if any("+" in row for row in unknown) else ""
        has = f"{', '.join(table.key for table in tables)} has {', '.join(known)}"
        raise UserError(f"unknown row {', '.join(unknown)}: {sums}{has}")
