"""Knowledge review (Chen et al. 2021), with the maps that mdistiller gives it.

Not with torchdistill's HierarchicalContextLoss: its value is the same, but the gradient of torch's adaptive pooling,
which it uses, is not deterministic on a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, mse_loss

from trainables.errors import UserError
from trainables.methods import Batch, Method, Setup, warm_up
from trainables.methods._features import Pairs, average, make_refusal, pair_maps
from trainables.models import Outputs
from trainables.models.network import convolution

CONTEXTS = (4, 2, 1)
WIDEST = 512


class Fusion(nn.Module):
    """A student's map (N, K, H, W) and what the deeper levels left (N, M, h, w), to a teacher's map (N, L, Y, X).

    A 1 x 1 convolution makes M channels of the map. Two maps of attention, from both, weigh it and the upsampled rest;
    their sum is the rest for the next level and, by a 3 x 3 convolution, this level's answer. The deepest has no rest.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, *, deepest: bool) -> None:
        super().__init__()
        first, last = convolution(inputs, middle, 1), convolution(middle, outputs, 3)
        self.narrow = nn.Sequential(first, nn.BatchNorm2d(middle))
        self.attention = None if deepest else nn.Conv2d(2 * middle, 2, 1)
        self.widen = nn.Sequential(last, nn.BatchNorm2d(outputs))
        for layer in (first, last):
            nn.init.kaiming_uniform_(layer.weight, a=1)

    def forward(self, maps: Tensor, rest: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        maps = self.narrow(maps)
        if self.attention is not None and rest is not None:
            rest = _resize(rest, maps.shape[2:])
            own, other = self.attention(torch.cat([maps, rest], dim=1)).sigmoid().split(1, dim=1)
            maps = maps * own + rest * other
        maps = _resize(maps, size)
        return self.widen(maps), maps


@dataclass(frozen=True)
class ReviewKD(Method):
    """L = ce CE(labels, student) + weight w sum_l HCL(fused_l, teacher_l),  w = min(epoch / warmup, 1).

    HCL: see `context_loss`. The levels l are all maps but the first, and the pooled features as a map of side 1: the
    student's features (its preactivations too if preactivations = 1, as mdistiller has it on ImageNet), the teacher's
    preactivations, matched from the last back where one network has more. fused: from
    the deepest level to the first, see Fusion; M is the student's pooled width, 512 at most. Where sides differ, the
    student's map is resized to the nearest neighbour, whatever the ratio.
    """

    FEATURES = True

    ce: float
    weight: float
    warmup: float
    preactivations: float

    def __post_init__(self) -> None:
        if self.preactivations not in (0, 1):
            raise UserError(f"reviewkd takes preactivations = 0 or 1, not {self.preactivations:g}")

    def extra(self, setup: Setup) -> nn.Module:
        assert setup.teacher is not None
        student, teacher = self._maps(setup.student), setup.teacher.preactivations
        if not pair_maps(student, teacher):
            why = "the student needs two features or more, the teacher two preactivations or more"
            raise make_refusal("reviewkd", why, student, teacher)
        middle = min(setup.student.pooled.shape[1], WIDEST)
        levels = self._levels(setup.student, setup.teacher)
        return nn.ModuleList(
            Fusion(one.shape[1], middle, other.shape[1], deepest=number == 0)
            for number, (one, other) in enumerate(levels)
        )

    def loss(self, student: Outputs, batch: Batch) -> Tensor:
        assert isinstance(batch.extra, nn.ModuleList)
        total, rest = student.logits.new_zeros(()), None
        for fusion, (own, guide) in zip(batch.extra, self._levels(student, batch.teacher_outputs), strict=True):
            fused, rest = fusion(own, rest, guide.shape[2:])
            total = total + context_loss(fused, guide)
        weight = self.weight * warm_up(batch.epoch, self.warmup)
        return self.ce * cross_entropy(student.logits, batch.labels) + weight * total

    def _maps(self, student: Outputs) -> tuple[Tensor, ...]:
        return student.preactivations if self.preactivations else student.features

    def _levels(self, student: Outputs, teacher: Outputs) -> Pairs:
        """The deepest first."""
        pooled = (student.pooled[:, :, None, None], teacher.pooled[:, :, None, None])
        return [pooled, *reversed(pair_maps(self._maps(student), teacher.preactivations))]


def context_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss of maps (N, K, H, W): the mean over sides a, weighted, of MSE(student_a, teacher_a).

    Sides: the maps' own with weight 1, then those of 4, 2 and 1 that are smaller (averaged to), with 1/2, 1/4, 1/8.
    """
    loss, total, weight = mse_loss(student, teacher), 1.0, 1.0
    for side in CONTEXTS:
        if side < student.shape[2]:
            weight /= 2
            total += weight
            loss = loss + weight * mse_loss(average(student, side, side), average(teacher, side, side))
    return loss / total


def _resize(maps: Tensor, size: torch.Size) -> Tensor:
    return maps if maps.shape[2:] == size else interpolate(maps, size=tuple(size), mode="nearest")


METHOD = ReviewKD
