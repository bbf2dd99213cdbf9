"""Knowledge distillation; with a temperature for each sample, Energy KD."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import kd_loss
from trainables.methods import Batch, Method
from trainables.models import Outputs


@dataclass(frozen=True)
class KD(Method):
    """L = ce CE(labels, student) + kd KD(student, teacher; T)  (Eq. 7, 8).  On mixed images: kd KD alone."""

    TEMPERED = True
    MIXES = True

    ce: float
    kd: float

    def fixed(self, epoch: int) -> bool:
        return True

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.ce * cross_entropy(student.logits, batch.labels) + self.distillation_loss(student, batch)

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.distillation_loss(student, batch)

    def distillation_loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.kd * kd_loss(student.logits, batch.teacher_outputs.logits, batch.temperature)


METHOD = KD
