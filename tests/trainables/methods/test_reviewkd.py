"""Knowledge review: the golden context loss, the fusion written out, every pair of the tables, refusals."""

from __future__ import annotations

import itertools
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from few import fast
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, cross_entropy, mse_loss

from trainables.errors import UserError
from trainables.methods import Batch, Setup, find, make
from trainables.methods.reviewkd import Fusion, context_loss
from trainables.models import Outputs, build
from trainables.spec import params

C, N = 10, 4
LABELS = torch.tensor([1, 0, 3, 9])
PAIRS = [
    *(("wrn_40_2", "wrn_16_2", 32), ("wrn_40_2", "wrn_40_1", 32), ("resnet56", "resnet20", 32)),
    *(("resnet110", "resnet32", 32), ("resnet32x4", "resnet8x4", 32), ("vgg13", "vgg8", 32)),
    *(("wrn_40_2", "ShuffleV1", 32), ("ResNet50", "MobileNetV2", 32), ("resnet32x4", "ShuffleV1", 32)),
    *(("resnet32x4", "ShuffleV2", 32), ("vgg13", "MobileNetV2", 32)),
    *(("resnet20", "resnet8", 16), ("wrn_16_1", "resnet8", 16)),
    *(("imagenet_resnet34", "imagenet_resnet18", 96), ("imagenet_resnet50", "MobileNetV1", 96)),
    *(("vgg13", "resnet8", 64), ("resnet8", "vgg8", 16), ("MobileNetV2", "wrn_16_2", 32)),
]
FEW = [("resnet20", "resnet8", 16), ("resnet8", "vgg8", 16), ("MobileNetV2", "wrn_16_2", 32)]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@cache
def outputs(name: str, side: int) -> Outputs:
    """Of one image, shapes alone: nothing is computed."""
    with torch.device("meta"), torch.no_grad():
        return build(name, C).eval().forward_features(torch.empty(1, 3, side, side))


def outputs_like(one: Outputs, seed: int, dtype: torch.dtype = torch.float32, *, learns: bool = False) -> Outputs:
    """Noise of the shapes of one image's outputs, for a batch."""
    seeds = itertools.count(100 * seed)

    def like(tensor: Tensor) -> Tensor:
        return noise(N, *tensor.shape[1:], seed=next(seeds), dtype=dtype).requires_grad_(learns)

    return Outputs(
        like(one.logits), tuple(map(like, one.features)), like(one.pooled), tuple(map(like, one.preactivations))
    )


def made_up(channels: tuple[int, ...], sides: tuple[int, ...], pooled: int) -> Outputs:
    maps = tuple(torch.zeros(1, count, side, side) for count, side in zip(channels, sides, strict=True))
    return Outputs(torch.zeros(1, C), maps, torch.zeros(1, pooled), maps)


def setup(student: Outputs, teacher: Outputs) -> Setup:
    return Setup(student, teacher, (), torch.arange(30) % C, C)


def batch(teacher: Outputs, extra: nn.Module | None, epoch: int = 20) -> Batch:
    images = torch.zeros(N, 3, 16, 16)
    return Batch(images=images, labels=LABELS, epoch=epoch, temperature=4.0, teacher=teacher, extra=extra)


METHOD = make("reviewkd", params(ce=0.5, weight=5, warmup=20, preactivations=0))


def test_its_needs() -> None:
    cls = find("reviewkd")
    assert (cls.FEATURES, cls.TEACHER, cls.COUPLED) == (True, True, False)


def test_golden(ekd_data: Path) -> None:
    stored = json.loads((ekd_data / "reference" / "losses.json").read_text())
    pairs = [
        tuple(
            torch.tensor(stored["inputs"][f"fused_{who}"][level], dtype=torch.float64) for who in ("student", "teacher")
        )
        for level in range(3)
    ]
    found = sum(context_loss(*pair).item() for pair in pairs)
    assert found == pytest.approx(stored["expected"]["reviewkd_hcl"], rel=1e-9)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5, 7, 8, 14])
