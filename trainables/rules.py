"""The rule of a run's temperature, made from its numbers; of `ekd_core.rules` or a user's own."""

from __future__ import annotations

import dataclasses

from ekd_core import rules
from ekd_core.rules import Rule
from trainables.additions import load, remembered
from trainables.commands import did_you_mean
from trainables.errors import UserError
from trainables.spec import RunSpec
from trainables.temperature import KNOWN, Temperature, rule_names

_FIELDS = {"temperature": "base", "plus": "plus", "minus": "minus", "rate": "rate", "values": "values"}
"""What a rule calls its numbers that are fields of a run's temperature, and the fields."""
_TAKEN = {field.name for field in dataclasses.fields(Temperature)} - {*_FIELDS}
_LARGEST = 1e18
"""Of a rule's numbers, and the inverse of the smallest: their squares must be numbers in single precision."""
_NONE = Temperature(0, "lskd")
"""The fields of a rule that has none of them."""


def fields_of(name: str) -> frozenset[str]:
    """The fields of a run's temperature that are numbers of the rule: base, plus, ... and its own."""
    return frozenset(_FIELDS.get(field.name, field.name) for field in dataclasses.fields(_load(name)))  # type: ignore[arg-type]


def _load(name: str) -> type[Rule]:
    if name not in rule_names():
        hint = f" ({near})" if (near := did_you_mean(name, rule_names())) else ""
        raise UserError(f"unknown temperature rule {name!r}{hint}: use one of {', '.join(rule_names())}")
    cls: type[Rule] = load(rules.__name__, name, "RULE", Rule)
    if "__dataclass_fields__" not in vars(cls):
        raise UserError(f"the rule {name} is no dataclass: write @dataclass(frozen=True) above its class")
    if taken := _TAKEN & {field.name for field in dataclasses.fields(cls)}:  # type: ignore[arg-type]
        raise UserError(f"the rule {name} cannot call a number {taken.pop()}: choose another name")
    return cls


@remembered
def make_rule(temperature: Temperature) -> Rule:
    """The rule with its numbers; refuses a number that it does not have, and one without a default that is missing."""
    name = temperature.rule
    cls = _load(name)
    wanted = dataclasses.fields(cls)  # type: ignore[arg-type]
    own = {field.name for field in wanted} - {*_FIELDS}
    named = {field.name: getattr(temperature, _FIELDS[field.name]) for field in wanted if field.name in _FIELDS}
    given = [name for name, field in _FIELDS.items() if getattr(temperature, field) != getattr(_NONE, field)]
    needed = {field.name for field in wanted if field.default is dataclasses.MISSING} & {*own, "temperature"}
    numbers = dict(temperature.numbers)
    if name not in KNOWN and not ({*given} <= {*named} and needed <= {*given, *numbers} and {*numbers} <= own):
        takes = [_name(field.name) for field in wanted]
        gets = [*map(_name, given), *numbers]
        hint = "; T=0 takes T away" if {*given} - {*named} == {"temperature"} else ""
        raise UserError(
            f"the temperature rule {name} takes {', '.join(takes) or 'no numbers'}; "
            f"given: {', '.join(gets) or 'none'}{hint}"
        )
    for value in (temperature.base, temperature.plus, temperature.minus, *temperature.values, *numbers.values()):
        if value and not 1 / _LARGEST <= abs(value) <= _LARGEST:
            raise UserError(
                f"the temperature rule {name}: {value:g} must lie between {1 / _LARGEST:g} and {_LARGEST:g}"
            )
    try:
        rule = cls(**named, **numbers)
    except ValueError as error:
        raise UserError(f"the temperature rule {name}: {error}") from error
    if type(rule).cuts is not Rule.cuts and temperature.end is None:
        raise UserError(f"the rule {name} cuts the energies: it needs a number called rate or values")
    return rule


def rule_of(spec: RunSpec) -> Rule | None:
    """The rule of a run; None without a teacher or a temperature."""
    return None if spec.teacher is None or spec.temperature is None else make_rule(spec.temperature)


def _name(field: str) -> str:
    return {"temperature": "T", "plus": "T+", "minus": "T-", "rate": "r"}.get(field, field)
