"""Teacher caches change no number, are shared and filled together, and survive damage, full disks and eviction."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_jobs import IMAGES, GivenTeacher, assert_same, seasoned, stop_after, students, train
from torch import Tensor

from trainables.data import load
from trainables.data.stream import BatchStream
from trainables.spec import RunSpec
from trainables.storage.job_file import Execution, job_json
from trainables.storage.runs import teacher_cache_bytes
from trainables.training import teacher_cache as caches
from trainables.training.teacher_cache import GB, TeacherCache, opened
from trainables.training.teachers import Teacher

ROOT = Path(__file__).parents[3]
CHUNK = 8 * 6


class Asked:
    """How many images teachers were asked about, and how many of them were weak views of a whole chunk."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images: list[int] = []
        logits = Teacher.logits

        def counted(teacher: Teacher, images: Tensor) -> Tensor:
            self.images.append(len(images))
            return logits(teacher, images)

        monkeypatch.setattr(Teacher, "logits", counted)


@contextmanager
def cache_of(spec: RunSpec, results: Path, gigabytes: float = 1.0, digest: str = "") -> Iterator[TeacherCache | None]:
    """A cache by itself, of a teacher that is always the same."""
    data = load("digits", None, train_fraction=spec.train_fraction)
    stream = data.stream(seed=spec.seed, batch_size=spec.batch_size, augmentation=spec.augmentation)
    teacher = Teacher(seasoned("resnet8"), device="cpu", precision=spec.precision)
    with opened(spec, data, stream, teacher, digest, results, gigabytes * GB, []) as cache:
        yield cache


def live(cache: TeacherCache, epoch: int) -> list[Tensor]:
    return [cache.teacher.logits(chunk.images) for chunk in cache.stream.epoch(epoch)]


def answers(cache: TeacherCache, epoch: int) -> list[Tensor]:
    cache.fill(epoch)
    return [cache.logits(chunk) for chunk in cache.stream.epoch(epoch)]


def assert_answers(cache: TeacherCache, epoch: int) -> None:
    for found, expected in zip(answers(cache, epoch), live(cache, epoch), strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)


def with_cache(teacher: GivenTeacher, results: Path) -> Execution:
    return replace(teacher.execution(results), teacher_cache_gb=1.0)


