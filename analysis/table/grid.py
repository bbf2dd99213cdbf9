"""The numbers of a table: every entry's mean and spread over the seeds, what is missing, and the paper's number."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.record.entry import Entry
from analysis.record.settings import Settings
from analysis.table import published
from analysis.table.kinds import HyperparameterTable
from analysis.table.layout import Difference, Part, Table, increase_key
from analysis.table.resolved import CellKey, ResolvedPart, ResolvedTable, resolve
from analysis.table.stats import ALPHA, holm, paired, summarise
from analysis.table.value import Value
from trainables.errors import UserError
from trainables.recipes import TEACHER_SEED, Pair
from trainables.spec import RunSpec

METRICS = ("best", "last")


@dataclass(frozen=True)
class Grid:
    """A table with its numbers. metric: `best` or `last` test epoch. comparable: the paper used this data set.

    epochs: of the runs that the table asks for. shortened: the paper's data, but fewer epochs or images than its runs
    had. devices: that trained what has been measured. memberships: by which the runs tell low from high energy, if they
    do. outdated: how many runs the ledger has by an earlier revision alone.
    """

    resolved: ResolvedTable
    metric: str
    cells: dict[CellKey, Value]
    epochs: tuple[int, ...]
    shortened: bool
    devices: tuple[str, ...]
    memberships: tuple[str, ...]
    outdated: int

    @property
    def table(self) -> Table:
        return self.resolved.table

    @property
    def settings(self) -> Settings:
        return self.resolved.settings

    @property
    def values(self) -> tuple[Value, ...]:
        return tuple(self.cells.values())

    @property
    def comparable(self) -> bool:
        return self.resolved.on_paper_data


_Test = tuple[str, str, Pair, str]
"""A comparison of a derived row: part, derived row, column, and the row that may be the best."""


class _Maker:
    """What every entry is made from. tests: the p-values of all comparisons, as they are made."""

    def __init__(self, resolved: ResolvedTable, entries: Mapping[str, Entry], metric: str, *, alike: bool) -> None:
        self.resolved, self.entries, self.metric, self.alike = resolved, entries, metric, alike
        self.table, self.settings = resolved.table, resolved.settings
        self.tests: dict[_Test, float] = {}

    def beside(self, part: Part, value: Value) -> Value:
        """An entry with the paper's number, or with what another table prints for the same runs."""
        if not self.resolved.on_paper_data:
            return value
        number = published.look_up(self.table.key, part.key, value.row, value.pair)
        for table in self.table.published_in if number is None else ():
            for other in table.parts:
                printed = published.look_up(table.key, other.key, value.row, value.pair)
                if number is None and printed is not None and self.same_runs(part, value, table, other):
                    number = printed
        if number is None:
            return value
        value = replace(value, paper=number.value, source=number.source, paper_runs=number.runs)
        return self.of_epoch(value, number.epoch)

    def of_epoch(self, value: Value, epoch: str) -> Value:
        """An entry whose number in the paper is of that test epoch."""
        other = value.kind != "teacher" and epoch not in ("", published.UNKNOWN, self.metric)
        return replace(value, paper_epoch=epoch, of_another_epoch=other)

    def same_runs(self, part: Part, value: Value, table: Table, other: Part) -> bool:
        """Whether another table asks for the same; a teacher or a student alone is the same in all of one data set."""
        there = resolve(table, replace(self.settings, rows=(value.row,), pairs=(value.pair.key,)))
        if not there.on_paper_data:
            return False
        if value.kind in ("teacher", "student"):
            return True
        own = self.resolved.cells.get((part.key, value.row, value.pair))
        return own is not None and own == there.cells.get((other.key, value.row, value.pair))

    @property
    def shortened(self) -> bool:
        """Some runs had fewer epochs than by the recipe (where more would not be more of the same), or fewer images."""
        recipe = self.settings.recipe
        timed = self.table.kind.timed
        return any(
            spec.train_fraction < 1 or (not timed and spec.epochs < epochs)
            for part in self.resolved.parts
            for row in part.rows
            for pair in part.pairs
            for epochs in [recipe.schedule_of(row.treat(recipe, pair)).epochs]
            for spec in self.resolved.cells[part.key, row.key, pair]
        )

    def found(self, specs: Iterable[RunSpec]) -> list[Entry]:
        return [self.entries[spec.run_id] for spec in specs if spec.run_id in self.entries]

    def value(self, part: Part, kind: str, row: str, label: str, pair: Pair, specs: Sequence[RunSpec]) -> Value:
        """The mean over the seeds of one row, or of the students without a teacher."""
        found = self.found(specs)
        by_seed = self.by_seed(part, found, self.metric)
        summary = summarise(by_seed.values())
        made = Value(
            part.key,
            kind,
            row,
            label,
            pair,
            unit="s" if self.table.kind.timed else "%",
            asked=len(specs),
            n=summary.n,
            failed=sum(not entry.done for entry in found),
            mean=summary.mean if by_seed else None,
            std=summary.std,
            runs=tuple(spec.run_id for spec in specs),
            measured=tuple(by_seed.values()),
            seeds=tuple(by_seed),
        )
        made = self.beside(part, made)
        if not (made.of_another_epoch and by_seed):
            return made
        return replace(made, alike=summarise(self.by_seed(part, found, made.paper_epoch).values()))

    def by_seed(self, part: Part, found: Sequence[Entry], metric: str) -> dict[int, float]:
        """The numbers of the runs that have one, by their seeds."""
        numbers = {
            entry.spec.seed: self.table.kind.measure(entry, metric, part.number) for entry in found if entry.done
        }
        return {seed: number for seed, number in numbers.items() if number is not None}

    def teacher(self, part: Part, pair: Pair) -> Value:
        """The accuracy of the weights that taught: as its students' runs measured it, or else after its last epoch."""
        students = [
            spec
            for (_, _, column), specs in self.resolved.cells.items()
            for spec in specs
            if column.teacher == spec.teacher == pair.teacher
        ]
        seen = [getattr(entry, f"teacher_{part.number}") for entry in self.found(students)]
        numbers = [number for number in seen if number is not None]
        spec = self.resolved.teacher_of(pair)
        own = self.entries.get(spec.run_id) if spec else None
        after = getattr(own, f"last_{part.number}") if own and own.done else None
        if not numbers and after is not None:
            numbers = [after]
        made = Value(
            part.key,
            "teacher",
            "teacher",
            "Teacher Acc.",
            pair,
            unit="%",
            asked=1,
            n=1 if numbers else 0,
            failed=int(not numbers and own is not None and not own.done),
            mean=numbers[0] if numbers else None,
            runs=(spec.run_id,) if spec else (),
            measured=tuple(numbers[:1]),
            seeds=(TEACHER_SEED,) if numbers else (),
        )
        return self.beside(part, made)

    def difference(self, part: Part, derived: Difference, rows: dict[str, Value]) -> Value | None:
        """The row of the highest mean among some, minus another, paired over the seeds that both have.

        The seeds choose the best row and measure its difference, so the difference is too large on average, the more
        so the closer the rows are; its p-value (see `make_grid`) allows for the choice.
        """
        best = [rows[key] for key in derived.best if key in rows]
        if not best or derived.minus not in rows:
            return None
        minus = rows[derived.minus]
        compared = {value.row: paired(value.by_seed, minus.by_seed) for value in best}
        for row, found in compared.items():
            p = found.estimate.p() if found else None
            if p is not None:
                self.tests[part.key, derived.key, minus.pair, row] = p
        highest = max((value for value in best if value.measured), key=lambda one: one.mean or 0.0, default=None)
        result = compared[highest.row] if highest else None
        made = Value(
            part.key,
            "difference",
            derived.key,
            derived.label,
            minus.pair,
            unit="points",
            asked=minus.asked,
            n=len(result.by_seed) if result else 0,
            partial=any(value.state != "done" for value in (*best, minus)),
            mean=result.summary.mean if result else None,
            std=result.summary.std if result else None,
            measured=tuple(number for _, number in result.by_seed) if result else (),
            seeds=tuple(seed for seed, _ in result.by_seed) if result else (),
            chosen=highest.row if highest and result else "",
        )
        return self.beside(part, made) if len(best) == len(derived.best) else self.of_some_rows(made, best, minus)

    def of_some_rows(self, made: Value, best: Sequence[Value], minus: Value) -> Value:
        """A difference with what the paper's numbers of these rows give; nothing where one of them has none."""
        printed = {value.paper: value.paper_epoch for value in best if value.paper is not None}
        if minus.paper is None or any(value.paper is None for value in best):
            return made
        epochs = {printed[max(printed)], minus.paper_epoch}
        epoch = published.UNKNOWN if published.UNKNOWN in epochs else "mixed" if len(epochs) > 1 else epochs.pop()
        return self.of_epoch(replace(made, paper=max(printed) - minus.paper), epoch)

    def increase(self, part: Part, value: Value, base: Value) -> Value:
        """How much more a row costs than another, in per cent."""
        key = increase_key(value.row, base.row)
        mean = None if value.mean is None or not base.mean else 100 * (value.mean / base.mean - 1)
        made = Value(
            part.key,
            "increase",
            key,
            f"{value.label} over {base.label}",
            value.pair,
            unit="%",
            asked=value.asked,
            n=min(value.n, base.n),
            mean=mean,
        )
        return self.beside(part, made)

    def settings_of(self, part: Part, pair: Pair) -> list[Value]:
        """The temperatures that the runs of a part's one row are trained with."""
        (row,) = part.rows
        temperature = self.resolved.cells[part.key, row.key, pair][0].temperature
        assert temperature is not None
        made = [
            Value(part.key, "setting", key, label, pair, unit="", asked=1, n=1, mean=read(temperature))
            for key, (label, read) in HyperparameterTable.lines.items()
        ]
        return [self.beside(part, value) for value in made]

    def part(self, resolved: ResolvedPart) -> list[Value]:
        """All entries of a part, column after column: of each block its rows, the best one marked, then its
        differences."""
        part, kind, cells = resolved.part, self.table.kind, self.resolved.cells
        if isinstance(kind, HyperparameterTable):
            return [value for pair in resolved.pairs for value in self.settings_of(part, pair)]
        values: list[Value] = []
        for pair in resolved.pairs:
            if part.accuracies:
                alone = self.resolved.untaught[pair]
                values += [
                    self.teacher(part, pair),
                    self.value(part, "student", "student", "Student Acc.", pair, alone),
                ]
            rows: list[Value] = []
            for block in resolved.blocks:
                made = [self.value(part, "row", r.key, r.label, pair, cells[part.key, r.key, pair]) for r in block.rows]
                if kind.compares_accuracies:
                    made = _mark_best(made)
                if kind.compares_accuracies and (self.alike or any(row.varies for row in block.rows)):
                    made = _mark_near_best(made)
                by_key = {value.row: value for value in made}
                derived = [self.difference(part, difference, by_key) for difference in block.differences]
                rows += [*made, *(value for value in derived if value is not None)]
            bases = [value for value in rows if value.row in kind.baselines]
            values += [*rows, *(self.increase(part, value, base) for base in bases for value in rows)]
        return values


