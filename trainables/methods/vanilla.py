"""No teacher: cross-entropy."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.methods import Method, Step


@dataclass(frozen=True)
class Vanilla(Method):
    """L = CE(labels, softmax(student))."""

    TEACHER = False

    def fixed(self, epoch: int) -> bool:
        return True

    def loss(self, step: Step) -> Tensor:
        return cross_entropy(step.student.logits, step.labels)


METHOD = Vanilla
