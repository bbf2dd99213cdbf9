"""What a search varies: ranges of a run's fields, as words of a command line and as Optuna's distributions.

    T=2:8            a number between the two          lr=0.01:0.1:log   evenly in its logarithm
    r=0.1:0.5:0.1    in steps                          rule=energy,reversed   one of these

T, T+, T-, r and rule stand for temperature.base, .plus, .minus, .rate and .rule, and tau, gamma, ... for a rule's own
numbers. Where rules are searched that have not all of these numbers, a number is asked for only where its rule has it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution

from analysis.record.settings import LISTS, SHORT, STUDENT, check_override, parse_value, split_field
from analysis.record.trial import Scalar
from trainables.errors import UserError
from trainables.temperature import ENDS, rule_names

LONG = {path: short for short, path in SHORT.items()}
USUAL = ("T=2:8", "T+=0:4", "T-=-4:0", "r=0.1:0.5", "rule=energy,reversed")
USUAL_RULES = (*USUAL[:-1], "rule=energy,lskd,normkd,dtkd", "tau=1:4")
_NESTED = "temperature."
LOWEST = 0.5
"""The lowest temperature that a search gives to a sample."""
DIGITS = 4
MOST_STEPS = 1_000_000
NEAR = 1e-8
"""How far from a step a number may be, in steps."""
Point = Mapping[str, Scalar]
Distribution = FloatDistribution | CategoricalDistribution


@dataclass(frozen=True)
class Range:
    """The values of one field.

    name: the short one where there is one; the parameter has it in Optuna too.
    values: Optuna's distribution of the values.
    own: whether it is a number of a rule, that only runs of the rule have.
    """

    name: str
    values: Distribution
    own: bool = False

    @property
    def path(self) -> str:
        return _NESTED + self.name if self.own else SHORT.get(self.name, self.name)

    @property
    def of_temperature(self) -> bool:
        return self.path.startswith(_NESTED)

    @property
    def distribution(self) -> Distribution:
        """What Optuna is asked for."""
        return FloatDistribution(0, 1) if self.name == "T-" else self.values

    @property
    def middle(self) -> Scalar:
        """The value in the middle, to DIGITS digits."""
        if isinstance(self.values, CategoricalDistribution):
            return self.marks[len(self.marks) // 2]
        low, high, step = self.values.low, self.values.high, self.values.step
        if step:
            return _round(low + step * (round((high - low) / step) // 2))
        return _round(math.sqrt(low * high) if self.values.log else (low + high) / 2)

    def holds(self, value: Scalar) -> bool:
        if isinstance(self.values, CategoricalDistribution):
            return value in self.values.choices
        steps = (float(value) - self.values.low) / self.values.step if self.values.step else 0.0
        return self.values.low <= float(value) <= self.values.high and abs(steps - round(steps)) < NEAR

    @property
    def marks(self) -> tuple[Any, ...]:
        """Values that stand for all: every choice, or both ends and the first step."""
        if isinstance(self.values, CategoricalDistribution):
            return self.values.choices
        steps = (self.values.low + self.values.step,) if self.values.step else ()
        return tuple(dict.fromkeys((self.values.low, *steps, self.values.high)))

    @property
    def whole(self) -> bool:
        """Whether all its values are whole numbers."""
        counted = isinstance(self.values, CategoricalDistribution) or self.values.step is not None
        return counted and all(not isinstance(value, float) or value.is_integer() for value in self.marks)

    @property
    def text(self) -> str:
        """The range as it is written on the command line."""
        if isinstance(self.values, CategoricalDistribution):
            return f"{self.name}={','.join(map(str, self.values.choices))}"
        last = ":log" if self.values.log else f":{self.values.step:g}" if self.values.step else ""
        return f"{self.name}={self.values.low:g}:{self.values.high:g}{last}"


def parse_range(text: str, of_rules: Collection[str] = ()) -> Range:
    """A range as it is written on the command line. of_rules: numbers of rules, which may have their short names."""
    field, equals, values = split_field(text)
    name = LONG.get(field, field)
    own = name.removeprefix(_NESTED) in of_rules
    name = name.removeprefix(_NESTED) if own else name
    how = f"--space {text}: write FIELD=LOW:HIGH, FIELD=LOW:HIGH:log, FIELD=LOW:HIGH:STEP or FIELD=A,B"
    if not (field and equals and values) or {*values} & {*"[](){}"}:
        raise UserError(how)
    if not own and name != STUDENT:
        check_override(SHORT.get(name, name))
    if SHORT.get(name, name) in LISTS:
        raise UserError(f"--space {text}: {name} is a list, which no range varies; --set {name}=1,2 sets it for all")
    if ":" not in values or name == STUDENT:
        choices = tuple(sorted((_scalar(value, how) for value in values.split(",")), key=_order))
        if len(set(choices)) < 2 or "" in choices:
            raise UserError(f"{how}, two values or more")
        return Range(name, CategoricalDistribution(choices), own)
    low, high, *more = values.split(":")
    log = more == ["log"]
    try:
        numbers = [float(value) for value in (low, high, *([] if log else more))]
    except ValueError:
        raise UserError(how) from None
    if len(numbers) > 3 or not all(abs(number) < float("inf") for number in numbers):
        raise UserError(how)
    if not numbers[0] < numbers[1]:
        raise UserError(f"--space {text}: {low} is not below {high}")
    if log and numbers[0] <= 0:
        raise UserError(f"--space {text}: a logarithm needs values above 0")
    if numbers[2:] and not 0 < numbers[2] <= numbers[1] - numbers[0]:
        raise UserError(f"--space {text}: a step must be above 0 and fit between {low} and {high}")
    if numbers[2:] and (numbers[1] - numbers[0]) / numbers[2] > MOST_STEPS:
        raise UserError(f"--space {text}: that is more than {MOST_STEPS:,} steps; leave the step out")
    if name == "T-" and more:
        raise UserError(f"--space {text}: T- takes no steps, for its lower end depends on T: write T-={low}:{high}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The distribution is specified by")  # The high end is rounded to a step.
        return Range(name, FloatDistribution(numbers[0], numbers[1], log, *numbers[2:]), own)


def _scalar(text: str, how: str) -> Scalar:
    value = parse_value(text)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return text
    try:
        number = float(value)
    except OverflowError:
        raise UserError(how) from None
    if not math.isfinite(number):
        raise UserError(how)
    return number


def _order(value: Scalar) -> tuple[bool, float, str]:
    return (True, 0.0, value) if isinstance(value, str) else (False, value, "")


@dataclass(frozen=True)
class Space:
    """Ranges of different fields.

    T + T- stays at or above LOWEST by construction: Optuna is not asked for T- but for its share, where T- lies between
    the high end of its range (0) and the low one, or the lowest that T allows (1).
    """

    ranges: tuple[Range, ...]

    def __post_init__(self) -> None:
        texts = {each.name: each.text for each in self.ranges}
        if not texts:
            raise UserError("a search needs a field to vary: give one or more with --space")
        if len(texts) < len(self.ranges):
            names = [each.name for each in self.ranges]
            raise UserError(f"--space names {max(names, key=names.count)} twice")
        for each in self.ranges:
            words = [mark for mark in each.marks if isinstance(mark, str) and each.name in ("T", "T+", "T-", "r")]
            if words:
                raise UserError(f"--space {each.text}: {each.name} takes numbers, and {words[0]!r} is none")
        numeric = {each.name: each.values for each in self.ranges if isinstance(each.values, FloatDistribution)}
        plus, minus, rate, base = (numeric.get(name) for name in ("T+", "T-", "r", "T"))
        if plus and plus.low < 0:
            raise UserError(f"--space {texts['T+']}: T+ must not be negative")
        if "T-" in texts and (minus is None or minus.high > 0):
            raise UserError(f"--space {texts['T-']}: T- must be a range of which no value is positive: write T-=LOW:0")
        if rate and not (rate.low > 0 and rate.high <= 1):
            raise UserError(f"--space {texts['r']}: r must be in (0, 1]")
        if "T" in texts and (base is None or base.low <= LOWEST):
            raise UserError(f"--space {texts['T']}: T must be a range above {LOWEST:g}: write T=LOW:HIGH")
        if base and minus and base.low + minus.high < LOWEST:
            raise UserError(f"--space {texts['T']} {texts['T-']}: T + T- would be below {LOWEST:g} for the lowest T")

    @property
    def text(self) -> str:
        return " ".join(each.text for each in self.ranges)

    @cached_property
    def paths(self) -> dict[str, str]:
        """By name."""
        return {each.name: each.path for each in self.ranges}

    @cached_property
    def rules(self) -> tuple[str, ...]:
        """The rules that are searched; none where all of them have the numbers of Energy KD."""
        found = next((each.values for each in self.ranges if each.name == "rule"), None)
        rules = tuple(map(str, found.choices)) if isinstance(found, CategoricalDistribution) else ()
        return () if {*rules} <= {*ENDS} else rules

    @property
    def students(self) -> tuple[str, ...]:
        """The networks that are searched."""
        return next((tuple(map(str, each.marks)) for each in self.ranges if each.name == STUDENT), ())

    def ranges_of(self, rule: str) -> tuple[Range, ...]:
        """The ranges without the numbers that the rule has not."""
        return tuple(each for each in self.ranges if has_field(rule, each.path))

    def asked_at(self, values: Mapping[str, Any]) -> tuple[Range, ...]:
        """The ranges that are asked for at a point or a proposal, by its rule."""
        return self.ranges_of(str(values["rule"])) if self.rules else self.ranges

    def distributions(self, values: Mapping[str, Any] | None = None) -> dict[str, Distribution]:
        """What Optuna is asked for: at a proposal of which the rule is known, or at one or another."""
        return _distributions(self.ranges if values is None else self.asked_at(values))

    @property
    def branches(self) -> list[dict[str, Distribution]]:
        """The same for each of the `rules`, or all in one."""
        if not self.rules:
            return [self.distributions()]
        one = {rule: CategoricalDistribution((rule,)) for rule in self.rules}
        return [{**_distributions(self.ranges_of(rule)), "rule": one[rule]} for rule in self.rules]

    def point(self, asked: Mapping[str, Any], fixed_base: float) -> dict[str, Scalar]:
        """The fields of what Optuna proposed, numbers to DIGITS digits. fixed_base: T, where it is not searched."""
        found: dict[str, Scalar] = {}
        for each in self.asked_at(asked):
            value = asked[_name_asked(each.name)]
            found[each.name] = value if isinstance(each.values, CategoricalDistribution) else _round(value)
        if "T-" in found:
            high, low = self._find_ends_of_minus(float(found.get("T", fixed_base)))
            found["T-"] = _round(high + float(asked[_name_asked("T-")]) * (low - high))
        return found

    def asked(self, point: Point, fixed_base: float) -> dict[str, Any]:
        """The opposite of `point`: what Optuna would have to propose; the point must be within the ranges."""
        found: dict[str, Any] = {_name_asked(each.name): point[each.name] for each in self.asked_at(point)}
        if _name_asked("T-") in found:
            high, low = self._find_ends_of_minus(float(point.get("T", fixed_base)))
            found[_name_asked("T-")] = (float(point["T-"]) - high) / (low - high) if low != high else 0.0
        return found

    def samples(self) -> Iterator[dict[str, Any]]:
        """Proposals that stand for all: each mark of each range, beside the others' low ends and their high ones."""
        for rule in self.rules or ("",):
            marks = {
                _name_asked(each.name): (0.0, 1.0) if each.name == "T-" else each.marks
                for each in (self.ranges_of(rule) if rule else self.ranges)
            }
            marks |= {"rule": (rule,)} if rule else {}
            for end in (0, -1):
                rest = {name: values[end] for name, values in marks.items()}
                yield from (rest | {name: value} for name, values in marks.items() for value in values)

    def middle(self, rule: str, fixed_base: float) -> dict[str, Scalar]:
        """The point in the middle of the ranges of one of the `rules`."""
        asked = {_name_asked(each.name): 0.5 if each.name == "T-" else each.middle for each in self.ranges_of(rule)}
        return self.point(asked | {"rule": rule}, fixed_base)

    def holds(self, point: Point) -> bool:
        return all(each.name in point and each.holds(point[each.name]) for each in self.asked_at(point))

    def _find_ends_of_minus(self, base: float) -> tuple[float, float]:
        """The high end of T- and the low one, or the lowest that T = `base` allows."""
        minus = next(each.values for each in self.ranges if each.name == "T-")
        assert isinstance(minus, FloatDistribution)
        return minus.high, max(minus.low, min(minus.high, LOWEST - base))


def parse_space(words: Sequence[str], rule: str = "") -> Space:
    """In an order of their own: the same ranges are the same search, however they are written.

    rule: of the runs, where it is not searched.
    """
    fields = {LONG.get(field, field): values for field, _, values in map(split_field, words)}
    rules = {*fields.get("rule", rule).split(",")} & {*rule_names()}
    numbers = {name for each in rules for name in _fields_of(each)} - {path.removeprefix(_NESTED) for path in LONG}
    return Space(tuple(sorted((parse_range(word, numbers) for word in words), key=lambda each: each.name)))


def has_field(rule: str, path: str) -> bool:
    """Whether runs of the rule have the field: any but the numbers of other rules; of an unknown rule any."""
    outer, _, inner = path.rpartition(".")
    return outer != "temperature" or inner == "rule" or rule not in rule_names() or inner in _fields_of(rule)


def _fields_of(rule: str) -> Collection[str]:
    from trainables.rules import fields_of  # With torch.

    return fields_of(rule)


def _distributions(ranges: Sequence[Range]) -> dict[str, Distribution]:
    return {_name_asked(each.name): each.distribution for each in ranges}


def _name_asked(name: str) -> str:
    return "T- share" if name == "T-" else name


def _round(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
