"""What a sweep trains for pictures: one seed, or a teacher alone; again what has lost its weights."""

from __future__ import annotations

from fake_job import result
from plans import plan_of

from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.settings import Settings
from sweeps.planning.plan import Plan
from sweeps.request.request import teachers
from trainables.spec import RunSpec

DIGITS = Settings(dataset="digits")
FIGURE4, FIGURE6, FIGURE7, TABLE5 = (paper.find(name) for name in ("figure4", "figure6", "figure7", "table5"))


def trained(plan: Plan) -> list[str]:
    return sorted(spec.treatment for job in plan.jobs for spec in job.specs)


def known(*specs: RunSpec) -> dict:
    return {spec.run_id: entry_of(result(spec, None)) for spec in specs}


def test_images_need_a_teacher_alone() -> None:
    plan = plan_of([FIGURE4], DIGITS, {}, pack=None)
    assert [(job.kind, [spec.name for spec in job.specs]) for job in plan.jobs] == [
        ("teacher", [spec.name for spec in plan.runs["teacher"].values()])
    ]
    assert teachers([FIGURE4], DIGITS) == {"digits": ["resnet20"]}
    given = Settings(dataset="digits", teachers=(("resnet20", "b" * 64),))
    assert plan_of([FIGURE4], given, {}, pack=None).jobs == ()


def test_features_need_one_seed_of_two_students_which_tables_share() -> None:
    plan = plan_of([FIGURE6], DIGITS, {}, pack=None)
    assert trained(plan) == ["energy_kd", "kd", "vanilla"]
    both = plan_of([TABLE5, FIGURE6], DIGITS, {}, pack=None)
    alone = plan_of([TABLE5], DIGITS, {}, pack=None)
    assert len(both.all_runs) == len(alone.all_runs) + 1


def test_a_run_without_weights_is_trained_again_where_a_picture_shows_it() -> None:
    plan = plan_of([FIGURE7], DIGITS, {}, pack=None)
    done = known(*plan.all_runs.values())
    for lost in plan.all_runs.values():
        again = plan_of([FIGURE7], DIGITS, done, pack=None, has_weights=lambda run_id, lost=lost: run_id != lost.run_id)
        assert trained(again) == [lost.treatment]
    assert plan_of([FIGURE7], DIGITS, done, pack=None).jobs == ()
    tables = plan_of([TABLE5], DIGITS, known(*plan_of([TABLE5], DIGITS, {}, pack=None).all_runs.values()), pack=None)
    assert tables.jobs == ()
    (teacher,) = plan.runs["teacher"]
    features = plan_of([FIGURE6], DIGITS, done, pack=None, has_weights=lambda run_id: run_id != teacher)
    assert features.jobs == ()
