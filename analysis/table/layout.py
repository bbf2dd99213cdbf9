"""A table as data: parts, rows, columns (teacher-student pairs), differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analysis.table.kinds import ACCURACY, TableKind
from trainables.recipes import CIFAR100, Pair, Recipe, Treatment


@dataclass(frozen=True)
class Row:
    """One way of teaching. `note` is shown below the table (an assumption, a lost number)."""

    key: str
    label: str
    treat: Callable[[Recipe, Pair], Treatment]
    note: str = ""


@dataclass(frozen=True)
class Difference:
    """A derived row: the best of `best` minus the row `minus` (the paper's * and ** rows)."""

    label: str
    best: tuple[str, ...]
    minus: str

    @property
    def key(self) -> str:
        """Its name among a part's rows, where two blocks may both have a `*`."""
        return f"{self.label} {self.minus}"


@dataclass(frozen=True)
class Block:
    """Consecutive rows within which the best number is printed bold, then their differences."""

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Part:
    """A table, or one of the sub-tables printed side by side. pairs: of the recipe of a data set.

    accuracies: the teacher's and the untaught student's accuracy stand above the rows (and are trained for it).
    number: which number of a run its entries show, `top1` or `top5` (per cent).
    """

    key: str
    title: str
    pairs: Callable[[Recipe], tuple[Pair, ...]]
    blocks: tuple[Block, ...]
    accuracies: bool = True
    number: str = "top1"

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(row for block in self.blocks for row in block.rows)


@dataclass(frozen=True)
class Table:
    """A table or a figure of the paper, or one that the paper does not have."""

    key: str
    title: str
    parts: tuple[Part, ...]
    caption: str
    kind: TableKind = ACCURACY
    paper_note: str = ""
    """About the published numbers; shown where they are."""
    dataset: str = "cifar100"
    """The one that the paper's table is about."""
    published_in: tuple[Table, ...] = ()
    """Tables of the paper that have some of the same rows. Their numbers, the first one's first, are shown where the
    runs are the same."""


def paper_pairs(
    *own: Pair, otherwise: int | None = None, paper: Recipe = CIFAR100
) -> Callable[[Recipe], tuple[Pair, ...]]:
    """The paper's columns on its data set (that of `paper`); else the recipe's own pairs, the first `otherwise`."""
    return lambda source: own if source.name == paper.name else source.pairs[:otherwise]


def increase_key(row: str, baseline: str) -> str:
    return f"{row} over {baseline}"
