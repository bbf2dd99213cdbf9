"""Of which test epoch the paper's numbers are, best or last, and of how many runs; and what tables and verdicts do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_up
import pytest
from made_up import cells

from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.settings import Settings
from analysis.reporting.comparison import judge
from analysis.table import published
from analysis.table.captions import caption, notes
from analysis.table.grid import Grid, make_grid
from analysis.table.render import render
from analysis.table.resolved import resolve
from analysis.table.sheet import show
from analysis.table.verdicts import ABOVE, WITHIN
from trainables.errors import UserError
from trainables.recipes import CIFAR100, Pair

TABLES = (*(f"table{number}" for number in range(1, 9)), "table13")
BENCHMARK = {"student", "kd", "fitnet", "at", "pkt", "rkd", "vid", "crd"}
"""The rows of Tables 1 and 2 that RepDistiller's benchmark measured on its own teachers."""
TABLE5 = paper.find("table5")
PAIR = Pair("wrn_40_2", "wrn_16_2")
ONE = Settings(pairs=(PAIR.key,))


def grid_of(name: str, settings: Settings) -> Grid:
    return make_grid(resolve(paper.find(name), settings), made_up.entries(paper.find(name), settings))


@pytest.mark.parametrize("name", TABLES)
def test_every_accuracy_has_a_test_epoch_and_a_number_of_runs_or_says_that_they_are_not_known(name: str) -> None:
    for number in published.published(name).values():
        if name == "table7":
            assert (number.epoch, number.runs) == ("", None)
            continue
        assert number.epoch in ("last", "best", "unknown", *(["mixed"] if number.row.startswith("*") else []))
        assert number.runs in (3, 5, None, *([1] if number.row == "teacher" else []))


def kinds(name: str) -> dict[str, set[tuple[str, int | None]]]:
    """The test epochs and numbers of runs of each row."""
    found: dict[str, set[tuple[str, int | None]]] = {}
    for number in published.published(name).values():
        found.setdefault(number.row, set()).add((number.epoch, number.runs))
    return found


@pytest.mark.parametrize(("name", "runs"), [("table1", 5), ("table2", 3)])
def test_the_benchmark_is_of_the_last_epoch_and_what_came_after_it_of_the_best(name: str, runs: int) -> None:
    known: dict[str, tuple[str, int | None]] = dict.fromkeys(BENCHMARK, ("last", runs))
    known |= dict.fromkeys(("energy_kd", "energy_dkd", "energy_multi"), ("best", 3))
    known |= dict.fromkeys(("ofd", "reviewkd", "dml", "takd"), ("unknown", None))
    known |= {"teacher": ("last", 1), "dkd": ("best", 5), "multi": ("best", None)}
    assert kinds(name) == {row: {kind} for row, kind in known.items()}


def test_what_copies_the_paper_on_data_augmentation_is_of_its_last_epoch() -> None:
    assert kinds("table5")["kd_cutmix"] == kinds("table6")["kd_cutmix"] == kinds("table6")["kd"] == {("last", 3)}
    assert kinds("table6")["teacher"] == {("last", 1)}
    assert kinds("table6")["student"] == {("last", None)}
    assert kinds("table5")["dkd_cutmix"] == kinds("table6")["dkd_cutmix"] == {("unknown", None)}
    assert kinds("table6")["dkd"] == kinds("table13")["kd_mixup"] == {("best", 3)}


def test_a_number_repeated_in_another_table_keeps_its_test_epoch_and_runs() -> None:
    first: dict[tuple[str, str, str, str], published.Published] = {}
    for name in ("table1", "table2", "table4", "table5", "table13"):
        for number in published.published(name).values():
            same = first.setdefault((number.row, number.teacher, number.student, number.text), number)
            assert (number.epoch, number.runs) == (same.epoch, same.runs), number


@pytest.mark.parametrize("name", ["table5", "table6"])
def test_a_difference_has_the_test_epoch_of_both_its_rows_or_mixes_them(name: str) -> None:
    known = published.published(name)
    for part in paper.find(name).parts:
        for derived in (derived for block in part.blocks for derived in block.differences):
            for pair in CIFAR100.pairs:
                rows = [known["main", row, pair.teacher, pair.student] for row in (*derived.best, derived.minus)]
                epochs, runs = {row.epoch for row in rows}, {row.runs for row in rows}
                expected = epochs.pop() if len(epochs) == 1 else "unknown" if "unknown" in epochs else "mixed"
                difference = known["main", derived.key, pair.teacher, pair.student]
                assert (difference.epoch, difference.runs) == (expected, runs.pop() if len(runs) == 1 else None)


