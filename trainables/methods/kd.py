"""Knowledge distillation; with a temperature for each sample, Energy KD."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import kd_loss
from ekd_core.rules import Rule
from trainables.methods import Batch, Method, warm_up
from trainables.models import Outputs


@dataclass(frozen=True)
class KD(Method):
    """L = ce CE(labels, student) + w (kd KD(student, teacher; rule) + plain KD(student, teacher; T))  (Eq. 7, 8).

    T: of the run, the same for all; DTKD adds that term to its own. w = min(epoch / warmup, 1); 1 without a warm-up. On
    mixed images: without CE.
    """

    TEMPERED = True
    MIXES = True

    ce: float
    kd: float
    plain: float = 0.0
    warmup: float = 0.0

    def takes(self, rule: Rule) -> bool:
        return True

    def fixed(self, epoch: int) -> bool:
        return epoch >= self.warmup

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.ce * cross_entropy(student.logits, batch.labels) + self.distillation_loss(student, batch)

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.distillation_loss(student, batch)

    def distillation_loss(self, student: Outputs, batch: Batch) -> Tensor:
        logits = student.logits, batch.teacher_outputs.logits
        loss = self.kd * kd_loss(*logits, batch.temperature)
        if self.plain:
            loss = loss + self.plain * kd_loss(*logits, batch.base)
        return warm_up(batch.epoch, self.warmup) * loss


METHOD = KD
