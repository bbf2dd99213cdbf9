"""The published numbers against the paper's text, number by number, and against each other."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from analysis import names, paper, published
from analysis.layout import chosen_pairs
from analysis.settings import Settings
from trainables.recipes import Pair

TABLES = ("table4", "table5", "table7", "table13")
ROWS = {
    "Low-": "low",
    "High-": "high",
    "Ours": "energy_kd",
    "KD": "kd",
    "Gradation": "gradation",
    "KD*": "kd",
    "DKD*": "dkd",
    "KD+MixUp (100%)": "kd_mixup",
    **{f"w/ HE-DA ({rate}%)": f"kd_he_da_{rate}" for rate in (20, 30, 40, 50)},
    **{f"HE-MixUp ({rate}%)": f"kd_he_mixup_{rate}" for rate in (20, 30, 40, 50)},
}


def paper_lines(data: Path, after: str, until: str) -> list[list[str]]:
    """The piped lines of the paper's text between two sentences, as entries."""
    text = (data / "paper" / "energy_kd.txt").read_text()
    start = text.index(after)
    lines = [line for line in text[start : text.index(until, start)].splitlines() if "|" in line and "---" not in line]
    return [[entry.strip() for entry in line.strip().strip("|").split("|")] for line in lines]


def numbers(table: str, part: str, row: str, pairs: list[Pair]) -> list[str]:
    known = published.published(table)
    return [known[part, row, pair.teacher, pair.student].text for pair in pairs]


def columns(teachers: list[str], students: list[str]) -> list[Pair]:
    """The pairs that a table of the paper names, in its order."""
    known = Settings().recipe.pairs
    shown = {(names.network(pair.teacher), names.network(pair.student)): pair for pair in known}
    printed = [[re.sub(r"^(VGG|ResNet)[ -]", r"\1", name) for name in row] for row in (teachers, students)]
    return [shown[pair] for pair in zip(*printed, strict=True)]


def test_table_4(ekd_data: Path) -> None:
    teachers, students, *lines = paper_lines(ekd_data, "Table 4 demonstrates", "4.4 Contribution")
    left, right = columns(teachers[1:3], students[1:3]), columns(teachers[4:], students[4:])
    assert len(lines) == 3
    for line in lines:
        assert numbers("table4", "left", ROWS[line[0]], left) == line[1:3]
        assert numbers("table4", "right", ROWS[line[3]], right) == line[4:]
    assert len(published.published("table4")) == 3 * 2 + 3 * 4


def test_table_5(ekd_data: Path) -> None:
    teachers, accuracies, students, alone, *lines = paper_lines(ekd_data, "4.4 Contribution", "Table 5 showcases")
    pairs = columns(teachers[1:], students[1:])
    assert numbers("table5", "main", "teacher", pairs) == accuracies[1:]
    assert numbers("table5", "main", "student", pairs) == alone[1:]
    assert len(lines) == 13
    block = "kd"
    for line in lines:
        block = ROWS[line[0]] if line[0] in ("KD*", "DKD*") else block
        here = {"w/ CutMix** (100%)": "_cutmix", "w/ HE-DA ()": "_he_da"}
        row = ROWS.get(line[0]) or block + here.get(line[0], "")
        row = {"*": f"* {block}", "**": f"** {block}_cutmix"}.get(line[0], row)
        assert numbers("table5", "main", row, pairs) == line[1:], line
    assert len(published.published("table5")) == 15 * 6


def test_table_7(ekd_data: Path) -> None:
    rates, increases = paper_lines(ekd_data, "4.7 Computational Costs", "4.8 Long-tailed Dataset")
    found = {key[1]: number for key, number in published.published("table7").items()}
    rows = {row.label: row.key for row in paper.find("table7").parts[0].rows}
    labels = [rate for rate in rates if rate]
    printed = {f"{rows[rate]} over kd_he_da_10": text for rate, text in zip(labels, increases[1:], strict=True)}
    assert {row: f"{number.text}%" for row, number in found.items()} == printed


def test_table_13(ekd_data: Path) -> None:
    teachers, students, *lines = paper_lines(ekd_data, "B.2 High Energy", "For energy-based data")
    pairs = columns(teachers[1:], students[1:])
    assert len(lines) == 6
    for line in lines:
        assert numbers("table13", "main", ROWS[line[0]], pairs) == line[1:]
    assert len(published.published("table13")) == 6 * 6


def test_the_papers_differences_are_those_of_its_rows() -> None:
    part = paper.find("table5").parts[0]
    for pair in chosen_pairs(part, Settings()):
        for block in part.blocks:
            for derived in block.differences:
                best = max(published.find("table5", "main", row, pair) or 0 for row in derived.best)
                minus = published.find("table5", "main", derived.minus, pair)
                printed = published.find("table5", "main", derived.key, pair)
                assert minus is not None
                assert printed == pytest.approx(best - minus, abs=1e-9)


@pytest.mark.parametrize("name", TABLES)
def test_every_number_has_a_place_in_its_table_and_a_source(name: str) -> None:
    table = paper.find(name)
    rows = {
        (part.key, key)
        for part in table.parts
        for block in part.blocks
        for key in (
            *("teacher", "student"),
            *(row.key for row in block.rows),
            *(derived.key for derived in block.differences),
            *(f"{row.key} over {base}" for row in block.rows for base in table.baselines),
        )
    }
    pairs = {(pair.teacher, pair.student) for part in table.parts for pair in chosen_pairs(part, Settings())}
    for number in published.published(name).values():
        assert (number.part, number.row) in rows
        assert (number.teacher, number.student) in pairs | {("", "")}
        assert re.match(rf"Energy KD paper, Table {name.removeprefix('table')}\b", number.source)
        assert re.fullmatch(r"[+-]?\d+\.\d+", number.text)


@pytest.mark.parametrize("name", TABLES)
def test_no_number_is_there_twice(name: str) -> None:
    with open(published.FOLDER / f"{name}.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == ["part", "row", "teacher", "student", "value", "source"]
    assert len(lines) == len(published.published(name))


def test_where_the_paper_contradicts_itself() -> None:
    pair = Pair("wrn_40_2", "wrn_16_2")
    shown = [published.find(table, part, "kd", pair) for table, part in (("table4", "right"), ("table5", "main"))]
    assert shown == [75.06, 74.92]
    assert published.find("table13", "main", "kd", pair) == 74.92


def test_what_the_paper_does_not_give() -> None:
    assert published.published("figure3") == {}
    assert published.find("table5", "main", "kd", Pair("wrn_16_2", "resnet8")) is None
    assert published.find("table7", "main", "kd_cutmix over kd_he_da_10", Pair("any", "pair")) == 33.26
