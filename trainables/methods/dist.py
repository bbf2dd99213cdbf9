"""DIST (Huang et al., NeurIPS 2022): correlations over classes and over samples."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import dist_loss
from ekd_core.rules import Rule
from ekd_core.rules.plain import Plain
from trainables.methods import Batch, Method
from trainables.models import Outputs


@dataclass(frozen=True)
class DIST(Method):
    """L = ce CE(labels, student) + weight DIST(student, teacher; T).  On mixed images: without CE."""

    TEMPERED = True
    COUPLED = True
    MIXES = True

    ce: float
    weight: float

    def takes(self, rule: Rule) -> bool:
        return isinstance(rule, Plain)

    def fixed(self, epoch: int) -> bool:
        return True

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.ce * cross_entropy(student.logits, batch.labels) + self.mixed_loss(student, batch)

    def mixed_loss(self, student: Outputs, batch: Batch) -> Tensor:
        return self.weight * dist_loss(student.logits, batch.teacher_outputs.logits, batch.base)


METHOD = DIST
