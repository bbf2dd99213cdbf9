"""Tables as text, Markdown, HTML, CSV, JSON and LaTeX, of made-up records."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import made_up
import numpy as np
import pytest
from made_up import cells
from shown import NASTY, ONE, TABLE5, grid_of, nasty_sheet, with_holes

from analysis import paper
from analysis.record.entry import entry_of
from analysis.record.settings import Settings
from analysis.table import names
from analysis.table.captions import caption, notes, training
from analysis.table.grid import make_grid
from analysis.table.render import FORMATS, html, render, text
from analysis.table.resolved import resolve
from analysis.table.sheet import Sheet, Shown, make_sheet, show
from trainables.recipes import Pair

WITH_ROWS = {name: table for name, table in paper.tables().items() if any(part.rows for part in table.parts)}
PAIR = Pair("wrn_40_2", "wrn_16_2")


def entry(sheet: Sheet, label: str, column: int = 0) -> Shown:
    return next(line for panel in sheet.panels for line in panel.lines if line.label == label).entries[column]


def test_an_entry_is_the_mean_with_two_decimals_its_spread_and_the_papers_number() -> None:
    grid = grid_of("table5", ONE)
    shown = entry(make_sheet(grid), "w/ HE-DA (40%)")
    value = grid.cells["main", "kd_he_da_40", PAIR]
    assert value.mean is not None
    assert (shown.text, shown.spread) == (f"{np.mean(value.measured):.2f}", f"{np.std(value.measured, ddof=1):.2f}")
    assert (shown.paper, shown.note, shown.lost) == ("75.72", "", "")
    labels = [line.label for line in make_sheet(grid).panels[0].lines]
    assert labels[:3] == ["Teacher Acc.", "Student Acc.", "KD*"]
    difference = entry(make_sheet(grid), "*")
    star = grid.cells["main", "* kd", PAIR]
    assert star.mean is not None
    differences = np.array(grid.cells["main", star.chosen, PAIR].measured) - grid.cells["main", "kd", PAIR].measured
    assert (difference.text, difference.spread) == (f"{differences.mean():+.2f}", f"{differences.std(ddof=1):.2f}")
    assert difference.paper == "+1.03‡"


def test_a_significant_difference_is_marked_and_the_caption_says_how() -> None:
    """In one column of KD and HE-DA 50 % the only comparison has the differences 0.9, 1 and 1.1."""
    pair = replace(ONE, rows=("kd", "kd_he_da_50"))
    gains = {"kd_he_da_50": {1: 70.9, 2: 71.0, 3: 71.1}}
    place = {spec: cell.row for cell in cells(TABLE5, pair) for spec in cell.specs}
    records = made_up.entries(TABLE5, pair, lambda spec: gains.get(place.get(spec, ""), {}).get(spec.seed, 70.0))
    grid = make_grid(resolve(TABLE5, pair), records)
    assert entry(make_sheet(grid), "*").spread == "0.10§"
    assert "Differences are paired over seeds" in caption(grid)
    assert "§: p < 0.05 in a paired t-test, with Holm's correction" in caption(grid)
    assert "§" not in render(grid_of("table5", ONE), "text")
    assert r"{\scriptsize $\pm$ 0.10\S{}}" in render(grid, "latex")
    assert "; § p < 0.05, paired, with Holm's correction." in make_sheet(grid).short
    assert "Differences" not in caption(grid_of("table5", replace(ONE, rows=("kd",))))


def test_what_is_missing_is_said() -> None:
    sheet = make_sheet(with_holes())
    assert entry(sheet, "KD*").remark == "2/3 seeds"
    assert (entry(sheet, "w/ CutMix** (100%)").text, entry(sheet, "w/ CutMix** (100%)").remark) == ("—", "0/3")
    assert (entry(sheet, "w/ HE-DA (20%)").text, entry(sheet, "w/ HE-DA (20%)").remark) == ("failed", "")
    assert entry(sheet, "w/ HE-DA (30%)").remark == "1/3 seeds, 1 failed"
    assert entry(sheet, "w/ HE-DA (30%)").spread == ""
    assert entry(sheet, "w/ HE-DA (40%)").remark == ""
    assert entry(sheet, "*").remark == "2/3 seeds"
    assert (entry(sheet, "**").text, entry(sheet, "**").remark) == ("—", "")
    plain = text(sheet)
    assert re.search(r"^w/ CutMix\*\* \(100%\) +— \(75\.34‡\) 0/3$", plain, re.M)
    assert re.search(r"^w/ HE-DA \(20%\) +failed \(75\.27\)$", plain, re.M)


def test_cost_keeps_the_decimals_of_its_mean() -> None:
    value = replace(grid_of("table5", ONE).cells["main", "kd", PAIR], unit="s", std=0.0123, paper=None)
    assert (show(replace(value, mean=12.3456)).text, show(replace(value, mean=12.3456)).spread) == ("12.35", "0.01")
    assert (show(replace(value, mean=0.3456)).text, show(replace(value, mean=0.3456)).spread) == ("0.346", "0.012")


def test_table_7_has_its_rates_across_and_its_increases_below() -> None:
    (panel,) = make_sheet(grid_of("table7", Settings())).panels
    assert panel.title == "ResNet32x4 / ResNet8x4"
    assert panel.heads == (("Augmented share", "0", "0.1", "0.2", "0.3", "0.4", "0.5", "1.0"),)
    assert [line.label for line in panel.lines] == ["Seconds/epoch", "Over 0", "Over 0.1"]
    assert [shown.paper for shown in panel.lines[2].entries] == [
        *("", "+0.00%", "+3.94%", "+5.52%", "+8.78%", "+14.17%", "+33.26%")
    ]
    assert panel.lines[1].entries[0].text == panel.lines[2].entries[1].text == "+0.00%"


def test_captions_on_the_papers_terms() -> None:
    words = caption(grid_of("table5", ONE))
    assert "Mean ± standard deviation over 3 seeds of the best test epoch" in words
    assert "Data and schedule as in the paper, except as noted below. In parentheses: the paper's numbers." in words
    assert "left out" not in words
    plain = caption(grid_of("table5", replace(ONE, rows=("kd",))))
    assert "Rows that were not asked for (--rows) are left out." in plain
    assert "Data and schedule as in the paper. In parentheses" in plain
    assert "of the last epoch" in caption(make_grid(resolve(TABLE5, ONE), {}, "last"))
    assert training(grid_of("table4", Settings(rows=("low",)))) == "CIFAR-100, 360 epochs, 3 seeds"
    assert "  " not in caption(grid_of("table7", Settings()))


def test_a_shortened_schedule_is_called_so_and_the_papers_numbers_stay() -> None:
    short = Settings(epochs=2, train_fraction=0.1, seeds=1, pairs=(PAIR.key,))
    grid = grid_of("table5", short)
    words = caption(grid)
    assert re.search(
        r"Shortened, not the paper's schedule: 2 epochs instead of 240.*; 0\.1 of the training images", words
    )
    assert "One seed of the best test epoch" in words
    assert "1 seed instead of 3" in words
    assert entry(make_sheet(grid), "KD*").paper == "74.92‡"


def test_another_data_set_is_called_so_and_the_papers_numbers_are_gone() -> None:
    for name, table in WITH_ROWS.items():
        grid = grid_of(name, Settings(dataset="digits"))
        words = caption(grid)
        assert "Not the paper's data and schedule" in words
        assert "data set digits" in words
        assert table.kind.timed or "12 epochs" in words
        assert table.paper_note not in notes(grid) or not table.paper_note
        for form in FORMATS:
            assert "parentheses" not in render(grid, form)
        assert not any(
            shown.paper for panel in make_sheet(grid).panels for line in panel.lines for shown in line.entries
        )


def test_other_deviations_are_listed() -> None:
    asked = Settings(precision="bf16", overrides=(("temperature.base", "5"),), teachers=(("vgg13", "c" * 64),))
    words = caption(grid_of("table4", asked))
    assert "Differs from the paper's protocol: precision bf16; teacher vgg13 given (sha256 cccccccccccc)" in words
    assert "temperature.base = 5" in words


def test_devices_that_differ_make_costs_incomparable() -> None:
    table = paper.find("table7")
    specs = made_up.specs_of(table, Settings())
    devices = {spec: f"NVIDIA {'MADE-UP' if number % 2 else 'FICTION'}" for number, spec in enumerate(specs)}
    records = {
        spec.run_id: entry_of(made_up.result(spec, 50.0, provenance={"device": device}))
        for spec, device in devices.items()
    }
    words = caption(make_grid(resolve(table, Settings()), records))
    assert (
        "Measured on NVIDIA FICTION and on NVIDIA MADE-UP. The devices differ: the numbers cannot be compared." in words
    )
    assert "over 3 runs of 4 epochs, each the median of its epochs after the first" in words


def test_notes_of_the_rows_shown() -> None:
    assert any("ten temperatures are lost" in note for note in notes(grid_of("table4", Settings())))
    assert any("75.06" in note and "74.92" in note for note in notes(grid_of("table4", Settings())))
    assert not any("ten temperatures" in note for note in notes(grid_of("table4", Settings(rows=("low", "kd")))))
    assert any("does not name the pair" in note for note in notes(grid_of("table7", Settings())))


def test_notes_say_which_of_the_papers_numbers_are_from_earlier_papers() -> None:
    said = notes(grid_of("table5", Settings()))[-2]
    assert said == (
        "The paper has its numbers of Teacher Acc., Student Acc., KD*, w/ CutMix** (100%) and DKD* from earlier papers."
    )
    some = notes(grid_of("table4", Settings()))[-2]
    assert some == "The paper has its numbers of KD (but not of WRN-40-2/WRN-16-2) from earlier papers."
    for none in (grid_of("table4", Settings(rows=("low",))), grid_of("table5", Settings(dataset="digits"))):
        assert not any("earlier papers" in note for note in notes(none))


def test_one_epoch_is_not_some_epochs() -> None:
    grid = grid_of("table13", replace(ONE, epochs=1, dataset="digits", pairs=()))
    assert training(grid) == "digits, 1 epoch, 3 seeds"
    assert "(1 epoch)" in caption(grid)
    assert (names.epochs(1), names.epochs(2), names.epochs(1, 2)) == ("1 epoch", "2 epochs", "1 or 2 epochs")
    assert "1 epochs" not in "".join(render(grid, form) for form in FORMATS)


def test_csv_and_json_have_every_entry_in_full() -> None:
    grid = with_holes()
    lines = list(csv.DictReader(io.StringIO(render(grid, "csv"))))
    data = json.loads(render(grid, "json"))
    assert len(lines) == len(data["entries"]) == len(grid.values) == 15
    for value, line, entry_ in zip(grid.values, lines, data["entries"], strict=True):
        assert (entry_["row"], entry_["teacher"], entry_["student"]) == (
            value.row,
            value.pair.teacher,
            value.pair.student,
        )
        assert (entry_["mean"], entry_["std"], entry_["n"]) == (value.mean, value.std, value.n)
        assert (entry_["paper"], entry_["state"], entry_["best"]) == (value.paper, value.state, value.best)
        assert (entry_["paper_epoch"], entry_["paper_runs"]) == (value.paper_epoch, value.paper_runs)
        assert line["paper_runs"] == ("" if value.paper_runs is None else str(value.paper_runs))
        assert tuple(entry_["runs"]) == value.runs
        assert tuple(entry_["measured"]) == value.measured
        assert line["mean"] == ("" if value.mean is None else repr(value.mean))
        assert (line["row"], line["state"], int(line["asked"])) == (value.row, value.state, value.asked)
    assert Settings(**{k: tuple(v) if isinstance(v, list) else v for k, v in data["settings"].items()}) == ONE
    assert (data["metric"], data["comparable"], data["shortened"]) == ("best", True, False)


def test_markdown_is_a_table_of_even_rows() -> None:
    for name in WITH_ROWS:
        rows = [line for line in render(grid_of(name, ONE), "markdown").splitlines() if line.startswith("|")]
        widths = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
        assert len(set(widths)) == 1, name
        assert re.fullmatch(r"\| :-- \|( :-: \|)+", rows[1])
    shown = render(grid_of("table5", ONE), "markdown")
    assert r"| w/ CutMix\*\* (100%) |" in shown
    assert "| Teacher<br>Student | WRN-40-2<br>WRN-16-2 |" in shown
    assert re.search(r"\| \*\*\d\d\.\d\d\*\* ± \d+\.\d\d <sub>\(\d\d\.\d\d\)</sub> \|", shown)


class Reader(HTMLParser):
    """Checks that tags close in order; keeps the words and the number of entries in each row."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[int] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in ("script", "link", "img"), "the page must need no other file"
        if tag != "meta":
            self.open.append(tag)
        if tag == "tr":
            self.rows.append(0)
        if tag in ("td", "th"):
            self.rows[-1] += 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_html_is_whole_and_escaped() -> None:
    reader = Reader()
    reader.feed(render(grid_of("table5", Settings()), "html"))
    assert reader.open == []
    assert set(reader.rows) == {7}
    sheet = nasty_sheet()
    reader = Reader()
    reader.feed(html(sheet))
    assert NASTY in "".join(reader.words)
    assert reader.open == []


def test_text_puts_the_papers_numbers_below_where_they_do_not_fit_beside() -> None:
    sheet = make_sheet(grid_of("table5", Settings()))
    assert re.search(r"^KD\* +\S+ ± \S+ \(74\.92‡\)", text(sheet, width=250), re.M)
    narrow = text(sheet)
    assert re.search(r"^ +\(74\.92‡\) +\(70\.66‡\)", narrow, re.M)
    assert max(len(line) for line in narrow.splitlines()) <= 120
    assert text(sheet).count("[") == 6 * 2 + 0, "one best number in each block and column"


def test_names_as_the_paper_prints_them() -> None:
    printed = {"wrn_40_2": "WRN-40-2", "resnet32x4": "ResNet32x4", "resnet8": "ResNet8", "vgg13": "VGG13"}
    printed |= {"MobileNetV2": "MobileNetV2", "ShuffleV1": "ShuffleNetV1", "ShuffleV2": "ShuffleNetV2"}
    printed |= {"ResNet50": "ResNet50", "my_net": "my_net"}
    assert {name: names.network(name) for name in printed} == printed


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_of_every_table_with_nothing_in_it(form: str) -> None:
    for table in paper.tables().values():
        assert render(make_grid(resolve(table, ONE), {}), form)
