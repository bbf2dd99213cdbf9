"""Energy KD in the direction of the released configurations."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules.energy import Energy


@dataclass(frozen=True)
class Reversed(Energy):
    """T + T- at low energy, T + T+ at high energy, T between."""

    @property
    def shifts(self) -> tuple[float, float]:
        return self.minus, self.plus


RULE = Reversed
