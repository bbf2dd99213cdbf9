"""What a search varies: ranges of a run's fields, as words of a command line and as Optuna's distributions.

    T=2:8            a number between the two          lr=0.01:0.1:log   evenly in its logarithm
    r=0.1:0.5:0.1    in steps                          rule=energy,reversed   one of these

T, T+, T-, r and rule stand for temperature.base, .plus, .minus, .rate and .rule.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from analysis.record.settings import LISTS, SHORT, check_override
from analysis.record.trial import Scalar
from trainables.errors import UserError

LONG = {path: short for short, path in SHORT.items()}
USUAL = ("T=2:8", "T+=0:4", "T-=-4:0", "r=0.1:0.5", "rule=energy,reversed")
LOWEST = 0.5
"""The lowest temperature that a search gives to a sample."""
DIGITS = 4
MOST_STEPS = 1_000_000
NEAR = 1e-8
"""How far from a step a number may be, in steps."""
Point = Mapping[str, Scalar]


@dataclass(frozen=True)
class Range:
    """The values of one field.

    name: the short one where there is one; the parameter has it in Optuna too.
    values: Optuna's distribution of the values.
    """

    name: str
    values: FloatDistribution | CategoricalDistribution

    @property
    def path(self) -> str:
        return SHORT.get(self.name, self.name)

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


def parse_range(text: str) -> Range:
    """A range as it is written on the command line."""
    field, equals, values = text.partition("=")
    name = LONG.get(field, field)
    how = f"--space {text}: write FIELD=LOW:HIGH, FIELD=LOW:HIGH:log, FIELD=LOW:HIGH:STEP or FIELD=A,B"
    if not (field and equals and values):
        raise UserError(how)
    check_override(SHORT.get(name, name))
    if SHORT.get(name, name) in LISTS:
        raise UserError(f"--space {text}: {name} is a list, which no range varies; --set {name}=1,2 sets it for all")
    if ":" not in values:
        choices = tuple(sorted((_scalar(value, how) for value in values.split(",")), key=_order))
        if len(set(choices)) < 2 or "" in choices:
            raise UserError(f"{how}, two values or more")
        return Range(name, CategoricalDistribution(choices))
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
        return Range(name, FloatDistribution(numbers[0], numbers[1], log, *numbers[2:]))


def _scalar(text: str, how: str) -> Scalar:
    try:
        value = json.loads(text)
        value = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else text
    except ValueError:
        return text
    except (OverflowError, RecursionError):
        raise UserError(how) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(how)
    return value


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

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna is asked for."""
        return {
            _asked(each.name): FloatDistribution(0, 1) if each.name == "T-" else each.values for each in self.ranges
        }

    def point(self, asked: Mapping[str, Any], fixed_base: float) -> dict[str, Scalar]:
        """The fields of what Optuna proposed, numbers to DIGITS digits. fixed_base: T, where it is not searched."""
        found: dict[str, Scalar] = {}
        for each in self.ranges:
            value = asked[_asked(each.name)]
            found[each.name] = value if isinstance(each.values, CategoricalDistribution) else _rounded(value)
        if "T-" in found:
            high, low = self._ends_of_minus(float(found.get("T", fixed_base)))
            found["T-"] = _rounded(high + float(asked[_asked("T-")]) * (low - high))
        return found

    def asked(self, point: Point, fixed_base: float) -> dict[str, Any]:
        """The opposite of `point`: what Optuna would have to propose; the point must be within the ranges."""
        found: dict[str, Any] = {_asked(each.name): point[each.name] for each in self.ranges}
        if _asked("T-") in found:
            high, low = self._ends_of_minus(float(point.get("T", fixed_base)))
            found[_asked("T-")] = (float(point["T-"]) - high) / (low - high) if low != high else 0.0
        return found

    def samples(self) -> Iterator[dict[str, Any]]:
        """Proposals that stand for all: each mark of each range, beside the others' low ends and their high ones."""
        marks = {_asked(each.name): (0.0, 1.0) if each.name == "T-" else each.marks for each in self.ranges}
        for end in (0, -1):
            rest = {name: values[end] for name, values in marks.items()}
            yield from (rest | {name: value} for name, values in marks.items() for value in values)

    def holds(self, point: Point) -> bool:
        return all(each.name in point and each.holds(point[each.name]) for each in self.ranges)

    def _ends_of_minus(self, base: float) -> tuple[float, float]:
        """The high end of T- and the low one, or the lowest that T = `base` allows."""
        minus = next(each.values for each in self.ranges if each.name == "T-")
        assert isinstance(minus, FloatDistribution)
        return minus.high, max(minus.low, min(minus.high, LOWEST - base))


def parse_space(words: Sequence[str]) -> Space:
    """In an order of their own: the same ranges are the same search, however they are written."""
    return Space(tuple(sorted((parse_range(word) for word in words), key=lambda each: each.name)))


def _asked(name: str) -> str:
    return "T- share" if name == "T-" else name


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
