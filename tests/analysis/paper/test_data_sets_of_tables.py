"""A sweep over several data sets: each table's own, with its own teachers, images and tail; assistants and peers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_up import cells

from analysis import paper
from analysis.record.settings import Settings, deviations, from_json
from analysis.record.specs import student_spec
from analysis.table.grid import make_grid
from analysis.table.resolved import resolve
from trainables.baselines import takd
from trainables.errors import UserError
from trainables.recipes import CIFAR100, RESNET_56_20, kd
from trainables.spec import RunSpec
from trainables.storage.runs import stream_key

EACH = Settings(
    dataset="",
    data="imagenet=aaaa tinyimagenet=bbbb",
    teachers=(("tinyimagenet/vgg13", "1" * 64), ("cifar100/vgg13", "2" * 64), ("imagenet/imagenet_resnet34", "3" * 64)),
)


def specs(table: str, settings: Settings) -> list[RunSpec]:
    return [spec for cell in cells(paper.find(table), settings) for spec in cell.specs]


@pytest.mark.parametrize(
    ("table", "dataset", "data", "vgg13"),
    [
        ("table5", "cifar100", "", "2" * 64),
        ("table6", "tinyimagenet", "bbbb", "1" * 64),
        ("table8", "cifar100_lt", "", None),
        ("table3", "imagenet", "aaaa", None),
    ],
)
def test_each_table_has_its_own_images_and_teachers(table: str, dataset: str, data: str, vgg13: str | None) -> None:
    own = resolve(paper.find(table), EACH).settings
    assert (own.dataset, own.data) == (dataset, data)
    assert dict(own.teachers).get("vgg13") == vgg13
    made = specs(table, EACH)
    assert {(spec.dataset, spec.data) for spec in made} == {(dataset, data)}
    sources = {spec.teacher_source for spec in made if spec.teacher == "vgg13"}
    assert sources <= ({f"sha256:{vgg13}"} if vgg13 else {s for s in sources if s and s.startswith("run:")})


def test_a_named_data_set_holds_for_every_table() -> None:
    assert {spec.dataset for spec in specs("table8", Settings(dataset="digits"))} == {"digits"}
    assert resolve(paper.find("table6"), Settings()).settings.dataset == "cifar100"


def test_the_long_tail_is_part_of_the_identity() -> None:
    usual, longer = (specs("table8", Settings(dataset="", imbalance=tail)) for tail in (None, 0.1))
    assert {spec.imbalance for spec in usual} == {0.5}
    assert {spec.imbalance for spec in longer} == {0.1}
    assert {spec.run_id for spec in usual}.isdisjoint(spec.run_id for spec in longer)
    assert stream_key(usual[0]) != stream_key(replace(usual[0], imbalance=0.4))
    assert deviations(resolve(paper.find("table8"), Settings(dataset="", imbalance=0.1)).settings, "cifar100_lt") == [
        "long-tail factor 0.1 instead of 0.5"
    ]
    for tail in (0, -1, 1.5):
        with pytest.raises(UserError, match="long-tail factor"):
            replace(usual[0], imbalance=tail)


def test_settings_that_were_stored_before_still_read() -> None:
    old = json.loads(Settings(seeds=2).as_json())
    del old["imbalance"]
    assert from_json(json.dumps(old)) == Settings(seeds=2)
    assert from_json(EACH.as_json()) == EACH


def test_a_users_part_of_a_data_set_is_not_the_papers() -> None:
    grid = make_grid(resolve(paper.find("table3"), resolve(paper.find("table3"), EACH).settings), {})
    assert not grid.comparable
    assert {value.paper for value in grid.values} == {None}
    assert make_grid(resolve(paper.find("table3"), Settings(dataset="")), {}).comparable


def test_an_assistant_stands_between_teacher_and_student() -> None:
    settings = Settings(pairs=(RESNET_56_20.key,), rows=("takd",), seeds=2)
    teacher, assistant = resolve(paper.find("table1"), settings).teachers
    (cell,) = cells(paper.find("table1"), settings)
    assert teacher.method == "vanilla"
    assert (assistant.teacher, assistant.teacher_run, assistant.method) == ("resnet56", teacher.run_id, "kd")
    assert assistant.student == takd(CIFAR100, RESNET_56_20).assistant
    for spec in cell.specs:
        assert (spec.student, spec.teacher) == ("resnet20", assistant.student)
        assert spec.teacher_run == assistant.run_id


def test_an_assistant_is_not_overridden_as_a_student_is() -> None:
    settings = Settings(pairs=(RESNET_56_20.key,), rows=("takd",), overrides=(("lr", "0.2"),))
    _, assistant = resolve(paper.find("table1"), settings).teachers
    assert assistant.lr == 0.05
    assert {spec.lr for cell in cells(paper.find("table1"), settings) for spec in cell.specs} == {0.2}


def test_mutual_learning_has_a_peer_and_no_teacher() -> None:
    settings = Settings(pairs=(RESNET_56_20.key,), rows=("dml", "kd"), seeds=1, overrides=(("peer", '"resnet20"'),))
    mutual, taught = (cell.specs[0] for cell in cells(paper.find("table1"), settings))
    assert (mutual.peer, mutual.teacher, mutual.teacher_source) == ("resnet20", None, None)
    assert (taught.peer, taught.teacher) == (None, "resnet56")
    assert "peer" not in taught.as_dict()


def test_a_temperature_reaches_only_losses_that_have_one() -> None:
    settings = Settings(pairs=(RESNET_56_20.key,), seeds=1)
    colder = replace(settings, overrides=(("temperature.base", "3"),))
    before, after = ({cell.row: cell.specs[0] for cell in cells(paper.find("table1"), s)} for s in (settings, colder))
    changed = {row for row in before if before[row].run_id != after[row].run_id}
    assert changed == {"kd", "takd", "dkd", "energy_kd", "energy_dkd", "multi", "energy_multi"}


@pytest.mark.parametrize("table", ["table9", "table10", "table11", "table12"])
def test_hyperparameters_are_those_that_run(table: str) -> None:
    found = paper.find(table)
    grid = make_grid(resolve(found, Settings(dataset="")), {})
    made = {cell.pair: cell.specs[0].temperature for cell in cells(found, Settings(dataset=""))}
    for value in grid.values:
        temperature = made[value.pair]
        shown = {"plus": temperature.plus, "minus": -temperature.minus, "rate": temperature.rate}[value.row]
        assert value.mean == shown == value.paper


def test_top_5_is_that_of_the_best_epoch() -> None:
    parts = {part.key: part.number for part in paper.find("table3").parts}
    assert parts == {"top1": "top1", "top5": "top5"}


def test_a_students_temperature_alone_does_not_name_a_teacher() -> None:
    spec = student_spec(Settings(), RESNET_56_20, kd(CIFAR100), 1)
    teacher, *_ = resolve(paper.find("table1"), Settings(pairs=(RESNET_56_20.key,))).teachers
    assert spec.teacher_run == teacher.run_id
