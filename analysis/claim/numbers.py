"""The numbers that a claim is held against: those that the paper prints, and those of the ledger's runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.claim.kinds import MOST, SOME, Above, Alike, Claim, Contest, UpTo
from analysis.claim.rules import Unit, counted, rounding
from analysis.record.settings import Settings
from analysis.table import names, published
from analysis.table.grid import Grid
from analysis.table.layout import Part, Table, increase_key
from analysis.table.resolved import CellKey
from analysis.table.stats import paired
from analysis.table.value import Value
from trainables import datasets
from trainables.recipes import Pair

HOLDS, FAILS, NO_NUMBERS = "holds", "fails", "no numbers"
EXACT = 1e-6
"""Below any printed decimal."""


@dataclass(frozen=True)
class Printed:
    """A contest of the paper's own numbers: the best row and the strongest of the others, in one pair."""

    pair: Pair
    place: str
    row: str
    over: str
    number: float
    other: float

    @property
    def gain(self) -> float:
        return self.number - self.other

    @property
    def words(self) -> str:
        return f"{self.place}: {self.number:.2f} against {self.other:.2f}"


@dataclass(frozen=True)
class InThePaper:
    """word: one of the three above. words: what its cells come to, with those that decide. cells: all of them."""

    word: str
    words: str
    cells: tuple[Printed, ...] = ()

    @property
    def answer(self) -> str:
        return self.words if self.word == NO_NUMBERS else f"{self.word}: {self.words}"


def in_the_paper(claim: Claim, tables: Mapping[str, Table]) -> InThePaper:
    """Whether the paper's own tables give what it claims."""
    cells = tuple(_read_printed(claim, tables))
    if not cells:
        return InThePaper(NO_NUMBERS, "the paper prints no numbers")
    kind = claim.kind
    if isinstance(kind, UpTo):
        largest = max(cells, key=lambda cell: cell.gain)
        word = HOLDS if abs(largest.gain - kind.points) <= rounding(kind.points) + EXACT else FAILS
        return InThePaper(word, f"largest gain {largest.gain:+.2f}, {largest.words}", cells)
    if isinstance(kind, Alike):
        yes = [cell for cell in cells if abs(cell.gain) <= kind.margin + EXACT]
    else:
        yes = [cell for cell in cells if cell.gain > (EXACT if not kind.margin else -kind.margin - EXACT)]
    no = [cell for cell in cells if cell not in yes]
    scope = kind.scope if isinstance(kind, Above) else ""
    holds = {SOME: bool(yes), MOST: len(yes) > len(no)}.get(scope, not no)
    total = f"{len(cells)} {counted([cell.pair for cell in cells])}"
    if len(cells) == 1:
        words = cells[0].words
    elif not no or not yes:
        gains = [cell.gain for cell in cells]
        words = f"in {len(yes)} of {total} (differences {min(gains):+z.2f} to {max(gains):+z.2f})"
    elif scope == SOME and yes:
        words = f"in {len(yes)} of {total}: {'; '.join(cell.words for cell in yes)}"
    else:
        words = f"in {len(yes)} of {total}; not in {'; '.join(cell.words for cell in no)}"
    return InThePaper(HOLDS if holds else FAILS, words, cells)


def parts_of(claim: Claim, table: Table) -> list[Part]:
    """The parts of a table that a claim speaks of."""
    named = [part for part in table.parts if not claim.parts or part.key in claim.parts]
    return [part for part in named if {*claim.rows} <= {row.key for row in part.rows}]


def _place(claim: Claim, table: Table, part: Part, pair: Pair) -> str:
    """The column in words, with its part where the claim speaks of several."""
    words = f"{names.network(pair.teacher)}/{names.network(pair.student)}"
    return f"{words} ({part.title})" if len(parts_of(claim, table)) > 1 else words


def _base(claim: Claim) -> str:
    return claim.kind.base if isinstance(claim.kind, Above) else ""


