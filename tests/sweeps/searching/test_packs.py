"""What a search hands out: the teacher first, packs as they are asked for, nothing without a teacher."""

from __future__ import annotations

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


def test_nobody_is_asked_before_the_teacher_is_there() -> None:
    asked = Asked(2)
    feed = Packs(PLAN, asked, pack(9), 2)
    assert feed.take() == TEACH
    assert feed.take() is None
    assert not feed.exhausted
    assert asked.times == 0
    feed.done(TEACHER.run_id)
    feed.ended(TEACH, None)
    assert feed.take() == pack(0)


def trained(asked: Asked) -> Packs:
    feed = Packs(PLAN, asked, pack(9), len(asked.left))
    feed.take()
    feed.done(TEACHER.run_id)
    feed.ended(TEACH, None)
    return feed


def test_nobody_is_asked_before_there_is_room() -> None:
    asked = Asked(1)
    feed = trained(asked)
    assert feed.take(lambda job: False) is None
    assert asked.times == 0
    assert feed.take() == pack(0)
    assert asked.times == 1


def test_a_pack_that_does_not_fit_is_kept() -> None:
    asked = Asked(1)
    feed = trained(asked)
    assert feed.take(lambda job: job == pack(9)) is None
    assert feed.take(lambda job: job == pack(9)) is None
    assert feed.take() == pack(0)
    assert feed.take() is None
    assert feed.exhausted


def test_a_trial_that_fails_ends_nothing() -> None:
    feed = trained(Asked(2))
    first = feed.take()
    assert first is not None
    feed.failed(first.specs[0].run_id, "diverged")
    feed.done(first.specs[1].run_id)
    feed.ended(first, None)
    assert not feed.exhausted
    assert feed.take() == pack(1)


def test_a_run_that_was_stopped_is_neither_failed_nor_left_out() -> None:
    feed = trained(Asked(1))
    job = feed.take()
    assert job is not None
    feed.stopped(job.specs[0].run_id)
    feed.done(job.specs[1].run_id)
    feed.ended(job, None)
    outcome = feed.outcome()
    assert outcome.complete
    assert outcome.done == {TEACHER.run_id, job.specs[1].run_id}


def test_without_a_teacher_there_is_nothing_to_search() -> None:
    asked = Asked(2)
    feed = Packs(PLAN, asked, pack(9), 2)
    feed.take()
    feed.failed(TEACHER.run_id, "diverged")
    feed.ended(TEACH, None)
    assert feed.exhausted
    assert feed.lost
    assert asked.times == 0
