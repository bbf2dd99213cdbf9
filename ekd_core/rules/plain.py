"""One temperature for all (Hinton et al. 2015)."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules import Rule, Samples, check_above_0


@dataclass(frozen=True)
class Plain(Rule):
    """T for teacher and student; factor T^2."""

    SHARED = True

    temperature: float

    def __post_init__(self) -> None:
        check_above_0(temperature=self.temperature)

    def soften(self, samples: Samples) -> float:
        return self.temperature


RULE = Plain
