"""--vary: which rows its fields make, and what is refused before anything is trained."""

from __future__ import annotations

import argparse
import re

import pytest
from commands import Command, refused

from analysis import paper
from analysis.record.settings import Settings, from_json
from analysis.table.resolved import ResolvedTable, resolve
from analysis.table.varied import parse_varied
from sweeps.request.arguments import parse
from trainables.errors import UserError

PAIR = "resnet20/resnet8"


def test_a_value_is_varied_once_however_it_is_written() -> None:
    assert parse_varied("T=4,4.0,4e0,2") == ("temperature.base", ("2", "4"))


def resolved(*vary: str, rows: tuple[str, ...] = ("energy_kd",), pairs: tuple[str, ...] = (PAIR,)) -> ResolvedTable:
    asked = Settings(dataset="digits", pairs=pairs, rows=rows, seeds=1, vary=tuple(map(parse_varied, vary)))
    return resolve(paper.ablation(), asked)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("T+=1,2,4", ("1", "2", "4")),
        ("r=0.1:0.4:0.1", ("0.1", "0.2", "0.3", "0.4")),
        ("T-=-3:-1:1", ("-3", "-2", "-1")),
        ("rule=energy,reversed", ('"energy"', '"reversed"')),
        ("lr=0.1,0.1", ("0.1",)),
        ("T=4,2,3", ("2", "3", "4")),
        ("student=resnet8,timm:vit", ('"resnet8"', '"timm:vit"')),
    ],
)
def test_values(text: str, values: tuple[str, ...]) -> None:
    assert parse_varied(text)[1] == values


@pytest.mark.parametrize(
    "text", ["T+", "T+=", "T+=,", "r=0.1:0.5", "r=0.5:0.1:0.1", "r=0:1:0", "r=0:1:1e-9", "nosuch=1"]
)
def test_what_is_no_field_or_range(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_varied(text)


def test_every_combination_is_a_row_beside_kd_and_the_paper() -> None:
    table = resolved("T+=1,2,4", "T-=-1,-2")
    combined = [row.varied for row in table.rows if row.varies == "energy_kd"]
    assert [row.key for row in table.rows if not row.varied] == ["kd", "energy_kd"]
    assert len(combined) == 6
    temperatures = {specs[0].temperature for (_, row, _), specs in table.cells.items() if "[" in row}
    assert {(one.plus, one.minus) for one in temperatures if one} == {(a, b) for a in (1, 2, 4) for b in (-1, -2)}


def test_impossible_combinations_are_named_and_left_out() -> None:
    table = resolved("T+=1,2", "T-=-1,-4")
    assert len([row for row in table.rows if row.varied]) == 2
    assert [line.partition(": ")[0] for line in table.parts[0].left_out] == [
        "Energy KD, T+ = 1, T- = -4",
        "Energy KD, T+ = 2, T- = -4",
    ]


def test_a_number_is_varied_only_where_its_rule_has_it() -> None:
    table = resolved("rule=energy,lskd", "temperature.tau=1,2", "T+=1,2")
    varied = {tuple(path.rpartition(".")[2] for path, _ in row.varied) for row in table.rows if row.varied}
    assert varied == {("rule", "plus"), ("rule", "tau")}
    assert len([row for row in table.rows if row.varied]) == 4


def test_varied_epochs_scale_the_milestones_and_leave_the_teacher() -> None:
    table = resolved("epochs=6,12")
    short, long = (table.cells["main", f"energy_kd[epochs={n}]", table.parts[0].pairs[0]][0] for n in (6, 12))
    assert (short.milestones, long.milestones) == ((4, 5), (8, 10))
    assert short.teacher_source == long.teacher_source


def test_students_are_columns() -> None:
    table = resolved("student=resnet8,resnet20", "T+=1,2")
    assert [pair.key for pair in table.parts[0].pairs] == ["resnet20/resnet8", "resnet20/resnet20"]


def test_settings_come_back() -> None:
    words = ["ablation", "--rows", "energy_kd", "--vary", "T+=1,2", "rule=energy,reversed", "student=resnet8,vgg8"]
    asked = parse(words).settings
    assert parse(["ablation", *asked.options()]).settings == asked
    assert from_json(asked.as_json()) == asked


def test_a_method_without_a_row_of_a_table_has_its_defaults() -> None:
    of_tables = {row.key for table in paper.tables().values() for part in table.parts for row in part.rows}
    assert "kd_equal" not in of_tables
    table = resolved(rows=("kd_equal",))
    (spec,) = table.cells["main", "kd_equal", table.parts[0].pairs[0]]
    assert (spec.method, spec.params) == ("kd_equal", ())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["ablation", "--vary", "T+=1,2"], "name some, for example --rows kd energy_kd"),
        (["ablation", "--rows", "kd", "--vary", "T+=1,2"], r"no run of ablation has T\+ = 1; its runs have"),
        (["ablation", "--rows", "energy_kd", "--vary", "T+=1", "T+=2"], r"names T\+ twice"),
        (["ablation", "--rows", "energy_kd", "--vary", "T+=1,2", "--set", "T+=3"], r"T\+ is in --set and in --vary"),
        (["ablation", "--rows", "energy_kd", "--vary", "T=1"], "no combination can be trained: Energy KD, T = 1: "),
        (["table7", "--vary", "r=0.1,0.2"], "table7 is no table of accuracies"),
        (["ablation", "--rows", "kd", "--vary", "student=resnet9,resnet8"], "unknown network 'resnet9'"),
        (
            ["ablation", "--rows", "kd", "--vary", "T=1:1000:1", "lr=0.01:1:0.01"],
            "100,000 combinations .* 300,000 runs",
        ),
    ],
)
def test_refused(command: Command, words: list[str], says: str) -> None:
    assert re.search(says, refused(command, *words, "--dataset", "digits", "--pairs", PAIR, "--gpus", 0))


def test_very_many_runs_are_trained_only_when_confirmed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweeps.run.MANY_RUNS", 10)
    monkeypatch.setattr("sweeps.run.estimated", lambda *_: (_ for _ in ()).throw(UserError("measured")))
    words = [
        "ablation",
        "--rows",
        "energy_kd",
        "--vary",
        "T+=1:6:1",
        "--dataset",
        "digits",
        "--pairs",
        PAIR,
        "--gpus",
        0,
    ]
    assert "measured" in refused(command, *words)
