"""ABKD (Wang et al., ICML 2025): the alpha-beta divergence."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import abkd_loss
from trainables.methods import Batch, Method
from trainables.models import Outputs


@dataclass(frozen=True)
class ABKD(Method):
    """L = ce CE(labels, student) + weight AB(student, teacher; T, alpha, beta).  On mixed images: without CE."""

    TEMPERED = True
    MIXES = True

    ce: float
    weight: float
    alpha: float
    beta: float

    def fixed(self, epoch: int) -> bool:
        return True

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.ce * cross_entropy(student.logits, batch.labels) + self.mixed_loss(student, batch)

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        logits = student.logits, batch.teacher_outputs.logits
        return self.weight * abkd_loss(*logits, self.alpha, self.beta, batch.shared_temperature)


METHOD = ABKD