def test_context_loss_with_torchs_pooling(side: int) -> None:
    student, teacher = noise(N, 5, side, side), noise(N, 5, side, side, seed=1)
    parts = [(mse_loss(student, teacher), 1.0)]
    for pooled in (4, 2, 1):
        if pooled < side:
            both = (adaptive_avg_pool2d(maps, pooled) for maps in (student, teacher))
            parts.append((mse_loss(*both), parts[-1][1] / 2))
    expected = sum(weight * part for part, weight in parts) / sum(weight for _, weight in parts)
    torch.testing.assert_close(context_loss(student, teacher), expected)


def test_gradients_by_finite_differences() -> None:
    student, teacher = (noise(2, 2, 5, 5, seed=seed, dtype=torch.float64) for seed in (0, 1))
    assert torch.autograd.gradcheck(
        lambda maps: context_loss(maps, teacher), (student.requires_grad_(),), fast_mode=True
    )
    torch.manual_seed(0)
    fusion = Fusion(2, 3, 2, deepest=False).double()
    rest = noise(2, 3, 2, 2, dtype=torch.float64).requires_grad_()

    def loss(maps: Tensor, rest: Tensor) -> Tensor:
        return context_loss(fusion(maps, rest, teacher.shape[2:])[0], teacher)

    assert torch.autograd.gradcheck(
        loss, (noise(2, 2, 4, 4, dtype=torch.float64).requires_grad_(), rest), fast_mode=True
    )


def nearest(maps: Tensor, size: int) -> Tensor:
    """Place i comes from place floor(i * from / to)."""
    rows, columns = (torch.arange(size) * side // size for side in maps.shape[2:])
    return maps[:, :, rows][:, :, :, columns]


def normed(maps: Tensor, norm: nn.Module) -> Tensor:
    assert isinstance(norm, nn.BatchNorm2d)
    mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), keepdim=True, correction=0)
    return (maps - mean) / (variance + norm.eps).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]


@pytest.mark.parametrize("preactivations", [0, 1])
def test_the_fusion_written_out(preactivations: int) -> None:
    """A teacher with one map more and other sides. Levels from the deepest, with the modules' own weights."""
    method = make("reviewkd", params(ce=0.5, weight=5, warmup=20, preactivations=preactivations))
    shapes = made_up((3, 6, 8, 10), (8, 8, 4, 2), 12), made_up((4, 5, 7, 9, 11), (16, 16, 16, 8, 4), 13)
    torch.manual_seed(1)
    extra = method.extra(setup(*shapes))
    assert isinstance(extra, nn.ModuleList)
    student, teacher = outputs_like(shapes[0], 1), outputs_like(shapes[1], 2)
    total, rest = 0, torch.empty(0)
    students = [*(student.preactivations if preactivations else student.features)[1:], student.pooled[:, :, None, None]]
    teachers = [*teacher.preactivations[2:], teacher.pooled[:, :, None, None]]
    for level, (own, theirs) in enumerate(zip(students[::-1], teachers[::-1], strict=True)):
        fusion = extra[level]
        maps = normed(conv2d(own, fusion.narrow[0].weight), fusion.narrow[1])
        if level:
            rest = nearest(rest, maps.shape[2])
            both = conv2d(torch.cat([maps, rest], 1), fusion.attention.weight, fusion.attention.bias)
            share = 1 / (1 + (-both).exp())
            maps = maps * share[:, 0][:, None] + rest * share[:, 1][:, None]
        rest = nearest(maps, theirs.shape[2])
        fused = normed(conv2d(rest, fusion.widen[0].weight, padding=1), fusion.widen[1])
        total = total + context_loss(fused, theirs)
    expected = 0.5 * cross_entropy(student.logits, LABELS) + 5 * total
    torch.testing.assert_close(method.loss(student, batch(teacher, extra)), expected)


