"""What a search varies: ranges of a run's fields, as words of a command line and as Optuna's distributions.

    T=2:8            a number between the two          lr=0.01:0.1:log   evenly in its logarithm
    r=0.1:0.5:0.1    in steps                          rule=energy,reversed   one of these

T, T+, T-, r and rule stand for temperature.base, .plus, .minus, .rate and .rule.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from analysis.record.settings import check_override
from trainables.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SHORT = {
    "T": "temperature.base",
    "T+": "temperature.plus",
    "T-": "temperature.minus",
    "r": "temperature.rate",
    "rule": "temperature.rule",
}
LONG = {path: short for short, path in SHORT.items()}
USUAL = ("T=2:8", "T+=0:4", "T-=-4:0", "r=0.1:0.5", "rule=energy,reversed")
LOWEST = 0.5
"""The least temperature that a search gives to a sample."""
DIGITS = 4
MOST_STEPS = 1_000_000
NEAR = 1e-8
"""Of a step: how far from it a number may be."""
Scalar = float | str
Point = Mapping[str, Scalar]


@dataclass(frozen=True)
class Range:
    """The values of one field: between `low` and `high` (in `step`s, or evenly in the logarithm), or one of `choices`.

    name: short where there is a short one; it is the parameter's in Optuna.
    """

    name: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    choices: tuple[Scalar, ...] = ()

    @property
    def path(self) -> str:
        return SHORT.get(self.name, self.name)

    def holds(self, value: Scalar) -> bool:
        if self.choices:
            return value in self.choices
        steps = (float(value) - self.low) / self.step if self.step else 0.0
        return self.low <= float(value) <= self.high and abs(steps - round(steps)) < NEAR

    @property
    def marks(self) -> tuple[Scalar, ...]:
        """Values that stand for all: every choice, or both ends and the first step."""
        if self.choices:
            return self.choices
        steps = (self.low + self.step,) if self.step else ()
        return tuple(dict.fromkeys((self.low, *steps, self.high)))

    @property
    def whole(self) -> bool:
        """Whether all its values are whole numbers."""
        return (self.step is not None or bool(self.choices)) and not any(
            isinstance(value, float) and not value.is_integer() for value in self.marks
        )

    @property
    def text(self) -> str:
        if self.choices:
            return f"{self.name}={','.join(map(str, self.choices))}"
        last = ":log" if self.log else "" if self.step is None else f":{self.step:g}"
        return f"{self.name}={self.low:g}:{self.high:g}{last}"


def parse_range(text: str) -> Range:
    """A range as it is written on the command line."""
    field, equals, values = text.partition("=")
    name = LONG.get(field, field)
    how = f"--space {text}: write FIELD=LOW:HIGH, FIELD=LOW:HIGH:log, FIELD=LOW:HIGH:STEP or FIELD=A,B"
    if not (field and equals and values):
        raise UserError(how)
    check_override(SHORT.get(name, name))
    if ":" not in values:
        choices = tuple(_scalar(value, how) for value in values.split(","))
        if len(set(choices)) < 2 or "" in choices:
            raise UserError(f"{how}, two values or more")
        return Range(name, choices=choices)
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
    if numbers[2:]:
        return Range(name, numbers[0], _last_step(*numbers), numbers[2])
    return Range(name, numbers[0], numbers[1], None, log)


def _last_step(low: float, high: float, step: float) -> float:
    """The highest value that Optuna would propose, which counts decimally."""
    start, width = Decimal(str(low)), Decimal(str(step))
    return float(start + (Decimal(str(high)) - start) // width * width)


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


@dataclass(frozen=True)
class Space:
    """Ranges, by field. T + T- stays at or above LOWEST by construction: what Optuna is asked for is not T- but where
    T- lies between the upper end of its range (0) and the lower one, or the least that T allows (1)."""

    ranges: tuple[Range, ...]

    def __post_init__(self) -> None:
        names = [each.name for each in self.ranges]
        if not names:
            raise UserError("a search needs a field to vary: give one or more with --space")
        if len(set(names)) < len(names):
            raise UserError(f"--space names {max(names, key=names.count)} twice")
        plus, minus, rate, base = (self.of(name) for name in ("T+", "T-", "r", "T"))
        if plus and plus.low < 0:
            raise UserError(f"--space {plus.text}: T+ must not be negative")
        if minus and (minus.high > 0 or minus.choices):
            raise UserError(f"--space {minus.text}: T- must be a range of which no value is positive")
        if rate and not rate.choices and not (rate.low > 0 and rate.high <= 1):
            raise UserError(f"--space {rate.text}: r must be in (0, 1]")
        if base and (base.choices or base.low <= LOWEST):
            raise UserError(f"--space {base.text}: T must be a range above {LOWEST:g}")
        if base and minus and base.low + minus.high < LOWEST:
            raise UserError(f"--space {base.text} {minus.text}: T + T- would be below {LOWEST:g} for the lowest T")

    def of(self, name: str) -> Range | None:
        return next((each for each in self.ranges if each.name == name), None)

    @property
    def text(self) -> str:
        return " ".join(each.text for each in self.ranges)

    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna is asked for."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        return {
            _asked(each.name): FloatDistribution(0, 1)
            if each.name == "T-"
            else CategoricalDistribution(each.choices)
            if each.choices
            else FloatDistribution(each.low, each.high, log=each.log, step=each.step)
            for each in self.ranges
        }

    def point(self, asked: Mapping[str, Any], fixed_base: float) -> dict[str, Scalar]:
        """The fields of what Optuna proposed, numbers to DIGITS digits. fixed_base: T, where it is not searched."""
        found: dict[str, Scalar] = {}
        for each in self.ranges:
            value = asked[_asked(each.name)]
            found[each.name] = value if each.choices else _rounded(value)
        if (minus := self.of("T-")) is not None:
            lowest = self._lowest(minus, float(found.get("T", fixed_base)))
            found["T-"] = _rounded(minus.high + float(asked[_asked("T-")]) * (lowest - minus.high))
        return found

    def asked(self, point: Point, fixed_base: float) -> dict[str, Any]:
        """The opposite of `point`: what Optuna would have to propose; the point must be within the ranges."""
        found: dict[str, Any] = {_asked(name): point[name] for name in (each.name for each in self.ranges)}
        if (minus := self.of("T-")) is not None:
            lowest = self._lowest(minus, float(point.get("T", fixed_base)))
            width = lowest - minus.high
            found[_asked("T-")] = (float(point["T-"]) - minus.high) / width if width else 0.0
        return found

    def samples(self) -> Iterator[dict[str, Any]]:
        """Proposals that stand for all: each mark of each range, beside the others' lower ends and their upper ones."""
        marks: dict[str, tuple[Scalar, ...]] = {
            _asked(each.name): (0.0, 1.0) if each.name == "T-" else each.marks for each in self.ranges
        }
        for end in (0, -1):
            rest = {name: values[end] for name, values in marks.items()}
            yield from (rest | {name: value} for name, values in marks.items() for value in values)

    def holds(self, point: Point) -> bool:
        return all(each.name in point and each.holds(point[each.name]) for each in self.ranges)

    @staticmethod
    def _lowest(minus: Range, base: float) -> float:
        return max(minus.low, min(minus.high, LOWEST - base))


def parse_space(words: Sequence[str]) -> Space:
    return Space(tuple(parse_range(word) for word in words))


def _asked(name: str) -> str:
    return "T- share" if name == "T-" else name


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
