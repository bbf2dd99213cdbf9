"""Dynamic temperature KD (Wei and Bai 2024, arXiv 2404.12711): the two networks are made equally sharp."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import SMALLEST, Softening

SHARPNESS = ("max", "energy")


@dataclass(frozen=True)
class DTKD(Rule):
    """T_t = 2 T m_t / (m_t + m_s), T_s = 2 T m_s / (m_t + m_s); factor T_t T_s. The gradient flows through both.

    m: the sharpness of each network's logits. `max`: the largest logit, as in the released code. `energy`: the
    logsumexp, as in the paper's text, which is minus the energy at T = 1. A sharpness that is not positive counts as
    the smallest positive one, 1e-7: then that network's softmax is one-hot, and the sample has hardly any weight or,
    where neither is positive, the plain T.
    """

    STUDENT = True

    temperature: float
    sharpness: str = "max"

    def __post_init__(self) -> None:
        check_above_0(temperature=self.temperature)
        if self.sharpness not in SHARPNESS:
            raise ValueError(f"unknown sharpness {self.sharpness!r}; use one of {', '.join(SHARPNESS)}")

    def soften(self, samples: Samples) -> Softening:
        assert samples.student is not None
        teacher, student = self._measure(samples.teacher), self._measure(samples.student)
        double = 2 * self.temperature / (teacher + student)
        return Softening(double * teacher, double * student, double**2 * teacher * student)

    def _measure(self, logits: Tensor) -> Tensor:
        """(N, C) -> (N,)"""
        sharpness = logits.amax(dim=1) if self.sharpness == "max" else logits.logsumexp(dim=1)
        return sharpness.clamp(min=SMALLEST)


RULE = DTKD