def test_half_a_choice_is_refused() -> None:
    with pytest.raises(UserError, match="preactivations = 0 or 1, not"):
        make("reviewkd", params(ce=1, weight=5, warmup=0, preactivations=0.5))


@pytest.mark.parametrize(("teacher", "student", "side"), fast(PAIRS, *FEW), ids=str)
def test_pairs(teacher: str, student: str, side: int) -> None:
    """Gradients reach every module of the method, every map that is used, and never the teacher."""
    shapes = outputs(student, side), outputs(teacher, side)
    extra = METHOD.extra(setup(*shapes))
    assert isinstance(extra, nn.ModuleList)
    learner, known = outputs_like(shapes[0], 1, learns=True), outputs_like(shapes[1], 2)
    loss = METHOD.loss(learner, batch(known, extra.train()))
    loss.backward()
    assert bool(torch.isfinite(loss))
    weights = dict(extra.named_parameters())
    assert all(weight.grad is not None for weight in weights.values())
    assert all(bool(weight.grad.abs().sum() > 0) for weight in weights.values() if weight.grad is not None)
    levels = min(len(learner.features), len(known.preactivations)) - 1
    assert len(extra) == levels + 1
    used = [*learner.features[len(learner.features) - levels :], learner.pooled]
    assert all(maps.grad is not None and bool(maps.grad.abs().sum() > 0) for maps in used)


def test_pairs_are_all_of_the_tables() -> None:
    from trainables.recipes import CIFAR100, DIGITS

    for recipe in (CIFAR100, DIGITS):
        assert {(pair.teacher, pair.student) for pair in recipe.pairs} <= {pair[:2] for pair in PAIRS}


@pytest.mark.parametrize(("epoch", "weight"), [(1, 0.05), (10, 0.5), (20, 1.0), (240, 1.0)])
def test_warm_up(epoch: int, weight: float) -> None:
    shapes = made_up((3, 6), (8, 4), 12), made_up((4, 5), (8, 4), 13)
    extra = METHOD.extra(setup(*shapes))
    student, teacher = outputs_like(shapes[0], 1), outputs_like(shapes[1], 2)
    ce = 0.5 * cross_entropy(student.logits, LABELS)
    full = METHOD.loss(student, batch(teacher, extra)) - ce
    torch.testing.assert_close(METHOD.loss(student, batch(teacher, extra, epoch)) - ce, weight * full)
    without = make("reviewkd", params(ce=0.5, weight=5, warmup=0, preactivations=0))
    torch.testing.assert_close(without.loss(student, batch(teacher, extra, epoch)) - ce, full)


@pytest.mark.parametrize(("width", "middle"), [(64, 64), (512, 512), (1280, 512)])
def test_width_in_the_middle(width: int, middle: int) -> None:
    extra = METHOD.extra(setup(made_up((3, 6), (8, 4), width), made_up((4, 5), (8, 4), 13)))
    assert isinstance(extra, nn.ModuleList)
    assert {level.narrow[0].out_channels for level in extra} == {middle}


def test_the_epoch_is_reproducible() -> None:
    """The same seed makes the same modules, the same batch the same gradients, with deterministic kernels alone."""
    shapes = outputs("resnet8", 16), outputs("resnet20", 16)
    gradients = []
    torch.use_deterministic_algorithms(True)
    for _ in range(2):
        torch.manual_seed(3)
        extra = METHOD.extra(setup(*shapes))
        student, teacher = outputs_like(shapes[0], 1, learns=True), outputs_like(shapes[1], 2)
        METHOD.loss(student, batch(teacher, extra)).backward()
        gradients.append([weight.grad for weight in extra.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_a_pair_without_maps() -> None:
    good, bare = made_up((3, 6), (8, 4), 12), made_up((4,), (8,), 13)
    for student, teacher, text in ((good, bare, "the teacher's 4x8x8"), (bare, good, "student's maps are 4x8x8")):
        with pytest.raises(UserError, match=rf"reviewkd cannot serve this pair: .* two .*{text}"):
            METHOD.extra(setup(student, teacher))
