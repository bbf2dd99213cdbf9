"""A table's numbers against numpy on made-up records."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import cache
from typing import Any

import made_up
import numpy as np
import pytest
from made_up import cells
from scipy import stats  # type: ignore[import-untyped]

from analysis import paper
from analysis.record.entry import Entry, entry_of
from analysis.record.settings import Settings
from analysis.record.specs import teacher_spec, vanilla_spec
from analysis.table.grid import Grid, make_grid
from analysis.table.resolved import resolve
from analysis.table.value import Value
from trainables.errors import UserError
from trainables.recipes import Pair
from trainables.spec import RunSpec

CIFAR = Settings()
TABLE5, TABLE7 = paper.find("table5"), paper.find("table7")
PAIR = Pair("wrn_40_2", "wrn_16_2")
ONE = Settings(pairs=(PAIR.key,))


@cache
def cells_of_table_5() -> dict[tuple[str, Pair], made_up.AskedCell]:
    return {(cell.row, cell.pair): cell for cell in cells(TABLE5, CIFAR)}


def cell(row: str, pair: Pair = PAIR) -> made_up.AskedCell:
    return cells_of_table_5()[row, pair]


def grid_of(settings: Settings = ONE, *, without: Collection[str] = (), **more: Any) -> Grid:
    records = made_up.entries(TABLE5, settings)
    kept = {key: entry for key, entry in records.items() if key not in without}
    return make_grid(resolve(TABLE5, settings), kept, **more)


def failed(spec: RunSpec) -> Entry:
    return entry_of(made_up.result(spec, 0.0, failed=True))


def test_mean_and_spread_of_every_cell_are_those_of_its_seeds() -> None:
    grid = grid_of(CIFAR)
    for one in cells(TABLE5, CIFAR):
        value = grid.cells[one.part, one.row, one.pair]
        numbers = np.array([made_up.made_up_top1(spec) for spec in one.specs])
        assert value.mean == pytest.approx(numbers.mean(), abs=1e-12)
        assert value.std == pytest.approx(numbers.std(ddof=1), abs=1e-12)
        assert (value.n, value.asked, value.failed, value.state, value.unit) == (3, 3, 0, "done", "%")
        assert value.runs == tuple(spec.run_id for spec in one.specs)
        assert value.by_seed == dict(zip((1, 2, 3), numbers, strict=True))


def test_the_last_epoch_instead_of_the_best() -> None:
    best, last = grid_of(), grid_of(metric="last")
    for value in best.values:
        other = last.cells[value.part, value.row, value.pair]
        assert value.mean is not None
        if value.kind in ("row", "student"):
            assert other.mean == pytest.approx(value.mean - 1)
        else:
            assert other.mean == pytest.approx(value.mean)
    with pytest.raises(UserError, match="unknown metric 'worst'"):
        grid_of(metric="worst")


def test_the_differences_are_the_best_row_minus_the_marked_one() -> None:
    grid = grid_of(CIFAR)
    for pair in CIFAR.recipe.pairs:
        mean = {
            row: np.mean([made_up.made_up_top1(spec) for spec in cell(row, pair=pair).specs])
            for row in (one.key for one in TABLE5.parts[0].rows)
        }
        best = max(mean[f"kd_he_da_{rate}"] for rate in (20, 30, 40, 50))
        expected = {
            "* kd": best - mean["kd"],
            "** kd_cutmix": best - mean["kd_cutmix"],
            "* dkd": mean["dkd_he_da"] - mean["dkd"],
            "** dkd_cutmix": mean["dkd_he_da"] - mean["dkd_cutmix"],
        }
        for key, number in expected.items():
            value = grid.cells["main", key, pair]
            assert value.mean == pytest.approx(number, abs=1e-12)
            assert (value.kind, value.unit, value.state) == ("difference", "points", "done")
            assert value.label == key.split()[0]


def test_a_difference_is_paired_over_seeds_and_tested_with_all_that_could_have_been_the_best() -> None:
    """By numpy and scipy: ten comparisons (four rates over KD, four over CutMix, two on DKD), corrected together."""
    rates = [f"kd_he_da_{rate}" for rate in (20, 30, 40, 50)]
    compared = [(row, minus) for minus in ("kd", "kd_cutmix") for row in rates]
    compared += [("dkd_he_da", "dkd"), ("dkd_he_da", "dkd_cutmix")]
    numbers = {row.key: [made_up.made_up_top1(s) for s in cell(row.key).specs] for row in TABLE5.parts[0].rows}
    raw = {two: stats.ttest_rel(numbers[two[0]], numbers[two[1]]).pvalue for two in compared}
    grid = grid_of()
    best = max(rates, key=lambda row: np.mean(numbers[row]))
    for key, row, minus in (("* kd", best, "kd"), ("** kd_cutmix", best, "kd_cutmix"), ("* dkd", "dkd_he_da", "dkd")):
        value = grid.cells["main", key, PAIR]
        differences = np.subtract(numbers[row], numbers[minus])
        assert (value.chosen, value.seeds) == (row, (1, 2, 3))
        assert value.measured == pytest.approx(tuple(differences))
        assert (value.mean, value.std) == pytest.approx((differences.mean(), differences.std(ddof=1)))
        ranked = sorted(raw.values())
        assert value.p == pytest.approx(max(min(1, (10 - k) * p) for k, p in enumerate(ranked) if p <= raw[row, minus]))


def test_a_difference_has_the_seeds_that_both_rows_have() -> None:
    gone = [cell("dkd").specs[0].run_id, cell("dkd_he_da").specs[1].run_id]
    value = grid_of(without=gone).cells["main", "* dkd", PAIR]
    assert (value.seeds, value.std, value.p, value.state) == ((3,), None, None, "incomplete")
    none = grid_of(without=[*gone, cell("dkd").specs[2].run_id]).cells["main", "* dkd", PAIR]
    assert (none.mean, none.measured, none.chosen) == (None, (), "")


def test_the_best_of_each_block_and_column_is_marked() -> None:
    grid = grid_of(CIFAR)
    for pair in CIFAR.recipe.pairs:
        for block in TABLE5.parts[0].blocks:
            values = [grid.cells["main", row.key, pair] for row in block.rows]
            means = [value.mean or 0 for value in values]
            assert [value.best for value in values] == [mean == max(means) for mean in means]
            printed = [round(mean, 2) for mean in means]
            assert [value.second for value in values] == [mean == sorted({*printed})[-2] for mean in printed]


def test_on_request_what_is_not_told_from_the_best_is_marked_in_every_table() -> None:
    """HE-DA 40 % is the best; 50 % differs from it by noise alone, KD by 5 points with little noise."""
    numbers = {"kd": (70.0, 70.1, 70.2), "kd_he_da_40": (75.0, 75.2, 75.1), "kd_he_da_50": (75.2, 74.8, 75.1)}
    asked = replace(ONE, rows=tuple(numbers))
    rows = {spec: one.row for one in cells(TABLE5, asked) for spec in one.specs}
    records = made_up.entries(TABLE5, asked, lambda s: numbers[rows[s]][s.seed - 1] if s in rows else 60.0)
    marked = {
        alike: {
            value.row: (value.best, value.near_best)
            for value in make_grid(resolve(TABLE5, asked), records, alike=alike).values
            if value.kind == "row"
        }
        for alike in (False, True)
    }
    assert marked[True] == {"kd": (False, False), "kd_he_da_40": (True, False), "kd_he_da_50": (False, True)}
    assert marked[False] == {row: (best, False) for row, (best, _) in marked[True].items()}


def test_numbers_printed_alike_are_both_the_best_and_one_alone_is_not() -> None:
    close = {"kd": 70.001, "kd_cutmix": 70.004, "kd_he_da_20": 69.99}
    place = {spec: one.row for one in cells(TABLE5, ONE) for spec in one.specs}
    records = made_up.entries(TABLE5, ONE, lambda spec: close.get(place.get(spec, "")))
    grid = make_grid(resolve(TABLE5, ONE), records)
    assert [grid.cells["main", row, PAIR].best for row in close] == [True, True, False]
    alone = make_grid(resolve(TABLE5, ONE), {s.run_id: records[s.run_id] for s in cell("kd").specs})
    assert not any(value.best for value in alone.values)


def test_a_cell_that_lacks_runs_says_how_many() -> None:
    first, second, third = cell("kd").specs
    two = grid_of(without={third.run_id}).cells["main", "kd", PAIR]
    assert (two.n, two.asked, two.state) == (2, 3, "incomplete")
    assert two.std == pytest.approx(np.std([made_up.made_up_top1(s) for s in (first, second)], ddof=1))
    one = grid_of(without={second.run_id, third.run_id}).cells["main", "kd", PAIR]
    assert (one.n, one.mean, one.std) == (1, made_up.made_up_top1(first), None)
    none = grid_of(without={first.run_id, second.run_id, third.run_id})
    value = none.cells["main", "kd", PAIR]
    assert (value.n, value.mean, value.std, value.state, value.paper) == (0, None, None, "incomplete", 74.92)
    assert (none.cells["main", "* kd", PAIR].mean, none.cells["main", "* kd", PAIR].state) == (None, "incomplete")
    assert none.cells["main", "** kd_cutmix", PAIR].state == "done"


def test_a_difference_is_incomplete_while_any_of_its_rows_is() -> None:
    missing = cell("kd_he_da_30").specs
    some = grid_of(without={missing[0].run_id}).cells["main", "* kd", PAIR]
    assert (some.n, some.state) == (3, "incomplete")
    none = grid_of(without={spec.run_id for spec in missing}).cells["main", "* kd", PAIR]
    assert (none.n, none.state) == (3, "incomplete")
    assert none.mean is not None


def test_failed_runs_are_counted_and_a_cell_of_nothing_else_has_failed() -> None:
    records = made_up.entries(TABLE5, ONE)
    first, second, third = cell("kd").specs
    records[first.run_id] = failed(first)
    value = make_grid(resolve(TABLE5, ONE), records).cells["main", "kd", PAIR]
    assert (value.n, value.failed, value.state) == (2, 1, "failed")
    del records[second.run_id]
    value = make_grid(resolve(TABLE5, ONE), records).cells["main", "kd", PAIR]
    assert (value.n, value.failed, value.state) == (1, 1, "incomplete")
    records |= {spec.run_id: failed(spec) for spec in (second, third)}
    value = make_grid(resolve(TABLE5, ONE), records).cells["main", "kd", PAIR]
    assert (value.n, value.failed, value.state, value.mean) == (0, 3, "failed", None)


def test_accuracies_of_the_student_alone_and_of_the_weights_that_taught() -> None:
    grid = grid_of()
    alone = [made_up.made_up_top1(vanilla_spec(CIFAR, PAIR, seed)) for seed in (1, 2, 3)]
    assert grid.cells["main", "student", PAIR].mean == pytest.approx(np.mean(alone))
    teacher = grid.cells["main", "teacher", PAIR]
    assert (teacher.mean, teacher.n, teacher.asked, teacher.std, teacher.paper) == (91.25, 1, 1, None, 75.61)


def test_before_any_student_the_teacher_has_the_accuracy_of_its_last_epoch() -> None:
    spec = teacher_spec(CIFAR, PAIR.teacher)
    records = {spec.run_id: entry_of(made_up.result(spec, 80.0))}
    done = make_grid(resolve(TABLE5, ONE), records).cells["main", "teacher", PAIR]
    assert (done.mean, done.runs) == (79.0, (spec.run_id,))
    lost = make_grid(resolve(TABLE5, ONE), {spec.run_id: failed(spec)}).cells["main", "teacher", PAIR]
    assert (lost.mean, lost.state) == (None, "failed")


def test_a_given_teacher_is_known_by_what_its_students_measured() -> None:
    given = Settings(teachers=((PAIR.teacher, "ab" * 32),))
    value = grid_of(given).cells["main", "teacher", PAIR]
    assert (value.mean, value.runs) == (91.25, ())
    assert teacher_spec(given, PAIR.teacher).run_id not in [spec.run_id for spec in resolve(TABLE5, given).runs]


def test_the_papers_numbers_stand_beside_only_on_its_data() -> None:
    assert all(value.paper is not None for value in grid_of().values)
    digits = Settings(dataset="digits")
    grid = make_grid(resolve(TABLE5, digits), made_up.entries(TABLE5, digits))
    assert not grid.comparable
    assert all(value.paper is None for value in grid.values)
    other = Settings(pairs=("wrn_16_2/resnet8",))
    assert all(value.paper is None for value in grid_of(other).values)


def test_of_chosen_rows_the_difference_and_the_papers_are_of_the_same_rows() -> None:
    chosen = Settings(rows=("kd", "kd_he_da_20", "kd_he_da_30"))
    grid = make_grid(resolve(TABLE5, chosen), made_up.entries(TABLE5, chosen))
    value = grid.cells["main", "* kd", PAIR]
    assert value.paper == pytest.approx(75.54 - 74.92)
    assert ("main", "** kd_cutmix", PAIR) not in grid.cells
    assert ("main", "dkd", PAIR) not in grid.cells


def test_what_counts_as_shortened() -> None:
    def shortened(table: str, **settings: Any) -> bool:
        return make_grid(resolve(paper.find(table), Settings(**settings)), {}).shortened

    assert shortened("table5", epochs=2)
    assert shortened("table5", train_fraction=0.5)
    assert shortened("table5", overrides=(("epochs", "3"), ("milestones", "[]")))
    assert not shortened("table5")
    assert not shortened("table5", epochs=240)
    assert shortened("table4", epochs=240)
    assert not shortened("table7")
    assert shortened("table7", train_fraction=0.5)
    assert not shortened("table5", dataset="digits", epochs=2)


def test_cost_is_the_median_epoch_without_the_first() -> None:
    seconds = {1: (60.0, 10.0, 30.0, 11.0), 2: (60.0, 12.0, 12.5, 13.0), 3: (60.0, 9.0, 10.0, 500.0)}
    records = {}
    for rate, one in enumerate(cells(TABLE7, CIFAR)):
        for spec in one.specs:
            slower = tuple(epoch * (1 + rate / 10) for epoch in seconds[spec.seed])
            records[spec.run_id] = entry_of(made_up.result(spec, 50.0, seconds=slower))
    grid = make_grid(resolve(TABLE7, CIFAR), records)
    pair = Pair("resnet32x4", "resnet8x4")
    medians = np.array([11.0, 12.5, 10.0])
    for rate, row in enumerate(TABLE7.parts[0].rows):
        value = grid.cells["main", row.key, pair]
        factor = 1 + rate / 10
        assert (value.unit, value.n, value.best) == ("s", 3, False)
        assert value.mean == pytest.approx(medians.mean() * factor)
        assert value.std == pytest.approx(medians.std(ddof=1) * factor)
        over: dict[str, Value] = {
            base: grid.cells["main", f"{row.key} over {base}", pair] for base in TABLE7.kind.baselines
        }
        assert over["kd"].mean == pytest.approx(100 * (factor - 1), abs=1e-9)
        assert over["kd_he_da_10"].mean == pytest.approx(100 * (factor / 1.1 - 1), abs=1e-9)
        assert over["kd"].paper is None
    assert [grid.cells["main", f"{row.key} over kd_he_da_10", pair].paper for row in TABLE7.parts[0].rows] == [
        *(None, 0.0, 3.94, 5.52, 8.78, 14.17, 33.26)
    ]
    assert grid.devices == ("NVIDIA MADE-UP",)


def test_a_table_without_any_record_is_a_table_of_holes() -> None:
    for table in filter(
        lambda table: table.kind.trains and any(part.rows for part in table.parts), paper.tables().values()
    ):
        grid = make_grid(resolve(table, ONE), {})
        assert {value.state for value in grid.values} == {"incomplete"}
        assert {value.mean for value in grid.values} == {None}
