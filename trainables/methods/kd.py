"""Knowledge distillation; with a temperature for each sample, Energy KD."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import kd_loss
from trainables.methods import Method, Step


@dataclass(frozen=True)
class KD(Method):
    """L = ce CE(labels, student) + kd KD(student, teacher; T)  (Eq. 7, 8).  On mixed images: kd KD alone."""

    TEMPERED = True
    MIXES = True

    ce: float
    kd: float

    def fixed(self, epoch: int) -> bool:
        return True

    def loss(self, step: Step) -> Tensor:
        return self.ce * cross_entropy(step.student.logits, step.labels) + self.mixed_loss(step)

    def mixed_loss(self, step: Step) -> Tensor:
        return self.kd * kd_loss(step.student.logits, step.taught.logits, step.temperature)


METHOD = KD
