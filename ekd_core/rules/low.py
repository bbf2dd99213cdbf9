"""Another temperature at low energy only  (Eq. 15)."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules.energy import Energy


@dataclass(frozen=True)
class Low(Energy):
    """T + T+ at low energy, T elsewhere."""

    @property
    def shifts(self) -> tuple[float, float]:
        return self.plus, 0.0


RULE = Low
