"""A temperature by the energy of the sample: Energy KD  (Eq. 9)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ekd_core.energy import energy_thresholds
from ekd_core.rules import Rule, Samples
from ekd_core.temperature import energy_temperature


@dataclass(frozen=True)
class Energy(Rule):
    """T + T+ at low energy, T + T- at high energy, T between, for teacher and student; factor T_i^2.

    rate: the share of the training set at each end, the paper's r.
    """

    SHARED = True

    temperature: float
    plus: float
    minus: float
    rate: float

    @property
    def shifts(self) -> tuple[float, float]:
        """What is added to T at low and at high energy."""
        return self.plus, self.minus

    def cuts(self, scores: Tensor) -> Tensor:
        return torch.stack(energy_thresholds(scores, self.rate, self.rate))

    def soften(self, samples: Samples) -> Tensor:
        assert samples.scores is not None
        assert samples.cuts is not None
        low, high = samples.cuts
        return energy_temperature(samples.scores, low, high, self.temperature, *self.shifts)


RULE = Energy
