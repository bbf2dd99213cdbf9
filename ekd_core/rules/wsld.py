"""Weighted soft labels (Zhou et al., ICLR 2021)."""

from __future__ import annotations

from dataclasses import dataclass

from torch.nn.functional import cross_entropy

from ekd_core.rules import Rule, Samples, check_above_0
from ekd_core.softening import Softening


@dataclass(frozen=True)
class WSLD(Rule):
    """T for teacher and student; factor T^2 (1 - exp(-CE_s / (CE_t + 1e-7))), without gradient.

    CE: each network's cross-entropy with the label. The divergence is the cross-entropy of the softmaxes.
    """

    STUDENT = True
    LABELS = True
    CROSS_ENTROPY = True

    temperature: float

    def __post_init__(self) -> None:
        check_above_0(temperature=self.temperature)

    def soften(self, samples: Samples) -> Softening:
        assert samples.student is not None
        assert samples.labels is not None
        student, teacher = (
            cross_entropy(each.detach(), samples.labels, reduction="none")
            for each in (samples.student, samples.teacher)
        )
        factor = self.temperature**2 * -(-student / (teacher + 1e-7)).expm1()
        return Softening(self.temperature, self.temperature, factor, cross_entropy=True)


RULE = WSLD
