"""Varied fields as panels: a matrix of two fields, the main effects of three and more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from analysis.record.settings import STUDENT, short_name, word_of
from analysis.table import names
from analysis.table.grid import Grid
from analysis.table.layout import Row
from analysis.table.resolved import ResolvedPart
from analysis.table.stats import Summary, summarise
from analysis.table.value import Value
from trainables.recipes import Pair

Point = tuple[str, ...]
"""The JSON of a value for each of the axes."""


@dataclass(frozen=True)
class Axis:
    """A varied field and the JSON of its values."""

    path: str
    values: tuple[str, ...]

    @property
    def name(self) -> str:
        return short_name(self.path)

    @property
    def words(self) -> list[str]:
        return [word_of(value) for value in self.values]


@dataclass(frozen=True)
class Varied:
    """The combinations of one row for one pair. axes: the fields that all combinations have, as they were named."""

    row: Row
    pair: Pair
    axes: tuple[Axis, ...]
    cells: dict[Point, Value]

    @property
    def title(self) -> str:
        return f"{self.row.label}, {names.pair(self.pair)}"


def varied_of(grid: Grid, part: ResolvedPart, pair: Pair) -> Iterator[Varied]:
    """By row, the combinations that have the same fields; a row of which they differ (other rules) has none."""
    rows = {row.key: row for row in part.part.rows}
    asked = [Axis(path, values) for path, values in grid.settings.vary if path != STUDENT]
    for key in dict.fromkeys(row.varies for row in part.rows if row.varies):
        own = [row for row in part.rows if row.varies == key]
        fields = {tuple(path for path, _ in row.varied) for row in own}
        if len(fields) == 1:
            axes = tuple(axis for axis in asked if axis.path in next(iter(fields)))
            cells = {tuple(value for _, value in row.varied): grid.cells[part.key, row.key, pair] for row in own}
            yield Varied(rows[key], pair, axes, cells)


def effect(varied: Varied, axis: Axis, value: str) -> Summary:
    """Of one value of a field: the mean over all combinations with it, and its spread over the seeds they share."""
    place = varied.axes.index(axis)
    found = [cell.by_seed for point, cell in varied.cells.items() if point[place] == value]
    seeds = set.intersection(*map(set, found)) if found else set()
    return summarise(summarise(cell[seed] for cell in found).mean for seed in sorted(seeds))
