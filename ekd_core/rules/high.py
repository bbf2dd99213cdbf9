"""Another temperature at high energy only  (Eq. 16)."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules.energy import Energy


@dataclass(frozen=True)
class High(Energy):
    """T + T- at high energy, T elsewhere."""

    @property
    def shifts(self) -> tuple[float, float]:
        return 0.0, self.minus


RULE = High
