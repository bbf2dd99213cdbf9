"""The teacher cache changes no number, is shared by jobs, and survives damage, full disks and eviction."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import imagenet_like
import pytest
import torch
from forked import run_script
from hypothesis import given
from hypothesis import strategies as st
from imagenet_like import open_source
from small_jobs import IMAGES, GivenTeacher, assert_same, seasoned, stop_after, students, train
from torch import Tensor

from trainables.data.stream import BatchStream
from trainables.job import load_data
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution, job_json
from trainables.storage.locks import hold_lock
from trainables.storage.runs import teacher_cache_bytes
from trainables.training import teacher_cache
from trainables.training.teacher_cache import GB, TeacherCache, open_teacher_cache
from trainables.training.teachers import Teacher

ROOT = Path(__file__).parents[3]
CHUNK = 8 * 6


@contextmanager
def opened_cache(
    spec: RunSpec, results: Path, most_bytes: float = GB, digest: str = ""
) -> Iterator[TeacherCache | None]:
    """A cache without a job, of a teacher that is always the same."""
    data = load_data(spec, Execution(results))
    stream = data.stream(seed=spec.seed, batch_size=spec.batch_size, augmentation=spec.augmentation)
    teacher = Teacher(seasoned("resnet8"), device="cpu", precision=spec.precision)
    with open_teacher_cache(spec, data, stream, teacher, digest, results, most_bytes, []) as cache:
        yield cache


def check_logits(cache: TeacherCache | None, *epochs: int) -> list[str]:
    """Compare a cache with its teacher, bit by bit. Returns what it notes."""
    assert cache is not None
    for epoch in epochs:
        cache.load(epoch)
        for chunk in cache.stream.epoch(epoch):
            found = cache.logits(chunk)
            assert found.dtype == torch.float32
            assert torch.equal(found, cache.teacher.logits(chunk.images))
    return cache.notes


def stored(results: Path) -> list[Path]:
    return sorted(results.glob("teacher_cache/*/*.logits"))


def fake_free(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    usage = teacher_cache.shutil.disk_usage("/")._replace(free=int(free))
    monkeypatch.setattr(teacher_cache.shutil, "disk_usage", lambda _: usage)


def test_a_cache_changes_no_number(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """One student fills it, packs and lone students read it: all as without one, bit by bit."""
    names = ("kd", "cutmix", "energy_kd", "reversed_dkd", "he_cutmix")
    specs = {name: students(teacher)[name] for name in names}
    execution = teacher.execution(tmp_path, teacher_cache_gb=1.0)
    train([specs["kd"]], execution)
    train([spec for name, spec in specs.items() if name not in ("kd", "cutmix")], execution)
    train([specs["cutmix"]], execution)
    assert_same(alone, tmp_path, list(specs.values()))
    assert [path.name for path in stored(tmp_path)] == ["epoch-1.logits", "epoch-2.logits", "epoch-3.logits"]


@pytest.mark.medium
@pytest.mark.parametrize(("first", "then"), [(1.0, 0.0), (0.0, 1.0)])
def test_resumed_with_and_without_a_cache(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, first: float, then: float
) -> None:
    specs = [students(teacher)[name] for name in ("kd", "he_cutmix")]
    stop_after(specs, teacher.execution(tmp_path, teacher_cache_gb=first), 1)
    train(specs, teacher.execution(tmp_path, teacher_cache_gb=then))
    assert_same(alone, tmp_path, specs)


def test_a_filled_cache_spares_the_teacher(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first student asks about every image of two epochs, the second about one chunk alone, to compare it."""
    asked: list[int] = []
    logits = Teacher.logits

    def counted(teacher: Teacher, images: Tensor) -> Tensor:
        asked.append(len(images))
        return logits(teacher, images)

    monkeypatch.setattr(Teacher, "logits", counted)
    train([students(teacher)["kd"]], teacher.execution(tmp_path, teacher_cache_gb=1.0))
    assert sum(asked) >= 2 * IMAGES
    asked.clear()
    train([students(teacher)["dkd"]], teacher.execution(tmp_path, teacher_cache_gb=1.0))
    assert asked == [CHUNK]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_bits_of_the_live_teacher(teacher: GivenTeacher, tmp_path: Path, precision: str) -> None:
    """In any order of the epochs; a last batch of one image is left out."""
    for spec in (teacher.spec(precision=precision), teacher.spec(precision=precision, batch_size=IMAGES - 1)):
        for _ in range(2):
            with opened_cache(spec, tmp_path) as cache:
                assert check_logits(cache, 2, 1) == []
    checksum = 32
    size = teacher_cache_bytes(spec, IMAGES, 10)
    assert size == 2 * IMAGES * 10 * (4 if precision == "fp32" else 2)
    assert max(path.stat().st_size for path in stored(tmp_path)) == size // 2 + checksum


