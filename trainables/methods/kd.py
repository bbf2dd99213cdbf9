"""Knowledge distillation; with a temperature for each sample, Energy KD."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import kd_loss
from trainables.methods import Batch


@dataclass(frozen=True)
class KD:
    """L = ce CE(labels, student) + kd KD(student, teacher; T)  (Eq. 7, 8).  On mixed images: kd KD alone."""

    ce: float
    kd: float

    def loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor:
        return self.ce * cross_entropy(student, batch.labels) + self.mixed_loss(student, batch, temperature, epoch)

    def mixed_loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor:
        assert batch.teacher is not None
        return self.kd * kd_loss(student, batch.teacher, temperature)


METHOD = KD
