"""Probabilistic knowledge transfer (Passalis and Tefas 2018).

Not with torchdistill's PKTLoss: its value is the same, its gradient is NaN where a sample's features are all zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainables.methods import Batch, Method
from trainables.models import Outputs

EPS = 1e-7


@dataclass(frozen=True)
class PKT(Method):
    """L = ce CE(labels, student) + weight mean_ij p_ij log((p_ij + eps) / (q_ij + eps)),  eps = 1e-7.

    p (teacher) and q (student): (N, N), (cosine + 1) / 2 of the pooled features of two samples, each row divided by
    its sum.
    """

    FEATURES = True
    COUPLED = True

    ce: float
    weight: float

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        transfer = divergence(student.pooled, batch.teacher_outputs.pooled)
        return self.ce * cross_entropy(student.logits, batch.labels) + self.weight * transfer


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Of features (N, K) and (N, L): scalar, at least 0 but for eps."""
    p, q = _similarities(teacher), _similarities(student)
    return (p * ((p + EPS) / (q + EPS)).log()).mean()


def _similarities(features: Tensor) -> Tensor:
    """(N, K) to (N, N), rows that sum to 1. Features that are all zero are at a right angle to all others."""
    norm = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    unit = features / torch.where(norm > 0, norm + EPS, 1)
    similar = ((unit @ unit.T + 1) / 2).clamp(min=0)
    return similar / similar.sum(dim=1, keepdim=True)


METHOD = PKT
