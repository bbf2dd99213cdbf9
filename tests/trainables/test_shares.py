"""How many images a run sets apart: as many as it asks for, by each reading of r, and recorded epoch by epoch."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import imagenet_like
import numpy as np
import pytest
import torch
from few import fast
from imagenet_like import open_source
from small_jobs import VANILLA, GivenTeacher, seasoned, train
from torch import Tensor

from trainables import shares
from trainables.datasets import count_images
from trainables.methods import Batch
from trainables.methods.multi import Multi
from trainables.models import Outputs, build
from trainables.models.checkpoint import load_weights
from trainables.spec import Mixing, RunSpec, Temperature, params
from trainables.storage.job_file import Execution
from trainables.storage.runs import read_result, verify_checksum
from trainables.training.steps import Steps
from trainables.training.teachers import Teacher, measure_teacher
from trainables.training.views import TeacherContext, Views

ENERGY = {rate: Temperature(4, "energy", 2, -2, rate) for rate in (0.2, 0.3)}
HE_DA = {rate: Mixing("cutmix", "high", rate) for rate in (0.2, 0.5)}
MULTI = params(ce=0.1, kd=0.9, released=1, strong=1)


def many(spec: RunSpec) -> RunSpec:
    """One epoch of a third of the images in batches of the usual size."""
    return replace(spec, train_fraction=1 / 3, holdout=0.1, batch_size=64, epochs=1, milestones=())


def runs(plain: RunSpec) -> list[RunSpec]:
    """By view: Energy KD, HE-DA, the other selections, gradation, Energy Multi."""
    return [
        replace(plain, temperature=ENERGY[0.3]),
        *(replace(plain, mixing=mixing) for mixing in HE_DA.values()),
        replace(plain, mixing=Mixing("mixup", "low", 0.3, alpha=0.2)),
        replace(plain, mixing=Mixing("cutmix", "half", 0.4)),
        replace(plain, temperature=Temperature(4, "gradation", values=(6, 5, 4, 3, 2))),
        replace(plain, method="multi", params=MULTI, temperature=ENERGY[0.2]),
    ]


def recorded(results: Path, spec: RunSpec) -> list[list[float | None]]:
    result = read_result(results, spec.run_id)
    assert result is not None
    rows: list[list[float | None]] = result["shares"]
    return rows


def assert_near(results: Path, spec: RunSpec, points: float) -> None:
    """Every share that a run has lies within so many points of what it asks for."""
    (row,) = recorded(results, spec)
    assert row[0] == 1
    for name, wanted, share in zip(shares.FIELDS, shares.requested_shares(spec), row[1:], strict=True):
        assert (wanted is None) == (share is None), (spec.name, name)
        if wanted is not None and share is not None:
            assert 100 * abs(share - wanted) <= points, (spec.name, name, share)


@pytest.mark.medium
def test_digits(tmp_path: Path) -> None:
    """Of a teacher that was trained on them."""
    guide = replace(many(VANILLA), epochs=2, milestones=(1,))
    execution = Execution(tmp_path, threads=1)
    train([guide], execution)
    numbers = {"method": "kd", "params": params(ce=0.1, kd=0.9)}
    specs = runs(replace(many(VANILLA), **numbers, teacher="resnet8", teacher_source=f"run:{guide.run_id}"))
    train(specs, execution)
    for spec in specs:
        assert_near(tmp_path, spec, 6)


@pytest.mark.slow
def test_real_images_of_the_published_teacher(tmp_path: Path) -> None:
    """WRN-16-2 on CIFAR-100."""
    if "EKD_DATA" not in os.environ:
        pytest.skip("EKD_DATA does not name the reference data")
    data = Path(os.environ["EKD_DATA"]) / "data"
    weights = data / "checkpoints" / "wrn_16_2_energykd"
    given = GivenTeacher(weights, load_weights(build("wrn_16_2", 100), weights, "wrn_16_2"))
    cifar = {"dataset": "cifar100", "teacher": "wrn_16_2", "augmentation": "crop_flip"}
    specs = runs(replace(many(given.spec()), **cifar))
    train(specs, given.execution(tmp_path, data_dir=data / "cifar100"))
    for spec in specs:
        assert_near(tmp_path, spec, 1)


@pytest.mark.medium
def test_images_in_files_with_their_training_crops(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for split, count in (("train", 200), ("val", 2)):
        for name in imagenet_like.CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                width, height = draw.integers(34, 60, 2).tolist()
                imagenet_like.picture(draw, width, height).save(tmp_path / split / name / f"{number}.JPEG", quality=90)
    source = open_source(tmp_path, side=32, workers=0)
    spec = RunSpec(
        dataset="imagenet",
        student="resnet8",
        seed=1,
        epochs=1,
        milestones=(),
        lr=0.1,
        method="kd",
        params=params(ce=0.5, kd=0.5),
        teacher="resnet8",
        teacher_source="sha256:0",
        temperature=ENERGY[0.2],
        augmentation="random_resized_crop_flip",
    )
    stream = source.stream(seed=1, batch_size=64, augmentation=spec.augmentation)
    guide = Teacher(seasoned("resnet8", num_classes=3), device="cpu", precision="fp32")
    teaching = TeacherContext(guide, measure_teacher(guide, "0", source, stream, [spec], tmp_path))
    counts = torch.zeros(2)
    for chunk in stream.epoch(1):
        view = Views(chunk, stream, torch.float32, teaching).weak
        counts += view.count_ends("view", 0.2)
    for share in (counts / source.train_size).tolist():
        assert share == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("rate", fast([0.2, 0.35], 0.35, others="medium"))
def test_by_image_the_same_images_are_meant_in_every_epoch(
    rate: float, teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly int(N r) of them, those whose unaugmented images have the highest energies."""
    mixed: set[int] = set()
    prepare = Steps.prepare

    def watched(steps: Steps, views: Views) -> None:
        prepare(steps, views)
        mixed.update(views.mixed(Mixing("cutmix", "high", rate), "image").index.tolist())

    monkeypatch.setattr(Steps, "prepare", watched)
    spec = many(teacher.spec(mixing=Mixing("cutmix", "high", rate), membership="image"))
    spec = replace(spec, epochs=2)
    train([spec], teacher.execution(tmp_path))
    size = count_images("digits", None, spec.train_fraction, holdout=spec.holdout).train_size
    count = int(size * rate)
    assert len(mixed) == count
    (file,) = (tmp_path / "teachers").glob("*-image-*.pt")
    energies = torch.load(io.BytesIO(verify_checksum(file.read_bytes()) or b""), weights_only=True)
    assert mixed == set(energies.argsort(stable=True)[-count:].tolist())
    assert [row[1:3] for row in recorded(tmp_path, spec)] == [[None, count / size]] * 2


