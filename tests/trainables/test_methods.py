"""Methods: found by file, refused by name, losses against torch's own cross-entropy and the core."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

import pytest
import torch
from torch.nn.functional import cross_entropy

from ekd_core import dkd_loss, kd_loss
from trainables import methods as package
from trainables.errors import UserError
from trainables.methods import Batch, Method, make, methods
from trainables.recipes import DIGITS, Treatment, dkd, energy_dkd, energy_kd, kd
from trainables.spec import params

LABELS = torch.tensor([0, 3, 2, 2, 1])
DRAW = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (3 * torch.randn(5, 4, generator=DRAW) for _ in range(2))
BATCH = Batch(LABELS, TEACHER)
EACH = torch.tensor([6.0, 4.0, 2.0, 4.0, 6.0])

KD = make("kd", params(ce=0.1, kd=0.9))
DKD = make("dkd", params(ce=1, alpha=1, beta=8, warmup=20))
VANILLA = make("vanilla", ())


def test_every_file_with_a_method_is_a_method() -> None:
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    defining = {name for name in files if hasattr(importlib.import_module(f"trainables.methods.{name}"), "METHOD")}
    assert set(methods()) == defining >= {"vanilla", "kd", "dkd"}
    for cls in methods().values():
        assert dataclasses.is_dataclass(cls)
        assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert all(callable(getattr(cls, name)) for name in ("loss", "mixed_loss"))


def test_unknown_method() -> None:
    with pytest.raises(UserError, match=r"unknown method 'dkdd' \(did you mean dkd\?\): use one of .*vanilla"):
        make("dkdd", ())


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("kd", {"ce": 0.1}),
        ("kd", {"ce": 0.1, "kd": 0.9, "beta": 1}),
        ("dkd", {"ce": 1, "kd": 1}),
        ("vanilla", {"ce": 1}),
    ],
)
def test_numbers_that_a_method_does_not_take(name: str, given: dict[str, float]) -> None:
    with pytest.raises(UserError, match=rf"method {name} takes the parameters .*; given: {', '.join(sorted(given))}"):
        make(name, params(**given))


@pytest.mark.parametrize("treatment", [kd(), *(f(DIGITS, DIGITS.pairs[0]) for f in (dkd, energy_kd, energy_dkd))])
def test_recipes_name_methods_with_their_numbers(treatment: Treatment) -> None:
    assert dataclasses.asdict(make(treatment.method, treatment.params)) == dict(treatment.params)  # type: ignore[call-overload]


def test_vanilla() -> None:
    loss = VANILLA.loss(STUDENT, Batch(LABELS, None), 4.0, 1)
    torch.testing.assert_close(loss, cross_entropy(STUDENT, LABELS))
    with pytest.raises(UserError, match="choose a method with a teacher"):
        VANILLA.mixed_loss(STUDENT, Batch(LABELS, None), 4.0, 1)


@pytest.mark.parametrize("temperature", [4.0, EACH], ids=["plain", "energy"])
def test_kd(temperature: float | torch.Tensor) -> None:
    distilled = kd_loss(STUDENT, TEACHER, temperature)
    torch.testing.assert_close(KD.mixed_loss(STUDENT, BATCH, temperature, 1), 0.9 * distilled)
    expected = 0.1 * cross_entropy(STUDENT, LABELS) + 0.9 * distilled
    for epoch in (1, 300):
        torch.testing.assert_close(KD.loss(STUDENT, BATCH, temperature, epoch), expected)


@pytest.mark.parametrize("temperature", [4.0, EACH], ids=["plain", "energy"])
@pytest.mark.parametrize(("epoch", "weight"), [(1, 0.05), (10, 0.5), (20, 1.0), (21, 1.0), (240, 1.0)])
def test_dkd_warms_up_its_distillation_alone(temperature: float | torch.Tensor, epoch: int, weight: float) -> None:
    distilled = weight * dkd_loss(STUDENT, TEACHER, LABELS, temperature, 1.0, 8.0)
    torch.testing.assert_close(DKD.mixed_loss(STUDENT, BATCH, temperature, epoch), distilled)
    expected = cross_entropy(STUDENT, LABELS) + distilled
    torch.testing.assert_close(DKD.loss(STUDENT, BATCH, temperature, epoch), expected)


@pytest.mark.parametrize("warmup", [0, 1])
def test_dkd_without_warm_up(warmup: float) -> None:
    method = make("dkd", params(ce=1, alpha=1, beta=8, warmup=warmup))
    torch.testing.assert_close(
        method.mixed_loss(STUDENT, BATCH, 4.0, 1), dkd_loss(STUDENT, TEACHER, LABELS, 4.0, 1.0, 8.0)
    )


def test_mixed_images_bring_no_cross_entropy_to_kd() -> None:
    """The labels of mixed images are of no matter to KD; its loss on them is the distillation term alone."""
    other = Batch((LABELS + 1) % 4, TEACHER)
    assert torch.equal(KD.mixed_loss(STUDENT, BATCH, 4.0, 1), KD.mixed_loss(STUDENT, other, 4.0, 1))
    assert not torch.equal(KD.loss(STUDENT, BATCH, 4.0, 1), KD.loss(STUDENT, other, 4.0, 1))


@pytest.mark.parametrize("method", [KD, DKD], ids=["kd", "dkd"])
def test_only_the_student_learns(method: Method) -> None:
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone()
    method.loss(student, Batch(LABELS, teacher), EACH, 5).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert torch.equal(teacher, TEACHER)
