"""What a sweep decides, without Ray: restarts, machines that are left out, stops, results that nobody reported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_job import result, spec
from ray.exceptions import ActorDiedError
from test_engine import job, plan

from analysis.record.ledger import Ledger
from sweeps.planning.job_queue import JobQueue
from sweeps.planning.resources import ALL_GPUS, Resources
from sweeps.running import sweep as sweep_module
from sweeps.running.cluster import StoppedError
from sweeps.running.events import Event, JobFailed, MachineLeftOut, RunEnded
from sweeps.running.pace import Pace
from sweeps.running.sweep import RESTARTS, ProcessBusyError, RunningSweep
from trainables.job import EpochReport, Execution
from trainables.ray_trial import JobFailedError, MemoryFullError, UnfitMachineError
from trainables.storage.runs import run_dir, write_result
from trainables.storage.stopping import confirm_stop, is_asked_to_stop, is_stopped

ONE, TWO = spec("one"), spec("two")
JOB = job(ONE, TWO)


class Monitor:
    def check(self) -> None:
        pass


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def sweep(tmp_path: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSweep]:
    """On a cluster of two machines, `a` and `b`, with one processor each."""
    monkeypatch.setattr(sweep_module, "find_nodes", lambda *_: {key: {"Resources": {"CPU": 1}} for key in "ab"})
    monkeypatch.setattr(sweep_module, "name_machine", lambda node: f"machine {node}")
    for one in (ONE, TWO):
        run_dir(tmp_path, one.run_id).mkdir(parents=True)
    monitor: Any = Monitor()
    resources = Resources(0, address="auto")
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        made = RunningSweep(JobQueue(plan(JOB)), ledger, Execution(tmp_path), resources, monitor, [], events.append)
        yield made
        made.close()


def begin(sweep: RunningSweep) -> None:
    assert sweep.next_job() == JOB
    assert sweep.next_job() is None
    assert not sweep.exhausted
    sweep.start(JOB.key)


@pytest.mark.parametrize("error", [ActorDiedError(), MemoryFullError("CUDA out of memory", "a")])
def test_a_job_starts_again_a_few_times_with_no_epoch_between(
    error: Exception, sweep: RunningSweep, events: list[Event]
) -> None:
    for _ in range(RESTARTS):
        begin(sweep)
        sweep.end(JOB.key, error)
    begin(sweep)
    sweep.report(JOB.key, EpochReport(1, 3, {ONE.run_id: {"top1": 1.0}}))
    for _ in range(RESTARTS):
        sweep.end(JOB.key, error)
        begin(sweep)
    assert not any(isinstance(event, JobFailed) for event in events)
    sweep.end(JOB.key, error)
    assert sweep.exhausted
    assert isinstance(events[-1], JobFailed)
    assert "3 times, with no epoch between" in events[-1].reason
    assert sweep.outcome().failed.keys() == {ONE.run_id, TWO.run_id}


def test_a_process_that_another_job_does_not_leave_is_not_this_jobs_fault(sweep: RunningSweep) -> None:
    for _ in range(RESTARTS + 2):
        begin(sweep)
        sweep.end(JOB.key, ProcessBusyError())
    assert not sweep.outcome().failed


def test_an_error_of_the_job_is_final_and_names_the_machine(sweep: RunningSweep, events: list[Event]) -> None:
    begin(sweep)
    sweep.end(JOB.key, JobFailedError("ValueError: no", "b"))
    assert events[-1] == JobFailed(JOB, "ValueError: no (on machine b)")


def test_a_job_that_a_machine_refuses_is_put_back(sweep: RunningSweep, events: list[Event]) -> None:
    begin(sweep)
    sweep.end(JOB.key, UnfitMachineError("no folder", "b"))
    assert events[-1] == MachineLeftOut("machine b", "no folder")
    assert sweep.left_out == {"b"}
    begin(sweep)
    with pytest.raises(StoppedError, match="no machine of the cluster can train this: machine a: no folder"):
        sweep.end(JOB.key, UnfitMachineError("no folder", "a"))


def test_a_job_that_starts_again_knows_which_runs_were_stopped(sweep: RunningSweep, tmp_path: Path) -> None:
    confirm_stop(tmp_path, ONE.run_id)
    begin(sweep)
    assert not is_stopped(tmp_path, ONE.run_id)
    confirm_stop(tmp_path, ONE.run_id)
    sweep.end(JOB.key, ActorDiedError())
    begin(sweep)
    assert is_stopped(tmp_path, ONE.run_id)


def test_a_result_that_nobody_reported_is_recorded(sweep: RunningSweep, events: list[Event], tmp_path: Path) -> None:
    begin(sweep)
    write_result(tmp_path, result(ONE))
    sweep.end(JOB.key, JobFailedError("ValueError: no", "a"))
    assert [event.entry.run_id for event in events if isinstance(event, RunEnded)] == [ONE.run_id]
    assert sweep.outcome().done == {ONE.run_id}
    assert sweep.outcome().failed.keys() == {TWO.run_id}


@pytest.mark.parametrize("asked", [ALL_GPUS, 3])
def test_gpus_that_join_are_used_and_those_that_left_are_not_waited_for(
    sweep: RunningSweep, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    there = {"a": 1}
    monkeypatch.setattr(
        sweep_module, "find_nodes", lambda *_: {key: {"Resources": {"CPU": 4, "GPU": n}} for key, n in there.items()}
    )
    jobs = [job(spec("net", seed)) for seed in range(1, 7)]
    sweep.queue, sweep.resources = JobQueue(plan(*jobs)), Resources(asked, address="auto")
    sweep._pace = Pace(0, lambda: 0.0)

    def start_all() -> int:
        return sum(1 for _ in iter(sweep.next_job, None))

    assert start_all() == 1
    there["b"] = 2
    assert start_all() == 2
    del there["a"]
    for one in list(sweep.running)[:2]:
        sweep.end(one)
    assert start_all() == 1


def test_an_interrupted_sweep_waits_for_the_epochs_under_way(sweep: RunningSweep, tmp_path: Path) -> None:
    begin(sweep)
    sweep.interrupted.append("Ctrl-C")
    sweep.check()
    assert all(is_asked_to_stop(tmp_path, one.run_id) for one in (ONE, TWO))
    assert sweep.next_job() is None
    sweep.report(JOB.key, EpochReport(1, 3, {}, stopped=(ONE.run_id, TWO.run_id)))
    sweep.end(JOB.key)
    with pytest.raises(StoppedError, match="stopped by Ctrl-C"):
        sweep.check()
    sweep.close()
    assert not any(is_asked_to_stop(tmp_path, one.run_id) for one in (ONE, TWO))
