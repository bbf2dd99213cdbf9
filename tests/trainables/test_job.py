"""Jobs: the same weights alone, packed, stopped, killed and resumed; damaged checkpoints."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from few import fast
from forked import run_path, start
from small_jobs import (
    STEPS,
    VANILLA,
    GivenTeacher,
    assert_same,
    outcome,
    stop_after,
    students,
    train,
)

from trainables.data.dataset import Dataset
from trainables.job import EpochReport, run
from trainables.run_names import name_of
from trainables.spec import RunSpec
from trainables.storage.checkpoints import checkpoint_path
from trainables.storage.job_file import Execution, job_json
from trainables.storage.runs import read_result, run_dir, weights_path
from trainables.training import student
from trainables.training.steps import Steps
from trainables.training.student import Student

ROOT = Path(__file__).parents[2]


def test_students_differ(teacher: GivenTeacher, alone: Path) -> None:
    """Nine treatments, nine different sets of weights: what follows compares something."""
    digests = {outcome(alone, spec)[1]["weights_sha256"] for spec in students(teacher).values()}
    assert len(digests) == 9


def test_alone_and_packed(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    specs = students(teacher)
    torch.manual_seed(12345)
    reports = train(list(specs.values()), teacher.execution(tmp_path))
    assert_same(alone, tmp_path, list(specs.values()))

    ids = {name: spec.run_id for name, spec in specs.items()}
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert {report.epochs for report in reports} == {3}
    assert [len(report.metrics) for report in reports] == [9, 8, 1]
    assert [set(report.finished) for report in reports] == [
        {ids["gradation"]},
        set(ids.values()) - {ids["gradation"], ids["he_cutmix"]},
        {ids["he_cutmix"]},
    ]
    assert not any(report.failed for report in reports)
    for report in reports:
        for run_id, numbers in report.metrics.items():
            result = read_result(tmp_path, run_id)
            assert result is not None
            names = ("train_loss", "top1", "top5", "test_loss")
            assert [report.epoch, *(numbers[name] for name in names)] == result["curve"][report.epoch - 1]
            assert numbers["seconds"] == result["epoch_seconds"][report.epoch - 1] > 0


@pytest.mark.medium
def test_resumed_in_packs_of_other_students(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Stopped three times; each time others are in the pack, at other epochs, in another order."""
    specs, execution = list(students(teacher).values()), teacher.execution(tmp_path)
    for part, epoch in ((specs[:3], 1), (specs[1:7], 1), ([specs[6], specs[0]], 2)):
        stop_after(part, execution, epoch)
    train(specs[::-1], execution)
    assert_same(alone, tmp_path, specs)


@pytest.mark.medium
def test_resuming_begins_where_each_run_was_left(teacher: GivenTeacher, tmp_path: Path) -> None:
    every = students(teacher)
    ahead, behind, execution = every["he_cutmix"], every["kd"], teacher.execution(tmp_path)
    stop_after([ahead], execution, 2)
    stop_after([behind], execution, 1)
    said, *reports = train([behind, ahead], execution)
    assert (said.epoch, said.resumed) == (0, {behind.run_id: 1, ahead.run_id: 2})
    assert [(report.epoch, set(report.metrics)) for report in reports] == [(2, {behind.run_id}), (3, {ahead.run_id})]


class DeathError(Exception):
    """Stands for the process dying at this place."""


def crash_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int, *, after: bool = False) -> None:
    """The `call`-th call of a function (from 1) dies, before or after it has done its work."""
    original: Callable[..., Any] = getattr(owner, name)
    calls = 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and not after:
            raise DeathError
        answer = original(*arguments, **named)
        if calls == call:
            raise DeathError
        return answer

    monkeypatch.setattr(owner, name, dying)


PLACES = [
    (Steps, "learn", 3 * STEPS + 5, False),
    (Student, "_save", 1, True),
    (student, "save_weights", 1, True),
    (student, "write_result", 2, True),
    (Student, "_save", 2, False),
    (student, "save_checkpoint", 2, False),
    (Student, "finish", 1, False),
    (Student, "finish", 2, False),
    (student, "write_result", 3, False),
]


