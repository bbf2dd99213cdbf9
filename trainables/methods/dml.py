"""Deep mutual learning (Zhang et al. 2018): two networks, none of them trained before, teach each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ekd_core import kd_loss
from trainables.methods import Batch, Method, Setup
from trainables.models import Outputs, build


@dataclass(frozen=True)
class DML(Method):
    """L = ce (CE(labels, s) + CE(labels, p)) + mutual (KL(p || s) + KL(s || p)),  s, p: softmax of student and peer.

    The first distribution of each KL is a target and gets no gradient. Both networks take their step at once, from the
    same predictions (the paper's algorithm updates one after the other). The peer has weights, norms and a place in the
    optimizer of its own, sees the student's images in the student's precision, and is not tested.
    """

    TEACHER = False
    PEER = True

    ce: float
    mutual: float

    def extra(self, setup: Setup) -> nn.Module:
        assert setup.peer is not None
        return build(setup.peer, setup.num_classes, setup.side)

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        assert batch.extra is not None
        images, logits = batch.images, student.logits
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.dtype == torch.bfloat16):
            answer = batch.extra(images)
        peer = answer.float()
        ce = cross_entropy(logits, batch.labels) + cross_entropy(peer, batch.labels)
        mutual = kd_loss(logits, peer.detach(), 1.0) + kd_loss(peer, logits.detach(), 1.0)
        return self.ce * ce + self.mutual * mutual


METHOD = DML