@pytest.mark.parametrize(
    ("epoch", "runs"), [("", "3"), ("first", "3"), ("best", ""), ("best", "some"), ("best", "0"), ("last", "2.5")]
)
def test_a_file_with_another_word_for_an_epoch_or_a_number_of_runs_is_refused(
    epoch: str, runs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, row = "part,row,teacher,student,value,epoch,runs,source", f"main,kd,vgg13,vgg8,72.98,{epoch},{runs},here"
    (tmp_path / "table5.csv").write_text(f"{head}\n{row}\n")
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        published.published.__wrapped__("table5")


def test_notes_say_of_which_test_epoch_the_papers_numbers_are() -> None:
    chosen = Settings(rows=("kd", "kd_cutmix", "kd_he_da_20", "dkd_cutmix"))
    assert notes(grid_of("table5", chosen))[-1] == (
        "Test epoch of the paper's numbers: the best for w/ HE-DA (20%); the last for Teacher Acc., Student Acc., KD* "
        "and w/ CutMix** (100%) below KD*; not known for w/ CutMix** (100%) below DKD*."
    )
    assert notes(grid_of("table4", Settings(rows=("kd", "low"))))[-1] == (
        "Test epoch of the paper's numbers: the best for Low energy only and KD of WRN-40-2/WRN-16-2; the last for KD "
        "of ResNet32x4/ResNet8x4, VGG13/MobileNetV2 and ResNet32x4/ShuffleNetV2."
    )
    assert notes(grid_of("table8", Settings(dataset="")))[-1] == "Test epoch of the paper's numbers: the best."
    for none in (grid_of("table7", Settings()), grid_of("table9", Settings())):
        assert not any("Test epoch" in note for note in notes(none))


@pytest.mark.parametrize(("metric", "others"), [("best", {"kd", "kd_cutmix"}), ("last", {"kd_he_da_20", "dkd"})])
def test_a_number_of_another_test_epoch_is_marked_and_warned_of(metric: str, others: set[str]) -> None:
    rows = ("kd", "kd_cutmix", "kd_he_da_20", "dkd", "dkd_cutmix")
    settings = replace(ONE, rows=rows)
    grid = make_grid(resolve(TABLE5, settings), made_up.entries(TABLE5, settings), metric)
    marked = {row for row in rows if show(grid.cells["main", row, PAIR]).paper.endswith("‡")}
    assert marked == others
    other = "last" if metric == "best" else "best"
    warning = f"‡: the paper's number is of the {other} epoch, ours of the {metric} one"
    assert warning in caption(grid)
    assert not show(grid.cells["main", "teacher", PAIR]).paper.endswith("‡"), (
        "of the weights that taught, for any metric"
    )
    for form in ("text", "markdown", "html"):
        assert "‡" in render(grid, form)
    assert "74.92\\ddag{}" in render(make_grid(resolve(TABLE5, settings), {}), "latex")
    assert "‡" not in caption(grid_of("table8", Settings(dataset="")))


def test_the_papers_mixed_differences_are_warned_of() -> None:
    words = caption(grid_of("table5", ONE))
    assert "‡ in a difference: the paper subtracts a number of the last epoch from one of the best." in words


@pytest.mark.parametrize(("paper_epoch", "word", "mean"), [("last", WITHIN, 70.7), ("best", ABOVE, 71.5)])
@pytest.mark.parametrize("metric", ["best", "last"])
def test_one_curve_gets_another_verdict_beside_a_last_epoch_than_beside_a_best_one(
    metric: str, paper_epoch: str, word: str, mean: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three seeds that end where the paper's number is, after a better epoch: above it only if it is a best one."""
    pair = Pair("resnet56", "resnet20")
    settings = Settings(pairs=(pair.key,), rows=("kd",))
    known = published.look_up("table5", "main", "kd", pair)
    assert known is not None
    monkeypatch.setattr(published, "look_up", lambda *_: replace(known, epoch=paper_epoch))
    runs = {
        spec.run_id: entry_of(made_up.result(spec, 71.5 + off, last_top1=70.7 + off))
        for spec, off in zip(cells(TABLE5, settings)[0].specs, (-0.1, 0.0, 0.1), strict=True)
    }
    grid = make_grid(resolve(TABLE5, settings), runs, metric)
    (found,) = [verdict for value, verdict in judge(grid) if value.row == "kd"]
    assert known.value == 70.66
    assert (found.word, found.difference) == (word, pytest.approx(mean - 70.66))
    assert grid.cells["main", "kd", pair].mean == pytest.approx(71.5 if metric == "best" else 70.7)
