"""A table as data: parts, rows, columns (teacher-student pairs), differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trainables.recipes import CIFAR100, Pair, Recipe, Treatment

PICTURES = ("images", "predictions", "embedding", "correlation")
"""Plots that are drawn from weights and images, of one seed, rather than from numbers of the ledger."""


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
    """metric: `top1` (per cent), `cost` (seconds per epoch: such runs share nothing while they train) or `settings`
    (the hyperparameters of the runs of a part's one row; nothing is trained for it).

    baselines: the rows over which a cost table shows the others' increase. plot: how a figure shows the table, `dots`
    (a row each), `rates` (curves against the rate of the mixing) or one of PICTURES. paper_note: about the published
    numbers; shown where they are. dataset: the one that the paper's table is about. published_in: tables of the paper
    that have some of the same rows; their numbers, the first one's first, are shown where the runs are the same.
    """

    key: str
    title: str
    parts: tuple[Part, ...]
    caption: str
    metric: str = "top1"
    baselines: tuple[str, ...] = ()
    plot: str = "dots"
    paper_note: str = ""
    dataset: str = "cifar100"
    published_in: tuple[Table, ...] = ()

    @property
    def trains(self) -> bool:
        return self.metric != "settings"


def paper_pairs(
    *own: Pair, otherwise: int | None = None, paper: Recipe = CIFAR100
) -> Callable[[Recipe], tuple[Pair, ...]]:
    """The paper's columns where its recipe (`paper`) is used; else the recipe's own pairs (the first `otherwise`)."""
    return lambda source: own if source is paper else source.pairs[:otherwise]


def increase_key(row: str, baseline: str) -> str:
    return f"{row} over {baseline}"
