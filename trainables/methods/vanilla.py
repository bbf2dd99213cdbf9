"""No teacher: cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.methods import Batch, Method
from trainables.models import Outputs


@dataclass(frozen=True)
class Vanilla(Method):
    """L = CE(labels, softmax(student))."""

    TEACHER = False

    def fixed(self, epoch: int) -> bool:
        return True

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        return cross_entropy(student.logits, batch.labels)


METHOD = Vanilla
