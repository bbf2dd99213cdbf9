"""What of a plan fits into a budget of device-hours: the rows, tables, seeds or epochs to leave out, by what they cost
and what they decide.

A row decides whether it differs from the row that it is compared with: in each column with the power of the paired
t-test for a difference as large as the paper's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field, replace
from functools import cached_property

from analysis.claim.power import power
from analysis.table.published import find
from analysis.table.resolved import ResolvedPart, ResolvedTable
from sweeps.planning.durations import Price
from sweeps.planning.plan import Plan, PlannedJob
from trainables.spec import RunSpec

RowKey = tuple[str, str]
"""A table and a row of it."""


@dataclass(frozen=True)
class LeftOut:
    """A row, or a table, that may be left out. saved: seconds that the plan without it alone takes less. seen: how many
    differences of the paper's size would be seen, of so many."""

    name: str
    saved: float
    seen: float
    of: int


@dataclass(frozen=True)
class Budget:
    """seconds: of one device. std: of a difference of two rows' runs of one seed, in points."""

    plan: Plan
    tables: tuple[ResolvedTable, ...]
    price: Price
    seconds: float
    std: float
    _prices: dict[tuple[str, tuple[str, ...]], float] = field(default_factory=dict)

    @cached_property
    def whole(self) -> float:
        return self._price(lambda spec: True)

    @property
    def seeds(self) -> int:
        return max((table.settings.seeds for table in self.tables), default=1)

    def with_seeds(self, seeds: int) -> float:
        """Seconds of the first seeds alone."""
        return self._price(lambda spec: spec.seed <= seeds)

    @cached_property
    def an_epoch(self) -> float:
        """Seconds of one epoch of each run, about."""
        return sum(
            self.price(job, job.specs) * len(job.specs) / sum(spec.epochs for spec in job.specs)
            for job in self.plan.jobs
        )

    @property
    def epochs(self) -> int:
        """To which all runs must be shortened, about."""
        return int(self.seconds / self.an_epoch) if self.an_epoch else 0

    @cached_property
    def _groups(self) -> dict[str, frozenset[RowKey]]:
        """What may be left out: tables, or the rows of the only one."""
        rows = [(table.table.key, row.key) for table in self.tables for row in table.rows]
        which = 0 if len(self.tables) > 1 else 1
        names = dict.fromkeys(key[which] for key in rows)
        return {name: frozenset(key for key in rows if key[which] == name) for name in names}

    @property
    def names(self) -> frozenset[str]:
        """Of all that may be left out."""
        return frozenset(self._groups)

    @cached_property
    def _powers(self) -> dict[RowKey, list[float]]:
        """By row, of each column whose difference the paper prints."""
        found: dict[RowKey, list[float]] = {}
        for table in self.tables:
            for part in table.parts if table.table.kind.compares_accuracies else ():
                for row, base in _compared(part):
                    for pair in part.pairs:
                        one, two = (find(table.table.key, part.key, key, pair) for key in (row, base))
                        if one is not None and two is not None:
                            seen = power(self.seeds, abs(one - two), self.std, paired=True) if self.seeds > 1 else 0.0
                            found.setdefault((table.table.key, row), []).append(seen)
        return found

    def units(self, kept: Set[str]) -> list[LeftOut]:
        """Those of some that may be left out: no row with which another one is compared."""
        whole = self.seconds_of(kept)
        found = []
        for name in kept:
            if not any(self._bases.get(key) in self._groups[name] for key in self._rows(kept - {name})):
                powers = [one for key in self._groups[name] for one in self._powers.get(key, ())]
                found.append(LeftOut(name, whole - self.seconds_of(kept - {name}), sum(powers), len(powers)))
        return found

    def _shared(self, kept: Set[str]) -> list[LeftOut]:
        """The same, by what each takes alone: where none saves anything, since others need the same runs."""
        return [replace(unit, saved=cost) for unit in self.units(kept) if (cost := self.seconds_of({unit.name}))]

    @cached_property
    def _bases(self) -> dict[RowKey, RowKey]:
        return {
            (table.table.key, row): (table.table.key, base)
            for table in self.tables
            for part in table.parts
            for row, base in _compared(part)
        }

    def _rows(self, names: Iterable[str]) -> set[RowKey]:
        return {key for name in names for key in self._groups[name]}

    def fitting(self) -> tuple[list[str], list[LeftOut]]:
        """What stays, and what to leave out: one after the other what decides least for what it saves, and back again,
        the last first, what still fits."""
        kept, out = [*self._groups], list[LeftOut]()
        while kept and self.seconds_of({*kept}) > self.seconds:
            units = [unit for unit in self.units({*kept}) if unit.saved > 0] or self._shared({*kept})
            if not units:
                break
            least = min(units, key=lambda unit: (unit.seen / unit.saved, -unit.saved, unit.name))
            kept.remove(least.name)
            out.append(least)
        for unit in reversed(out):
            if self.seconds_of({*kept, unit.name}) <= self.seconds:
                kept.append(unit.name)
        order = [*self._groups]
        return sorted(kept, key=order.index), [unit for unit in out if unit.name not in kept]

    def seconds_of(self, kept: Set[str]) -> float:
        """Seconds of what the rows of some groups need: their runs, the students alone beside them, the teachers."""
        rows = self._rows(kept)
        needed: set[str] = set()
        for table in self.tables:
            for part in table.parts:
                for pair in part.pairs:
                    shown = [row.key for row in part.rows if (table.table.key, row.key) in rows]
                    cells = [table.cells[part.key, row, pair] for row in shown]
                    alone = table.untaught.get(pair, ()) if cells else ()
                    needed |= {spec.run_id for specs in (*cells, alone) for spec in specs}
        specs = self.plan.all_runs
        waiting = [run_id for run_id in needed if run_id in specs]
        while waiting:
            teacher = specs[waiting.pop()].teacher_run
            if teacher in specs and teacher not in needed:
                needed.add(teacher)
                waiting.append(teacher)
        return self._price(lambda spec: spec.run_id in needed)

    def _price(self, keep: Callable[[RunSpec], bool]) -> float:
        kept = ((job, tuple(spec for spec in job.specs if keep(spec))) for job in self.plan.jobs)
        return sum(self._price_of(job, specs) for job, specs in kept if specs)

    def _price_of(self, job: PlannedJob, specs: tuple[RunSpec, ...]) -> float:
        key = job.key, tuple(spec.run_id for spec in specs)
        if key not in self._prices:
            self._prices[key] = self.price(job, specs)
        return self._prices[key]


def _compared(part: ResolvedPart) -> Iterable[tuple[str, str]]:
    """Rows, and what each is compared with: that of its block's differences, else KD, else the block's first."""
    kd = [row.key for row in part.rows if row.key == "kd"]
    for block in part.blocks:
        base = next(iter([*(difference.minus for difference in block.differences), *kd]), block.rows[0].key)
        yield from ((row.key, base) for row in block.rows if row.key != base)
