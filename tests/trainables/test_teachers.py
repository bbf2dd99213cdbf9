"""Teachers: folded normalisation, precision, and what is kept of them; damaged files are never believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_jobs import CountingTeacher, seasoned
from torch import Tensor

from trainables.data.dataset import Dataset
from trainables.data.stream import normalise
from trainables.evaluation import evaluate_models
from trainables.models import Network, names
from trainables.spec import RunSpec
from trainables.teachers import Teacher, facts


@pytest.mark.parametrize("name", names())
def test_folding_normalisation_does_not_change_a_teacher(name: str) -> None:
    model = seasoned(name)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(images)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = Teacher(model, device="cpu", precision="fp32").logits(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_teacher_in_bfloat16(plain_model: Network, digits: Dataset) -> None:
    images = normalise(digits.train.images[:100], digits.mean, digits.std)
    found = Teacher(plain_model, device="cpu", precision="bf16").logits(images)
    assert found.dtype == torch.float32
    with torch.no_grad():
        expected = plain_model(images)
    assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    assert next(plain_model.parameters()).dtype == torch.float32


def test_teacher_answers_the_same_whatever_comes_with_it(plain_model: Network, digits: Dataset) -> None:
    """Its batches have a fixed size, so the same images at the same places get the same bits."""
    teacher = Teacher(plain_model, device="cpu", precision="fp32")
    images = normalise(digits.train.images[:512], digits.mean, digits.std)
    assert torch.equal(teacher.logits(images)[:64], teacher.logits(images[:64]))
    assert torch.equal(teacher.logits(images), teacher.logits(images.clone()))


def teacher_spec_of() -> RunSpec:
    return RunSpec(
        dataset="digits",
        student="resnet8",
        seed=1,
        epochs=1,
        milestones=(),
        lr=0.05,
        method="kd",
        params=(("ce", 0.1), ("kd", 0.9)),
        teacher="resnet8",
        teacher_source=f"sha256:{'0' * 64}",
    )


def test_facts(plain_model: Network, digits: Dataset, energies: Tensor, tmp_path: Path) -> None:
    teacher = CountingTeacher(plain_model)
    found = facts(teacher, "0" * 64, digits, teacher_spec_of(), tmp_path)
    torch.testing.assert_close(found.energies.double(), energies.sort().values, rtol=1e-4, atol=1e-4)
    (scores,) = evaluate_models([plain_model], digits, "fp32")
    assert found.scores.top1 == pytest.approx(scores.top1, abs=0.2)
    assert found.scores.loss == pytest.approx(scores.loss, rel=1e-4)
    assert sum(teacher.calls) == len(digits.train) + len(digits.test)

    asked = len(teacher.calls)
    again = facts(teacher, "0" * 64, digits, teacher_spec_of(), tmp_path)
    assert torch.equal(again.energies, found.energies)
    assert again.scores == found.scores
    assert len(teacher.calls) == asked
    facts(teacher, "1" * 64, digits, teacher_spec_of(), tmp_path)
    assert len(teacher.calls) > asked


@pytest.mark.parametrize("damage", ["empty", "garbage", "truncated", "flipped"])
def test_damaged_facts_are_computed_again(
    damage: str,
    plain_model: Network,
    digits: Dataset,
    tmp_path: Path,
) -> None:
    teacher = Teacher(plain_model, device="cpu", precision="fp32")
    first = facts(teacher, "0" * 64, digits, teacher_spec_of(), tmp_path)
    (file,) = (tmp_path / "teachers").glob("*.pt")
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "empty": b"",
            "garbage": b"this is no file of torch",
            "truncated": whole[:middle],
            "flipped": whole[:middle] + bytes(255 - b for b in whole[middle : middle + 8]) + whole[middle + 8 :],
        }[damage]
    )
    again = facts(teacher, "0" * 64, digits, teacher_spec_of(), tmp_path)
    assert torch.equal(again.energies, first.energies)
    assert again.scores == first.scores
