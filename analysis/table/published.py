"""The paper's own numbers, as CSV files beside the tables: part, row, teacher, student, value, epoch, runs, source.

A source says `there from earlier papers` where the paper copies the number: where an earlier paper or its repository
prints the same number, where the paper says so, and where the paper repeats such a number. Accuracies have the
columns `epoch` and `runs`; tables of costs and of hyperparameters do not. `docs/published.md` lists the sources.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from trainables.errors import UserError
from trainables.recipes import Pair

FOLDER = Path(__file__).parents[1] / "paper" / "published"
COPIED = "there from earlier papers"
UNKNOWN = "unknown"
EPOCHS = ("last", "best", "mixed", UNKNOWN)


@dataclass(frozen=True)
class Published:
    """A number, as printed (`text`), and where. Empty teacher and student: the paper does not name the pair.

    epoch: the test epoch of an accuracy, one of EPOCHS (`mixed`: the best epoch of one row minus the last of another);
    empty for other numbers. runs: how many runs it is the mean of; None where no source says it.
    """

    part: str
    row: str
    teacher: str
    student: str
    text: str
    value: float
    source: str
    epoch: str = ""
    runs: int | None = None

    @property
    def copied(self) -> bool:
        return COPIED in self.source


@cache
def published(table: str) -> dict[tuple[str, str, str, str], Published]:
    """The published numbers of a table by (part, row, teacher, student); none where the paper's are not known."""
    path = FOLDER / f"{table}.csv"
    if not path.exists():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        try:
            numbers = [_number(line) for line in csv.DictReader(file)]
        except (csv.Error, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} cannot be read ({error!r}): restore it") from error
    return {(number.part, number.row, number.teacher, number.student): number for number in numbers}


def _number(line: Mapping[str, str | None]) -> Published:
    texts = {name: line[name] or "" for name in ("part", "row", "teacher", "student", "source")}
    text, epoch, times = line["value"] or "", line.get("epoch", "") or "", line.get("runs", UNKNOWN)
    value, runs = float(text), None if times == UNKNOWN else int(times or "")
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    if "epoch" in line and epoch not in EPOCHS:
        raise ValueError(f"{epoch!r} is none of {', '.join(EPOCHS)}")
    if runs is not None and runs < 1:
        raise ValueError(f"{times!r} is no number of runs")
    return Published(text=text, value=value, epoch=epoch, runs=runs, **texts)


def look_up(table: str, part: str, row: str, pair: Pair) -> Published | None:
    """The paper's number of one entry, if it has one, with its source."""
    numbers = published(table)
    return numbers.get((part, row, pair.teacher, pair.student)) or numbers.get((part, row, "", ""))


def find(table: str, part: str, row: str, pair: Pair) -> float | None:
    number = look_up(table, part, row, pair)
    return None if number is None else number.value
