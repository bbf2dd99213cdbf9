"""Relational knowledge distillation (Park et al. 2019).

Not with torchdistill's RKDLoss: its value is the same, but it waits for the device (a mean over selected entries), is
NaN for a batch of one, and its gradient explodes where two samples have equal features.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

from trainables.methods import Batch, Method
from trainables.models import Outputs

EPS = 1e-12


@dataclass(frozen=True)
class RKD(Method):
    """L = ce CE(labels, student) + distance h(D_student, D_teacher) + angle h(A_student, A_teacher).

    Of pooled features e (N, K): D (N, N), |e_j - e_i| over the mean of all pairs; A (N, N, N), the cosine of the
    angle at i between e_j - e_i and e_k - e_i. h: mean of smooth L1 over all entries, those with equal i, j, k too.
    """

    FEATURES = True
    COUPLED = True

    ce: float
    distance: float
    angle: float

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        own, guide = _differences(student.pooled), _differences(batch.teacher_outputs.pooled)
        loss = self.ce * cross_entropy(student.logits, batch.labels)
        if self.distance != 0:
            loss = loss + self.distance * smooth_l1_loss(_distances(own), _distances(guide))
        if self.angle != 0:
            loss = loss + self.angle * smooth_l1_loss(_angles(own), _angles(guide))
        return loss


def _differences(features: Tensor) -> Tensor:
    """(N, K) to (N, N, K)."""
    return features[None] - features[:, None]


def _lengths(differences: Tensor) -> Tensor:
    return torch.linalg.vector_norm(differences, dim=2)


def _distances(differences: Tensor) -> Tensor:
    """(N, N), with mean 1 over pairs of different samples."""
    lengths = _lengths(differences)
    pairs = max(len(lengths) * (len(lengths) - 1), 1)
    return lengths / (lengths.sum() / pairs).clamp(min=EPS)


def _angles(differences: Tensor) -> Tensor:
    """(N, N, N) cosines; 0 at and between equal features."""
    lengths = _lengths(differences)[:, :, None]
    unit = differences / torch.where(lengths > 0, lengths, 1)
    return unit @ unit.mT


METHOD = RKD
