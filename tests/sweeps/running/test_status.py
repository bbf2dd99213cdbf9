"""How far a sweep is, as a file that a page reads."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from pathlib import Path

import pytest
from fake_job import result
from plans import plan_of

from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.settings import Settings
from analysis.watching.status import read_status
from sweeps.planning.plan import Plan, PlannedJob
from sweeps.running import status as status_module
from sweeps.running.events import EpochDone, JobFailed, JobStarted, RunEnded
from sweeps.running.status import StatusFile, keep_status
from trainables.job import EpochReport
from trainables.storage.runs import status_path


@pytest.fixture
def plan() -> Plan:
    return plan_of([paper.find("table5")], Settings(pairs=("resnet56/resnet20",), seeds=1), {}, pack=None)


def report(job: PlannedJob, epoch: int, top1: float) -> EpochReport:
    numbers = {"top1": top1, "train_loss": 1.23456789, "seconds": 2.0}
    return EpochReport(epoch, 240, {spec.run_id: numbers for spec in job.specs}, where="node1, GPU 3")


def test_what_a_page_reads(plan: Plan, tmp_path: Path) -> None:
    status = StatusFile(plan, tmp_path, "python sweeps/run.py table5")
    first, second = plan.jobs[:2]
    status(JobStarted(first))
    status(EpochDone(first, report(first, 1, 10.0)))
    status(EpochDone(first, report(first, 2, math.nan)))
    status.write()
    found = read_status(tmp_path)
    assert found is not None
    assert (found.process, found.command, found.ended) == (os.getpid(), "python sweeps/run.py table5", "")
    assert found.is_alive
    assert (found.done, found.failed, found.asked) == (0, 0, sum(len(job.specs) for job in plan.jobs))
    (job,) = found.jobs
    assert (job.key, job.where, job.epoch, job.epochs) == (first.key, "node1, GPU 3", 2, first.specs[0].epochs)
    assert {run.id for run in job.runs} == set(found.running) == {spec.run_id for spec in first.specs}
    assert job.runs[0].curve == ((1.0, 1.2346, 10.0), (2.0, 1.2346, None))
    assert [each.key for each in found.queue] == [each.key for each in plan.jobs[1:]]
    for spec in first.specs:
        status(RunEnded(entry_of(result(spec) | {"curve": []})))
    status(JobFailed(second, "the memory was full"))
    status.write(ended="2026-11-30T12:00:00+00:00")
    found = read_status(tmp_path)
    assert found is not None
    assert not found.is_alive
    assert (found.done, found.failed, found.jobs, found.running) == (len(first.specs), len(second.specs), (), {})
    assert "the memory was full" in found.troubles[-1]


def test_a_slow_disk_is_not_waited_for_and_a_full_one_not_heeded(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, may_end = threading.Event(), threading.Event()

    def write(path: Path, content: bytes) -> None:
        writing.set()
        assert may_end.wait(30)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(status_module, "write_atomically", write)
    with keep_status(plan, tmp_path, "x") as tell:
        assert writing.wait(30)
        began = time.monotonic()
        for epoch in range(1, 200):
            tell(EpochDone(plan.jobs[0], report(plan.jobs[0], epoch, 1.0)))
        assert time.monotonic() - began < 5
        may_end.set()


def test_the_end_is_written(plan: Plan, tmp_path: Path) -> None:
    with keep_status(plan, tmp_path, "x"):
        pass
    found = read_status(tmp_path)
    assert found is not None
    assert found.ended


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"jobs": 3},
        {"jobs": [{}]},
        {"queue": [{"key": 1, "runs": "x"}]},
        {"process": "x"},
        {"left": []},
        {"troubles": 1},
    ],
    ids=str,
)
def test_what_is_no_status_is_none(plan: Plan, tmp_path: Path, change: dict[str, object]) -> None:
    StatusFile(plan, tmp_path, "x").write()
    path = status_path(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert read_status(tmp_path) is None
    path.write_text("[" * 100_000)
    assert read_status(tmp_path) is None
    path.unlink()
    assert read_status(tmp_path) is None


def test_a_process_that_was_killed_is_not_alive(plan: Plan, tmp_path: Path) -> None:
    StatusFile(plan, tmp_path, "x").write()
    path = status_path(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"process": 2**22 + 1}))
    found = read_status(tmp_path)
    assert found is not None
    assert not found.is_alive
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "another machine"}))
    found = read_status(tmp_path)
    assert found is not None
    assert found.is_alive
