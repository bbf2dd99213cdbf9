"""Transformed teacher matching (Zheng and Yang, ICLR 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import Softening


@dataclass(frozen=True)
class TTM(Rule):
    """T_t = 1 / gamma, T_s = 1; factor 1."""

    gamma: float

    def __post_init__(self) -> None:
        check_above_0(gamma=self.gamma)

    def soften(self, samples: Samples) -> Softening:
        return Softening(1 / self.gamma, 1.0, 1.0)


RULE = TTM
