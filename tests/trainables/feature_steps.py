"""What the tests of feature methods share: the methods with the paper's numbers, outputs, batches, setups."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from trainables.methods import Batch, Method, Setup, make
from trainables.models import Outputs
from trainables.spec import params

METHODS = {
    "fitnet": make("fitnet", params(ce=1, weight=100, feature=2)),
    "at": make("at", params(ce=1, weight=1000, power=2)),
    "pkt": make("pkt", params(ce=1, weight=30000)),
    "rkd": make("rkd", params(ce=1, distance=25, angle=50)),
    "vid": make("vid", params(ce=1, weight=1, variance=5, eps=1e-5)),
    "ofd": make("ofd", params(ce=1, weight=0.001)),
}
STUDENT, TEACHER = ((2, 4, 4), (3, 4, 4), (4, 2, 2)), ((3, 4, 4), (4, 4, 4), (5, 4, 4))
Shapes = Sequence[tuple[int, int, int]]


def outputs(shapes: Shapes, *, count: int = 4, pooled: int = 6, seed: int = 0) -> Outputs:
    """Of random numbers in float64; preactivations have the features' shapes."""
    draw = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=draw, dtype=torch.float64)

    features, preactivations = (tuple(random(*shape) for shape in shapes) for _ in range(2))
    return Outputs(logits=random(3), features=features, pooled=random(pooled), preactivations=preactivations)


def norms(teacher: Outputs) -> tuple[tuple[Tensor, Tensor], ...]:
    draw = torch.Generator().manual_seed(7)
    widths = [maps.shape[1] for maps in teacher.preactivations[1:]]
    return tuple((torch.rand(width, generator=draw), torch.randn(width, generator=draw) / 4) for width in widths)


def setup(student: Outputs, teacher: Outputs) -> Setup:
    labels = torch.arange(10) % student.logits.shape[1]
    return Setup(student, teacher, norms(teacher), labels, num_classes=student.logits.shape[1])


def extra(method: Method, student: Outputs, teacher: Outputs) -> nn.Module | None:
    torch.manual_seed(3)
    return method.extra(setup(student, teacher))


def batch(teacher: Outputs, modules: nn.Module | None = None) -> Batch:
    count, classes = teacher.logits.shape
    return Batch(
        images=teacher.logits.new_zeros(count, 3, 16, 16),
        labels=torch.arange(count, device=teacher.logits.device) % classes,
        epoch=1,
        temperature=4.0,
        teacher=teacher,
        extra=modules,
    )


def learnable(student: Outputs) -> tuple[Outputs, list[Tensor]]:
    """The same outputs as leaves that want a gradient, and these."""
    leaves: list[Tensor] = []

    def leaf(tensor: Tensor) -> Tensor:
        leaves.append(tensor.detach().clone().requires_grad_())
        return leaves[-1]

    features, preactivations = (tuple(map(leaf, maps)) for maps in (student.features, student.preactivations))
    return Outputs(leaf(student.logits), features, leaf(student.pooled), preactivations), leaves