def test_other_streams_and_teachers_have_other_caches(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = teacher.spec()
    others = {"seed": 2, "batch_size": 7, "augmentation": "none", "precision": "bf16", "train_fraction": 0.06}
    folders = set()
    with ExitStack() as stack:
        for one, digest in [(spec, ""), (spec, "other"), *((replace(spec, **{k: v}), "") for k, v in others.items())]:
            cache = stack.enter_context(opened_cache(one, tmp_path, digest=digest))
            assert cache is not None
            folders.add(cache.folder)
        monkeypatch.setattr(BatchStream, "version", BatchStream.version + 1)
        cache = stack.enter_context(opened_cache(spec, tmp_path))
        assert cache is not None
        folders.add(cache.folder)
    assert len(folders) == len(others) + 3


def test_more_epochs_go_into_the_same_cache(teacher: GivenTeacher, tmp_path: Path) -> None:
    for epochs in (1, 3, 2):
        with opened_cache(teacher.spec(epochs=epochs), tmp_path) as cache:
            check_logits(cache, *range(1, epochs + 1))
    assert len(stored(tmp_path)) == 3


@given(data=st.data())
def test_damage_is_computed_again(teacher: GivenTeacher, tmp_path: Path, data: st.DataObject) -> None:
    with opened_cache(teacher.spec(), tmp_path) as cache:
        check_logits(cache, 1)
    (path,) = stored(tmp_path)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with opened_cache(teacher.spec(), tmp_path) as cache:
        assert check_logits(cache, 1) == []


def test_a_cache_of_another_teacher_is_made_anew(teacher: GivenTeacher, tmp_path: Path) -> None:
    """Whole by its checksums, but not what the teacher computes: as after a change of the code."""
    with opened_cache(teacher.spec(), tmp_path) as cache:
        assert cache is not None
        cache.teacher.logits = lambda images: torch.ones(len(images), 10)  # type: ignore[method-assign]
        cache.load(1), cache.load(2)
    with opened_cache(teacher.spec(), tmp_path) as cache:
        (note,) = check_logits(cache, 1, 2)
    assert note.endswith(" does not fit its teacher: computed again")


def test_a_full_disk_costs_the_cache_alone(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(teacher_cache, "write_atomically", fill_disk)
    spec = students(teacher)["kd"]
    reports = train([spec], teacher.execution(tmp_path, teacher_cache_gb=1.0))
    notes = [note for report in reports for note in report.notes]
    assert notes == ["no teacher cache from epoch 1 on: no space left on device"]
    assert_same(alone, tmp_path, [spec])


def test_a_folder_that_cannot_be_made_costs_the_cache_alone(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    (tmp_path / "teacher_cache").touch()
    spec = students(teacher)["kd"]
    reports = train([spec], teacher.execution(tmp_path, teacher_cache_gb=1.0))
    assert [note for report in reports for note in report.notes] == ["no teacher cache: file exists"]
    assert_same(alone, tmp_path, [spec])


def test_no_cache_where_there_is_no_room(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = teacher_cache_bytes(teacher.spec(), IMAGES, 10)
    with opened_cache(teacher.spec(), tmp_path, need - 1) as cache:
        assert cache is None
    fake_free(monkeypatch, 1.9 * need)
    with opened_cache(teacher.spec(), tmp_path) as cache:
        assert cache is None


def test_caches_that_are_opened_together_leave_half_of_the_disk_free(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others have reserved and not written yet counts as taken."""
    fake_free(monkeypatch, 5 * teacher_cache_bytes(teacher.spec(), IMAGES, 10))
    with ExitStack() as stack:
        caches = [stack.enter_context(opened_cache(teacher.spec(seed=seed), tmp_path)) for seed in (1, 2, 3)]
    assert [cache is not None for cache in caches] == [True, True, False]


def test_the_oldest_caches_that_no_job_uses_go(teacher: GivenTeacher, tmp_path: Path) -> None:
    most = 2.5 * teacher_cache_bytes(teacher.spec(), IMAGES, 10)
    folders = []
    for seed in (1, 2):
        with opened_cache(teacher.spec(seed=seed), tmp_path, most) as cache:
            check_logits(cache, 1)
            assert cache is not None
            folders.append(cache.folder)
        time.sleep(0.01)
    with opened_cache(teacher.spec(seed=1), tmp_path, most) as used:
        time.sleep(0.01)
        with opened_cache(teacher.spec(seed=3), tmp_path, most) as cache:
            assert cache is not None
            assert [folder.exists() for folder in folders] == [True, False]
            with opened_cache(teacher.spec(seed=4), tmp_path, most) as none:
                assert none is None
        check_logits(used, 1, 2)


def test_no_cache_for_measured_times_nor_decoded_images(teacher: GivenTeacher, tmp_path: Path) -> None:
    train([teacher.spec(timing=True)], teacher.execution(tmp_path, teacher_cache_gb=1.0))
    source = open_source(imagenet_like.make(tmp_path / "imagenet"), side=32, workers=0)
    spec = replace(teacher.spec(), augmentation="random_resized_crop_flip")
    stream = source.stream(seed=1, batch_size=6, augmentation=spec.augmentation)
    guide = Teacher(seasoned("resnet8", source.num_classes), device="cpu", precision="fp32")
    with open_teacher_cache(spec, source, stream, guide, "", tmp_path, GB, []) as cache:
        assert cache is None
    assert not (tmp_path / "teacher_cache").exists()


@pytest.mark.medium
def test_jobs_at_the_same_time_share_the_work(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    specs = [students(teacher)[name] for name in ("kd", "gradation", "cutmix", "reversed_dkd")]
    paths = [tmp_path / f"job{number}.json" for number in range(2)]
    for path, part in zip(paths, (specs[::2], specs[1::2]), strict=True):
        path.write_text(job_json(part, teacher.execution(tmp_path, teacher_cache_gb=1.0)))
    with ThreadPoolExecutor(2) as pool:
        ended = [*pool.map(lambda path: run_script(ROOT / "trainables" / "job.py", path), paths)]
    assert [(job.returncode, job.stderr) for job in ended] == [(0, "")] * 2
    assert_same(alone, tmp_path, specs)


@pytest.mark.medium
def test_an_epoch_that_another_job_computes_is_waited_for(teacher: GivenTeacher, tmp_path: Path) -> None:
    with opened_cache(teacher.spec(), tmp_path) as cache, ThreadPoolExecutor(1) as pool:
        assert cache is not None
        with hold_lock(cache.folder / "epoch-1.lock"):
            loading = pool.submit(cache.load, 1)
            time.sleep(0.3)
            assert not loading.done()
        loading.result(timeout=60)
        assert check_logits(cache, 1) == []
