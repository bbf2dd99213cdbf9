"""Asymmetric temperature scaling (Li et al., NeurIPS 2022)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import Softening


@dataclass(frozen=True)
class ATS(Rule):
    """For the teacher the temperature `true` for the labelled class and `other` for the rest, T_s = `student`.

    Factor: student^2. The divergence is the cross-entropy.
    """

    LABELS = True
    CROSS_ENTROPY = True

    true: float
    other: float
    student: float

    def __post_init__(self) -> None:
        check_above_0(true=self.true, other=self.other, student=self.student)

    def soften(self, samples: Samples) -> Softening:
        assert samples.labels is not None
        teacher = torch.full_like(samples.teacher, self.other).scatter_(1, samples.labels[:, None], self.true)
        return Softening(teacher, self.student, self.student**2, cross_entropy=True)


RULE = ATS