@pytest.mark.parametrize(
    ("owner", "name", "call", "after"),
    fast(PLACES, PLACES[3]),
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_dying_at_a_given_place(
    owner: Any,
    name: str,
    call: int,
    after: bool,
    teacher: GivenTeacher,
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a step, between two students' checkpoints, before or after weights and results are written."""
    every = students(teacher)
    specs, execution = [every[name] for name in ("gradation", "kd", "half_mixup_dkd")], teacher.execution(tmp_path)
    with monkeypatch.context() as patch:
        crash_at(patch, owner, name, call, after=after)
        with pytest.raises(DeathError):
            train(specs, execution)
    train(specs, execution)
    assert_same(alone, tmp_path, specs)
    for spec in specs:
        files = {file.name for file in run_dir(tmp_path, spec.run_id).iterdir()}
        assert files - {"checkpoint.pt", "checkpoint-before.pt"} == {"spec.json", "lock", "weights.pt", "result.json"}


@pytest.mark.medium
def test_bfloat16(teacher: GivenTeacher, tmp_path: Path) -> None:
    """Alone as when it was stopped and went on beside another; the weights stay in float32."""
    spec = replace(students(teacher)["he_cutmix"], precision="bf16", epochs=2, milestones=(1,))
    other = teacher.spec("dkd", precision="bf16", epochs=1, milestones=())
    alone, resumed = teacher.execution(tmp_path / "alone"), teacher.execution(tmp_path / "resumed")
    train([spec], alone)
    stop_after([spec], resumed, 1)
    train([other, spec], resumed)
    assert_same(alone.results, resumed.results, [spec])
    weights, result = outcome(alone.results, spec)
    assert all(value.dtype == torch.float32 for value in weights.values() if value.is_floating_point())
    assert result["train_loss"] > 0


@pytest.mark.medium
def test_vanilla_students_pack_too(tmp_path: Path) -> None:
    specs = [VANILLA, replace(VANILLA, student="wrn_16_1"), replace(VANILLA, lr=0.01, epochs=1)]
    for spec in specs:
        train([spec], Execution(tmp_path / "alone", threads=1))
    train(specs, Execution(tmp_path / "packed", threads=1))
    assert_same(tmp_path / "alone", tmp_path / "packed", specs)


def test_seeds_differ(tmp_path: Path) -> None:
    weights = []
    for seed in (1, 2):
        spec = replace(VANILLA, seed=seed, epochs=1)
        train([spec], Execution(tmp_path, threads=1))
        weights.append(outcome(tmp_path, spec)[0])
    assert all(not torch.equal(weights[0][key], weights[1][key]) for key in weights[0] if key.endswith("conv1.weight"))


def kill_until_done(execution: Execution, specs: Sequence[RunSpec], moments: Sequence[float], folder: Path) -> int:
    """`python trainables/job.py`, killed so many seconds after its first line at every start but the last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "JOB.json").write_text(job_json(specs, execution))
    kills = 0
    for number, moment in enumerate((*moments, None)):
        out, err = folder / f"out{number}", folder / f"err{number}"
        words = [str(folder / "JOB.json")]
        process = start((out, err), run_path, str(ROOT / "trainables" / "job.py"), words, cwd=folder)
        if moment is not None:
            while process.is_alive() and not (out.exists() and out.read_text()):
                time.sleep(0.01)
            time.sleep(moment)
            process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            kills += 1
            continue
        assert process.exitcode == 0, err.read_text()
        assert "done" in out.read_text()
    return kills


@pytest.mark.medium
def test_sigkill(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    every = students(teacher)
    specs = [every[name] for name in ("he_cutmix", "reversed_dkd", "gradation")]
    moments = [random.Random(0).uniform(0, 0.4)]
    assert kill_until_done(teacher.execution(tmp_path / "results"), specs, moments, tmp_path) >= 1
    assert_same(alone, tmp_path / "results", specs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_sigkill_again_and_again(seed: int, teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    draw = random.Random(seed)
    specs = list(students(teacher).values())
    moments = [draw.uniform(0, 2.5) for _ in range(5)]
    assert kill_until_done(teacher.execution(tmp_path / "results"), specs, moments, tmp_path) >= 1
    assert_same(alone, tmp_path / "results", specs)


# --- checkpoints ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", fast(["flipped", "of another run"], "flipped"))
def test_damaged_checkpoint(damage: str, teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """The run starts again from its first epoch, says so, and ends as ever; its neighbour goes on."""
    every = students(teacher)
    kd, other, execution = every["kd"], every["he_cutmix"], teacher.execution(tmp_path)
    stop_after([other], execution, 2)
    stop_after([kd], execution, 1)
    file = checkpoint_path(tmp_path, kd.run_id)
    whole = file.read_bytes()
    middle = len(whole) // 2
    file.write_bytes(
        {
            "flipped": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "of another run": checkpoint_path(tmp_path, other.run_id).read_bytes(),
        }[damage]
    )
    said, *reports = train([kd, other], execution)
    why = "is of another run or version" if damage == "of another run" else "is damaged"
    assert said.damaged == (f"checkpoint.pt of {name_of(kd)} {why}: not used; it goes on after epoch 0",)
    assert [set(report.metrics) for report in reports] == [{kd.run_id}, {kd.run_id}, {other.run_id}]
    assert_same(alone, tmp_path, [kd, other])


@pytest.mark.medium
@pytest.mark.parametrize("damage", fast(["truncated", "lost"], "truncated"))
def test_a_damaged_checkpoint_costs_one_epoch(damage: str, teacher: GivenTeacher, tmp_path: Path) -> None:
    spec = replace(students(teacher)["kd"], epochs=4)
    alone, execution = teacher.execution(tmp_path / "alone"), teacher.execution(tmp_path / "damaged")
    train([spec], alone)
    stop_after([spec], execution, 3)
    file = checkpoint_path(execution.results, spec.run_id)
    if damage == "lost":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    reports = train([spec], execution)
    assert [report.epoch for report in reports if report.epoch] == [3, 4]
    assert [line.partition(" of ")[0] for line in reports[0].damaged] == ["checkpoint.pt"] * (damage != "lost")
    assert_same(alone.results, execution.results, [spec])
    assert not list(run_dir(execution.results, spec.run_id).glob("checkpoint*"))


def test_a_complete_run_is_not_trained_again(teacher: GivenTeacher, alone: Path, tmp_path: Path) -> None:
    """Not even where its teacher is gone, and a run that is not complete trains on beside it."""
    kd, energy, *_ = students(teacher).values()
    train([kd], teacher.execution(tmp_path))
    before = weights_path(tmp_path, kd.run_id).stat().st_mtime_ns
    (report,) = run([kd], Execution(tmp_path, threads=1))
    assert report == EpochReport(0, 2, finished=(kd.run_id,))
    reports = train([energy, kd], teacher.execution(tmp_path))
    assert reports[0].finished == (kd.run_id,)
    assert [set(report.metrics) for report in reports[1:]] == [{energy.run_id}] * 2
    assert weights_path(tmp_path, kd.run_id).stat().st_mtime_ns == before
    assert_same(alone, tmp_path, [kd, energy])


def test_the_test_images_are_read_once_for_all(
    teacher: GivenTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each epoch; and once for the teacher's own scores."""
    splits = []
    scan = Dataset.scan

    def watched(self: Dataset, split: str, *rest: Any) -> Any:
        splits.append(split)
        return scan(self, split, *rest)

    monkeypatch.setattr(Dataset, "scan", watched)
    several = [teacher.spec(), teacher.spec("dkd"), teacher.spec(lr=0.01)]
    train(several, teacher.execution(tmp_path))
    assert splits.count("test") == 1 + several[0].epochs
