"""Curriculum temperature (Li et al., AAAI 2023), its global form: a temperature that learns against the student."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import Softening


class LearnedTemperature(nn.Module):
    """One parameter theta, float32 whatever the networks are."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([start]))


@dataclass(frozen=True)
class CTKD(Rule):
    """T = lowest + span sigmoid(theta) for teacher and student; factor T^2, which is differentiated too.

    theta learns by the student's optimizer on the reversed gradient times lambda, which rises as a cosine from 0 to 1
    over the first `warmup` epochs: lambda = (1 - cos(pi min(epoch / warmup, 1))) / 2.
    """

    STUDENT = True

    lowest: float = 1.0
    span: float = 20.0
    start: float = 1.0
    warmup: float = 10.0

    def __post_init__(self) -> None:
        check_above_0(lowest=self.lowest, span=self.span)

    def learned(self) -> nn.Module:
        return LearnedTemperature(self.start)

    def fixed(self, epoch: int) -> bool:
        return epoch >= self.warmup

    def soften(self, samples: Samples) -> Softening:
        learned = samples.learned or self.learned()
        assert isinstance(learned, LearnedTemperature)
        done = min(samples.epoch / self.warmup, 1.0) if self.warmup > 0 else 1.0
        theta = reverse_gradient(learned.theta, (1 - math.cos(math.pi * done)) / 2)
        temperature = (self.lowest + self.span * theta.sigmoid()).expand(len(samples.teacher))
        return Softening(temperature, temperature, temperature**2)


def reverse_gradient(value: Tensor, weight: float) -> Tensor:
    """Return `value`, whose gradient is multiplied by -weight."""
    return value.detach() + weight * (value.detach() - value)


RULE = CTKD
