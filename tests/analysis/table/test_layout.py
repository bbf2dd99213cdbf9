"""What tables ask for: cells, runs without a teacher, teachers; and how tables share them."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import cells, vanilla_runs

from analysis.paper import figure3, table4, table5, table7, table13
from analysis.record.settings import Settings
from analysis.table.kinds import TIMING_EPOCHS
from analysis.table.layout import Table
from analysis.table.resolved import check_rows, resolve
from trainables.errors import UserError
from trainables.recipes import CIFAR100, DIGITS, Pair

TABLES = (table4.TABLE, table5.TABLE, table7.TABLE, table13.TABLE, figure3.TABLE)
SMALL = Settings(dataset="digits")


def ids(table: Table, settings: Settings) -> set[tuple[str, ...]]:
    """The cells, each by the runs it consists of."""
    return {tuple(spec.run_id for spec in cell.specs) for cell in cells(table, settings)}


def pairs_of(table: Table, settings: Settings) -> tuple[Pair, ...]:
    """The columns of the first part."""
    return resolve(table, settings).parts[0].pairs


def test_table_5_asks_for_what_the_paper_trained() -> None:
    asked = cells(table5.TABLE, Settings())
    assert len(asked) == 54
    assert len({spec.run_id for cell in asked for spec in cell.specs}) == 162
    assert len({spec.run_id for spec in vanilla_runs(table5.TABLE, Settings())}) == 18
    assert len({spec.run_id for spec in resolve(table5.TABLE, Settings()).teachers}) == 4


def test_the_runs_of_table_5_are_pinned() -> None:
    first, last = cells(table5.TABLE, Settings())[0], cells(table5.TABLE, Settings())[-1]
    assert (first.row, first.pair.key) == ("kd", "wrn_40_2/wrn_16_2")
    assert [spec.run_id for spec in first.specs] == ["5ecf2fc1a9a18403", "23a3f7edc9bb5125", "4b49b693c2e27be1"]
    assert (last.row, last.pair.key) == ("dkd_he_da", "resnet32x4/ShuffleV2")
    teachers = {spec.student: spec.run_id for spec in resolve(table5.TABLE, Settings()).teachers}
    assert teachers["wrn_40_2"] == "a601faf3dccf1b63"
    assert teachers["vgg13"] == "eb062e41c81dec37"


@pytest.mark.parametrize(
    ("table", "in_paper", "in_digits"),
    [
        (table4.TABLE, 16, 10),
        (table5.TABLE, 54, 18),
        (table7.TABLE, 7, 7),
        (table13.TABLE, 36, 12),
        (figure3.TABLE, 17, 17),
    ],
)
def test_the_cells_of_each_table(table: Table, in_paper: int, in_digits: int) -> None:
    assert len(ids(table, Settings())) == in_paper
    assert len(ids(table, SMALL)) == in_digits


def test_tables_share_their_cells() -> None:
    five, four, thirteen = (ids(module.TABLE, Settings()) for module in (table5, table4, table13))
    assert len(five & thirteen) == 6
    assert len(five & four) == 4
    assert len(five | four | thirteen) == 54 + (16 - 4) + (36 - 6)


def test_a_timed_run_is_never_the_run_of_an_accuracy() -> None:
    assert all(spec.timing for cell in cells(table7.TABLE, Settings(epochs=240)) for spec in cell.specs)
    assert not ids(table7.TABLE, Settings(epochs=240)) & ids(table5.TABLE, Settings())


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("settings", [Settings(), SMALL], ids=["cifar100", "digits"])
def test_no_cell_is_empty_and_no_run_is_in_two_rows_of_a_part(table: Table, settings: Settings) -> None:
    for part in table.parts:
        runs = [spec.run_id for cell in cells(table, settings) if cell.part == part.key for spec in cell.specs]
        assert len(runs) == len(set(runs)) > 0
        assert len({row.key for row in part.rows}) == len(part.rows)


@pytest.mark.parametrize("table", TABLES)
def test_every_student_finds_its_teacher_among_the_teacher_runs(table: Table) -> None:
    teachers = {spec.run_id for spec in resolve(table, Settings()).teachers}
    assert {spec.teacher_run for cell in cells(table, Settings()) for spec in cell.specs} == teachers


@pytest.mark.parametrize("table", TABLES)
def test_derived_rows_speak_of_rows_that_are_there(table: Table) -> None:
    for part in table.parts:
        known = {row.key for row in part.rows}
        assert set(table.kind.baselines) <= known or not table.kind.baselines
        for block in part.blocks:
            for difference in block.differences:
                assert {*difference.best, difference.minus} <= {row.key for row in block.rows}


def test_the_released_rates_of_dkd_with_he_da() -> None:
    rates = {
        cell.pair.key: spec.mixing.rate
        for cell in cells(table5.TABLE, Settings(rows=("dkd_he_da",)))
        for spec in cell.specs
        if spec.mixing
    }
    assert rates.pop("resnet56/resnet20") == 0.4
    assert len(rates) == 5
    assert set(rates.values()) == {0.5}


def test_rows_and_pairs_that_were_chosen() -> None:
    chosen = Settings(pairs=("vgg13/vgg8", "resnet110/resnet32", "vgg13/vgg8"), rows=("kd", "dkd"), seeds=2)
    asked = cells(table5.TABLE, chosen)
    assert [(cell.row, cell.pair.key) for cell in asked] == [
        ("kd", "vgg13/vgg8"),
        ("kd", "resnet110/resnet32"),
        ("dkd", "vgg13/vgg8"),
        ("dkd", "resnet110/resnet32"),
    ]
    assert all(len(cell.specs) == 2 for cell in asked)
    assert {spec.student for spec in resolve(table5.TABLE, chosen).teachers} == {"vgg13", "resnet110"}
    assert len(list(vanilla_runs(table5.TABLE, chosen))) == 4


def test_a_choice_of_rows_leaves_their_runs_as_they_are() -> None:
    assert ids(table5.TABLE, Settings(rows=("kd",), pairs=("vgg13/vgg8",))) < ids(table5.TABLE, Settings())


def test_more_seeds_keep_the_first_ones() -> None:
    few, many = cells(table5.TABLE, Settings()), cells(table5.TABLE, Settings(seeds=5))
    assert all(two.specs[:3] == one.specs for one, two in zip(few, many, strict=True))


def test_a_part_without_any_of_the_rows_is_left_out() -> None:
    chosen = Settings(rows=("gradation",))
    assert [part.key for part in resolve(table4.TABLE, chosen).parts] == ["right"]
    assert {cell.part for cell in cells(table4.TABLE, chosen)} == {"right"}
    assert {spec.student for spec in resolve(table4.TABLE, chosen).teachers} == {"wrn_40_2", "resnet32x4", "vgg13"}


def test_given_teachers_are_not_trained() -> None:
    chosen = Settings(teachers=(("vgg13", "a" * 64), ("wrn_40_2", "b" * 64)))
    assert {spec.student for spec in resolve(table5.TABLE, chosen).teachers} == {"resnet56", "resnet32x4"}


def test_unknown_rows() -> None:
    check_rows([table5.TABLE, table4.TABLE], Settings(rows=("kd_he_da_20", "gradation")))
    with pytest.raises(UserError, match="unknown row he_da, x: table5 has dkd, dkd_cutmix, dkd_he_da, kd, ") as caught:
        check_rows([table5.TABLE], Settings(rows=("he_da", "kd", "x")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"pairs": ("vgg13",)}, "should be TEACHER/STUDENT"),
        ({"dataset": "mnist"}, "unknown data set"),
        ({"overrides": (("mixing.rate", "2"),)}, "augmentation rate 2"),
    ],
)
def test_bad_settings(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        cells(table5.TABLE, Settings(**asked))


def test_columns_of_a_data_set() -> None:
    assert [pair.key for pair in pairs_of(table7.TABLE, Settings())] == ["resnet32x4/resnet8x4"]
    assert pairs_of(table7.TABLE, Settings(dataset="imagefolder")) == CIFAR100.pairs[:1], "not the paper's data"
    assert pairs_of(table7.TABLE, SMALL) == DIGITS.pairs[:1]
    assert pairs_of(table5.TABLE, Settings()) == CIFAR100.pairs


def test_a_cost_table_is_short_and_has_an_epoch_after_the_first() -> None:
    assert resolve(table7.TABLE, Settings()).settings.epochs == TIMING_EPOCHS
    assert resolve(table7.TABLE, Settings(epochs=7)).settings.epochs == 7
    assert resolve(table5.TABLE, Settings(epochs=1)).settings.epochs == 1
    with pytest.raises(UserError, match="--epochs 2 or more"):
        cells(table7.TABLE, Settings(epochs=1))