def _mark_best(values: list[Value]) -> list[Value]:
    """The highest mean of the complete rows marked, and the second, and those printed like them; no mark where none can
    be compared."""
    means = {v.row: round(v.mean, 2) for v in values if v.mean is not None and v.state == "done"}
    if len(means) < 2:
        return values
    best, second = [*sorted(set(means.values()), reverse=True), math.nan][:2]
    return [replace(v, best=means.get(v.row) == best, second=means.get(v.row) == second) for v in values]


def _mark_near_best(values: list[Value]) -> list[Value]:
    """The rows marked that a paired t-test, with Holm's correction over the block, does not tell from the best one."""
    best = max((value for value in values if value.best), key=lambda value: value.mean or 0.0, default=None)
    if best is None:
        return values
    others = [value for value in values if value.n > 1 and value.row != best.row]
    tests = {value.row: paired(best.by_seed, value.by_seed) for value in others}
    estimates = {row: found.estimate for row, found in tests.items() if found is not None}
    same = {row for row, found in estimates.items() if found.error is None and found.mean == 0}
    known = {row: p for row, found in estimates.items() if (p := found.p()) is not None}
    corrected = dict(zip(known, holm([*known.values()]), strict=True))
    near = same | {row for row, p in corrected.items() if p >= ALPHA}
    return [replace(value, near_best=value.row in near and not value.best) for value in values]


