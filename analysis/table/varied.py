"""Varied fields: every combination of their values makes a row of its own of a row that has the fields."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import product
from typing import Any

from analysis.record.settings import (
    LISTS,
    SHORT,
    STUDENT,
    Settings,
    check_override,
    parse_value,
    short_name,
    split_field,
    word_of,
)
from analysis.record.specs import has_field, student_spec
from analysis.table.layout import Row
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import RunSpec
from trainables.temperature import KNOWN

MOST_VALUES = 1000
"""Of one field."""
REFERENCE = "kd"
"""The key of the row that stands beside what is varied, where a table has it."""


def parse_varied(text: str) -> tuple[str, tuple[str, ...]]:
    """FIELD=A,B,... or FIELD=LOW:HIGH:STEP as a field and the JSON of its values, each once, numbers in order."""
    field, equals, values = split_field(text)
    if not (field and equals and values.strip(",")):
        raise argparse.ArgumentTypeError(f"{text!r} should be FIELD=A,B,... or FIELD=LOW:HIGH:STEP, such as T+=1,2,4")
    path = SHORT.get(field, field)
    if path in LISTS:
        raise argparse.ArgumentTypeError(
            f"{field} is a list, which cannot be varied; --set {field}=1,2 sets it for all"
        )
    if path != STUDENT:
        try:
            check_override(path)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
    found = [_whole(each) for word in filter(None, values.split(",")) for each in _values(path, word, text)]
    if all(type(value) in (int, float) for value in found):
        found.sort()
    return path, tuple(dict.fromkeys(json.dumps(value) for value in found))


def _values(path: str, word: str, text: str) -> list[Any]:
    parts = word.split(":")
    numbers = [_decimal(part) for part in parts]
    if path == STUDENT or len(parts) == 1 or None in numbers:
        return [word if path == STUDENT else parse_value(word)]
    low, high, step = (*numbers, None, None)[:3]
    if len(parts) != 3 or low is None or high is None or step is None or step <= 0 or low > high:
        raise argparse.ArgumentTypeError(
            f"{text!r}: a range is LOW:HIGH:STEP, LOW below HIGH and STEP above 0, such as r=0.1:0.5:0.1"
        )
    count = int((high - low) / step) + 1
    if count > MOST_VALUES:
        raise argparse.ArgumentTypeError(f"{text!r}: that is {count:,} values; at most {MOST_VALUES:,} can be varied")
    return [parse_value(format((low + step * index).normalize(), "f")) for index in range(count)]


def _whole(value: Any) -> Any:
    """4 for 4.0, which is the same value."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _decimal(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


@dataclass(frozen=True)
class Combinations:
    """The combinations of one row.

    rows: of those that can be trained, each with its `varied` fields.
    left_out: a line for each that cannot.
    """

    rows: tuple[Row, ...] = ()
    left_out: tuple[str, ...] = ()


def combine(row: Row, settings: Settings, pairs: Sequence[Pair]) -> Combinations:
    """A row for every combination of the varied fields that the row's runs have; nothing where they have none."""
    axes = [[(path, value) for value in values] for path, values in settings.vary if path != STUDENT]
    if not axes or not pairs:
        return Combinations()
    usual = row_spec(settings, row, pairs[0])
    found: dict[str, Row] = {}
    left_out: dict[str, str] = {}
    for point in product(*axes):
        own = _fields_of(usual, point, dict(settings.overrides))
        words = in_words(own)
        if not own or words in found or words in left_out:
            continue
        try:
            for pair in pairs:
                _check_rule(student_spec(settings, pair, row.treat(settings.recipe, pair), 1, varied=own))
        except UserError as error:
            left_out[words] = f"{row.label}, {words}: {error}"
            continue
        found[words] = replace(
            row, key=f"{row.key}[{words.replace(' ', '')}]", label=f"{row.label}, {words}", varied=own, varies=row.key
        )
    return Combinations(tuple(found.values()), tuple(left_out.values()))


def row_spec(settings: Settings, row: Row, pair: Pair, *, timing: bool = False) -> RunSpec:
    """The run of a row's first seed; what is wrong in a user's own table is told with the row."""
    try:
        return student_spec(settings, pair, row.treat(settings.recipe, pair), 1, varied=row.varied, timing=timing)
    except UserError as error:
        if not settings.own_table:
            raise
        raise UserError(f"row {row.key}: {error}") from error


def in_words(varied: Sequence[tuple[str, str]]) -> str:
    """`T+ = 1, T- = -2`"""
    return ", ".join(f"{short_name(path)} = {word_of(value)}" for path, value in varied)


def _fields_of(
    usual: RunSpec, point: Sequence[tuple[str, str]], overrides: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Those of a point's fields that the run has, by the rule of the point."""
    values = {path: parse_value(value) for path, value in ({**overrides} | dict(point)).items()}
    temperature = usual.temperature
    rule = str(values.get("temperature.rule", temperature.rule if temperature else ""))
    return tuple((path, value) for path, value in point if has_field(usual, path, values) and _rule_has(rule, path))


def _check_rule(spec: RunSpec) -> None:
    """Refuse numbers that a rule of its own numbers does not take."""
    if spec.temperature is not None and spec.temperature.rule not in KNOWN:
        from trainables.rules import rule_of  # With torch.

        rule_of(spec)


def _rule_has(rule: str, path: str) -> bool:
    outer, _, inner = path.rpartition(".")
    if outer != "temperature" or inner == "rule" or not rule or rule in KNOWN:
        return True
    from trainables.rules import fields_of  # With torch.

    return inner in fields_of(rule)


def with_students(pairs: Sequence[Pair], settings: Settings) -> tuple[Pair, ...]:
    """The pairs, each with every student where students are varied."""
    students = [word_of(value) for value in dict(settings.vary).get(STUDENT, ())]
    return tuple(dict.fromkeys(Pair(pair.teacher, student) for pair in pairs for student in students or [pair.student]))
