"""The paper's own numbers, as CSV files beside the tables: part, row, teacher, student, value, source.

A source says `there from earlier papers` where the paper copies the number: where its text or its code's notes say so
(the methods before it in Tables 1 and 2; feature-based methods, DML and TAKD; CutMix of all images), and where it
prints the same number for the same row and pair of CIFAR-100 again.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from trainables.errors import UserError
from trainables.recipes import Pair

FOLDER = Path(__file__).parent / "paper" / "published"
COPIED = "there from earlier papers"


@dataclass(frozen=True)
class Published:
    """A number as printed (`text`) and where. Empty teacher and student: the paper does not name the pair."""

    part: str
    row: str
    teacher: str
    student: str
    text: str
    source: str

    @property
    def value(self) -> float:
        return float(self.text)

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
    texts = {field.name: line["value" if field.name == "text" else field.name] or "" for field in fields(Published)}
    number = Published(**texts)
    if not math.isfinite(number.value):
        raise ValueError(f"{number.text} is no number")
    return number


def look_up(table: str, part: str, row: str, pair: Pair) -> Published | None:
    """The paper's number of one entry, if it has one, with its source."""
    numbers = published(table)
    return numbers.get((part, row, pair.teacher, pair.student)) or numbers.get((part, row, "", ""))


def find(table: str, part: str, row: str, pair: Pair) -> float | None:
    number = look_up(table, part, row, pair)
    return None if number is None else number.value
