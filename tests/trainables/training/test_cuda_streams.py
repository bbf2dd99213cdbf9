"""Students beside each other: what several of them read is made before they part, and a GPU's streams wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_jobs import VANILLA, GivenTeacher, Recorder, assert_same, students, train

from trainables import job
from trainables.data.stream import WHOLE, Share
from trainables.job import Place
from trainables.spec import Mixing, Temperature, params
from trainables.training import views
from trainables.training.cuda_streams import MOST, CudaLanes, Lanes


class Watched(Lanes):
    """Knows whether it is in a lane, and in which ones it was."""

    def __init__(self) -> None:
        self.now = ""
        self.log: list[str] = []

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        self.log.append("beside")
        yield
        self.log.append("together")

    @contextlib.contextmanager
    def lane(self, name: str) -> Iterator[None]:
        self.now = name
        self.log.append(name)
        yield
        self.now = ""


@pytest.mark.parametrize("bank_gb", [0.0, 1.0])
def test_nothing_shared_is_made_in_a_lane(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bank_gb: float
) -> None:
    lanes = Watched()
    monkeypatch.setattr(job, "lanes_on", lambda place, share: lanes)
    monkeypatch.setattr(job, "capture_on", lambda place: Recorder())
    made: list[str] = []

    def watch(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            assert not lanes.now, f"{name} in the lane of {lanes.now}"
            made.append(name)
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in (
        (views.Views, "_plain"),
        (views.Views, "_answers"),
        (views.Views, "_mix"),
        (views.Teaching, "_temperature"),
        (views.Teaching, "thresholds"),
        (views.Teaching, "selection"),
    ):
        watch(owner, name)
    specs = list(students(teacher).values())
    train(specs, replace(teacher.place(tmp_path), bank_gb=bank_gb))
    train([VANILLA], Place(tmp_path, threads=1))
    assert_same(alone, tmp_path, specs)
    assert set(made) == {"_plain", "_answers", "_mix", "_temperature", "thresholds", "selection"}
    first = lanes.log[: lanes.log.index("together") + 1]
    assert first == ["beside", *(spec.run_id for spec in specs), "together"]


def test_without_a_recording_students_take_turns(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lanes = Watched()
    monkeypatch.setattr(job, "lanes_on", lambda place, share: lanes)
    train([students(teacher)[name] for name in ("kd", "cutmix")], teacher.place(tmp_path))
    assert set(lanes.log) == {"beside", "together"}


def test_students_that_are_not_recorded_are_in_no_lane(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DKD's loss knows its epoch until its warm-up is over."""
    lanes = Watched()
    monkeypatch.setattr(job, "lanes_on", lambda place, share: lanes)
    monkeypatch.setattr(job, "capture_on", lambda place: Recorder())
    kd = teacher.spec()
    warming = replace(teacher.spec("dkd"), params=params(ce=1, alpha=1, beta=2, warmup=9))
    train([kd, warming], teacher.place(tmp_path))
    assert set(lanes.log) == {"beside", kd.run_id, "together"}
    train([warming], teacher.place(tmp_path / "alone"))
    assert_same(tmp_path, tmp_path / "alone", [warming])


def test_a_chunk_may_have_no_mixed_images(teacher: GivenTeacher, tmp_path: Path) -> None:
    spec = teacher.spec(temperature=Temperature(4, "energy", 1, -1, 0.3), mixing=Mixing("cutmix", "high", 0.02))
    reports = train([spec], teacher.place(tmp_path))
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
    lanes = CudaLanes()
    for _ in range(2):
        with lanes.beside():
            for name in ("one", "two"):
                with lanes.lane(name):
                    log.append(f"{name} in {now[-1].name}")
        log.append("next")
    new = ["a waits for main", "one in a", "b waits for main", "two in b"]
    ended = ["main waits for a", "main waits for b", "next"]
    assert log == [*new, *ended, "a waits for main", "b waits for main", "one in a", "two in b", *ended]


def test_streams_are_waited_for_when_a_lane_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        waited = 0

        def wait_stream(self, other: Stream) -> None:
            Stream.waited += 1

    main = Stream()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    lanes = CudaLanes()
    with pytest.raises(ValueError, match="in a lane"), lanes.beside(), lanes.lane("one"):
        raise ValueError("in a lane")
    assert Stream.waited == 2


def test_only_recorded_steps_on_a_gpu_are_beside_each_other(tmp_path: Path) -> None:
    for device, graphs, share, kind in (
        ("cpu", True, WHOLE, Lanes),
        ("cuda", False, WHOLE, Lanes),
        ("cuda", True, Share(0, 2), Lanes),
        ("cuda", True, WHOLE, CudaLanes),
    ):
        assert type(job.lanes_on(Place(tmp_path, device=device, graphs=graphs), share)) is kind


def test_more_students_than_streams_share_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        def wait_stream(self, other: Stream) -> None:
            pass

    used: list[Stream] = []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: used.append(stream) or contextlib.nullcontext())
    lanes = CudaLanes()
    for _ in range(2):
        for number in range(MOST + 3):
            lanes.lane(str(number))
    assert len(set(used)) == MOST
    assert used[: MOST + 3] == used[MOST + 3 :]
