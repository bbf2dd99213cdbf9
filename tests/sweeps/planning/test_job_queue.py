"""What may start when, and what becomes of the rest: the rules of the engine, without Ray."""

from __future__ import annotations

from dataclasses import replace

from fake_job import spec
from hypothesis import given
from hypothesis import strategies as st

from sweeps.planning.job_queue import Feed
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


def finish(feed: Feed, one: PlannedJob) -> None:
    for run in one.specs:
        feed.done(run.run_id)
    feed.ended(one, None)


def test_a_student_starts_when_its_own_teacher_is_done_and_not_when_all_are() -> None:
    teachers = job(TEACHER), job(OTHER)
    students = job(spec("a", teacher=TEACHER), needs=(TEACHER,)), job(spec("b", teacher=OTHER), needs=(OTHER,))
    feed = Feed(plan(*teachers, *students))
    assert [feed.take(), feed.take(), feed.take()] == [*teachers, None]
    assert not feed.exhausted
    finish(feed, teachers[1])
    assert [feed.take(), feed.take()] == [students[1], None]
    finish(feed, teachers[0])
    assert [feed.take(), feed.exhausted] == [students[0], True]


def test_while_students_wait_others_go_first() -> None:
    student, alone = job(spec("a", teacher=TEACHER), needs=(TEACHER,)), job(spec("alone"))
    feed = Feed(plan(job(TEACHER), student, alone))
    assert [feed.take(), feed.take(), feed.take()] == [job(TEACHER), alone, None]


def test_students_of_a_teacher_that_failed_are_not_run_and_say_why() -> None:
    lost, kept = spec("a", teacher=TEACHER), spec("b", teacher=OTHER)
    feed = Feed(plan(job(TEACHER), job(OTHER), job(lost, needs=(TEACHER,)), job(kept, needs=(OTHER,))))
    first, second = feed.take(), feed.take()
    assert first
    assert second
    feed.ended(first, "no space left")
    finish(feed, second)
    third = feed.take()
    assert third
    assert third.specs == (kept,)
    finish(feed, third)
    outcome = feed.outcome()
    assert outcome.done == {OTHER.run_id, kept.run_id}
    assert outcome.failed == {TEACHER.run_id: "no space left"}
    assert outcome.not_run == {lost.run_id: "its teacher big is missing: no space left"}
    assert not outcome.complete


def test_a_teacher_that_failed_earlier_or_is_nowhere_blocks_at_once() -> None:
    waiting = job(spec("a", teacher=TEACHER), needs=(TEACHER,))
    earlier = Feed(plan(waiting, failed=(TEACHER,)))
    assert earlier.exhausted
    assert list(earlier.outcome().not_run.values()) == ["its teacher big is missing: diverged earlier"]
    nowhere = Feed(plan(waiting))
    assert nowhere.exhausted
    assert "not part of the plan" in str(nowhere.outcome().not_run)


def test_of_a_job_that_breaks_only_the_unfinished_runs_failed() -> None:
    done, diverged, cut = spec("a"), spec("b"), spec("c")
    feed = Feed(plan(job(done, diverged, cut)))
    running = feed.take()
    assert running
    feed.done(done.run_id)
    feed.failed(diverged.run_id, "diverged")
    feed.ended(running, "no space left")
    outcome = feed.outcome()
    assert outcome.done == {done.run_id}
    assert outcome.failed == {diverged.run_id: "diverged", cut.run_id: "no space left"}


def test_a_teacher_trained_again_for_its_weights_stays_done_and_is_waited_for() -> None:
    again, student = job(TEACHER), job(spec("a", teacher=TEACHER), needs=(TEACHER,))
    feed = Feed(plan(again, student, done=(TEACHER,)))
    assert [feed.take(), feed.take()] == [again, None]
    assert feed.outcome("stopped").done == {TEACHER.run_id}
    finish(feed, again)
    assert feed.take() == student


def test_what_a_stopped_sweep_did_not_reach_is_not_run() -> None:
    feed = Feed(plan(job(TEACHER), job(OTHER)))
    first = feed.take()
    assert first
    finish(feed, first)
    outcome = feed.outcome("stopped by Ctrl-C")
    assert (outcome.done, outcome.not_run) == ({TEACHER.run_id}, {OTHER.run_id: "the sweep was stopped"})
    assert outcome.stopped == "stopped by Ctrl-C"


def test_a_run_that_somebody_stopped_is_missed() -> None:
    """By a sweep; a search stops its runs itself."""
    feed = Feed(plan(job(TEACHER)))
    first = feed.take()
    assert first
    feed.stopped(TEACHER.run_id)
    feed.ended(first, None)
    outcome = feed.outcome()
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
    feed = Feed(plan(*data.draw(st.permutations(jobs))))
    running: list[PlannedJob] = []
    ended: dict[str, bool] = {}
    while not (feed.exhausted and not running):
        if (ready := feed.take()) is not None:
            assert all(ended[need] for need in ready.needs)
            running.append(ready)
        if running and (ready is None or data.draw(st.booleans())):
            one = running.pop(data.draw(st.integers(0, len(running) - 1)))
            well = data.draw(st.booleans())
            ended |= {run.run_id: well for run in one.specs}
            if well:
                finish(feed, one)
            else:
                feed.ended(one, "broken")
    outcome = feed.outcome()
    assert outcome.done == {run_id for run_id, well in ended.items() if well}
    assert outcome.failed.keys() == {run_id for run_id, well in ended.items() if not well}
    expected = {one.run_id for one, teacher in students if not ended[teacher.run_id]}
    assert outcome.not_run.keys() == expected


def test_a_timing_job_runs_while_nothing_else_does() -> None:
    first, timing, last = job(spec("a")), replace(job(spec("timed")), kind=JobKind.TIMING), job(spec("b"))
    feed = Feed(plan(first, timing, last))
    assert [feed.take(), feed.take(), feed.take()] == [first, last, None]
    finish(feed, first)
    assert feed.take() is None
    finish(feed, last)
    assert [feed.take(), feed.take()] == [timing, None]
    other = Feed(plan(timing, last))
    assert [other.take(), other.take()] == [timing, None]
    finish(other, timing)
    assert other.take() == last