def test_a_cache_changes_no_number(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """One student fills it, packs and lone students read it: all as without one, bit by bit."""
    specs = students(teacher)
    train([specs["kd"]], with_cache(teacher, tmp_path))
    train([spec for name, spec in specs.items() if name not in ("kd", "cutmix")], with_cache(teacher, tmp_path))
    train([specs["cutmix"]], with_cache(teacher, tmp_path))
    assert_same(alone, tmp_path, list(specs.values()))
    assert len(list((tmp_path / "teacher_cache").glob("*/logits"))) == 1


def test_a_filled_cache_spares_the_teacher(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first student asks about every image of two epochs, the second about one chunk alone, to be sure."""
    specs = students(teacher)
    asked = Asked(monkeypatch)
    train([specs["kd"]], with_cache(teacher, tmp_path))
    alone_asks = sum(asked.images)
    asked.images.clear()
    train([specs["dkd"]], with_cache(teacher, tmp_path))
    assert len(asked.images) == 1
    assert asked.images[0] <= CHUNK
    assert alone_asks >= 2 * IMAGES


def test_resumed_with_and_without_a_cache(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Half with a cache, half without one, in both orders."""
    specs = [students(teacher)[name] for name in ("kd", "he_cutmix")]
    for first, then in ((1.0, 0.0), (0.0, 1.0)):
        results = tmp_path / f"{first}"
        stop_after(specs, replace(teacher.execution(results), teacher_cache_gb=first), 1)
        train(specs, replace(teacher.execution(results), teacher_cache_gb=then))
        assert_same(alone, results, specs)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_bits_of_the_live_teacher(teacher: GivenTeacher, tmp_path: Path, precision: str) -> None:
    spec = teacher.spec(precision=precision)
    for _ in range(2):
        with cache_of(spec, tmp_path) as cache:
            assert cache is not None
            for epoch in (2, 1):
                assert_answers(cache, epoch)
    size = next((tmp_path / "teacher_cache").glob("*/logits")).stat().st_size
    assert size == teacher_cache_bytes(spec, IMAGES, 10) == 2 * IMAGES * 10 * (4 if precision == "fp32" else 2)


def test_other_streams_and_teachers_have_other_caches(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = teacher.spec()
    others = {"seed": 2, "batch_size": 7, "augmentation": "none", "precision": "bf16", "train_fraction": 0.06}
    for name, value in others.items():
        with cache_of(replace(spec, **{name: value}), tmp_path) as cache:
            assert cache is not None
    with cache_of(spec, tmp_path, digest="other"), cache_of(replace(spec, epochs=9), tmp_path):
        assert len(list((tmp_path / "teacher_cache").glob("*/logits"))) == len(others) + 2
    monkeypatch.setattr(BatchStream, "version", BatchStream.version + 1)
    with cache_of(spec, tmp_path):
        assert len(list((tmp_path / "teacher_cache").glob("*/logits"))) == len(others) + 3


def test_more_epochs_go_into_the_same_cache(teacher: GivenTeacher, tmp_path: Path) -> None:
    for epochs in (1, 3, 2):
        with cache_of(teacher.spec(epochs=epochs), tmp_path) as cache:
            assert cache is not None
            for epoch in range(1, epochs + 1):
                assert_answers(cache, epoch)
    assert next((tmp_path / "teacher_cache").glob("*/logits")).stat().st_size == 3 * IMAGES * 10 * 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_computed_again(teacher: GivenTeacher, tmp_path: Path, data: st.DataObject) -> None:
    """Any bytes of either file, or their ends, may be lost."""
    spec = teacher.spec()
    with cache_of(spec, tmp_path) as cache:
        assert cache is not None
        assert_answers(cache, 1)
        folder = cache.folder
    path = folder / data.draw(st.sampled_from(["logits", "sums"]))
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
        content[place] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with cache_of(spec, tmp_path) as cache:
        assert cache is not None
        assert_answers(cache, 1)
        assert cache.notes == []


def test_a_cache_of_another_teacher_is_made_anew(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole by its checksums, but not what the teacher says: as after a change of the code that nobody has told."""
    spec = teacher.spec()
    with cache_of(spec, tmp_path) as cache:
        assert cache is not None
        monkeypatch.setattr(cache.teacher, "logits", lambda images: torch.ones(len(images), 10))
        cache.fill(1)
    with cache_of(spec, tmp_path) as cache:
        assert cache is not None
        assert_answers(cache, 1)
        assert [note.partition(" does not fit ")[2] for note in cache.notes] == ["its teacher: made anew"]
        assert_answers(cache, 1)


def test_a_full_disk_costs_the_cache_alone(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(caches.os, "pwrite", full)
    spec = students(teacher)["kd"]
    reports = train([spec], with_cache(teacher, tmp_path))
    assert [note for report in reports for note in report.notes] == [
        "the teacher cache is written no further: no space left on device"
    ]
    assert_same(alone, tmp_path, [spec])


def test_no_cache_where_there_is_no_room(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = teacher_cache_bytes(teacher.spec(), IMAGES, 10) / GB
    with cache_of(teacher.spec(), tmp_path, need * 0.99) as cache:
        assert cache is None
    usage = caches.shutil.disk_usage(tmp_path)._replace(free=int(need * 1.9 * GB))
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _: usage)
    with cache_of(teacher.spec(), tmp_path) as cache:
        assert cache is None


def test_the_oldest_caches_that_nobody_uses_go(teacher: GivenTeacher, tmp_path: Path) -> None:
    room = 2.5 * teacher_cache_bytes(teacher.spec(), IMAGES, 10) / GB

    def there() -> set[str]:
        return {path.name for path in (tmp_path / "teacher_cache").iterdir() if path.is_dir()}

    names = []
    for seed in (1, 2):
        with cache_of(teacher.spec(seed=seed), tmp_path, room) as cache:
            assert cache is not None
            names.append(cache.folder.name)
        time.sleep(0.01)
    with cache_of(teacher.spec(seed=1), tmp_path, room) as used:
        assert used is not None
        time.sleep(0.01)
        with cache_of(teacher.spec(seed=3), tmp_path, room) as cache:
            assert cache is not None
            assert there() == {names[0], cache.folder.name}
            with cache_of(teacher.spec(seed=4), tmp_path, room) as none:
                assert none is None
        assert_answers(used, 1)


def test_many_at_once_leave_half_of_the_disk_free(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others have reserved and not written yet is spoken for."""
    need = teacher_cache_bytes(teacher.spec(), IMAGES, 10)
    usage = caches.shutil.disk_usage(tmp_path)._replace(free=int(need * 5))
    monkeypatch.setattr(caches.shutil, "disk_usage", lambda _: usage)
    with ExitStack() as stack:
        found = [stack.enter_context(cache_of(teacher.spec(seed=seed), tmp_path)) is not None for seed in (1, 2, 3, 4)]
    assert found == [True, True, False, False]


@pytest.mark.parametrize("what", ["_make_room", "TeacherCache"])
def test_a_disk_that_cannot_be_written_costs_the_cache_alone(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(caches, what, refuse)
    spec = students(teacher)["kd"]
    reports = train([spec], with_cache(teacher, tmp_path))
    assert [note for report in reports for note in report.notes] == ["no teacher cache: disk quota exceeded"]
    assert_same(alone, tmp_path, [spec])


def test_caches_that_go_while_they_are_looked_at(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert (caches._used(gone), caches._reserved(gone), caches._written(gone)) == (0, 0, 0)


def test_without_locks_all_is_computed_at_once(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with cache_of(teacher.spec(), tmp_path) as cache:
        assert cache is not None
        monkeypatch.setattr(caches.fcntl, "lockf", refuse)
        began = time.monotonic()
        assert_answers(cache, 1)
        assert time.monotonic() - began < 20
        assert cache.notes == ["the teacher cache is not shared with jobs at the same time: no locks available"]
        assert any((cache.folder / "sums").read_bytes())


def test_no_cache_where_more_than_logits_is_asked_or_time_is_measured(teacher: GivenTeacher, tmp_path: Path) -> None:
    train([teacher.spec(timing=True)], with_cache(teacher, tmp_path))
    assert not (tmp_path / "teacher_cache").exists()


def test_jobs_at_the_same_time_share_the_work(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Two processes, nine students: the same weights, and each chunk written by whoever came first."""
    specs = list(students(teacher).values())
    execution = replace(with_cache(teacher, tmp_path))
    tmp_path.mkdir(exist_ok=True)
    jobs = []
    for number, part in enumerate((specs[::2], specs[1::2])):
        path = tmp_path / f"job{number}.json"
        path.write_text(job_json(part, execution))
        jobs.append(subprocess.Popen([sys.executable, str(ROOT / "trainables" / "job.py"), str(path)]))
    assert [job.wait(300) for job in jobs] == [0, 0]
    assert_same(alone, tmp_path, specs)


def test_a_chunk_that_another_process_computes_is_waited_for(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until its claim ends; whoever waits too long computes it too, and does not write."""
    spec = teacher.spec(epochs=1)
    holder = (
        "import fcntl, os, sys, time; f = os.open(sys.argv[1], os.O_RDWR); fcntl.lockf(f, fcntl.LOCK_EX, 4, 0); "
        "print('held', flush=True); time.sleep(float(sys.argv[2]))"
    )
    with cache_of(spec, tmp_path) as cache:
        assert cache is not None
        for seconds, patience, written in ((60.0, 0.2, False), (0.5, 60.0, True)):
            monkeypatch.setattr(caches, "PATIENCE", patience)
            command = [sys.executable, "-c", holder, str(cache.folder / "sums"), str(seconds)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
                assert other.stdout is not None
                with closing(other.stdout):
                    assert other.stdout.readline() == "held\n"
                    began = time.monotonic()
                    assert_answers(cache, 1)
                    assert min(seconds, patience) * 0.5 < time.monotonic() - began < 30
                    other.kill()
            assert any((cache.folder / "sums").read_bytes()[:4]) == written
