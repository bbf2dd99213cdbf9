"""What a search hands out: the teacher first, packs as they are asked for, nothing without a teacher."""

from __future__ import annotations

from dataclasses import replace

from fake_job import spec

from sweeps.planning.plan import JobKind, Plan, PlannedJob, job_of
from sweeps.searching.packs import Packs

TEACHER = spec("teacher")
TEACH = job_of(JobKind.TEACHER, [TEACHER])
PLAN = Plan({JobKind.TEACHER: {TEACHER.run_id: TEACHER}}, (TEACH,))


def pack(number: int) -> PlannedJob:
    runs = [spec("student", 10 * number + place, teacher=TEACHER) for place in range(2)]
    return job_of(JobKind.TRIALS, runs, frozenset({TEACHER.run_id}))


class Asked:
    def __init__(self, count: int) -> None:
        self.left = [pack(number) for number in range(count)]
        self.times = 0

    def __call__(self) -> PlannedJob | None:
        self.times += 1
        return self.left.pop(0) if self.left else None

    def over(self) -> bool:
        return not self.left


def test_nobody_is_asked_before_the_teacher_is_there() -> None:
    asked = Asked(2)
    queue = Packs(PLAN, asked, pack(9), asked.over)
    assert queue.take() == TEACH
    assert queue.take() is None
    assert not queue.exhausted
    assert asked.times == 0
    queue.mark_done(TEACHER.run_id)
    queue.close_job(TEACH, None)
    assert queue.take() == pack(0)


def trained(asked: Asked) -> Packs:
    queue = Packs(PLAN, asked, pack(9), asked.over)
    queue.take()
    queue.mark_done(TEACHER.run_id)
    queue.close_job(TEACH, None)
    return queue


def test_nobody_is_asked_before_there_is_room() -> None:
    asked = Asked(1)
    queue = trained(asked)
    assert queue.take(lambda job: False) is None
    assert asked.times == 0
    assert queue.take() == pack(0)
    assert asked.times == 1


def test_a_pack_that_does_not_fit_is_kept() -> None:
    asked = Asked(1)
    queue = trained(asked)
    assert queue.take(lambda job: job == pack(9)) is None
    assert queue.take(lambda job: job == pack(9)) is None
    assert queue.take() == pack(0)
    assert queue.take() is None
    assert queue.exhausted


def test_a_pack_that_is_timed_has_the_machine_for_itself() -> None:
    asked = Asked(2)
    queue = Packs(Plan({}), asked, job_of(JobKind.TRIALS, [replace(spec(), timing=True)]), asked.over)
    first = queue.take()
    assert first is not None
    assert queue.take() is None
    queue.close_job(first, "it failed")
    assert queue.take() == pack(1)


def test_a_trial_that_fails_ends_nothing() -> None:
    queue = trained(Asked(2))
    first = queue.take()
    assert first is not None
    queue.mark_failed(first.specs[0].run_id, "diverged")
    queue.mark_done(first.specs[1].run_id)
    queue.close_job(first, None)
    assert not queue.exhausted
    assert queue.take() == pack(1)


def test_a_run_that_was_stopped_is_neither_failed_nor_left_out() -> None:
    queue = trained(Asked(1))
    job = queue.take()
    assert job is not None
    queue.mark_stopped(job.specs[0].run_id)
    queue.mark_done(job.specs[1].run_id)
    queue.close_job(job, None)
    outcome = queue.outcome()
    assert outcome.complete
    assert outcome.done == {TEACHER.run_id, job.specs[1].run_id}


def test_without_a_teacher_there_is_nothing_to_search() -> None:
    asked = Asked(2)
    queue = Packs(PLAN, asked, pack(9), asked.over)
    queue.take()
    queue.mark_failed(TEACHER.run_id, "diverged")
    queue.close_job(TEACH, None)
    assert queue.exhausted
    assert queue.lost
    assert asked.times == 0