def _read_printed(claim: Claim, tables: Mapping[str, Table]) -> Iterator[Printed]:
    base = _base(claim)
    for table in (tables[name] for name in claim.tables):
        for part in parts_of(claim, table):
            for pair in part.pairs(datasets.find(table.dataset).recipe):
                keys = {row: increase_key(row, base) if base else row for row in claim.rows}
                found = {row: published.find(table.key, part.key, key, pair) for row, key in keys.items()}
                numbers = {row: number for row, number in found.items() if number is not None}
                for contest in claim.contests:
                    if {*contest.rows, *contest.over} <= numbers.keys():
                        yield _find_best(contest, numbers, pair, _place(claim, table, part, pair))


def _find_best(contest: Contest, numbers: Mapping[str, float], pair: Pair, place: str) -> Printed:
    row, over = max(contest.rows, key=numbers.__getitem__), max(contest.over, key=numbers.__getitem__)
    return Printed(pair, place, row, over, numbers[row], numbers[over])


def in_the_ledger(claim: Claim, grids: Sequence[tuple[Grid, Mapping[CellKey, str]]]) -> tuple[list[Unit], int]:
    """The contests that the runs allow, and how many lack runs. grids: of the claim's tables, each with the reasons
    why an entry cannot be compared with the paper's.

    Two tables that show the same runs (Tables 1 and 2 of pairs that the paper does not have) give them once.
    """
    units, lacking, seen = [], 0, set()
    for grid, unlike in grids:
        pairs = {part.key: part.pairs for part in grid.resolved.parts}
        for part in parts_of(claim, grid.table):
            own = part.pairs(datasets.find(grid.table.dataset).recipe)
            for pair in pairs[part.key]:
                values = {row: grid.cells[part.key, row, pair] for row in claim.rows}
                runs = (part.number, *(value.runs for value in values.values()))
                if runs in seen:
                    continue
                seen.add(runs)
                numbers = _numbers(values, _base(claim))
                place = _place(claim, grid.table, part, pair)
                strange = "not a pair of the paper's table" if grid.comparable and pair not in own else ""
                for contest in claim.contests:
                    unit = _unit(contest, values, numbers, pair, place)
                    if unit is None:
                        lacking += 1
                        continue
                    keys = [(part.key, row, pair) for row in (*contest.rows, *contest.over)]
                    other = next((unlike[key] for key in keys if unlike.get(key)), "")
                    units.append(replace(unit, unlike=", ".join(filter(None, (strange, other)))))
    return units, lacking


def _numbers(values: Mapping[str, Value], base: str) -> dict[str, dict[int, float]]:
    """Each row's numbers by seed; with a base, by how much per cent they are above it."""
    if not base:
        return {row: value.by_seed for row, value in values.items()}
    least = values[base].by_seed
    return {
        row: {seed: 100 * (number / least[seed] - 1) for seed, number in value.by_seed.items() if least.get(seed)}
        for row, value in values.items()
    }


def _unit(
    contest: Contest,
    values: Mapping[str, Value],
    numbers: Mapping[str, dict[int, float]],
    pair: Pair,
    place: str,
) -> Unit | None:
    """None where two of its rows share no seed."""
    found = [[paired(numbers[row], numbers[other]) for other in contest.over] for row in contest.rows]
    whole = [tuple(one for one in row if one) for row in found]
    if any(len(row) < len(contest.over) for row in whole):
        return None
    labels = {row: values[row].label.replace("*", "").removeprefix("w/ ") for row in (*contest.rows, *contest.over)}
    rows, over = (tuple(labels[row] for row in rows) for rows in (contest.rows, contest.over))
    return Unit(pair, place, rows, over, tuple(whole))


def widened(settings: Settings, table: Table, rows: tuple[str, ...]) -> Settings:
    """A sweep's settings for all of some rows, and for all of the table's own pairs unless it asked for others."""
    own = {pair.key for part in table.parts for pair in part.pairs(settings.recipe)}
    return replace(settings, rows=rows, pairs=() if {*settings.pairs} <= own else settings.pairs)
