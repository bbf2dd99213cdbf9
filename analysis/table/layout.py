"""A table as data: parts, rows, columns (teacher-student pairs), differences; and the cells that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from analysis.record.settings import Settings, assistant_spec, parse_pair, student_spec, teacher_spec, vanilla_spec
from trainables.errors import UserError
from trainables.recipes import CIFAR100, Pair, Recipe, Treatment
from trainables.spec import RunSpec

TIMING_EPOCHS = 4
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


@dataclass(frozen=True)
class Cell:
    """One entry of a table: a run for each seed."""

    part: str
    row: str
    pair: Pair
    specs: tuple[RunSpec, ...]


def paper_pairs(
    *own: Pair, otherwise: int | None = None, paper: Recipe = CIFAR100
) -> Callable[[Recipe], tuple[Pair, ...]]:
    """The paper's columns where its recipe (`paper`) is used; else the recipe's own pairs (the first `otherwise`)."""
    return lambda source: own if source is paper else source.pairs[:otherwise]


def chosen_pairs(part: Part, settings: Settings) -> tuple[Pair, ...]:
    """The columns: those asked for, once each, else the table's own."""
    asked = tuple(parse_pair(text) for text in dict.fromkeys(settings.pairs))
    return asked or part.pairs(settings.recipe)


def settings_for(table: Table, settings: Settings) -> Settings:
    """What a table trains by: its own data set where that is left to it; a picture one seed; a cost table few epochs,
    but more than the first, which warms up."""
    settings = settings.on(table.dataset)
    if table.plot in PICTURES:
        return replace(settings, seeds=1)
    if table.metric != "cost":
        return settings
    if settings.epochs is None:
        return replace(settings, epochs=TIMING_EPOCHS)
    if settings.epochs < 2:
        raise UserError(f"{table.key} measures seconds per epoch without the first: use --epochs 2 or more")
    return settings


def chosen_rows(part: Part, settings: Settings) -> tuple[Row, ...]:
    """The rows asked for that this part has, else all."""
    return tuple(row for row in part.rows if not settings.rows or row.key in settings.rows)


def chosen_parts(table: Table, settings: Settings) -> tuple[Part, ...]:
    """The parts that have any of the rows asked for."""
    return tuple(part for part in table.parts if chosen_rows(part, settings))


def taught_parts(table: Table, settings: Settings) -> tuple[Part, ...]:
    """The parts that need their teachers: those chosen, and those without rows, which show a teacher alone."""
    return tuple(part for part in table.parts if not part.rows or chosen_rows(part, settings))


def check_rows(tables: list[Table], settings: Settings) -> None:
    known = sorted({row.key for table in tables for part in table.parts for row in part.rows})
    unknown = [row for row in settings.rows if row not in known]
    if unknown:
        raise UserError(f"unknown row {', '.join(unknown)}: {', '.join(t.key for t in tables)} has {', '.join(known)}")


def cells(table: Table, settings: Settings) -> list[Cell]:
    """Every distillation cell of a table under these settings."""
    settings = settings_for(table, settings)
    seeds = range(1, settings.seeds + 1)
    return [
        Cell(
            part.key,
            row.key,
            pair,
            tuple(
                student_spec(settings, pair, row.treat(settings.recipe, pair), seed, timing=table.metric == "cost")
                for seed in seeds
            ),
        )
        for part in chosen_parts(table, settings)
        for row in chosen_rows(part, settings)
        for pair in chosen_pairs(part, settings)
    ]


def vanilla_runs(table: Table, settings: Settings) -> Iterator[RunSpec]:
    """The students without a teacher that the table prints above its rows."""
    settings = settings_for(table, settings)
    for part in chosen_parts(table, settings):
        if part.accuracies:
            for pair in chosen_pairs(part, settings):
                yield from (vanilla_spec(settings, pair, seed) for seed in range(1, settings.seeds + 1))


def teacher_runs(table: Table, settings: Settings) -> Iterator[RunSpec]:
    """The teachers and assistants that must be trained, in the order of the columns, each after its own teacher."""
    settings = settings_for(table, settings)
    given = dict(settings.teachers)
    for part in taught_parts(table, settings):
        for pair in chosen_pairs(part, settings):
            if pair.teacher not in given:
                yield teacher_spec(settings, pair.teacher)
            for row in chosen_rows(part, settings):
                assistant = row.treat(settings.recipe, pair).assistant
                if assistant is not None:
                    yield assistant_spec(settings, pair, assistant)


def run_ids(table: Table, settings: Settings, *, earlier: bool = False) -> list[str]:
    """Every run whose record the table shows or uses; on request also what it was in earlier revisions."""
    if not table.trains:
        return []
    specs = [spec for cell in cells(table, settings) for spec in cell.specs]
    specs += [*vanilla_runs(table, settings), *teacher_runs(table, settings)]
    return list(dict.fromkeys(each.run_id for spec in specs for each in (spec, *(spec.earlier if earlier else ()))))


def on_paper_data(table: Table, settings: Settings) -> bool:
    """Whether the runs see the images of the paper's table: its data set, and not a user's own part of it."""
    return settings.dataset == table.dataset and not settings.data


def increase_key(row: str, baseline: str) -> str:
    return f"{row} over {baseline}"
