"""Variational information distillation (Ahn et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, softplus

from trainables.errors import UserError
from trainables.methods import Batch, Method, Setup
from trainables.methods._features import make_refusal, match_sizes, pair_maps
from trainables.models import Outputs
from trainables.models.network import convolution


class Gaussian(nn.Module):
    """What the student's map (N, K, H, W) says of the teacher's (N, L, H, W): mean (N, L, H, W), variance (L, 1, 1).

    mean: three 1 x 1 convolutions with ReLUs between them. variance: softplus of a parameter, plus eps; starts at
    `variance`.
    """

    def __init__(self, inputs: int, outputs: int, variance: float, eps: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            convolution(inputs, outputs, 1),
            nn.ReLU(),
            convolution(outputs, outputs, 1),
            nn.ReLU(),
            convolution(outputs, outputs, 1),
        )
        start = variance - eps
        self.spread = nn.Parameter(torch.full((outputs,), start + math.log(-math.expm1(-start))))
        self.eps = eps

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(maps), (softplus(self.spread) + self.eps)[:, None, None]


@dataclass(frozen=True)
class VID(Method):
    """L = ce CE(labels, student) + weight sum_l mean ((teacher_l - mean_l)^2 / variance_l + log variance_l) / 2.

    mean_l, variance_l: a normal distribution for each channel, made from the student's map l by modules that learn
    with it. `variance`: its initial value; eps: its lowest. The maps l are all but the first, matched from the last
    back where one network has more; the larger of two maps is averaged to the size of the smaller.
    """

    FEATURES = True

    ce: float
    weight: float
    variance: float
    eps: float

    def __post_init__(self) -> None:
        if not 0 < self.eps < self.variance:
            raise UserError(f"vid starts from a variance above its eps > 0, not {self.variance:g} and {self.eps:g}")

    def extra(self, setup: Setup) -> nn.Module:
        assert setup.teacher is not None
        student, teacher = setup.student.features, setup.teacher.features
        pairs = pair_maps(student, teacher)
        if not pairs:
            raise make_refusal("vid", "each network needs two features or more", student, teacher)
        return nn.ModuleList(Gaussian(one.shape[1], other.shape[1], self.variance, self.eps) for one, other in pairs)

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        assert isinstance(batch.extra, nn.ModuleList)
        pairs = [match_sizes(*pair) for pair in pair_maps(student.features, batch.teacher_outputs.features)]
        information = student.logits.new_zeros(())
        for gaussian, (own, guide) in zip(batch.extra, pairs, strict=True):
            mean, variance = gaussian(own)
            information = information + (0.5 * ((mean - guide).square() / variance + variance.log())).mean()
        return self.ce * cross_entropy(student.logits, batch.labels) + self.weight * information


METHOD = VID
