"""No teacher: cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.errors import UserError
from trainables.methods import Batch


@dataclass(frozen=True)
class Vanilla:
    """L = CE(labels, softmax(student))."""

    def loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor:
        return cross_entropy(student, batch.labels)

    def mixed_loss(self, student: Tensor, batch: Batch, temperature: float | Tensor, epoch: int) -> Tensor:
        raise UserError("a student alone has no loss on mixed images: choose a method with a teacher")


METHOD = Vanilla
