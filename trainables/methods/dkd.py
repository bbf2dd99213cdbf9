"""Decoupled knowledge distillation; with a temperature for each sample, Energy DKD."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import dkd_loss
from trainables.methods import Batch


@dataclass(frozen=True)
class DKD:
    """L = ce CE(labels, student) + w DKD(student, teacher, labels; T, alpha, beta), w = min(epoch / warmup, 1).

    On mixed images: w DKD alone, whose target class is the label of the image that fills at least half of the mix.
    """

    ce: float
    alpha: float
    beta: float
    warmup: float

    def loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor:
        return self.ce * cross_entropy(student, batch.labels) + self.mixed_loss(student, batch, temperature, epoch)

    def mixed_loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor:
        assert batch.teacher is not None
        weight = min(epoch / self.warmup, 1.0) if self.warmup > 0 else 1.0
        return weight * dkd_loss(student, batch.teacher, batch.labels, temperature, self.alpha, self.beta)


METHOD = DKD
