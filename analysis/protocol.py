"""By which numbers each row of a table is trained, resolved: what all rows share once, the rest row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from analysis.layout import Table, cells, chosen_pairs, chosen_parts, settings_for
from analysis.settings import Settings, vanilla_spec
from trainables.recipes import Pair
from trainables.spec import Mixing, RunSpec, Temperature

Column = Mapping[Pair, RunSpec]
Parts = Callable[[RunSpec], dict[str, str]]
NOTHING = "-"


@dataclass
class Protocol:
    """rows: a label and a text for each of `heads`. common: what holds for every row. notes: pairs that differ."""

    heads: list[str]
    rows: list[list[str]]
    common: str
    notes: list[str] = field(default_factory=list)


def protocol(table: Table, settings: Settings) -> Protocol:
    """The numbers of a table's rows (those of the first seed stand for all)."""
    rows = _rows(table, settings_for(table, settings))
    notes: list[str] = []
    shared = {name: column for name, parts in _FIELDS.items() if (column := _shared(rows.values(), parts)) is not None}
    common = {name: _text(column, _FIELDS[name], notes) for name, column in shared.items()}
    own = [name for name in _FIELDS if name not in shared]
    return Protocol(
        heads=["row", *own],
        rows=[[row, *(_text(column, _FIELDS[name], notes) for name in own)] for row, column in rows.items()],
        common=", ".join(f"{name} {text}" for name, text in common.items() if text != NOTHING),
        notes=[f"[{number}] {note}" for number, note in enumerate(notes, 1)],
    )


def _rows(table: Table, settings: Settings) -> dict[str, dict[Pair, RunSpec]]:
    rows: dict[str, dict[Pair, RunSpec]] = {}
    for cell in cells(table, settings):
        rows.setdefault(cell.row, {})[cell.pair] = cell.specs[0]
    alone = {
        pair: vanilla_spec(settings, pair, 1)
        for part in chosen_parts(table, settings)
        if part.accuracies
        for pair in chosen_pairs(part, settings)
    }
    return rows | ({"(no teacher)": alone} if alone else {})


def _shared(rows: Iterable[Column], parts: Parts) -> Column | None:
    """All pairs of all rows together, if the rows say the same: pair by pair, and for most pairs."""
    together: dict[Pair, RunSpec] = {}
    usual = None
    for column in rows:
        for pair, spec in column.items():
            if parts(together.setdefault(pair, spec)) != parts(spec):
                return None
        most = Counter(str(parts(spec)) for spec in column.values()).most_common(1)[0][0]
        if usual not in (None, most):
            return None
        usual = most
    return together


def _text(column: Column, parts: Parts, notes: list[str]) -> str:
    """What most pairs have, with a mark where a note says what the others have instead."""
    by_pair = {pair: parts(spec) for pair, spec in column.items()}
    words = []
    for name in dict.fromkeys(name for found in by_pair.values() for name in found):
        values = {pair: found.get(name, NOTHING) for pair, found in by_pair.items()}
        usual = Counter(values.values()).most_common(1)[0][0]
        words.append(f"{name} {usual}".strip() + _mark(values, usual, notes))
    return ", ".join(words)


def _mark(values: Mapping[Pair, str], usual: str, notes: list[str]) -> str:
    others: dict[str, list[str]] = {}
    for pair, value in values.items():
        if value != usual:
            others.setdefault(value, []).append(_who(pair, values))
    if not others:
        return ""
    note = "; ".join(f"{value} for {', '.join(sorted(set(who)))}" for value, who in sorted(others.items()))
    if note not in notes:
        notes.append(note)
    return f" [{notes.index(note) + 1}]"


def _who(pair: Pair, values: Mapping[Pair, str]) -> str:
    """The student, where its value is the same under every teacher; else the pair."""
    same = {value for other, value in values.items() if other.student == pair.student}
    return pair.student if len(same) == 1 and not _by_teacher(values) else pair.key


def _by_teacher(values: Mapping[Pair, str]) -> bool:
    """Whether some student has different values under different teachers."""
    students: dict[str, set[str]] = {}
    for pair, value in values.items():
        students.setdefault(pair.student, set()).add(value)
    return any(len(found) > 1 for found in students.values())


def _method(spec: RunSpec) -> dict[str, str]:
    return {"": spec.method} | {name: f"{number:g}" for name, number in spec.params}


def _temperature(spec: RunSpec) -> dict[str, str]:
    if spec.teacher is None:
        return {"": NOTHING}
    return _TEMPERATURES.get(spec.temperature.rule, _ends)(spec.temperature)


def _ends(temperature: Temperature) -> dict[str, str]:
    middle = f"{temperature.base:g}"
    plus, minus = f"{temperature.base + temperature.plus:g}", f"{temperature.base + temperature.minus:g}"
    low, high = (minus, plus) if temperature.rule == "reversed" else (plus, minus)
    low = middle if temperature.rule == "high" else low
    high = middle if temperature.rule == "low" else high
    return {"low energy": low, "other": middle, "high": high, "r": f"{temperature.rate:g}"}


_TEMPERATURES: dict[str, Callable[[Temperature], dict[str, str]]] = {
    "plain": lambda temperature: {"": f"{temperature.base:g}"},
    "gradation": lambda temperature: {
        "from low to high energy": " ".join(f"{value:.3g}" for value in temperature.values)
    },
}


def _mixing(mixing: Mixing | None) -> dict[str, str]:
    if mixing is None:
        return {"": NOTHING}
    rate = "" if mixing.selection == "all" else f" {mixing.rate * 100:g} %"
    return {mixing.operation: mixing.selection + rate, "alpha": f"{mixing.alpha:g}"}


_FIELDS: dict[str, Parts] = {
    "method": _method,
    "T": _temperature,
    "mixing": lambda spec: _mixing(spec.mixing),
    "epochs": lambda spec: {"": str(spec.epochs)},
    "lr": lambda spec: {"": f"{spec.lr:g}"},
    "x": lambda spec: {"": f"{spec.lr_decay:g}"},
    "after": lambda spec: {"": " ".join(map(str, spec.milestones)) or NOTHING},
    "batch": lambda spec: {"": str(spec.batch_size)},
    "momentum": lambda spec: {"": f"{spec.momentum:g}"},
    "weight decay": lambda spec: {"": f"{spec.weight_decay:g}"},
    "augmentation": lambda spec: {"": spec.augmentation},
    "precision": lambda spec: {"": spec.precision},
    "train fraction": lambda spec: {"": f"{spec.train_fraction:g}"},
}
