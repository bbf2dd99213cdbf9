"""Students beside each other: what several of them read is made before they part, and a GPU's streams wait for it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from few import fast
from small_jobs import VANILLA, GivenTeacher, Recorder, assert_same, students, train

from trainables import job
from trainables.data.stream import WHOLE, Share
from trainables.job import Execution
from trainables.spec import Mixing, Temperature, params
from trainables.storage.runs import run_dir
from trainables.training import cuda_streams, views
from trainables.training.cuda_streams import MOST, CudaStreams, FasterWay
from trainables.training.student import Student
from trainables.training.views import Views


class Watched(CudaStreams):
    """Knows whether a student's stream is used, and which ones were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = ""
        self.log: list[str] = []

    def record(self) -> dict[str, Any]:
        return {}

    @contextlib.contextmanager
    def overlap(self) -> Iterator[None]:
        self.log.append("overlap")
        yield
        self.log.append("together")

    @contextlib.contextmanager
    def use(self, name: str) -> Iterator[None]:
        self.now = name
        self.log.append(name)
        yield
        self.now = ""


@pytest.mark.parametrize("teacher_cache_gb", fast([0.0, 1.0], 1.0, others="medium"))
@pytest.mark.medium
def test_nothing_shared_is_made_on_a_students_stream(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher_cache_gb: float
) -> None:
    streams = Watched()
    monkeypatch.setattr(job, "way_on", lambda execution: streams)
    monkeypatch.setattr(job, "capture_on", lambda execution: Recorder())
    made: list[str] = []

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            assert not streams.now, f"{name} on the stream of {streams.now}"
            made.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in (
        (views.Views, "_ask"),
        (views.Views, "_mix"),
        (views.TeacherContext, "thresholds"),
    ):
        watch(owner, name)
    specs = [students(teacher)[name] for name in ("kd", "energy_kd", "cutmix", "he_cutmix", "low_energy")]
    train(specs, replace(teacher.execution(tmp_path), teacher_cache_gb=teacher_cache_gb))
    train([VANILLA], Execution(tmp_path, threads=1))
    assert_same(alone, tmp_path, specs)
    assert set(made) == {"_ask", "_mix", "thresholds"}
    first = streams.log[: streams.log.index("together") + 1]
    assert first == ["overlap", *(spec.run_id for spec in specs), "together"]


def test_without_a_recording_students_take_turns(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Watched()
    monkeypatch.setattr(job, "way_on", lambda execution: streams)
    train([students(teacher)[name] for name in ("kd", "cutmix")], teacher.execution(tmp_path))
    assert set(streams.log) == {"overlap", "together"}


def test_students_that_are_not_recorded_are_on_no_stream_of_their_own(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DKD's loss knows its epoch until its warm-up is over."""
    streams = Watched()
    monkeypatch.setattr(job, "way_on", lambda execution: streams)
    monkeypatch.setattr(job, "capture_on", lambda execution: Recorder())
    kd = teacher.spec()
    warming = replace(teacher.spec("dkd"), params=params(ce=1, alpha=1, beta=2, warmup=9))
    train([kd, warming], teacher.execution(tmp_path))
    assert set(streams.log) == {"overlap", kd.run_id, "together"}
    train([warming], teacher.execution(tmp_path / "alone"))
    assert_same(tmp_path, tmp_path / "alone", [warming])


def test_a_chunk_may_have_no_mixed_images(teacher: GivenTeacher, tmp_path: Path) -> None:
    spec = teacher.spec(temperature=Temperature(4, "energy", 1, -1, 0.3), mixing=Mixing("cutmix", "high", 0.02))
    reports = train([spec], teacher.execution(tmp_path))
    assert [run_id for report in reports for run_id in report.finished] == [spec.run_id]


def test_streams_wait_for_what_was_before_and_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Stream:
        names = iter("abc")

        def __init__(self, name: str = "") -> None:
            self.name = name or next(self.names)

        def wait_stream(self, other: Stream) -> None:
            log.append(f"{self.name} waits for {other.name}")

    now = [Stream("main")]

    @contextlib.contextmanager
    def inside(stream: Stream) -> Iterator[None]:
        now.append(stream)
        yield
        now.pop()

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: now[-1])
    monkeypatch.setattr(torch.cuda, "stream", inside)
    streams = CudaStreams()
    for _ in range(2):
        with streams.overlap():
            for name in ("one", "two"):
                with streams.use(name):
                    log.append(f"{name} in {now[-1].name}")
        log.append("next")
    new = ["a waits for main", "one in a", "b waits for main", "two in b"]
    ended = ["main waits for a", "main waits for b", "next"]
    assert log == [*new, *ended, "a waits for main", "b waits for main", "one in a", "two in b", *ended]


def test_streams_are_waited_for_when_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        waited = 0

        def wait_stream(self, other: Stream) -> None:
            Stream.waited += 1

    main = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    streams = CudaStreams()
    with pytest.raises(ValueError, match="inside"), streams.overlap(), streams.use("one"):
        raise ValueError("inside")
    assert Stream.waited == 2


def test_only_recorded_steps_on_one_gpu_are_beside_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for device, graphs, share, wanted in (
        ("cpu", True, WHOLE, False),
        ("cuda", False, WHOLE, False),
        ("cuda", True, Share(0, 2), False),
        ("cuda", True, WHOLE, True),
    ):
        monkeypatch.setattr(job, "current_share", lambda share=share: share)
        found = job.way_on(Execution(tmp_path, device=device, cuda_graphs=graphs))
        assert isinstance(found, FasterWay) == wanted


@pytest.mark.parametrize("slow", [True, False], ids=["recordings are slow", "kernels are slow"])
@pytest.mark.medium
def test_the_faster_way_is_kept_and_the_weights_are_the_same(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    class Late(Watched):
        """Chunks of one way take a second more."""

        def train(self, students: Sequence[Student], views: Views) -> None:
            recorded = students[0].steps.recorded
            ways.append((views.chunk.epoch, recorded))
            clock[0] += recorded == slow
            super().train(students, views)

    train([VANILLA], Execution(tmp_path, threads=1))
    ways: list[tuple[int, bool]] = []
    clock, way = [0.0], FasterWay(Late())
    monkeypatch.setattr(job, "way_on", lambda execution: way)
    monkeypatch.setattr(job, "capture_on", lambda execution: Recorder())
    monkeypatch.setattr(cuda_streams, "TURNS", 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(cuda_streams.time, "perf_counter", lambda: clock[0])
    specs = [students(teacher)[name] for name in ("kd", "he_cutmix", "low_energy")]
    train(specs, teacher.execution(tmp_path))
    assert_same(alone, tmp_path, specs)
    later = [recorded for epoch, recorded in ways if epoch > 1]
    assert {recorded for epoch, recorded in ways if epoch == 1} == {True}
    assert (later[:2], {*later[2:]}) == ([True, False], {not slow})
    provenance = json.loads((run_dir(tmp_path, specs[0].run_id) / "result.json").read_text())["provenance"]
    assert provenance["recorded_steps"] != slow
    assert provenance["recorded_seconds"] - provenance["plain_seconds"] == (1 if slow else -1)


def test_more_students_than_streams_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def wait_stream(self, other: Stream) -> None:
            pass

    used: list[Stream] = []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: used.append(stream) or contextlib.nullcontext())
    streams = CudaStreams()
    for _ in range(2):
        for number in range(MOST + 3):
            streams.use(str(number))
    assert len(set(used)) == MOST
    assert used[: MOST + 3] == used[MOST + 3 :]
