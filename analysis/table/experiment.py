"""A table of a user's own, from the definition in an experiment's file: rows of other tables, and rows as data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.record.settings import SHORT
from analysis.table.layout import Block, Part, Row, Table
from trainables.additions import remembered
from trainables.canonical import coerce
from trainables.errors import UserError
from trainables.recipes import Pair, Recipe, Schedule, Treatment, sum_of
from trainables.spec import Mixing, Temperature, params
from trainables.temperature import with_numbers

_TEMPERATURE = {short: path.partition(".")[2] for short, path in SHORT.items()}
PLAIN_FIELDS: dict[str, type] = {
    "lr": float,
    "epochs": int,
    "long": bool,
    "assistant": str,
    "membership": str,
    "method": str,
}
"""Of a row: what is one word or number."""
OF_ROW: dict[str, type] = PLAIN_FIELDS | {
    "key": str,
    "label": str,
    "note": str,
    "from": str,
    "milestones": list,
    "params": dict,
    "temperature": dict,
    "mixing": dict,
}


@dataclass(frozen=True)
class Definition:
    """A table as data.

    Attributes:
        key: Its name in files and on the command line.
        title: In print.
        caption: One sentence or more.
        rows: Keys of rows of other tables, and own rows as the JSON of their fields (OF_ROW). Own rows follow the
            others, or stand where their keys do.
    """

    key: str
    title: str = ""
    caption: str = ""
    rows: tuple[str, ...] = field(default=())

    def as_json(self) -> str:
        fields = {"key": self.key, "title": self.title, "caption": self.caption, "rows": self.rows}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def read_definition(text: str) -> Definition:
    """The definition that `as_json` wrote."""
    fields = json.loads(text)
    return Definition(**{**fields, "rows": tuple(fields["rows"])})


def make_table(definition: Definition, known: Mapping[str, Row]) -> Table:
    """The table; refuses unknown rows and fields, and two rows of one key. known: the rows of other tables."""
    own: dict[str, Row] = {}
    for text in definition.rows:
        if text.startswith("{"):
            _add(own, make_row(json.loads(text), {**own, **known}))
    rows: dict[str, Row] = {}
    for key in definition.rows:
        if not key.startswith("{"):
            _add(rows, own[key] if key in own and key not in known else _find(key, known))
    for row in own.values():
        if rows.get(row.key) is not row:
            _add(rows, row)
    return Table(
        key=definition.key,
        title=definition.title or definition.key,
        parts=(Part("main", "", lambda recipe: recipe.pairs, (Block(tuple(rows.values())),)),),
        caption=definition.caption or "Top-1 accuracy (%) of the student.",
    )


def _add(rows: dict[str, Row], row: Row) -> None:
    if row.key in rows:
        raise UserError(f"two rows are called {row.key}: give one another key")
    rows[row.key] = row


def _find(key: str, known: Mapping[str, Row], note: str = "") -> Row:
    row = known.get(key) or row_of_sum(key, known)
    if row is None:
        from trainables.commands import did_you_mean

        near = did_you_mean(key, known)
        raise UserError(f"unknown row {key!r}{f' ({near})' if near else ''}: ekd run --list shows all{note}")
    return row


def row_of_sum(key: str, rows: Mapping[str, Row]) -> Row | None:
    """`kd+crd`: both methods at once."""
    one, _, other = key.partition("+")
    if one not in rows or other not in rows:
        return None
    first, second = rows[one], rows[other]

    def treat(recipe: Recipe, pair: Pair) -> Treatment:
        return sum_of(first.treat(recipe, pair), second.treat(recipe, pair))

    return Row(key, f"{first.label} + {second.label}", treat)


def make_row(fields: Mapping[str, Any], known: Mapping[str, Row]) -> Row:
    """A row from its fields: another row (`from`) or a method, with other numbers."""
    if not fields.get("key"):
        raise UserError("a [[row]] needs a key, its name")
    key = str(fields["key"])
    if "from" in fields and "method" in fields:
        raise UserError(f"row {key}: `from` names a row to start from, `method` a method: give one of the two")
    try:
        _check_schedule(fields)
        note = ", and a [[row]] stands above those that start from it"
        base = _find(str(fields.get("from") or fields.get("method") or "kd"), known, note)
        changes = _changes(fields)
    except (TypeError, ValueError, UserError) as error:
        raise UserError(f"row {key}: {error}") from error

    def treat(recipe: Recipe, pair: Pair) -> Treatment:
        return _change_numbers(base.treat(recipe, pair), changes, fields, recipe)

    label, note = str(fields.get("label", key)), str(fields.get("note", ""))
    return Row(key, label, treat, note)


def _check_schedule(fields: Mapping[str, Any]) -> None:
    if fields.get("epochs", 1) < 1:
        raise UserError(f"epochs {fields['epochs']} must be at least 1")
    if any(type(mark) is not int for mark in fields.get("milestones", ())):
        raise UserError(f"milestones must be whole numbers, not {json.dumps(fields['milestones'])}")


def _changes(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a treatment that a row sets, but for its schedule."""
    changes: dict[str, Any] = {
        name: coerce(fields[name], PLAIN_FIELDS[name])
        for name in ("lr", "long", "assistant", "membership")
        if name in fields
    }
    if "params" in fields:
        changes["params"] = params(**fields["params"])
    if "temperature" in fields:
        named = {_TEMPERATURE.get(name, name): value for name, value in fields["temperature"].items()}
        if isinstance(named.get("values"), list):
            named["values"] = tuple(named["values"])
        changes["temperature"] = Temperature(**with_numbers(named))
    if "mixing" in fields:
        changes["mixing"] = Mixing(**fields["mixing"])
    return changes


def _change_numbers(
    treatment: Treatment, changes: Mapping[str, Any], fields: Mapping[str, Any], recipe: Recipe
) -> Treatment:
    """The treatment with other numbers: those of the method's own `params` one by one, the rest as a whole."""
    own = dict(changes)
    if "params" in own:
        own["params"] = params(**(dict(treatment.params) | dict(own["params"])))
    if "epochs" in fields or "milestones" in fields:
        usual = recipe.schedule_of(replace(treatment, **own))
        scaled = usual.scaled(fields["epochs"]) if "epochs" in fields else usual
        marks: Sequence[int] = fields.get("milestones", scaled.milestones)
        own["schedule"] = Schedule(scaled.epochs, tuple(marks))
    return replace(treatment, **own)


@remembered
def own_table(text: str, known: tuple[Row, ...]) -> Table:
    """The table of a definition's JSON."""
    return make_table(read_definition(text), {row.key: row for row in known})
