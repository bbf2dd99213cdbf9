"""Methods: found by file, refused by name, losses against torch's own cross-entropy and the core."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from forked import call
from torch.nn.functional import cross_entropy

from ekd_core import dkd_loss, kd_loss
from trainables import methods as package
from trainables.errors import UserError
from trainables.methods import Batch, Method, find, make, names
from trainables.models import Outputs
from trainables.recipes import DIGITS, Treatment, dkd, energy_dkd, energy_kd, kd
from trainables.spec import params

LABELS = torch.tensor([0, 3, 2, 2, 1])
DRAW = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (3 * torch.randn(5, 4, generator=DRAW) for _ in range(2))
SAID = Outputs.of_logits(STUDENT)
EACH = torch.tensor([6.0, 4.0, 2.0, 4.0, 6.0])

KD = make("kd", params(ce=0.1, kd=0.9))
DKD = make("dkd", params(ce=1, alpha=1, beta=8, warmup=20))
VANILLA = make("vanilla", ())


def batch(temperature: float | torch.Tensor = 4.0, epoch: int = 1, *, taught: bool = True) -> Batch:
    return Batch(
        images=torch.zeros(5, 3, 16, 16),
        labels=LABELS,
        epoch=epoch,
        temperature=temperature,
        teacher=Outputs.of_logits(TEACHER) if taught else None,
    )


def test_every_file_without_an_underscore_is_a_method() -> None:
    files = {path.stem for path in Path(package.__file__).parent.glob("*.py")}
    assert set(names()) == {file for file in files if not file.startswith("_")} >= {"vanilla", "kd", "dkd"}


@pytest.mark.parametrize("name", names())
def test_a_method_is_a_frozen_dataclass_of_numbers(name: str) -> None:
    cls = find(name)
    assert issubclass(cls, Method)
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert {field.type for field in dataclasses.fields(cls)} <= {"float"}
    assert (cls.mixed_loss is not Method.mixed_loss) == cls.MIXES


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


@pytest.mark.parametrize("treatment", [kd(DIGITS), *(f(DIGITS, DIGITS.pairs[0]) for f in (dkd, energy_kd, energy_dkd))])
def test_recipes_name_methods_with_their_numbers(treatment: Treatment) -> None:
    made = dataclasses.asdict(make(treatment.method, treatment.params))  # type: ignore[call-overload]
    assert {name: made[name] for name, _ in treatment.params} == dict(treatment.params)


def test_methods_load_neither_each_other_nor_torchdistill() -> None:
    """A fresh process, in which KD is made."""
    code = (
        "import sys; from trainables.methods import make; make('kd', (('ce', 1.0), ('kd', 1.0)))\n"
        "wanted = ('torchdistill', 'torchvision', 'trainables.methods.')\n"
        "print(*(name for name in sys.modules if name.startswith(wanted)))"
    )
    done = call(exec, code, {})
    assert done.stdout.split() == ["trainables.methods.kd"]


def test_vanilla() -> None:
    torch.testing.assert_close(VANILLA.loss(SAID, batch(taught=False)), cross_entropy(STUDENT, LABELS))
    with pytest.raises(UserError, match="no loss on mixed images: choose kd or dkd"):
        VANILLA.mixed_loss(SAID, batch(taught=False))


@pytest.mark.parametrize("temperature", [4.0, EACH], ids=["plain", "energy"])
def test_kd(temperature: float | torch.Tensor) -> None:
    distilled = kd_loss(STUDENT, TEACHER, temperature)
    torch.testing.assert_close(KD.mixed_loss(SAID, batch(temperature)), 0.9 * distilled)
    expected = 0.1 * cross_entropy(STUDENT, LABELS) + 0.9 * distilled
    for epoch in (1, 300):
        torch.testing.assert_close(KD.loss(SAID, batch(temperature, epoch)), expected)


@pytest.mark.parametrize("temperature", [4.0, EACH], ids=["plain", "energy"])
@pytest.mark.parametrize(("epoch", "weight"), [(1, 0.05), (10, 0.5), (20, 1.0), (21, 1.0), (240, 1.0)])
def test_dkd_warms_up_its_distillation_alone(temperature: float | torch.Tensor, epoch: int, weight: float) -> None:
    distilled = weight * dkd_loss(STUDENT, TEACHER, LABELS, temperature, 1.0, 8.0)
    torch.testing.assert_close(DKD.mixed_loss(SAID, batch(temperature, epoch)), distilled)
    torch.testing.assert_close(DKD.loss(SAID, batch(temperature, epoch)), cross_entropy(STUDENT, LABELS) + distilled)


@pytest.mark.parametrize("warmup", [0, 1])
def test_dkd_without_warm_up(warmup: float) -> None:
    method = make("dkd", params(ce=1, alpha=1, beta=8, warmup=warmup))
    torch.testing.assert_close(method.mixed_loss(SAID, batch()), dkd_loss(STUDENT, TEACHER, LABELS, 4.0, 1.0, 8.0))


def test_mixed_images_bring_no_cross_entropy_to_kd() -> None:
    """The labels of mixed images are of no matter to KD; its loss on them is the distillation term alone."""
    other = dataclasses.replace(batch(), labels=(LABELS + 1) % 4)
    assert torch.equal(KD.mixed_loss(SAID, batch()), KD.mixed_loss(SAID, other))
    assert not torch.equal(KD.loss(SAID, batch()), KD.loss(SAID, other))


@pytest.mark.parametrize("method", [KD, DKD], ids=["kd", "dkd"])
def test_only_the_student_learns(method: Method) -> None:
    student, teacher = STUDENT.clone().requires_grad_(), TEACHER.clone()
    seen = dataclasses.replace(batch(EACH, 5), teacher=Outputs.of_logits(teacher))
    method.loss(Outputs.of_logits(student), seen).backward()
    assert student.grad is not None
    assert student.grad.abs().sum() > 0
    assert torch.equal(teacher, TEACHER)
