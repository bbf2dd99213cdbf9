"""Durations that need no measuring: those of past runs, and those that were measured before; and the order by them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_job import result
from plans import plan_of

from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from sweeps.planning import estimate as estimate_module
from sweeps.planning import measuring
from sweeps.planning.durations import START_SECONDS, Cost, longest_first, simulate
from sweeps.planning.estimate import estimate, known_seconds
from sweeps.planning.job_queue import JobQueue
from sweeps.planning.kept_costs import read_start
from sweeps.planning.past_runs import NO_RUNS, read_past_runs
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from sweeps.planning.resources import Resources
from sweeps.running import start_time
from sweeps.running.events import JobStarted, RunEnded
from trainables.spec import RunSpec

CPU = Resources(0)
BEGAN = datetime(2026, 11, 30, tzinfo=UTC)


def planned(**settings: object) -> Plan:
    fields = {"dataset": "digits", "seeds": 2, "pairs": ("resnet20/resnet8",)} | settings
    return plan_of([paper.find("table5")], Settings(**fields), {}, pack=None)  # type: ignore[arg-type]


def record(
    results: Path, job: PlannedJob, epoch: float, rest: float = 0.0, before: float = 0.0, **provenance: object
) -> None:
    """The runs of a job, each charged `epoch` seconds an epoch for its training and `rest` for all else, and `before`
    seconds until the first."""
    results.mkdir(exist_ok=True)
    students = len(job.specs)
    with Ledger.open(results / "ledger.sqlite") as ledger:
        for spec in job.specs:
            took = timedelta(seconds=spec.epochs * students * (epoch + rest))
            started = BEGAN + timedelta(seconds=students * before)
            times = {"began": BEGAN.isoformat(), "started": started.isoformat(), "ended": (started + took).isoformat()}
            about = {"device": "chip", "threads": 1, "pack": students, "devices": 1, **times, **provenance}
            ledger.record(result(spec) | {"seconds": spec.epochs * epoch, "provenance": about})


def test_jobs_like_those_of_the_ledger_take_what_those_took(tmp_path: Path) -> None:
    """Of the second seed; but not with fewer students, another network's, on another device, or with read answers."""
    plan = planned()
    first, second = (job for job in plan.jobs if job.kind == "distilled")
    record(tmp_path, first, epoch=2.0, rest=0.5, before=3.0)
    past = read_past_runs(tmp_path, "chip", 1)
    epochs = sum(spec.epochs for spec in first.specs)
    seconds = 2.5 * epochs + 3.0 * len(first.specs)
    assert past.seconds_by_job(plan.jobs, {}) == pytest.approx({first.key: seconds, second.key: seconds})
    assert past.seconds_by_job(planned(pairs=("resnet14/resnet8",)).jobs, {}) == {}
    assert past.seconds_by_job(planned(rows=("kd",)).jobs, {}) == {}
    assert past.seconds_by_job([second], {second.key: second.specs[0].epochs}) == {}
    for device, threads in (("other", 1), ("chip", 2)):
        assert read_past_runs(tmp_path, device, threads).seconds_by_job(plan.jobs, {}) == {}
    assert read_past_runs(tmp_path / "nothing", "chip", 1) == NO_RUNS


def test_an_interrupted_run_does_not_count_its_pause_and_two_devices_count_twice(tmp_path: Path) -> None:
    plan = planned(seeds=4, rows=("kd",))
    one, two, three, four = (job for job in plan.jobs if job.kind == "distilled")
    for job, rest in ((one, 0.0), (two, 900.0), (three, 0.0)):
        record(tmp_path, job, epoch=2.0, rest=rest, devices=2)
    past = read_past_runs(tmp_path, "chip", None)
    assert past.seconds_by_job([four], {}) == pytest.approx({four.key: 2 * 2.0 * four.specs[0].epochs})


