"""What may start when, and what becomes of the rest: the rules of the engine, without Ray."""

from __future__ import annotations

from dataclasses import replace

from fake_job import spec
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.job_queue import JobQueue
from sweeps.planning.plan import JobKind, Plan, PlannedJob
from trainables.spec import RunSpec

TEACHER = spec("big")
OTHER = spec("large")


def job(*specs: RunSpec, needs: tuple[RunSpec, ...] = ()) -> PlannedJob:
    key = "+".join(f"{one.student}{one.seed}" for one in specs)
    return PlannedJob(key, JobKind.TEACHER, specs, frozenset(one.run_id for one in needs))


def plan(*jobs: PlannedJob, done: tuple[RunSpec, ...] = (), failed: tuple[RunSpec, ...] = ()) -> Plan:
    runs = {one.run_id: one for group in (*(j.specs for j in jobs), done, failed) for one in group}
    reasons = {one.run_id: "diverged earlier" for one in failed}
    return Plan({JobKind.VANILLA: runs}, jobs, frozenset(one.run_id for one in done), reasons)


def finish(queue: JobQueue, one: PlannedJob) -> None:
    for run in one.specs:
        queue.mark_done(run.run_id)
    queue.close_job(one, None)


def test_a_student_starts_when_its_own_teacher_is_done_and_not_when_all_are() -> None:
    teachers = job(TEACHER), job(OTHER)
    students = job(spec("a", teacher=TEACHER), needs=(TEACHER,)), job(spec("b", teacher=OTHER), needs=(OTHER,))
    queue = JobQueue(plan(*teachers, *students))
    assert [queue.take(), queue.take(), queue.take()] == [*teachers, None]
    assert not queue.exhausted
    finish(queue, teachers[1])
    assert [queue.take(), queue.take()] == [students[1], None]
    finish(queue, teachers[0])
    assert [queue.take(), queue.exhausted] == [students[0], True]


def test_while_students_wait_others_go_first() -> None:
    student, alone = job(spec("a", teacher=TEACHER), needs=(TEACHER,)), job(spec("alone"))
    queue = JobQueue(plan(job(TEACHER), student, alone))
    assert [queue.take(), queue.take(), queue.take()] == [job(TEACHER), alone, None]


def test_students_of_a_teacher_that_failed_are_not_run_and_say_why() -> None:
    lost, kept = spec("a", teacher=TEACHER), spec("b", teacher=OTHER)
    queue = JobQueue(plan(job(TEACHER), job(OTHER), job(lost, needs=(TEACHER,)), job(kept, needs=(OTHER,))))
    first, second = queue.take(), queue.take()
    assert first
    assert second
    queue.close_job(first, "no space left")
    finish(queue, second)
    third = queue.take()
    assert third
    assert third.specs == (kept,)
    finish(queue, third)
    outcome = queue.outcome()
    assert outcome.done == {OTHER.run_id, kept.run_id}
    assert outcome.failed == {TEACHER.run_id: "no space left"}
    assert outcome.not_run == {lost.run_id: "its teacher big is missing: no space left"}
    assert not outcome.complete


def test_a_teacher_that_failed_earlier_or_is_nowhere_blocks_at_once() -> None:
    waiting = job(spec("a", teacher=TEACHER), needs=(TEACHER,))
    earlier = JobQueue(plan(waiting, failed=(TEACHER,)))
    assert earlier.exhausted
    assert list(earlier.outcome().not_run.values()) == ["its teacher big is missing: diverged earlier"]
    nowhere = JobQueue(plan(waiting))
    assert nowhere.exhausted
    assert "not part of the plan" in str(nowhere.outcome().not_run)


def test_of_a_job_that_breaks_only_the_unfinished_runs_failed() -> None:
    done, diverged, cut = spec("a"), spec("b"), spec("c")
    queue = JobQueue(plan(job(done, diverged, cut)))
    running = queue.take()
    assert running
    queue.mark_done(done.run_id)
    queue.mark_failed(diverged.run_id, "diverged")
    queue.close_job(running, "no space left")
    outcome = queue.outcome()
    assert outcome.done == {done.run_id}
    assert outcome.failed == {diverged.run_id: "diverged", cut.run_id: "no space left"}


def test_a_teacher_trained_again_for_its_weights_stays_done_and_is_waited_for() -> None:
    again, student = job(TEACHER), job(spec("a", teacher=TEACHER), needs=(TEACHER,))
    queue = JobQueue(plan(again, student, done=(TEACHER,)))
    assert [queue.take(), queue.take()] == [again, None]
    assert queue.outcome("stopped").done == {TEACHER.run_id}
    finish(queue, again)
    assert queue.take() == student


def test_what_a_stopped_sweep_did_not_reach_is_not_run() -> None:
    queue = JobQueue(plan(job(TEACHER), job(OTHER)))
    first = queue.take()
    assert first
    finish(queue, first)
    outcome = queue.outcome("stopped by Ctrl-C")
    assert (outcome.done, outcome.not_run) == ({TEACHER.run_id}, {OTHER.run_id: "the sweep was stopped"})
    assert outcome.stopped == "stopped by Ctrl-C"


def test_a_run_that_somebody_stopped_is_missed() -> None:
    """By a sweep; a search stops its runs itself."""
    queue = JobQueue(plan(job(TEACHER)))
    first = queue.take()
    assert first
    queue.mark_stopped(TEACHER.run_id)
    queue.close_job(first, None)
    outcome = queue.outcome()
    assert (outcome.failed, outcome.not_run) == ({}, {TEACHER.run_id: "it was stopped"})
    assert not outcome.complete


@given(st.data())
def test_whatever_happens_every_run_ends_in_exactly_one_way(data: st.DataObject) -> None:
    teachers = [spec(f"t{n}") for n in range(data.draw(st.integers(1, 4)))]
    students = [
        (spec(f"s{n}", teacher=teacher), teacher)
        for n, teacher in enumerate(data.draw(st.lists(st.sampled_from(teachers), max_size=6)))
    ]
    jobs = [*map(job, teachers), *(job(one, needs=(teacher,)) for one, teacher in students)]
    queue = JobQueue(plan(*data.draw(st.permutations(jobs))))
    running: list[PlannedJob] = []
    ended: dict[str, bool] = {}
    while not (queue.exhausted and not running):
        if (ready := queue.take()) is not None:
            assert all(ended[need] for need in ready.needs)
            running.append(ready)
        if running and (ready is None or data.draw(st.booleans())):
            one = running.pop(data.draw(st.integers(0, len(running) - 1)))
            well = data.draw(st.booleans())
            ended |= {run.run_id: well for run in one.specs}
            if well:
                finish(queue, one)
            else:
                queue.close_job(one, "broken")
    outcome = queue.outcome()
    assert outcome.done == {run_id for run_id, well in ended.items() if well}
    assert outcome.failed.keys() == {run_id for run_id, well in ended.items() if not well}
    expected = {one.run_id for one, teacher in students if not ended[teacher.run_id]}
    assert outcome.not_run.keys() == expected


def test_a_timing_job_runs_while_nothing_else_does() -> None:
    first, timing, last = job(spec("a")), replace(job(spec("timed")), kind=JobKind.TIMING), job(spec("b"))
    queue = JobQueue(plan(first, timing, last))
    assert [queue.take(), queue.take(), queue.take()] == [first, last, None]
    finish(queue, first)
    assert queue.take() is None
    finish(queue, last)
    assert [queue.take(), queue.take()] == [timing, None]
    other = JobQueue(plan(timing, last))
    assert [other.take(), other.take()] == [timing, None]
    finish(other, timing)
    assert other.take() == last
