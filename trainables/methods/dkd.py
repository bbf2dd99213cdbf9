"""Decoupled knowledge distillation; with a temperature for each sample, Energy DKD."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import dkd_loss, dkd_mixed_loss
from ekd_core.rules import Rule
from trainables.methods import Batch, Method, warm_up
from trainables.models import Outputs


@dataclass(frozen=True)
class DKD(Method):
    """L = ce CE(labels, student) + w DKD(student, teacher, labels; T, alpha, beta), w = min(epoch / warmup, 1).

    On mixed images: w DKD alone. Its target is the label of the image that fills at least half of the mix, or, where
    the run's mixing has the target `both`, the labels of both (see `dkd_mixed_loss`).
    """

    TEMPERED = True
    MIXES = True

    ce: float
    alpha: float
    beta: float
    warmup: float

    def takes(self, rule: Rule) -> bool:
        return not rule.CROSS_ENTROPY

    def fixed(self, epoch: int) -> bool:
        return epoch >= self.warmup

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.ce * cross_entropy(student.logits, batch.labels) + self.distillation_loss(student, batch)

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.distillation_loss(student, batch)

    def distillation_loss(self, student: Outputs, batch: Batch) -> Tensor:
        weight = warm_up(batch.epoch, self.warmup)
        logits, labels, temperature = (student.logits, batch.teacher_outputs.logits), batch.labels, batch.temperature
        if batch.others is not None:
            return weight * dkd_mixed_loss(*logits, labels, batch.others, temperature, self.alpha, self.beta)
        return weight * dkd_loss(*logits, labels, temperature, self.alpha, self.beta)

    def remark(self, num_classes: int) -> str | None:
        if num_classes > 2:
            return None
        return "dkd with two classes: its second term (beta) is 0, since there is one class beside the target"


METHOD = DKD
