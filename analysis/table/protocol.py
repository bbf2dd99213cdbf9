"""By which numbers each row of a table is trained, resolved: what all rows share once, the rest row by row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from analysis.table.resolved import ResolvedTable
from trainables.baselines import MULTI_BASE, MULTI_TEMPERATURES
from trainables.recipes import Pair
from trainables.spec import Mixing, RunSpec, Temperature
from trainables.temperature import ENDS, KNOWN

Column = Mapping[Pair, RunSpec]
Parts = Callable[[Pair, RunSpec], dict[str, str]]
NOTHING = "-"


@dataclass
class Protocol:
    """rows: a label and a text for each of `heads`. common: what holds for every row. notes: pairs that differ."""

    heads: list[str]
    rows: list[list[str]]
    common: str
    notes: list[str] = field(default_factory=list)


def protocol(resolved: ResolvedTable) -> Protocol:
    """The numbers of a table's rows (those of the first seed stand for all)."""
    rows = _rows(resolved)
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


def _rows(resolved: ResolvedTable) -> dict[str, dict[Pair, RunSpec]]:
    rows: dict[str, dict[Pair, RunSpec]] = {}
    for (_, row, pair), specs in resolved.cells.items():
        rows.setdefault(row, {})[pair] = specs[0]
    alone = {pair: specs[0] for pair, specs in resolved.untaught.items()}
    return rows | ({"(no teacher)": alone} if alone else {})


def _shared(rows: Iterable[Column], parts: Parts) -> Column | None:
    """All pairs of all rows together, if the rows say the same: pair by pair, and for most pairs."""
    together: dict[Pair, RunSpec] = {}
    usual = None
    for column in rows:
        for pair, spec in column.items():
            if parts(pair, together.setdefault(pair, spec)) != parts(pair, spec):
                return None
        most = Counter(str(parts(pair, spec)) for pair, spec in column.items()).most_common(1)[0][0]
        if usual not in (None, most):
            return None
        usual = most
    return together


def _text(column: Column, parts: Parts, notes: list[str]) -> str:
    """What most pairs have, with a mark where a note says what the others have instead."""
    by_pair = {pair: parts(pair, spec) for pair, spec in column.items()}
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
            others.setdefault(value, []).append(_name_student_or_pair(pair, values))
    if not others:
        return ""
    note = "; ".join(f"{value} for {', '.join(sorted(set(who)))}" for value, who in sorted(others.items()))
    if note not in notes:
        notes.append(note)
    return f" [{notes.index(note) + 1}]"


def _name_student_or_pair(pair: Pair, values: Mapping[Pair, str]) -> str:
    """The student, where its value is the same under every teacher; else the pair."""
    same = {value for other, value in values.items() if other.student == pair.student}
    return pair.student if len(same) == 1 and not _by_teacher(values) else pair.key


def _by_teacher(values: Mapping[Pair, str]) -> bool:
    """Whether some student has different values under different teachers."""
    students: dict[str, set[str]] = {}
    for pair, value in values.items():
        students.setdefault(pair.student, set()).add(value)
    return any(len(found) > 1 for found in students.values())


def _find_other_teacher(pair: Pair, spec: RunSpec) -> dict[str, str]:
    """Where it is not the pair's teacher."""
    if spec.peer is not None:
        return {"": f"{spec.peer}, a peer"}
    assistant = spec.teacher if spec.teacher != pair.teacher else None
    return {"": f"{assistant}, taught by the teacher" if assistant else NOTHING}


def _lr(pair: Pair, spec: RunSpec) -> dict[str, str]:
    own = {"": f"{spec.lr:g}"}
    return own if spec.peer is None else own | {"of the peer": f"{spec.lr if spec.peer_lr is None else spec.peer_lr:g}"}


def _method(pair: Pair, spec: RunSpec) -> dict[str, str]:
    return {"": spec.method} | {name: f"{number:g}" for name, number in spec.params}


def _temperature(pair: Pair, spec: RunSpec) -> dict[str, str]:
    if spec.teacher is None or spec.temperature is None:
        return {"": NOTHING}
    rule: dict[str, str] = {} if spec.temperature.rule in KNOWN else {"": f"by {spec.temperature.rule}"}
    return rule | _numbers(spec.temperature, _LEVELS.get(spec.method, (1.0,)))


def _numbers(temperature: Temperature, levels: tuple[float, ...] = (1.0,)) -> dict[str, str]:
    """Of the rule, each at every level."""
    numbers = _TEMPERATURES.get(temperature.rule, _by_rule)(temperature)
    rate = {"r": f"{temperature.rate:g}"} if temperature.rate else {}
    return {
        name: " ".join(f"{x * level:.3g}" for x in values for level in levels) for name, values in numbers.items()
    } | rate


def describe_rule(temperature: Temperature) -> str:
    """The numbers of a rule in words: `tau 2`."""
    return ", ".join(f"{name or 'T'} {text}" for name, text in _numbers(temperature).items())


def _by_rule(temperature: Temperature) -> dict[str, tuple[float, ...]]:
    base = [("T", temperature.base)] if temperature.base else []
    return {name: (number,) for name, number in (*base, *temperature.numbers)}


def _list_ends(temperature: Temperature) -> dict[str, tuple[float, ...]]:
    middle = temperature.base
    low, high = (middle + shift for shift in temperature.shifts)
    return {"low energy": (low,), "other": (middle,), "high": (high,)}


_TEMPERATURES: dict[str, Callable[[Temperature], dict[str, tuple[float, ...]]]] = {
    "plain": lambda temperature: {"": (temperature.base,)},
    "gradation": lambda temperature: {"from low to high energy": temperature.values},
    **dict.fromkeys(ENDS, _list_ends),
}
_LEVELS = {"multi": tuple(level / MULTI_BASE for level in MULTI_TEMPERATURES)}
"""Of a method that takes a sample's temperature several times, the factors."""


def _mixing(mixing: Mixing | None) -> dict[str, str]:
    if mixing is None:
        return {"": NOTHING}
    rate = "" if mixing.selection == "all" else f" {mixing.rate * 100:g} %"
    target = {"target": mixing.target} if mixing.target != "larger" else {}
    return {mixing.operation: mixing.selection + rate, "alpha": f"{mixing.alpha:g}"} | target


_FIELDS: dict[str, Parts] = {
    "taught by": _find_other_teacher,
    "method": _method,
    "T": _temperature,
    "mixing": lambda pair, spec: _mixing(spec.mixing),
    "epochs": lambda pair, spec: {"": str(spec.epochs)},
    "lr": _lr,
    "x": lambda pair, spec: {"": f"{spec.lr_decay:g}"},
    "after": lambda pair, spec: {"": " ".join(map(str, spec.milestones)) or NOTHING},
    "batch": lambda pair, spec: {"": str(spec.batch_size)},
    "momentum": lambda pair, spec: {"": f"{spec.momentum:g}"},
    "weight decay": lambda pair, spec: {"": f"{spec.weight_decay:g}"},
    "augmentation": lambda pair, spec: {"": spec.augmentation},
    "normalisation": lambda pair, spec: {"": NOTHING if spec.normalisation == "own" else spec.normalisation},
    "precision": lambda pair, spec: {"": spec.precision},
    "long tail": lambda pair, spec: {"": f"{spec.imbalance:g}" if spec.imbalance < 1 else NOTHING},
    "low and high energy by": lambda pair, spec: {"": spec.membership},
    "train fraction": lambda pair, spec: {"": f"{spec.train_fraction:g}"},
}
