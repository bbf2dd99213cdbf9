"""Tables that the paper does not have show its numbers where their runs are those of one of its tables."""

from __future__ import annotations

import re
from dataclasses import replace

import made_up
import pytest

from analysis import paper
from analysis.record.settings import Settings
from analysis.reporting.comparison import judge
from analysis.table import published
from analysis.table.captions import caption, notes
from analysis.table.grid import make_grid
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from analysis.table.value import Value
from analysis.table.verdicts import TESTED
from trainables.recipes import Pair

OWN = ("direction", "methods")
PAIR = Pair("resnet32x4", "resnet8x4")


def values(table: Table, settings: Settings) -> list[Value]:
    return list(make_grid(resolve(table, settings), {}).values)


def table_of(value: Value) -> str:
    (number,) = re.findall(r"^Energy KD paper, Table (\d+)", value.source)
    return f"table{number}"


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("settings", [Settings(), Settings(epochs=3, seeds=2, teachers=(("vgg13", "a" * 64),))])
def test_they_are_those_of_the_table_that_is_named_and_of_the_same_runs(name: str, settings: Settings) -> None:
    found = [value for value in values(paper.find(name), settings) if value.paper is not None]
    assert len(found) > 6 * 4
    there = {cited: values(paper.find(cited), settings) for cited in {*map(table_of, found)}}
    for value in found:
        others = there[table_of(value)]
        same = [
            other for other in others if (other.row, other.pair, other.source) == (value.row, value.pair, value.source)
        ]
        assert [other.paper for other in same] == [value.paper]
        assert [other.runs for other in same] == [value.runs]


def test_every_row_and_pair_that_the_paper_prints_has_its_number() -> None:
    known = {
        (number.row, number.teacher, number.student)
        for name in ("table1", "table2", "table4")
        for number in published.published(name).values()
    }
    for name in OWN:
        for value in values(paper.find(name), Settings()):
            printed = (value.row, value.pair.teacher, value.pair.student) in known
            assert (value.paper is not None) == printed, (value.row, value.pair)


def test_which_tables_they_stand_in_is_said_and_which_are_copied() -> None:
    said = notes(make_grid(resolve(paper.find("direction"), Settings()), {}))
    assert (
        "The paper's numbers stand in its Tables 1 and 2 (Teacher Acc., Student Acc., KD, Energy KD) and in its "
        "Table 4 (Low energy only, High energy only, Gradation)." in said
    )
    assert said[-2:] == (
        "The paper has its numbers of Teacher Acc., Student Acc. and KD from earlier papers.",
        "Test epoch of the paper's numbers: the best for Energy KD, Gradation, Low energy only and High energy only; "
        "the last for Teacher Acc., Student Acc. and KD.",
    )


def test_the_same_name_for_other_runs_has_no_number() -> None:
    direction = paper.find("direction")
    (part,) = direction.parts
    longer = replace(part.rows[0], treat=part.rows[1].treat)
    other = replace(direction, parts=(replace(part, blocks=(replace(part.blocks[0], rows=(longer, part.rows[1])),)),))
    found = {value.row: value.paper for value in values(other, Settings()) if value.pair == PAIR}
    assert (found["kd"], found["energy_kd"]) == (None, 74.60)
    assert {value.paper for value in values(direction, Settings(dataset="digits"))} == {None}


def test_the_verdicts_use_them() -> None:
    table, settings = paper.find("direction"), Settings(pairs=(PAIR.key,))
    words = {
        value.row: verdict.word
        for value, verdict in judge(make_grid(resolve(table, settings), made_up.entries(table, settings)))
    }
    assert words.pop("energy_kd_reversed") == "not comparable"
    assert words.pop("teacher") == "one seed"
    assert set(words.values()) <= set(TESTED)


def test_numbers_of_other_papers_stand_with_their_sources() -> None:
    grid = make_grid(resolve(paper.find("temperatures"), Settings()), {})
    lskd = {value.pair.key: value.paper for value in grid.values if value.row == "lskd"}
    assert lskd["resnet56/resnet20"] == 71.43
    assert {value.paper for value in grid.values if value.row == "normkd"} == {None}
    said = notes(grid)
    assert (
        "The paper's numbers stand in its Tables 1 and 2 (Teacher Acc., Student Acc., KD). Those of LSKD and CTKD: "
        "README of logit-standardization-KD. Those of TTM and WTTM: README of zkxufo/TTM." in " ".join(said)
    )
    assert "In parentheses: the published numbers." in caption(grid)


def test_rows_by_weight_share_their_runs_with_the_rules() -> None:
    weights, rules = (resolve(paper.find(name), Settings()).cells for name in ("weights", "temperatures"))
    for row in ("kd_w0.9", "energy_kd_240_w0.9", "normkd_w0.9"):
        assert weights["main", row, PAIR] == rules["main", row.removesuffix("_w0.9"), PAIR]
    assert weights["main", "lskd_w9", PAIR] == rules["main", "lskd", PAIR]
