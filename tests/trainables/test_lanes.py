"""Students beside each other: what several of them read is made before they part, and a GPU's streams wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_jobs import VANILLA, GivenTeacher, assert_same, students, train

from trainables import job, views
from trainables.job import Place
from trainables.lanes import CudaLanes, Lanes


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
    monkeypatch.setattr(job, "lanes_on", lambda place: lanes)
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
    assert first == ["beside", *sorted((spec.run_id for spec in specs), key=first.index), "together"]


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
    for device, graphs, kind in (("cpu", True, Lanes), ("cuda", False, Lanes), ("cuda", True, CudaLanes)):
        assert type(job.lanes_on(Place(tmp_path, device=device, graphs=graphs))) is kind


def test_on_the_processor_students_take_turns() -> None:
    lanes = Lanes()
    with lanes.beside(), lanes.lane("one"):
        pass