def test_a_run_that_is_off_says_so(teacher: GivenTeacher, tmp_path: Path) -> None:
    """In batches of six one chosen image is often alone, and then is not mixed."""
    spec = teacher.spec(mixing=Mixing("cutmix", "high", 0.15))
    reports = train([spec], teacher.execution(tmp_path))
    (line,) = [line for report in reports for line in report.notes]
    assert line.startswith(f"{spec.name}: of its training images, ")
    assert line.endswith("% were mixed instead of 15 %")


def test_shares_that_a_run_does_not_have() -> None:
    plain = replace(VANILLA, method="kd", params=params(ce=0.1, kd=0.9), teacher="resnet8", teacher_source="sha256:0")
    assert shares.requested_shares(plain) == (None, None, None)
    assert shares.requested_shares(replace(plain, mixing=Mixing("cutmix"))) == (None, None, 1)
    assert shares.requested_shares(replace(plain, mixing=Mixing("cutmix", "half", 0.4))) == (0.2, 0.2, 0.4)
    both = replace(plain, temperature=ENERGY[0.3], mixing=HE_DA[0.5])
    assert shares.requested_shares(both) == (0.3, 0.3, 0.5)
    assert shares.means([]) == (None, None, None)
    assert shares.means([[1, 0.25, None, 0.5], [2, 0.75, None, 1]]) == (0.5, None, 0.75)
    assert shares.describe_deviation(both, [[1, 0.3, 0.319, 0.5]]) == ""
    told = "32.5 % had high energy instead of 30 %, 40.0 % were mixed instead of 50 %"
    assert shares.describe_deviation(both, [[1, 0.3, 0.325, 0.4]]) == f"{both.name}: of its training images, {told}"
    assert shares.in_words([(0.2, None, 0.5), (0.21, None, 0.5)]) == "low 20.0 to 21.0 %, mixed 50.0 %"


def test_energy_multi_has_one_temperature_a_sample(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From its weak view, for both: strong images have higher energies."""
    found = []
    loss = Multi.two_view_loss

    def watched(method: Multi, student: Outputs, strong: Outputs, batch: Batch) -> Tensor:
        assert batch.strong is not None
        found.append((batch.temperature, batch.strong.temperature))
        return loss(method, student, strong, batch)

    monkeypatch.setattr(Multi, "two_view_loss", watched)
    spec = many(teacher.spec(temperature=ENERGY[0.2]))
    train([replace(spec, method="multi", params=MULTI)], teacher.execution(tmp_path))
    assert all(torch.equal(weak, strong) for weak, strong in found)
    assert {float(value) for weak, _ in found for value in weak} == {2, 4, 6}
