"""Checkpoints that are written beside the training: in order, none lost, none torn, errors told."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from small_jobs import VANILLA, GivenTeacher, assert_same, stop_after, students, train

from trainables.job import Execution
from trainables.storage.checkpoints import checkpoint_path, load_checkpoint, save_checkpoint
from trainables.storage.writer import writing
from trainables.training import student as students_module


def test_a_run_waits_for_its_own_last_write_only() -> None:
    done: list[str] = []
    go = threading.Event()

    def slowly() -> None:
        go.wait(10)
        done.append("slow")

    with writing() as writer:
        writer.save("one", slowly)
        writer.save("two", lambda: done.append("two"))
        writer.wait("three")
        assert done == []
        go.set()
        writer.save("one", lambda: done.append("again"))
        assert done[0] == "slow"
    assert done == ["slow", "two", "again"]


def fails() -> None:
    raise OSError("no disk")


def test_an_error_is_raised_at_the_next_word_of_its_run() -> None:
    with writing() as writer:
        writer.save("one", fails)
        writer.wait("two")
        with pytest.raises(OSError, match="no disk"):
            writer.save("one", lambda: None)


def test_an_error_is_raised_at_the_end() -> None:
    with pytest.raises(OSError, match="no disk"), writing() as writer:
        writer.save("one", fails)


def failing_twice() -> None:
    with writing() as writer:
        writer.save("one", fails)
        raise ValueError("first")


def test_another_error_is_not_hidden_by_one_of_writing() -> None:
    with pytest.raises(ValueError, match="first"):
        failing_twice()


@pytest.mark.medium
def test_a_checkpoint_is_of_its_epoch_though_training_goes_on(
    teacher: GivenTeacher, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk so slow that the next epoch is over before it is written. Then the job is stopped and resumed."""
    specs = [students(teacher)["he_cutmix"]]

    def slow(results: Path, run_id: str, state: dict[str, Any]) -> None:
        time.sleep(0.5)
        save_checkpoint(results, run_id, state)

    monkeypatch.setattr(students_module, "save_checkpoint", slow)
    stop_after(specs, teacher.execution(tmp_path), 2)
    state, _ = load_checkpoint(tmp_path, specs[0].run_id, "cpu", repair=False)
    assert state is not None
    assert state["record"]["epoch"] == 2
    train(specs, teacher.execution(tmp_path))
    assert_same(alone, tmp_path, specs)


def test_training_does_not_wait_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first checkpoint is written when the second epoch has been reported."""
    go, asked = threading.Event(), threading.Event()

    def held(results: Path, run_id: str, state: dict[str, Any]) -> None:
        asked.set()
        assert go.wait(60)
        save_checkpoint(results, run_id, state)

    monkeypatch.setattr(students_module, "save_checkpoint", held)
    from trainables.job import run

    job = run([VANILLA], Execution(tmp_path, threads=1))
    assert next(job).epoch == 1
    assert asked.wait(60)
    go.set()
    assert next(job).finished == (VANILLA.run_id,)
    assert not checkpoint_path(tmp_path, VANILLA.run_id).exists()
