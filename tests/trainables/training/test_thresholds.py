"""Thresholds have the same bits alone, packed, resumed, with stored answers, and on several devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagenet_like
import numpy as np
import pytest
from imagenet_like import open_source
from small_jobs import GivenTeacher, seasoned, stop_after, students, train
from test_distributed import on_each

from trainables.data.stream import WHOLE, Share
from trainables.datasets import load
from trainables.spec import RunSpec, Temperature
from trainables.training.teachers import Teacher, measure_teacher

ENERGY = Temperature(4, "energy", 2, -2, 0.2)


def kept(results: Path) -> dict[str, bytes]:
    """The stored energies, by the names of their files, which say what they depend on."""
    found = {
        path.name: path.read_bytes() for name in ("view", "image") for path in results.glob(f"teachers/*-{name}-*.pt")
    }
    assert found
    return found


def both(teacher: GivenTeacher) -> list[RunSpec]:
    """Energy KD by view and by image."""
    spec = teacher.spec(temperature=ENERGY)
    return [spec, replace(spec, membership="image")]


@pytest.fixture(scope="module")
def lone(teacher: GivenTeacher, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Of runs that were trained one by one."""
    results = tmp_path_factory.mktemp("lone")
    for spec in both(teacher):
        train([spec], teacher.execution(results))
    return kept(results)


def packed(teacher: GivenTeacher, results: Path) -> None:
    others = [spec for spec in students(teacher).values() if spec.temperature != ENERGY]
    train([*both(teacher), *others], teacher.execution(results))


def resumed(teacher: GivenTeacher, results: Path) -> None:
    """Nothing is kept of the teacher when the runs go on."""
    stop_after(both(teacher), teacher.execution(results), 1)
    for path in results.glob("teachers/*"):
        path.unlink()
    train(both(teacher), teacher.execution(results))


def with_stored_answers(teacher: GivenTeacher, results: Path) -> None:
    """A cache that a run has filled, and nothing else of it."""
    train(both(teacher), teacher.execution(results, teacher_cache_gb=1.0))
    assert any(results.glob("teacher_cache/*/*.logits"))
    for path in (*results.glob("teachers/*"), *results.glob("runs/*/*")):
        path.unlink()
    train(both(teacher), teacher.execution(results, teacher_cache_gb=1.0))


@pytest.mark.parametrize(
    "way",
    [packed, pytest.param(resumed, marks=pytest.mark.medium), with_stored_answers],
    ids=lambda way: way.__name__,
)
def test_the_same_bits(
    way: Callable[[GivenTeacher, Path], None], lone: dict[str, bytes], teacher: GivenTeacher, tmp_path: Path
) -> None:
    way(teacher, tmp_path)
    assert kept(tmp_path) == lone


def asked(share: Share, spec: RunSpec, results: Path, root: Path) -> None:
    """What a job asks of its teacher, of images in memory or in files."""
    source = load("digits", None) if spec.dataset == "digits" else open_source(root, side=32, workers=0)
    stream = source.stream(seed=1, batch_size=6, augmentation=spec.augmentation, share=share)
    guide = Teacher(seasoned("resnet8", source.num_classes), device="cpu", precision="fp32")
    measure_teacher(guide, "0", source, stream, [spec, replace(spec, membership="image")], results)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("dataset", "augmentation"), [("digits", "crop"), ("imagenet", "random_resized_crop_flip")], ids=["memory", "files"]
)
def test_the_same_bits_on_two_devices(dataset: str, augmentation: str, teacher: GivenTeacher, tmp_path: Path) -> None:
    """1,200 images are 19 parts, the last of 48; 150 images are three, of which one device has two."""
    root = tmp_path / "images"
    draw = np.random.default_rng(0)
    for split, count in (("train", 50), ("val", 2)):
        for name in imagenet_like.CLASSES:
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                imagenet_like.picture(draw, 50, 40).save(root / split / name / f"{number}.JPEG")
    spec = replace(teacher.spec(temperature=ENERGY), dataset=dataset, augmentation=augmentation)
    asked(WHOLE, spec, tmp_path / "one", root)
    on_each(asked, spec, tmp_path / "two", root)
    assert kept(tmp_path / "one") == kept(tmp_path / "two")
