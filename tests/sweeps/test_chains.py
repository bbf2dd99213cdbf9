"""Teacher, assistant, student: who waits for whom, what is trained again, what is shared."""

from __future__ import annotations

from fake_job import result
from plans import plan_of

from analysis import paper
from analysis.record.entry import Entry, entry_of
from analysis.record.settings import Settings
from sweeps.display.forecast import count_cells
from sweeps.planning.job_queue import JobQueue
from sweeps.planning.plan import Plan
from sweeps.request.request import Request
from trainables.spec import RunSpec

TAKD = Settings(pairs=("resnet56/resnet20",), rows=("takd",), seeds=2)
TABLE1 = paper.find("table1")


def entry(spec: RunSpec, reason: str | None = None) -> Entry:
    return entry_of(result(spec, reason))


def plan(*known: Entry, settings: Settings = TAKD, has_weights: bool = True) -> Plan:
    entries = {one.run_id: one for one in known}
    return plan_of([TABLE1], settings, entries, pack=None, has_weights=lambda run_id: has_weights)


def by_network(made: Plan) -> dict[str, RunSpec]:
    return {spec.student: spec for spec in made.runs["teacher"].values()}


def test_each_waits_for_its_own_teacher() -> None:
    made = plan()
    teacher, assistant = by_network(made)["resnet56"], by_network(made)["resnet32"]
    needs = {job.specs[0].run_id: job.needs for job in made.jobs if job.kind != "vanilla"}
    students = next(job for job in made.jobs if job.kind == "distilled")
    assert needs[teacher.run_id] == frozenset()
    assert needs[assistant.run_id] == {teacher.run_id}
    assert students.needs == {assistant.run_id}
    queue = JobQueue(made)
    started = {job.key for job in iter(queue.take, None)}
    assert students.key not in started
    assert len(started) == 1 + len([job for job in made.jobs if job.kind == "vanilla"])


def test_a_trained_assistant_needs_no_teacher() -> None:
    first = plan()
    assistant = by_network(first)["resnet32"]
    rest = plan(entry(assistant), settings=Settings(pairs=TAKD.pairs, rows=TAKD.rows, seeds=2))
    assert {job.needs for job in rest.jobs if job.kind == "distilled"} == {frozenset()}
    assert assistant.run_id in rest.done


def test_an_assistant_that_lost_its_weights_is_trained_again_and_so_is_its_teacher() -> None:
    first = plan()
    known = [entry(spec) for spec in first.runs["teacher"].values()]
    again = plan(*known, has_weights=False)
    kinds = [job.specs[0].student for job in again.jobs if job.kind == "teacher"]
    assert sorted(kinds) == ["resnet32", "resnet56"]


def test_a_failed_assistant_fails_only_its_students() -> None:
    assistant = by_network(plan())["resnet32"]
    made = plan(entry(assistant, "diverged"), settings=Settings(pairs=TAKD.pairs, rows=("takd", "kd"), seeds=1))
    outcome = JobQueue(made).outcome()
    assert set(outcome.failed) == {assistant.run_id}
    lost = [reason for reason in outcome.not_run.values() if "its teacher resnet32 is missing: diverged" in reason]
    assert len(lost) == 1


def test_an_assistant_that_is_also_a_cell_is_trained_once() -> None:
    settings = Settings(pairs=("resnet56/resnet20", "resnet56/resnet32"), rows=("takd", "kd"), seeds=1)
    made = plan(settings=settings)
    taught = next(spec for spec in made.runs["distilled"].values() if spec.teacher == "resnet32")
    assert made.runs["distilled"][str(taught.teacher_run)].student == "resnet32"
    jobs = [spec.run_id for job in made.jobs for spec in job.specs]
    assert len(jobs) == len(set(jobs)) == len(made.all_runs)


def test_shared_students_are_counted() -> None:
    settings = Settings(pairs=("resnet56/resnet20",), rows=("kd",), seeds=3)
    tables = [paper.find(name) for name in ("table1", "table5", "table13")]
    # table1 and table5: 3 KD, 3 alone; table13: 3 KD.
    assert count_cells(Request(tuple(tables), settings, ()))[1] == (6 + 6 + 3) - 6
    assert len(plan_of(tables, settings, {}, pack=None).all_runs) == 6 + 1


def test_hyperparameter_tables_train_nothing() -> None:
    made = plan_of([paper.find(f"table{number}") for number in (9, 10, 11, 12)], Settings(dataset=""), {}, pack=None)
    assert (made.jobs, made.all_runs) == ((), {})


def test_a_job_that_does_not_fit_is_not_overtaken() -> None:
    queue = JobQueue(plan(settings=Settings(pairs=("resnet56/resnet20",), rows=("kd",), seeds=2)))
    first = queue.take(lambda job: False)
    assert first is None
    assert queue.take() is not None
