"""Spherical knowledge distillation (Guo et al. 2020)."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import Softening, deviation


@dataclass(frozen=True)
class Spherical(Rule):
    """T_t = T, T_s = T sigma_s / sigma_t, sigma the standard deviation over the classes; factor T^2.

    The gradient flows through the student's sigma: only the direction of its logits is taught.
    """

    STUDENT = True

    temperature: float

    def __post_init__(self) -> None:
        check_above_0(temperature=self.temperature)

    def soften(self, samples: Samples) -> Softening:
        assert samples.student is not None
        student = self.temperature * deviation(samples.student) / deviation(samples.teacher)
        return Softening(self.temperature, student, self.temperature**2)


RULE = Spherical