def test_what_is_measured_is_kept_and_each_number_says_where_it_is_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_cost", lambda spec, *_, **__: Cost(0.01, 0.001, 1000))
    monkeypatch.setattr(estimate_module, "device_name", lambda device: "chip")
    plan, told = planned(), list[str]()
    assert known_seconds(plan, None, CPU, device="cpu", at_once=1) == {}
    now = estimate(plan, None, CPU, device="cpu", at_once=1, tell=told.append)
    again = estimate(plan, None, CPU, device="cpu", at_once=1, tell=told.append)
    assert len(told) == 1
    assert again.seconds == now.seconds == known_seconds(plan, None, CPU, device="cpu", at_once=1)
    assert [len(now.sources), "measured on 20" in now.how, "measured on 20" in again.how] == [1, False, True]
    first = next(job for job in plan.jobs if job.kind == "distilled")
    record(tmp_path, first, epoch=2.0)
    past = read_past_runs(tmp_path, "chip", 1)
    learnt = estimate(plan, None, CPU, device="cpu", at_once=1, past=past)
    assert learnt.seconds[first.key] == pytest.approx(2.0 * sum(spec.epochs for spec in first.specs))
    assert [*learnt.sources] == ["from 9 past runs of the ledger", *again.sources]
    assert sum(learnt.sources.values()) == pytest.approx(learnt.device_hours)


def test_a_damaged_file_of_costs_is_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "_cost", lambda spec, *_, **__: Cost(0.01, 0.001, 1000))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told: list[str] = []
    for damage in (None, b"{", b"[1]", b'{"key": {"steps": 1}}'):
        for path in tmp_path.rglob("*.json") if damage else ():
            path.write_bytes(damage or b"")
        estimate(planned(), None, CPU, device="cpu", at_once=1, tell=told.append)
    assert len(told) == 4


def made(*lengths: tuple[str, float, str]) -> tuple[Plan, dict[str, float]]:
    """A plan of jobs: a name, seconds, the name of what it needs."""
    base = RunSpec("digits", "resnet8", 1, 1, (), 0.05)
    specs = {name: replace(base, seed=number) for number, (name, *_) in enumerate(lengths, 1)}
    jobs = tuple(
        PlannedJob(name, JobKind.VANILLA, (specs[name],), frozenset({specs[need].run_id} if need else ()))
        for name, _, need in lengths
    )
    plan = Plan({JobKind.VANILLA: {spec.run_id: spec for spec in specs.values()}}, jobs)
    return plan, {name: seconds for name, seconds, _ in lengths}


def test_the_longest_way_starts_first_so_that_no_device_idles_at_the_end() -> None:
    plan, seconds = made(("a", 2, ""), ("b", 2, ""), ("teacher", 1, ""), ("d", 7, "teacher"), ("e", 4, ""))
    ordered = replace(plan, jobs=longest_first(plan.jobs, seconds))
    assert [job.key for job in ordered.jobs] == ["teacher", "d", "e", "a", "b"]
    found = simulate(ordered, seconds, CPU, 2)
    assert (found.seconds, found.idle, found.busy) == (8, 0, 1)
    assert [job.key for job in found.path] == ["e", "a", "b"]
    assert simulate(plan, seconds, CPU, 2).seconds == 10


def test_a_queue_of_many_jobs_takes_time_in_proportion() -> None:
    """Looks at jobs, not at the clock: those of one teacher and those of none, ended one by one."""
    names = [(f"s{number}", 1.0, "teacher" if number % 2 else "") for number in range(2000)]
    plan, _ = made(("teacher", 1.0, ""), *names)
    queue, asked = JobQueue(plan), 0

    def fits(job: PlannedJob) -> bool:
        nonlocal asked
        asked += 1
        return True

    while (job := queue.take(fits)) is not None:
        queue.mark_done(job.specs[0].run_id)
        queue.close_job(job, None)
    assert (asked, queue.exhausted, queue.outcome().complete) == (2001, True, True)


def test_what_a_sweep_takes_beside_its_training_is_kept_for_the_next_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plan = planned(seeds=1)
    now = [0.0]
    monkeypatch.setattr(start_time.time, "monotonic", lambda: now[0])
    assert read_start() == START_SECONDS
    begun, finished = start_time.StartTime(), start_time.StartTime()
    for seconds, event in ((30, JobStarted(plan.jobs[0])), (1030, ended(plan)), (2030, ended(plan)), (2041, None)):
        now[0] = seconds
        for one in (begun, finished) if isinstance(event, JobStarted) else (finished,):
            if event is not None:
                one(event)
    begun.keep()
    assert read_start() == START_SECONDS
    finished.keep()
    assert read_start() == 30 + 11


def ended(plan: Plan) -> RunEnded:
    return RunEnded(entry_of(result(plan.jobs[0].specs[0])))
