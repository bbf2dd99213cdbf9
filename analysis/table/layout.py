"""A table as data: parts, rows, columns (teacher-student pairs), differences."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from analysis.table.kinds import ACCURACY, TableKind
from trainables.recipes import CIFAR100, Pair, Recipe, Treatment

PAPER_TITLE = re.compile(r"((?:Table|Figure) \d+): (.*)", re.DOTALL)
"""Of a table or a figure of the paper."""


@dataclass(frozen=True)
class Row:
    """One way of teaching.

    Attributes:
        key: Its name for --rows.
        label: Its name in print.
        treat: Returns how a student is taught, for the recipe of a data set and a pair of networks.
        note: A sentence below the table (an assumption, a lost number).
        varied: Fields of its runs that are set, and the JSON of their values.
        varies: The key of the row of which this is one combination of varied fields.
    """

    key: str
    label: str
    treat: Callable[[Recipe, Pair], Treatment]
    note: str = ""
    varied: tuple[tuple[str, str], ...] = ()
    varies: str = ""


@dataclass(frozen=True)
class Difference:
    """A row that is computed from others, as the paper's rows * and **.

    Attributes:
        label: Its name in print.
        best: The keys of rows, of which the best counts.
        minus: The key of the row that is subtracted.
    """

    label: str
    best: tuple[str, ...]
    minus: str

    @property
    def key(self) -> str:
        """Its name among a part's rows, where two blocks may both have a `*`."""
        return f"{self.label} {self.minus}"


@dataclass(frozen=True)
class Block:
    """Consecutive rows and their differences. The best number of the rows is bold.

    Attributes:
        more: Returns a row that is not among the rows, by a key that was asked for; None where there is no such row.
    """

    rows: tuple[Row, ...]
    differences: tuple[Difference, ...] = ()
    more: Callable[[str], Row | None] | None = None


@dataclass(frozen=True)
class Part:
    """A table, or one of several sub-tables side by side.

    Attributes:
        key: Its name in files.
        title: Its name in print. Empty if the table has no other part.
        pairs: Returns the columns, for the recipe of a data set.
        blocks: Its rows.
        accuracies: Whether the accuracies of the teacher and of the untaught student stand above the rows. They are
            trained for that.
        number: Which number of a run it shows, `top1` or `top5`, in per cent.
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

    def has(self, key: str) -> bool:
        """Whether a row of that key can be asked for."""
        made = (block.more(key) for block in self.blocks if block.more is not None)
        return key in {row.key for row in self.rows} or any(row is not None for row in made)


@dataclass(frozen=True)
class Table:
    """A table or a figure, of the paper or not."""

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

    @property
    def of_paper(self) -> bool:
        """Whether it, or some of its rows, is in the paper; else nothing is said of the paper with it."""
        return PAPER_TITLE.fullmatch(self.title) is not None or bool(self.published_in)


def paper_pairs(
    *own: Pair, otherwise: int | None = None, paper: Recipe = CIFAR100
) -> Callable[[Recipe], tuple[Pair, ...]]:
    """Return a `Part.pairs`: `own` on the data set of `paper`, else the recipe's first `otherwise` pairs."""
    return lambda source: own if source.name == paper.name else source.pairs[:otherwise]


def increase_key(row: str, baseline: str) -> str:
    return f"{row} over {baseline}"
