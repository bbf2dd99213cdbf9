"""Logit standardization (Sun et al., CVPR 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import SMALLEST, Softening, deviation


@dataclass(frozen=True)
class LSKD(Rule):
    """T = tau (1e-7 + sigma), sigma the standard deviation over the classes of each network's logits; factor tau^2.

    The gradient flows through the student's sigma. The mean that the source subtracts changes no softmax.
    """

    STUDENT = True

    tau: float

    def __post_init__(self) -> None:
        check_above_0(tau=self.tau)

    def soften(self, samples: Samples) -> Softening:
        assert samples.student is not None
        teacher, student = (self.tau * (SMALLEST + deviation(each)) for each in (samples.teacher, samples.student))
        return Softening(teacher, student, self.tau**2)


RULE = LSKD
