"""Methods on features with real networks: every pair of the paper and of the recipes is served."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from feature_steps import METHODS, batch, learnable
from few import fast

from trainables.errors import UserError
from trainables.methods import Setup
from trainables.models import Outputs, build
from trainables.recipes import DIGITS, IMAGENET, Pair

CLASSES = 10
CIFAR100 = (
    *(("wrn_40_2", "wrn_16_2"), ("wrn_40_2", "wrn_40_1"), ("resnet56", "resnet20"), ("resnet110", "resnet32")),
    *(("resnet32x4", "resnet8x4"), ("vgg13", "vgg8"), ("wrn_40_2", "ShuffleV1"), ("ResNet50", "MobileNetV2")),
    *(("resnet32x4", "ShuffleV1"), ("resnet32x4", "ShuffleV2"), ("vgg13", "MobileNetV2")),
)
PAIRS = [
    *((Pair(*pair), 32) for pair in CIFAR100),
    *((pair, 16) for pair in DIGITS.pairs),
    *((pair, 64) for pair in IMAGENET.pairs),
]
FEW = [case for case in PAIRS if case[1] == 16 or case[0] == Pair("vgg13", "MobileNetV2")]


@cache
def answers(name: str, side: int) -> tuple[Outputs, tuple[tuple[torch.Tensor, torch.Tensor], ...]]:
    """Of a fresh network, on four images; with its norms."""
    torch.manual_seed(0)
    network = build(name, CLASSES)
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(side))
    with torch.no_grad():
        return network.forward_features(images), tuple(
            (norm.weight, norm.bias) for norm in network.preactivation_norms()
        )


def pair_setup(pair: Pair, side: int) -> Setup:
    student, (teacher, norms) = answers(pair.student, side)[0], answers(pair.teacher, side)
    one, other = (each.map(lambda tensor: tensor[:1]) for each in (student, teacher))
    return Setup(one, other, norms, torch.arange(CLASSES), CLASSES)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("pair", "side"), fast(PAIRS, *FEW), ids=[f"{pair.teacher}-{pair.student}" for pair, _ in PAIRS]
)
def test_every_pair_is_served(pair: Pair, side: int, name: str) -> None:
    method = METHODS[name]
    torch.manual_seed(1)
    modules = method.extra(pair_setup(pair, side))
    student, leaves = learnable(answers(pair.student, side)[0])
    loss = method.loss(student, batch(answers(pair.teacher, side)[0], modules))
    loss.backward()
    assert loss.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in leaves if leaf.grad is not None)
    assert any(leaf.grad is not None and leaf.grad.abs().sum() > 0 for leaf in leaves[1:])
    if modules is not None:
        assert all(one.grad is not None and one.grad.isfinite().all() for one in modules.parameters())


def test_a_pair_that_fitnet_cannot_serve() -> None:
    """No whole number of the student's sides makes the teacher's; the others average."""
    setup = pair_setup(Pair("resnet20", "resnet8"), 16)
    odd = setup.student.map(lambda tensor: tensor[:, :, :5, :5] if tensor.ndim == 4 else tensor)
    with pytest.raises(UserError, match=r"fitnet cannot serve this pair: .* 16x5x5, .* 16x16x16"):
        METHODS["fitnet"].extra(Setup(odd, setup.teacher, setup.teacher_norms, setup.labels, CLASSES))
    for name in ("at", "pkt", "rkd", "vid", "ofd"):
        METHODS[name].extra(Setup(odd, setup.teacher, setup.teacher_norms, setup.labels, CLASSES))
