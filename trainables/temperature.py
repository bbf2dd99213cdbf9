"""Which temperatures the losses on logits take: a part of a run's spec. Free of torch; `rules` makes the rule."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from trainables.additions import modules_in, remembered
from trainables.canonical import Canonical, Params
from trainables.errors import UserError

ENDS = ("energy", "low", "high", "reversed")
"""Rules with another temperature at low energy, at high energy, or both."""
KNOWN = (*ENDS, "plain", "gradation")
"""Rules whose numbers are fields of their own."""


RULES = "ekd_core.rules"


@remembered
def rule_names() -> tuple[str, ...]:
    """The rules, by their files; none is imported."""
    return modules_in(RULES)


@dataclass(frozen=True)
class Temperature(Canonical):
    """Which temperatures the losses on logits take, by a rule of `ekd_core.rules`.

    - `plain`: T for all.
    - `energy`: T + T+ at low energy, T + T- at high energy  (Eq. 9).
    - `low`, `high`: only one of the two  (Eq. 15, 16).
    - `reversed`: T+ at high energy and T- at low energy, as in the released configurations.
    - `gradation`: one of `values` for each of as many equal segments, the lowest energies first  (Eq. 13).
    - Any other rule has numbers of its own, and T if one of them is called `temperature`.

    Attributes:
        base: T; 0 where the rule has none.
        rule: The name of a rule.
        plus: T+, 0 or more.
        minus: T-, 0 or less.
        rate: The paper's r: the share of the training set at each end.
        values: The temperatures of a gradation.
        numbers: Those of another rule, sorted by name. In JSON they stand beside the other fields.
    """

    base: float = 4.0
    rule: str = "plain"
    plus: float = 0.0
    minus: float = 0.0
    rate: float = 0.0
    values: tuple[float, ...] = ()
    numbers: Params = ()

    def validate(self) -> None:
        if self.base < 0 or (self.base == 0 and self.rule in KNOWN):
            raise UserError(f"temperature T = {self.base:g} must be above 0")
        if self.rule in KNOWN and self.numbers:
            raise UserError(f"the rule {self.rule!r} has no number {self.numbers[0][0]!r}")
        if self.rule in (*ENDS, "plain") and self.values:
            raise UserError(f"the rule {self.rule!r} has no list of temperatures: choose the rule 'gradation'")
        if self.rule == "plain":
            if (self.plus, self.minus, self.rate) != (0, 0, 0):
                raise UserError("a plain temperature has no plus, minus or rate: choose the rule 'energy'")
        elif self.rule == "gradation":
            if len(self.values) < 2:
                raise UserError("a temperature gradation needs two values or more")
            if min(self.values) <= 0:
                raise UserError(f"every temperature of a gradation must be above 0, not {min(self.values):g}")
            if (self.plus, self.minus, self.rate) != (0, 0, 0):
                raise UserError("a temperature gradation has no plus, minus or rate: give all its values")
        elif self.rule in ENDS:
            self._validate_ends()
        if not 0 <= self.rate <= 1:
            raise UserError(f"the energy rate r = {self.rate:g} must be in (0, 1]")

    def _validate_ends(self) -> None:
        if self.plus < 0:
            raise UserError(f"T+ = {self.plus:g} must not be negative")
        if self.minus > 0:
            raise UserError(f"T- = {self.minus:g} must not be positive")
        if self.base + self.minus <= 0:
            raise UserError(
                f"T + T- = {self.base + self.minus:g} must be above 0: raise T ({self.base:g}) or T- ({self.minus:g})"
            )
        if not 0 < self.rate <= 1:
            raise UserError(f"the energy rate r = {self.rate:g} must be in (0, 1]")

    def as_dict(self) -> dict[str, Any]:
        fields = super().as_dict()
        return fields | dict(fields.pop("numbers", ()))

    @functools.cached_property
    def end(self) -> float | None:
        """The share of the images at each end that the rule sets apart; None where it does not ask for energies."""
        return 1 / len(self.values) if self.values else self.rate or None

    @functools.cached_property
    def shifts(self) -> tuple[float, float]:
        """What is added to `base` at low and at high energy; of a rule of ENDS."""
        low = 0.0 if self.rule == "high" else self.plus
        high = 0.0 if self.rule == "low" else self.minus
        return (high, low) if self.rule == "reversed" else (low, high)


_FIELDS = tuple(field.name for field in dataclasses.fields(Temperature))


def with_numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """A temperature's fields from JSON: those that are none are the rule's own numbers."""
    own = tuple(sorted((name, value) for name, value in fields.items() if name not in _FIELDS))
    return {name: value for name, value in fields.items() if name in _FIELDS} | ({"numbers": own} if own else {})
