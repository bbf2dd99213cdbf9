"""Normalized KD (Yang et al., ICCV 2023)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import nkd_loss
from trainables.methods import Batch, Method
from trainables.models import Outputs


@dataclass(frozen=True)
class NKD(Method):
    """L = ce CE(labels, student) + NKD(student, teacher, labels; T, gamma)."""

    TEMPERED = True

    ce: float
    gamma: float

    def fixed(self, epoch: int) -> bool:
        return True

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        logits = student.logits, batch.teacher_outputs.logits
        loss = nkd_loss(*logits, batch.labels, self.gamma, batch.shared_temperature)
        return self.ce * cross_entropy(student.logits, batch.labels) + loss


METHOD = NKD
