"""What a report is made of: which cells compare, what is lacking, what ran; each apart from how it is shown."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import made_up
import pytest
import some_results
from hypothesis import given
from hypothesis import strategies as st
from made_up import cells

from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.ledger import Sweep
from analysis.record.settings import Settings
from analysis.reporting.comparison import judge, paper_settings
from analysis.reporting.document import Listing
from analysis.reporting.missing import RunCounts, coverage, full_command, resume_command, sweep_options, unfinished
from analysis.reporting.provenance import hours, origins, sum_up
from analysis.reporting.snapshot import Snapshot
from analysis.reporting.summary_section import summary_section
from analysis.table.grid import make_grid
from analysis.table.resolved import resolve
from analysis.table.verdicts import NOT_COMPARABLE, TESTED

TABLE4, TABLE5 = paper.find("table4"), paper.find("table5")
ONE_PAIR = Settings(pairs=("resnet56/resnet20",))


def words(settings: Settings, table: str = "table5") -> dict[tuple[str, str], tuple[str, str]]:
    """The verdict and its reason of each entry, by row and kind."""
    chosen = paper.find(table)
    judged = judge(make_grid(resolve(chosen, settings), made_up.entries(chosen, settings)))
    return {(value.row, value.part): (verdict.word, verdict.why) for value, verdict in judged}


def test_by_the_papers_settings_every_row_is_tested() -> None:
    found = words(ONE_PAIR)
    assert {word for (row, _), (word, _) in found.items() if row != "teacher"} <= set(TESTED)
    assert set(found) == {(row.key, "main") for row in TABLE5.parts[0].rows} | {
        ("teacher", "main"),
        ("student", "main"),
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 24}, "epochs 24 instead of 240, milestones 15 18 21 instead of 150 180 210"),
        ({"train_fraction": 0.5}, "train_fraction 0.5 instead of 1"),
        ({"batch_size": 128}, "batch_size 128 instead of 64"),
        ({"overrides": (("lr", "0.1"),)}, "lr 0.1 instead of 0.05"),
        ({"dataset": "digits", "pairs": ()}, "trained on digits, not on CIFAR-100"),
    ],
)
def test_what_is_not_the_papers_is_named(changes: dict[str, object], reason: str) -> None:
    assert words(replace(ONE_PAIR, **changes))["kd", "main"] == (NOT_COMPARABLE, reason)


def test_only_the_rows_that_a_change_touches_cannot_be_compared() -> None:
    found = words(replace(ONE_PAIR, overrides=(("mixing.alpha", "0.5"),)))
    assert found["kd", "main"][0] in TESTED
    assert found["kd_he_da_50", "main"] == (NOT_COMPARABLE, "mixing.alpha 0.5 instead of 1")
    # 240 epochs are the paper's for KD, and not for Energy KD.
    some = words(Settings(epochs=240), "table4")
    assert some["kd", "right"][0] in TESTED
    assert some["energy_kd", "right"][0] == NOT_COMPARABLE


def test_other_seeds_precision_and_given_teachers_compare() -> None:
    same = replace(ONE_PAIR, seeds=2, precision="bf16", teachers=(("resnet56", "a" * 64),))
    word, why = words(same)["kd", "main"]
    assert (word in TESTED, why) == (True, "(bf16; the paper: fp32)")
    assert words(replace(same, precision="fp32"))["kd", "main"] == (word, "")


def test_another_precision_is_named_beside_other_reasons_and_only_where_there_is_a_verdict() -> None:
    one = words(replace(ONE_PAIR, seeds=1, precision="bf16"))
    assert {why.partition(" (")[2] for (row, _), (_, why) in one.items()} == {"bf16; the paper: fp32)"}
    short = words(replace(ONE_PAIR, epochs=24, precision="bf16"))["kd", "main"]
    assert short == (NOT_COMPARABLE, "epochs 24 instead of 240, milestones 15 18 21 instead of 150 180 210")
    chosen = replace(ONE_PAIR, overrides=(("precision", "bf16"),))
    found = words(chosen)
    assert "bf16" in found["kd", "main"][1]
    assert "bf16" not in found["teacher", "main"][1]


def test_the_papers_settings_keep_the_given_teachers_of_the_same_data() -> None:
    teachers = (("resnet56", "a" * 64),)
    assert paper_settings(TABLE5, replace(ONE_PAIR, teachers=teachers, epochs=3)) == Settings(teachers=teachers)
    assert paper_settings(TABLE5, Settings(dataset="digits", teachers=teachers)) == Settings()


def test_every_cell_of_the_paper_is_complete_or_in_a_gap() -> None:
    wanted = cells(TABLE4, Settings())
    done = {spec.run_id for cell in wanted[:7] for spec in cell.specs} | {wanted[-5].specs[0].run_id}
    found = coverage(TABLE4, ONE_PAIR, done)
    assert (found.cells, found.complete) == (len(wanted), sum(all(s.run_id in done for s in c.specs) for c in wanted))
    lacking = [(row, pair) for gap in found.gaps for row in gap.rows for pair in gap.pairs]
    assert len(lacking) == len(set(lacking))
    expected = {(cell.row, cell.pair) for cell in wanted if any(spec.run_id not in done for spec in cell.specs)}
    assert set(lacking) == expected
    assert RunCounts(1, 0, 3) in [gap.state for gap in found.gaps]


def test_nothing_lacks_where_all_is_done() -> None:
    done = {spec.run_id for cell in cells(TABLE4, Settings()) for spec in cell.specs}
    assert coverage(TABLE4, Settings(epochs=2), done).gaps == ()
    assert unfinished(make_grid(resolve(TABLE5, ONE_PAIR), made_up.entries(TABLE5, ONE_PAIR)).values) == []


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0")), max_size=4), st.text(max_size=9))
def test_a_command_goes_on_in_the_folder_of_the_report(before: list[str], results: str) -> None:
    kept = [word for word in before if not word.startswith("--re")]
    command = shlex.join(["python", "sweeps/run.py", *kept, "--results", "old"])
    words_of = shlex.split(resume_command(command, results, retry=False))
    assert words_of == ["ekd", "run", *kept, "--results", results]
    assert shlex.split(resume_command(shlex.join(words_of), results, retry=True)) == [*words_of, "--retry"]


def test_a_command_that_is_none_stays_as_it_is() -> None:
    assert resume_command("python 'sweeps", "r", retry=True) == "python 'sweeps"
    assert resume_command("run.py t --results=old --retry", "r", retry=False) == "run.py t --results r"


def test_a_command_takes_along_where_the_images_and_the_teachers_are() -> None:
    sweep = Sweep("2026", ("table5",), ONE_PAIR, "run.py table5 --data-dir='my data'", "my data", "T")
    assert sweep_options(TABLE5, sweep) == ("--data-dir", "my data")
    given_one = replace(ONE_PAIR, teachers=(("resnet56", "a" * 64),))
    assert sweep_options(TABLE5, replace(sweep, settings=given_one)) == ("--data-dir", "my data", "--teachers", "T")
    assert sweep_options(TABLE5, replace(sweep, settings=Settings(dataset="digits"))) == ()
    assert sweep_options(TABLE5, replace(sweep, data_dir="", teachers="")) == ()
    expected = "ekd run table5 table4 --data-dir 'my data' --results 'a b'"
    assert full_command(["table5", "table4"], ("--data-dir", "my data"), "a b") == expected


def test_sources_and_their_sums() -> None:
    place = {"device": "a", "commit": "c" * 40}
    made = [
        some_results.result_of(some_results.spec_of(seed), provenance=place | {"dirty": dirty})
        for seed, dirty in ((1, False), (2, True), (3, False))
    ]
    made.append(some_results.failed(some_results.spec_of(4), provenance={}))
    runs = origins(entry_of(result) for result in made)
    assert list(runs.source) == [1, 2, 1, 3]
    assert sum_up(runs, ["source", "commit"])[["commit", "runs", "done"]].values.tolist() == [
        ["c" * 12, 2, 2],
        ["c" * 12 + " + local changes", 1, 1],
        ["unknown", 1, 0],
    ]
    assert sum_up(runs, "device")[["device", "runs", "seconds"]].values.tolist() == [
        ["a", 3, 121.5],
        ["unknown", 1, 40.5],
    ]
    assert origins([]).empty


def test_a_command_that_was_started_again_is_one_line() -> None:
    first = Sweep("2026-01-01T00:00:00", ("table5",), Settings(), "x")
    other = replace(first, asked="2026-01-03T00:00:00", command="y")
    snapshot = Snapshot(Path("results"), {}, [first, replace(first, asked="2026-01-02T00:00:00"), other, first])
    lines = [block.groups[0].lines for block in summary_section(snapshot) if isinstance(block, Listing)][1]
    assert [line[:4] for line in lines] == [
        ("1", "2026-01-01 00:00", "2026-01-02 00:00", "2"),
        ("3", "2026-01-03 00:00", "", "1"),
        ("4", "2026-01-01 00:00", "", "1"),
    ]


def test_hours_have_as_many_digits_as_matter() -> None:
    assert [hours(seconds) for seconds in (0, 100, 3600 * 12.34, 3600 * 1234)] == ["0.00", "0.03", "12.3", "1,234"]
