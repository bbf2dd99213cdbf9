"""Multi-level KD: the sum of its terms, the released code's values, one temperature a sample, gradients."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ekd_core import batch_correlation_loss, class_correlation_loss, kd_loss
from trainables.errors import UserError
from trainables.methods import Batch, find, make
from trainables.methods.multi import METHOD, Multi, StudentView, sum_parts
from trainables.models import Outputs
from trainables.spec import params

N, C = 10, 7
EACH = torch.tensor([6.0, 4.0, 2.0, 4.0, 6.0, 2.0, 4.0, 4.0, 6.0, 2.0])
OTHER = EACH.flip(0)
Names = ("student", "teacher", "student_strong", "teacher_strong")


class Seen(NamedTuple):
    """Both views of a batch."""

    weak: StudentView
    strong: StudentView


def multi(released: float = 0, ce: float = 0.1, kd: float = 0.9, strong: float = 1) -> Multi:
    method = make("multi", params(ce=ce, kd=kd, released=released, strong=strong))
    assert isinstance(method, Multi)
    return method


def logits(seed: int, dtype: torch.dtype = torch.float32, count: int = N) -> list[Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(count, C, generator=draw, dtype=dtype) for _ in Names]


def step(
    student: Tensor,
    teacher: Tensor,
    student_strong: Tensor,
    teacher_strong: Tensor,
    labels: Tensor | None = None,
    temperature: float | Tensor = 4.0,
    strong_temperature: float | Tensor = 4.0,
) -> Seen:
    labels = torch.arange(len(student)) % C if labels is None else labels
    weak, strong = (
        Batch(
            images=torch.zeros(len(student), 3, 16, 16),
            labels=labels,
            epoch=1,
            temperature=own,
            teacher=Outputs.of_logits(answers),
        )
        for answers, own in ((teacher, temperature), (teacher_strong, strong_temperature))
    )
    weak = dataclasses.replace(weak, strong=strong)
    return Seen(StudentView(student, weak), StudentView(student_strong, strong))


def loss_of(method: Multi, seen: Seen) -> Tensor:
    return method.two_view_loss(
        Outputs.of_logits(seen.weak.student), Outputs.of_logits(seen.strong.student), seen.weak.batch
    )


@pytest.fixture(scope="module")
def released(ekd_data: Path) -> tuple[Seen, dict[str, Any]]:
    stored = json.loads((ekd_data / "reference" / "losses.json").read_text())
    inputs = stored["inputs"]
    views = [
        torch.tensor(inputs[f"{who}_logits{view}"], dtype=torch.float64)
        for view in ("", "_strong")
        for who in Names[:2]
    ]
    return step(*views, labels=torch.tensor(inputs["labels"])), stored["expected"]


def test_its_needs() -> None:
    assert find("multi") is METHOD
    assert (METHOD.COUPLED, METHOD.FEATURES, METHOD.MIXES, METHOD.TEACHER) == (True, False, False, True)
    assert (multi(strong=1).wants_strong, multi(strong=0).wants_strong) == (True, False)


@pytest.mark.parametrize(("part", "name"), [("ce", "ce"), ("instance", "kd"), ("classes", "cc"), ("batch", "bc")])
def test_golden_of_the_released_code(released: tuple[Seen, dict[str, Any]], part: str, name: str) -> None:
    seen, expected = released
    found = getattr(multi(released=1).parts(*seen), part)
    assert found.item() == pytest.approx(expected[f"mld_released_loss_{name}"], rel=1e-9)


def test_golden_terms_of_the_weak_view(released: tuple[Seen, dict[str, Any]]) -> None:
    """With a strong view that is the weak one, each level is twice the sum of its golden values."""
    seen, expected = released
    parts = multi(ce=0, kd=1).parts(seen.weak, seen.weak)
    for part, name in (("instance", "instance"), ("classes", "class"), ("batch", "batch")):
        twice = 2 * sum(expected[f"mld_{name}_T{temperature}"] for temperature in (2, 3, 4, 5, 6))
        assert getattr(parts, part).item() == pytest.approx(twice, rel=1e-9)


@pytest.mark.parametrize("each", [False, True], ids=["plain", "energy"])
def test_sum_of_its_terms(each: bool) -> None:
    views = logits(0)
    labels = torch.arange(N) % C
    temperatures = (EACH, OTHER) if each else (4.0, 4.0)
    expected = 0.1 * sum(cross_entropy(student, labels) for student in (views[0], views[2]))
    for (student, teacher), temperature in zip((views[:2], views[2:]), temperatures, strict=True):
        for own in (2, 3, 4, 5, 6):
            scaled = own * temperature / 4
            for loss in (kd_loss, class_correlation_loss, batch_correlation_loss):
                expected = expected + 0.9 * loss(student, teacher, scaled)
    seen = step(*views, temperature=temperatures[0], strong_temperature=temperatures[1])
    torch.testing.assert_close(loss_of(multi(), seen), expected)


@pytest.mark.parametrize("released", [0, 1])
def test_equal_temperatures_are_one_temperature(released: float) -> None:
    views, four = logits(1), torch.full((N,), 4.0)
    one = loss_of(multi(released), step(*views))
    each = loss_of(multi(released), step(*views, temperature=four, strong_temperature=four))
    torch.testing.assert_close(each, one)


@pytest.mark.parametrize("count", [2, 3, 10, 11])
def test_released_shares_are_those_of_percentiles(count: int) -> None:
    """Against numpy's 50th percentile, for even and odd numbers of samples, and with many equal confidences."""
    for seed in range(10):
        views = logits(seed, count=count)
        if seed % 2:
            views[1][count // 2 :] = views[1][0]
        probabilities = views[1].softmax(dim=1).numpy()
        top, summed = probabilities.max(axis=1), probabilities.sum(axis=0)
        samples, classes = ((each <= np.percentile(each, 50)).mean() for each in (top, summed))
        parts = multi(released=1, kd=1).parts(*step(*views))
        weak = sum(batch_correlation_loss(views[0], views[1], t) for t in (2, 3, 4, 5, 6))
        by_class = sum(class_correlation_loss(views[0], views[1], t) for t in (2, 3, 4, 5, 6))
        torch.testing.assert_close(parts.batch, float(samples) * weak)
        torch.testing.assert_close(parts.classes, float(classes) * by_class)


@pytest.mark.parametrize("released", [0, 1])
def test_gradients_by_finite_differences(released: float) -> None:
    weak, teacher, strong, teacher_strong = logits(2, torch.float64, 5)
    temperatures = torch.tensor([6.0, 4.0, 2.0, 4.0, 6.0], dtype=torch.float64)

    def loss(student: Tensor, student_strong: Tensor) -> Tensor:
        seen = step(student, teacher, student_strong, teacher_strong, temperature=temperatures)
        return loss_of(multi(released), seen)

    assert torch.autograd.gradcheck(loss, (weak.requires_grad_(), strong.requires_grad_()), fast_mode=True)


@pytest.mark.parametrize("released", [0, 1])
def test_without_strong_views_the_terms_of_the_weak_one_are_left(released: float) -> None:
    """In the clean form: half of what the same view twice gives."""
    seen = step(*logits(3))
    weak = multi(released, strong=0).parts(seen.weak)
    twice = multi(released).parts(seen.weak, seen.weak)
    alone = multi(released, strong=0).loss(Outputs.of_logits(seen.weak.student), seen.weak.batch)
    assert torch.equal(alone, sum_parts(weak))
    torch.testing.assert_close(weak.ce, twice.ce / 2)
    if released:
        teacher = seen.weak.batch.teacher_outputs.logits
        strong = sum(kd_loss(seen.weak.student, teacher, float(t)) for t in (2, 3, 4, 5, 6))
        torch.testing.assert_close(weak.instance, twice.instance - 0.9 * strong)
        assert torch.equal(weak.classes, twice.classes)
        assert torch.equal(weak.batch, twice.batch)
    else:
        torch.testing.assert_close(torch.stack(weak), torch.stack(twice) / 2)


@pytest.mark.parametrize("released", [-1, 0.5, 2])
def test_released_is_yes_or_no(released: float) -> None:
    with pytest.raises(UserError, match="released = 0 or 1"):
        multi(released)
