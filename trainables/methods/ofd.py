"""A comprehensive overhaul of feature distillation (Heo et al. 2019): features before their ReLU."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.methods import Batch, Method, Setup
from trainables.methods._features import make_refusal, match_sizes, pair_maps
from trainables.models import Outputs
from trainables.models.network import convolution, kaiming_convolutions

RARE = 0.001


class Connector(nn.Module):
    """A 1 x 1 convolution and a norm, (N, K, H, W) to (N, L, H, W); and the teacher's margin, (L, 1, 1)."""

    margin: Tensor

    def __init__(self, inputs: int, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.connect = nn.Sequential(convolution(inputs, len(weight), 1), nn.BatchNorm2d(len(weight)))
        self.register_buffer("margin", margin_of(weight, bias)[:, None, None])
        kaiming_convolutions(self)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.connect(maps)
        assert isinstance(maps, Tensor)
        return maps


@dataclass(frozen=True)
class OFD(Method):
    """L = ce CE(labels, student) + weight sum_l 2^(l - last) partial(connector_l(student_l), teacher_l, margin_l) / N.

    partial: the sum of (student - t)^2, t = max(teacher, margin), but 0 where student <= t <= 0. margin: for each
    channel, the mean of its negative values (see margin_of). The maps l are all preactivations but the first, matched
    from the last back where one network has more; the larger of two maps is averaged to the size of the smaller
    (mdistiller: always the teacher's). The teacher's maps are those of training mode, by the statistics of the batch,
    as in the authors' code and in mdistiller; the margins are those of its norms' weights and biases.
    """

    FEATURES = True
    BATCH_STATISTICS = True

    ce: float
    weight: float

    def extra(self, setup: Setup) -> nn.Module:
        assert setup.teacher is not None
        student, teacher = setup.student.preactivations, setup.teacher.preactivations
        pairs = pair_maps(student, teacher)
        norms = setup.teacher_norms[len(setup.teacher_norms) - len(pairs) :]
        if not pairs or [len(weight) for weight, _ in norms] != [other.shape[1] for _, other in pairs]:
            why = "each network needs two preactivations or more, the teacher's behind norms"
            raise make_refusal("ofd", why, student, teacher)
        return nn.ModuleList(Connector(one.shape[1], *norm) for (one, _), norm in zip(pairs, norms, strict=True))

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        assert isinstance(batch.extra, nn.ModuleList)
        total = student.logits.new_zeros(())
        pairs = pair_maps(student.preactivations, batch.teacher_outputs.preactivations)
        for connector, (own, guide) in zip(batch.extra, pairs, strict=True):
            assert isinstance(connector, Connector)
            own, guide = match_sizes(connector(own), guide)
            total = total / 2 + partial_l2(own, guide, connector.margin)
        overhaul = total / len(batch.labels)
        return self.ce * cross_entropy(student.logits, batch.labels) + self.weight * overhaul


def partial_l2(student: Tensor, teacher: Tensor, margin: Tensor) -> Tensor:
    """The sum over all entries of (N, L, H, W) maps; margin: (L, 1, 1)."""
    target = torch.maximum(teacher, margin)
    return torch.where((student > target) | (target > 0), student - target, 0).square().sum()


def margin_of(weight: Tensor, bias: Tensor) -> Tensor:
    """(L,): E[x | x < 0] of x ~ N(bias, weight^2) = bias - s phi(bias / s) / Phi(-bias / s),  s = |weight|.

    Where a channel is negative with a probability of at most 0.001: -3 s, as in the authors' code.
    """
    mean, deviation = bias.detach().double(), weight.detach().double().abs()
    ratio = mean / deviation.clamp(min=torch.finfo(torch.float64).tiny)
    negative = torch.special.ndtr(-ratio)
    density = torch.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi)
    return torch.where(negative > RARE, mean - deviation * density / negative, -3 * deviation).to(weight.dtype)


METHOD = OFD
