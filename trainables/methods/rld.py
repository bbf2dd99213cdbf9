"""Refined logit distillation (Sun et al., ICCV 2025)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import rld_loss
from trainables.methods import Batch, Method, warm_up
from trainables.models import Outputs


@dataclass(frozen=True)
class RLD(Method):
    """L = ce CE(labels, student) + w RLD(student, teacher, labels; alpha, beta, T, A), w = min(epoch / warmup, 1).

    alpha_temperature: A, the temperature of the first term.
    """

    TEMPERED = True

    ce: float
    alpha: float
    beta: float
    alpha_temperature: float
    warmup: float

    def fixed(self, epoch: int) -> bool:
        return epoch >= self.warmup

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        logits = student.logits, batch.teacher_outputs.logits
        refined = rld_loss(
            *logits, batch.labels, self.alpha, self.beta, batch.shared_temperature, self.alpha_temperature
        )
        return self.ce * cross_entropy(student.logits, batch.labels) + warm_up(batch.epoch, self.warmup) * refined


METHOD = RLD