def make_grid(
    resolved: ResolvedTable, entries: Mapping[str, Entry], metric: str = "best", *, alike: bool = False
) -> Grid:
    """The numbers of a table, from the runs' records by id (see `ResolvedTable.run_ids`).

    The p-values of differences are corrected by Holm's method over the table's comparisons. Every row that could have
    been the best counts as one, so the choice of the best is corrected for. alike: mark what is not told from the best
    in all blocks, not only in those of varied fields.
    """
    if metric not in METRICS:
        raise UserError(f"unknown metric {metric!r}: use best or last (test epoch)")
    maker = _Maker(resolved, entries, metric, alike=alike)
    specs = [spec for found in resolved.cells.values() for spec in found]
    values = {(value.part, value.row, value.pair): value for part in resolved.parts for value in maker.part(part)}
    corrected = dict(zip(maker.tests, holm([*maker.tests.values()]), strict=True))
    devices = {str(entry.provenance["device"]) for entry in maker.found(specs) if entry.provenance.get("device")}
    earlier = {run_id for run_id, entry in entries.items() if entry.spec.outdated}
    old = {
        spec.run_id
        for spec in specs
        if earlier and spec.run_id not in entries and any(one.run_id in earlier for one in spec.earlier)
    }
    return Grid(
        resolved,
        metric,
        {key: replace(value, p=corrected.get((*key, value.chosen))) for key, value in values.items()},
        epochs=tuple(sorted({spec.epochs for spec in specs})),
        shortened=resolved.on_paper_data and maker.shortened,
        devices=tuple(sorted(devices)),
        memberships=tuple(sorted({spec.membership for spec in specs if spec.end is not None})),
        outdated=len(old),
    )
