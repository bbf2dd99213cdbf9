"""KD by any rule, weighted to have the gradient of plain KD at the start: to tell temperature from weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ekd_core import kd_loss
from trainables.methods import Batch, Setup
from trainables.methods.kd import KD
from trainables.models import Outputs


class Scale(nn.Module):
    """A number that is measured before the first step."""

    value: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.ones(()))


@dataclass(frozen=True)
class EqualKD(KD):
    """`KD` whose second term is multiplied by s = mean_i |g_i(T)| / mean_i |g_i(rule)|, fixed for the whole run.

    g_i(.): the gradient of kd KD on the logits of sample i, of the untrained student on its first batch; T = reference.
    """

    MEASURES = True

    reference: float = 4.0

    def extra(self, setup: Setup) -> nn.Module:
        return Scale()

    def measure(self, student: Outputs, batch: Batch) -> None:
        assert isinstance(batch.extra, Scale)
        teacher, logits = batch.teacher_outputs.logits, student.logits
        sizes = []
        for temperature in (self.reference, batch.temperature):
            (gradient,) = torch.autograd.grad(kd_loss(logits, teacher, temperature), logits)
            sizes.append(gradient.norm(dim=1).mean())
        batch.extra.value.copy_(sizes[0] / sizes[1])

    def distillation_loss(self, student: Outputs, batch: Batch) -> Tensor:
        assert isinstance(batch.extra, Scale)
        return batch.extra.value * super().distillation_loss(student, batch)


METHOD = EqualKD
