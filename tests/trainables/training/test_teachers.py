"""Teachers: folded normalisation, precision, and what is kept of them; damaged files are never believed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from few import NETWORKS, fast
from small_jobs import CountingTeacher, seasoned
from torch import Tensor, nn

from ekd_core import energy
from trainables.data.dataset import Dataset
from trainables.data.stream import normalise
from trainables.models import Network, names
from trainables.spec import RunSpec, Temperature
from trainables.training.evaluation import evaluate_models
from trainables.training.teachers import Teacher, TeacherFacts, measure_teacher


@pytest.mark.parametrize("name", fast(names(), *NETWORKS, others="medium"))
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


def facts_of(
    teacher: Teacher, dataset: Dataset, results: Path, *, digest: str = "0" * 64, **changes: Any
) -> TeacherFacts:
    spec = replace(teacher_spec_of(), **changes)
    stream = dataset.stream(seed=spec.seed, batch_size=spec.batch_size, augmentation=spec.augmentation)
    return measure_teacher(teacher, digest, dataset, stream, [spec], results)


ENERGY_KD: dict[str, Any] = {"temperature": Temperature(4, "energy", 2, -2, 0.2), "augmentation": "crop"}


def test_scores_are_kept_and_energies_only_where_a_run_asks(
    plain_model: Network, digits: Dataset, tmp_path: Path
) -> None:
    teacher = CountingTeacher(plain_model)
    found = facts_of(teacher, digits, tmp_path)
    (scores,) = evaluate_models([plain_model], digits, "fp32")
    assert found.scores.top1 == pytest.approx(scores.top1, abs=0.2)
    assert found.scores.loss == pytest.approx(scores.loss, rel=1e-4)
    assert not found.energies
    assert sum(teacher.calls) == len(digits.test)
    known = facts_of(teacher, digits, tmp_path, **ENERGY_KD)
    assert known.scores == found.scores
    assert list(known.energies) == ["view"]
    assert sum(teacher.calls) == len(digits.test) + len(digits.train)
    again = facts_of(teacher, digits, tmp_path, **ENERGY_KD)
    assert torch.equal(again.energies["view"], known.energies["view"])
    assert sum(teacher.calls) == len(digits.test) + len(digits.train)


def test_energies_by_image_are_those_of_the_images_as_they_are(
    plain_model: Network, digits: Dataset, energies: Tensor, tmp_path: Path
) -> None:
    found = facts_of(
        Teacher(plain_model, device="cpu", precision="fp32"), digits, tmp_path, **ENERGY_KD, membership="image"
    )
    torch.testing.assert_close(found.energies["image"].double(), energies, rtol=1e-4, atol=1e-4)


def test_energies_by_view_are_those_of_each_image_cropped_once(
    plain_model: Network, digits: Dataset, tmp_path: Path
) -> None:
    """Each is the energy of some crop of its image, all of which are tried here."""
    teacher = Teacher(plain_model, device="cpu", precision="fp32")
    found = facts_of(teacher, digits, tmp_path, **ENERGY_KD).energies["view"]
    few = digits.train.images[:40]
    framed = torch.nn.functional.pad(few, (0, 0, 4, 4, 4, 4))
    crops = [framed[:, y : y + digits.side, x : x + digits.side] for y in range(9) for x in range(9)]
    with torch.no_grad():
        every = torch.stack([energy(plain_model(normalise(crop, digits.mean, digits.std))) for crop in crops])
    gaps = (every - found[:40]).abs()
    assert gaps.amin(dim=0).max() < 1e-3
    assert gaps.argmin(dim=0).unique().numel() > 15


@pytest.mark.parametrize(
    "changes", [{"seed": 2}, {"augmentation": "none"}, {"precision": "bf16"}, {"digest": "1" * 64}], ids=str
)
def test_energies_are_kept_for_what_they_depend_on(
    changes: dict[str, Any], plain_model: Network, digits: Dataset, tmp_path: Path
) -> None:
    teacher = CountingTeacher(plain_model)
    facts_of(teacher, digits, tmp_path, **ENERGY_KD)
    asked = sum(teacher.calls)
    facts_of(teacher, digits, tmp_path, **ENERGY_KD, epochs=7, milestones=(3,), lr=0.1, batch_size=32)
    assert sum(teacher.calls) == asked
    facts_of(teacher, digits, tmp_path, **(ENERGY_KD | changes))
    assert sum(teacher.calls) >= asked + len(digits.train)


@pytest.mark.parametrize("damage", fast(["empty", "garbage", "truncated", "flipped"], "flipped", others="medium"))
def test_damaged_facts_are_computed_again(
    damage: str,
    plain_model: Network,
    digits: Dataset,
    tmp_path: Path,
) -> None:
    teacher = Teacher(plain_model, device="cpu", precision="fp32")
    first = facts_of(teacher, digits, tmp_path, **ENERGY_KD)
    for file in (tmp_path / "teachers").glob("*.pt"):
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
    again = facts_of(teacher, digits, tmp_path, **ENERGY_KD)
    assert torch.equal(again.energies["view"], first.energies["view"])
    assert again.scores == first.scores


class Dropping(nn.Module):
    """Dropout before a network's classifier."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.dropout, self.classifier = nn.Dropout(0.5), classifier

    def forward(self, pooled: Tensor) -> Tensor:
        found: Tensor = self.classifier(self.dropout(pooled))
        return found


@pytest.mark.parametrize(
    ("name", "precision"),
    fast(
        [
            *((name, "fp32") for name in ("resnet8", "wrn_16_2", "vgg8", "ShuffleV2", "imagenet_resnet18")),
            ("vgg8", "bf16"),
        ],
        ("wrn_16_2", "fp32"),
        ("ShuffleV2", "fp32"),
        ("vgg8", "bf16"),
        others="medium",
    ),
)
def test_by_the_statistics_of_a_batch_a_teacher_answers_as_in_training(name: str, precision: str) -> None:
    """The same as a copy in training mode; nothing of the teacher changes by it."""
    model = seasoned(name)
    teacher = Teacher(model, device="cpu", precision=precision)
    images = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    usual = teacher.outputs(images)
    before = copy.deepcopy(model.state_dict())
    found = teacher.batch_outputs(images)
    other = copy.deepcopy(model).train()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = other.forward_features(images)
    for one, two in zip(found.preactivations, expected.preactivations, strict=True):
        error = (one - two.float()).square().mean().sqrt() / two.float().square().mean().sqrt()
        assert error < (1e-4 if precision == "fp32" else 0.1)
    assert found.logits.dtype == torch.float32
    assert not torch.allclose(found.logits, usual.logits, rtol=0.01)
    assert torch.equal(teacher.batch_outputs(images).logits, found.logits)
    assert torch.equal(teacher.outputs(images).logits, usual.logits)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    buffers = dict(teacher.by_batch.named_buffers())
    assert all(torch.equal(buffers[key], value) for key, value in model.named_buffers())


def test_by_the_statistics_of_a_batch_a_teacher_still_drops_nothing() -> None:
    model = seasoned("resnet8")
    images = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = Teacher(copy.deepcopy(model), device="cpu", precision="fp32").batch_outputs(images)
    model.fc = Dropping(model.fc)  # type: ignore[assignment]
    found = Teacher(model, device="cpu", precision="fp32").batch_outputs(images)
    assert torch.equal(found.logits, expected.logits)
