"""A plan has every run once, teachers first, jobs that can train together; and nothing that the ledger has."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import pytest
from fake_job import result
from hypothesis import assume, given
from hypothesis import strategies as st
from made_up import cells
from plans import plan_of

from analysis import paper
from analysis.record.entry import Entry, entry_of
from analysis.record.settings import Settings
from analysis.record.specs import teacher_spec, vanilla_spec
from analysis.table.layout import Block, Part, Row, Table
from sweeps.display.forecast import count_cells, of_other_code
from sweeps.planning.plan import MOST_STUDENTS, JobKind, Plan
from sweeps.request.request import Request
from trainables.errors import UserError
from trainables.recipes import DIGITS as RECIPE
from trainables.recipes import Pair, cutmix, kd
from trainables.spec import RunSpec
from trainables.storage.runs import stream_key

TABLES = tuple(paper.tables().values())
TABLE5 = paper.find("table5")


def entry(spec: RunSpec, reason: str | None = None) -> Entry:
    return entry_of(result(spec, reason))


def entries(*specs: RunSpec) -> dict[str, Entry]:
    return {spec.run_id: entry(spec) for spec in specs}


def planned(plan: Plan) -> list[str]:
    return [spec.run_id for job in plan.jobs for spec in job.specs]


def counted(tables: Sequence[Table], settings: Settings) -> tuple[int, int]:
    return count_cells(Request(tuple(tables), settings, ()))


def small_table(*rows: str, accuracies: bool = True, pairs: tuple[Pair, ...] = (Pair("resnet20", "resnet8"),)) -> Table:
    ways = {"kd": kd(RECIPE), "cutmix": kd(RECIPE, cutmix())}
    block = Block(tuple(Row(row, row, lambda recipe, pair, row=row: ways[row]) for row in rows))
    return Table("small", "Small", (Part("main", "", lambda recipe: pairs, (block,), accuracies),), "A small table.")


DIGITS = Settings(dataset="digits", seeds=2)
PAIR = Pair("resnet20", "resnet8")
TEACHER = teacher_spec(DIGITS, "resnet20")


def test_table_5_has_the_papers_runs() -> None:
    plan = plan_of([TABLE5], Settings(), {}, pack=None)
    assert counted([TABLE5], Settings()) == (54, 0)
    assert {kind: len(runs) for kind, runs in plan.runs.items()} == {"distilled": 162, "vanilla": 18, "teacher": 4}
    assert sorted(planned(plan)) == sorted(plan.all_runs)


def test_a_run_of_several_tables_is_planned_once() -> None:
    tables = [paper.find(name) for name in ("table5", "table4", "table13")]
    together = plan_of(tables, Settings(), {}, pack=None)
    apart = [plan_of([table], Settings(), {}, pack=None) for table in tables]
    assert len(planned(together)) == len(set(planned(together)))
    assert set(planned(together)) == set().union(*(planned(plan) for plan in apart))
    assert len(planned(together)) < sum(len(planned(plan)) for plan in apart)
    count, saved = counted(tables, Settings())
    assert count == len({cell.specs for table in tables for cell in cells(table, Settings())})
    assert count < sum(counted([table], Settings())[0] for table in tables)
    students = [len(plan.runs[JobKind.DISTILLED]) + len(plan.runs[JobKind.VANILLA]) for plan in (*apart, together)]
    assert saved == sum(students[:-1]) - students[-1] > 0


def test_the_kd_row_is_shared_by_tables_that_print_it() -> None:
    tables = [small_table("kd"), small_table("kd", "cutmix")]
    one = plan_of(tables[:1], DIGITS, {}, pack=None)
    two = plan_of(tables, DIGITS, {}, pack=None)
    assert counted(tables[:1], DIGITS) == (1, 0)
    assert counted(tables, DIGITS) == (2, 4)
    assert set(one.all_runs) < set(two.all_runs)


def test_teachers_come_first_alone_and_the_one_with_most_students_before_the_others() -> None:
    plan = plan_of([TABLE5], Settings(), {}, pack=None)
    kinds = [job.kind for job in plan.jobs]
    assert kinds == sorted(kinds, key=["teacher", "distilled", "vanilla", "timing"].index)
    teachers = [job.specs[0] for job in plan.jobs if job.kind == "teacher"]
    assert all(len(job.specs) == 1 for job in plan.jobs if job.kind == "teacher")
    assert {spec.student for spec in teachers[:2]} == {"vgg13", "resnet32x4"}  # two of the paper's six pairs each


def test_students_need_their_own_teacher_only() -> None:
    plan = plan_of([TABLE5], Settings(), {}, pack=None)
    for job in plan.jobs:
        assert job.needs == {spec.teacher_run for spec in job.specs} - {None}


def test_a_given_teacher_is_neither_trained_nor_waited_for() -> None:
    settings = dataclasses.replace(DIGITS, teachers=(("resnet20", "a" * 64),))
    plan = plan_of([small_table("kd")], settings, {}, pack=None)
    assert plan.runs["teacher"] == {}
    assert [job.kind for job in plan.jobs] == ["distilled", "distilled", "vanilla", "vanilla"]
    assert all(not job.needs for job in plan.jobs)


def test_vanilla_students_of_a_seed_train_together_whatever_their_network() -> None:
    pairs = (Pair("resnet20", "resnet8"), Pair("resnet20", "wrn_16_1"))
    plan = plan_of([small_table("kd", pairs=pairs)], DIGITS, {}, pack=None)
    vanilla = [job for job in plan.jobs if job.kind == "vanilla"]
    assert [sorted(spec.student for spec in job.specs) for job in vanilla] == [["resnet8", "wrn_16_1"]] * 2
    assert [{spec.seed for spec in job.specs} for job in vanilla] == [{1}, {2}]


def test_a_teacher_that_is_also_a_student_counts_once_as_teacher() -> None:
    pairs = (Pair("resnet20", "resnet8"), Pair("resnet8", "wrn_16_1"))
    plan = plan_of([small_table("kd", pairs=pairs)], DIGITS, {}, pack=None)
    shared = vanilla_spec(DIGITS, PAIR, 1).run_id
    assert shared in plan.runs["teacher"]
    assert shared not in plan.runs["vanilla"]
    assert planned(plan).count(shared) == 1
    assert next(job for job in plan.jobs if job.specs[0].run_id == shared).kind == "teacher"


def test_done_runs_are_not_planned_again() -> None:
    first = plan_of([small_table("kd")], DIGITS, {}, pack=None)
    everything = entries(*first.all_runs.values())
    assert plan_of([small_table("kd")], DIGITS, everything, pack=None).jobs == ()
    more = plan_of([small_table("kd", "cutmix")], DIGITS, everything, pack=None)
    assert {job.kind for job in more.jobs} == {"distilled"}
    assert all(not job.needs for job in more.jobs)
    assert more.done == everything.keys()


def test_a_failed_run_is_tried_again_only_when_asked() -> None:
    student = next(iter(plan_of([small_table("kd")], DIGITS, {}, pack=None).runs["distilled"].values()))
    known = {student.run_id: entry(student, "diverged")}
    plan = plan_of([small_table("kd")], DIGITS, known, pack=None)
    assert plan.failed == {student.run_id: "diverged"}
    assert student.run_id not in planned(plan)
    again = plan_of([small_table("kd")], DIGITS, known, pack=None, retry=True)
    assert again.failed == {}
    assert student.run_id in planned(again)


def test_students_of_a_teacher_that_failed_keep_waiting_for_it() -> None:
    plan = plan_of([small_table("kd")], DIGITS, {TEACHER.run_id: entry(TEACHER, "diverged")}, pack=None)
    assert TEACHER.run_id not in planned(plan)
    assert all(job.needs == {TEACHER.run_id} for job in plan.jobs if job.kind == "distilled")


def test_a_teacher_is_trained_for_its_accuracy_even_when_its_students_are_done() -> None:
    students = plan_of([small_table("kd")], DIGITS, {}, pack=None).runs["distilled"].values()
    with_accuracies = plan_of([small_table("kd")], DIGITS, entries(*students), pack=None)
    assert [job.kind for job in with_accuracies.jobs] == ["teacher", "vanilla", "vanilla"]
    without = plan_of([small_table("kd", accuracies=False)], DIGITS, entries(*students), pack=None)
    assert without.jobs == ()
    assert without.runs["teacher"] == {}


def test_a_done_teacher_without_weights_is_trained_again_for_a_missing_student() -> None:
    def plan(*known: RunSpec) -> Plan:
        return plan_of(
            [small_table("kd")], DIGITS, entries(*known), pack=None, has_weights=lambda run_id: run_id != TEACHER.run_id
        )

    missing = plan(TEACHER)
    assert TEACHER.run_id in planned(missing)
    assert TEACHER.run_id in missing.done
    assert all(job.needs == {TEACHER.run_id} for job in missing.jobs if job.kind == "distilled")
    assert TEACHER.run_id not in planned(plan(TEACHER, *missing.runs["distilled"].values()))


def test_a_cost_table_measures_its_own_runs_last() -> None:
    plan = plan_of([TABLE5, paper.find("table7")], Settings(dataset="digits"), {}, pack=None)
    timing = [job for job in plan.jobs if job.kind == "timing"]
    assert timing
    assert plan.jobs[-len(timing) :] == tuple(timing)
    assert all(spec.timing for job in timing for spec in job.specs)
    assert not any(spec.timing for job in plan.jobs[: -len(timing)] for spec in job.specs)


@pytest.mark.parametrize("pack", [0, -1])
def test_a_pack_of_none_is_refused(pack: int) -> None:
    with pytest.raises(UserError, match="at least 1"):
        plan_of([TABLE5], Settings(), {}, pack=pack)


def test_asked_runs_are_those_that_a_plan_can_have() -> None:
    plan = plan_of(TABLES, Settings(dataset="digits"), {}, pack=None)
    asked = Request(TABLES, Settings(dataset="digits"), ()).run_ids
    assert len(asked) == len(set(asked))
    earlier = {old.run_id for spec in plan.all_runs.values() for old in spec.earlier}
    assert earlier
    assert set(asked) == plan.all_runs.keys() | earlier


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[Table], Settings, int | None]:
    tables = draw(st.lists(st.sampled_from(TABLES), min_size=1, max_size=3, unique_by=lambda table: table.key))
    dataset = draw(st.sampled_from(["cifar100", "digits"]))
    given_teachers = draw(st.lists(st.sampled_from(["resnet56", "vgg13", "resnet20"]), unique=True))
    asked = Settings(
        dataset=dataset,
        seeds=draw(st.integers(1, 4)),
        epochs=draw(st.none() | st.integers(2, 30)),
        teachers=tuple((network, "b" * 64) for network in given_teachers),
    )
    return tables, asked, draw(st.none() | st.integers(1, 20))


@given(requests(), st.data())
def test_any_plan_completes_what_was_asked_and_nothing_else(
    request: tuple[list[Table], Settings, int | None], data: st.DataObject
) -> None:
    tables, asked, pack = request
    everything = plan_of(tables, asked, {}, pack=pack).all_runs
    assert everything or not any(cells(table, asked) for table in tables if table.kind.trains)
    assume(everything)
    finished = data.draw(st.sets(st.sampled_from(sorted(everything)), max_size=40))
    failed = data.draw(st.sets(st.sampled_from(sorted(everything)), max_size=5)) - finished
    known = {
        run_id: entry(everything[run_id], "diverged" if run_id in failed else None) for run_id in finished | failed
    }
    plan = plan_of(tables, asked, known, pack=pack)

    jobs = planned(plan)
    assert len(jobs) == len(set(jobs))
    assert len({job.key for job in plan.jobs}) == len(plan.jobs)
    assert set(jobs) == set(plan.all_runs) - plan.done - plan.failed.keys()
    assert set(plan.all_runs) == set().union(*plan.runs.values())
    assert sum(len(runs) for runs in plan.runs.values()) == len(plan.all_runs)
    for job in plan.jobs:
        assert len({stream_key(spec) for spec in job.specs}) == 1
        assert len(job.specs) <= (pack or MOST_STUDENTS)
        assert job.needs == {s.teacher_run for s in job.specs if s.teacher_run} - finished
        if job.kind == "teacher":
            assert len(job.specs) == 1
    for key, group in itertools.groupby(
        sorted((job for job in plan.jobs if job.kind != "teacher"), key=lambda job: str(stream_key(job.specs[0]))),
        key=lambda job: (job.kind, stream_key(job.specs[0])),
    ):
        sizes = [len(job.specs) for job in group]
        assert max(sizes) - min(sizes) <= 1, key
        assert len(sizes) == -(-sum(sizes) // (pack or MOST_STUDENTS))
    assert plan_of(tables, asked, known, pack=pack) == plan


def test_runs_of_other_code_are_counted_and_kept() -> None:
    settings = Settings(dataset="digits", pairs=("resnet20/resnet8",), rows=("kd",), seeds=1, epochs=1)
    known = {run_id: entry(spec) for run_id, spec in plan_of([TABLE5], settings, {}, pack=None).all_runs.items()}
    recorded = iter(("old", "new", None))
    for run_id, one in known.items():
        sources = next(recorded)
        known[run_id] = dataclasses.replace(one, provenance={"sources": sources} if sources else {})
    plan = plan_of([TABLE5], settings, known, pack=None, sources="new")
    assert len(plan.other_code) == 1 < len(plan.done) == len(known)
    assert not plan.jobs
    assert of_other_code(plan)[0].startswith("1 run done by other code than this")
    assert of_other_code(plan_of([TABLE5], settings, known, pack=None)) == []
