"""The published numbers against the paper's text, number by number, and against each other."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from analysis import paper
from analysis.record.settings import Settings
from analysis.table import names, published
from analysis.table.resolved import resolve
from trainables import recipes
from trainables.recipes import (
    CIFAR100,
    IMAGENET_34_18,
    IMAGENET_50_MV1,
    RESNET_32X4_SV2,
    RESNET_110_32,
    VGG_13_8,
    VGG_13_MV2,
    WRN_40_2_40_1,
    Pair,
)

BENCHMARK = {"student", "kd", "fitnet", "at", "pkt", "rkd", "vid", "crd"}
"""The rows of Tables 1 and 2 that RepDistiller's benchmark measured on its own teachers."""
TABLES = (*(f"table{number}" for number in range(1, 9)), "table13")
ROWS = {
    **{name: name.lower() for name in ("FitNet", "PKT", "RKD", "CRD", "AT", "VID", "OFD", "ReviewKD", "DML", "TAKD")},
    "Energy KD": "energy_kd",
    "DKD": "dkd",
    "Energy DKD": "energy_dkd",
    "Multi KD": "multi",
    "Energy Multi": "energy_multi",
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
    known = [pair for pair in vars(recipes).values() if isinstance(pair, Pair)]
    shown = {(names.network(pair.teacher), names.network(pair.student)): pair for pair in known}
    printed = [[re.sub(r"^(VGG|ResNet)[ -]", r"\1", name) for name in row] for row in (teachers, students)]
    return [shown[pair] for pair in zip(*printed, strict=True)]


def check_accuracies(table: str, pairs: list[Pair], teachers: list[str], students: list[str]) -> None:
    assert numbers(table, "main", "teacher", pairs) == teachers
    assert numbers(table, "main", "student", pairs) == students


def tables_1_and_2(data: Path) -> tuple[list[list[str]], list[list[str]]]:
    """Their lines, which the paper prints one after the other, without the empty column of the second."""
    lines = [[entry for entry in line if entry] for line in paper_lines(data, "4.2 Effect of", "Table 1 displays")]
    assert len(lines) == 40
    return lines[:20], lines[20:]


def test_table_1(ekd_data: Path) -> None:
    (teachers, accuracies, students, alone, *lines), _ = tables_1_and_2(ekd_data)
    pairs = columns(teachers[1:], students[1:])
    check_accuracies("table1", pairs, accuracies[1:], alone[1:])
    for line in lines:
        assert numbers("table1", "main", ROWS[line[0]], pairs) == line[1:]
    assert len(published.published("table1")) == 18 * 6


def test_table_2_but_for_the_teacher_that_the_paper_misnames(ekd_data: Path) -> None:
    _, (teachers, accuracies, students, alone, *lines) = tables_1_and_2(ekd_data)
    wrong = teachers.index("ResNet56")
    assert accuracies[wrong] == "79.34"
    teachers[wrong] = "ResNet50"
    pairs = columns(teachers[1:], students[1:])
    check_accuracies("table2", pairs, accuracies[1:], alone[1:])
    for line in lines:
        assert numbers("table2", "main", ROWS[line[0]], pairs) == line[1:]
    assert len(published.published("table2")) == 18 * 5
    for number in published.published("table2").values():
        assert ("misprinted ResNet56" in number.source) == (number.teacher == "ResNet50")


def test_table_3(ekd_data: Path) -> None:
    _, *lines = paper_lines(ekd_data, "a pathway to further enhance performance", "Table 3 presents")
    assert len(lines) == 2 * 3
    for pair, (heads, top1, top5) in ((IMAGENET_50_MV1, lines[:3]), (IMAGENET_34_18, lines[3:])):
        rows = [{"Teacher": "teacher", "Student": "student"}.get(head) or ROWS[head] for head in heads[1:]]
        for part, line in (("top1", top1), ("top5", top5)):
            assert [numbers("table3", part, row, [pair])[0] for row in rows] == line[1:]
    assert [line[0] for line in lines] == ["R50-MV1", "Top-1", "Top-5", "R34-R18", "Top-1", "Top-5"]
    assert len(published.published("table3")) == 2 * 9 * 2


def test_table_4(ekd_data: Path) -> None:
    teachers, students, *lines = paper_lines(ekd_data, "Table 4 demonstrates", "4.4 Contribution")
    left, right = columns(teachers[1:3], students[1:3]), columns(teachers[4:], students[4:])
    assert len(lines) == 3
    for line in lines:
        assert numbers("table4", "left", ROWS[line[0]], left) == line[1:3]
        assert numbers("table4", "right", ROWS[line[3]], right) == line[4:]
    assert len(published.published("table4")) == 3 * 2 + 3 * 4


@pytest.mark.parametrize(
    ("table", "after", "until"),
    [("table5", "4.4 Contribution", "Table 5 showcases"), ("table6", "across all models.", "We extended our")],
)
def test_tables_5_and_6(table: str, after: str, until: str, ekd_data: Path) -> None:
    teachers, accuracies, students, alone, *lines = paper_lines(ekd_data, after, until)
    pairs = columns(teachers[1:], students[1:])
    check_accuracies(table, pairs, accuracies[1:], alone[1:])
    assert len(lines) == 13
    block = "kd"
    for line in lines:
        block = ROWS[line[0]] if line[0] in ("KD*", "DKD*") else block
        here = {"w/ CutMix** (100%)": "_cutmix", "w/ HE-DA ()": "_he_da"}
        row = ROWS.get(line[0]) or block + here.get(line[0], "")
        row = {"*": f"* {block}", "**": f"** {block}_cutmix"}.get(line[0], row)
        assert numbers(table, "main", row, pairs) == line[1:], line
    assert len(published.published(table)) == 15 * 6


def test_table_7(ekd_data: Path) -> None:
    rates, increases = paper_lines(ekd_data, "4.7 Computational Costs", "4.8 Long-tailed Dataset")
    found = {key[1]: number for key, number in published.published("table7").items()}
    rows = {row.label: row.key for row in paper.find("table7").parts[0].rows}
    labels = [rate for rate in rates if rate]
    printed = {f"{rows[rate]} over kd_he_da_10": text for rate, text in zip(labels, increases[1:], strict=True)}
    assert {row: f"{number.text}%" for row, number in found.items()} == printed


def test_table_8(ekd_data: Path) -> None:
    teachers, students, *lines = paper_lines(ekd_data, "4.8 Long-tailed Dataset", "5 Conclusions")
    pairs = columns(teachers[1:], students[1:])
    assert len(lines) == 4
    for line in lines:
        assert numbers("table8", "main", ROWS[line[0]], pairs) == line[1:]
    assert len(published.published("table8")) == 4 * 4


def test_table_13(ekd_data: Path) -> None:
    teachers, students, *lines = paper_lines(ekd_data, "B.2 High Energy", "For energy-based data")
    pairs = columns(teachers[1:], students[1:])
    assert len(lines) == 6
    for line in lines:
        assert numbers("table13", "main", ROWS[line[0]], pairs) == line[1:]
    assert len(published.published("table13")) == 6 * 6


@pytest.mark.parametrize("table", ["table5", "table6"])
def test_the_papers_differences_are_those_of_its_rows(table: str) -> None:
    part = paper.find(table).parts[0]
    for pair in CIFAR100.pairs:
        for block in part.blocks:
            for derived in block.differences:
                best = max(published.find(table, "main", row, pair) or 0 for row in derived.best)
                minus = published.find(table, "main", derived.minus, pair)
                printed = published.find(table, "main", derived.key, pair)
                assert minus is not None
                assert printed == pytest.approx(best - minus, abs=1e-9)


def gains(names: tuple[str, ...], row: str, over: str, part: str = "main") -> dict[Pair, float]:
    """How much one published row is above another, in each column of some tables."""
    return {
        Pair(number.teacher, number.student): round(
            number.value - known[part, over, number.teacher, number.student].value, 2
        )
        for known in map(published.published, names)
        for number in known.values()
        if (number.part, number.row) == (part, row)
    }


def highest(table: str, mark: str) -> float:
    """The largest of a table's differences of one kind (`* kd`)."""
    return max(number.value for number in published.published(table).values() if number.row == mark)


def test_the_gains_that_the_papers_text_claims(ekd_data: Path) -> None:
    text = (ekd_data / "paper" / "energy_kd.txt").read_text()
    both = ("table1", "table2")
    kd, dkd, multi = (max(gains(both, f"energy_{row}", row).values()) for row in ("kd", "dkd", "multi"))
    assert f"(Energy KD) yields a performance gain of up to {kd:.1f}." in text
    assert f"(Energy DKD and Energy Multi), we observe performance gains of up to {dkd:.1f} and {multi:.1f}," in text
    review, plain = (max(gains(("table3",), "energy_dkd", row, "top1").values()) for row in ("reviewkd", "dkd"))
    assert f"up to {review:.1f}% over ReviewKD and up to {plain:.2f}% over DKD" in text
    five = [highest("table5", mark) for mark in ("* kd", "** kd_cutmix", "* dkd", "** dkd_cutmix")]
    assert "up to {} over vanilla KD and up to {} over that of data augmentation on the full".format(*five) in text
    assert f"up to {five[2]} over the baseline DKD and a performance improvement of up to {five[3]} over" in text
    six = [highest("table6", mark) for mark in ("* kd", "** kd_cutmix", "* dkd", "** dkd_cutmix")]
    assert "up to {} over vanilla KD and up to {} over 100% data augmentation".format(*six) in text
    assert f"up to {six[2]} over basic DKD and up to {six[3]} over 100% data augmentation" in text


def test_where_the_papers_text_claims_more_than_its_numbers(ekd_data: Path) -> None:
    text = (ekd_data / "paper" / "energy_kd.txt").read_text()
    assert "our method to previous logit-based KD results in higher performance" in text
    none = [pair for pair, gain in gains(("table1", "table2"), "energy_dkd", "dkd").items() if gain <= 0]
    assert none == [RESNET_110_32]
    assert "ResNet110/ResNet32 equals its DKD" in paper.find("table1").paper_note
    assert "our method outperforms 100% data augmentation despite applying only 20%" in text
    below = [pair for pair, gain in gains(("table6",), "kd_he_da_20", "kd_cutmix").items() if gain <= 0]
    assert below == [VGG_13_8, VGG_13_MV2]
    assert "not for VGG13/VGG8 and VGG13/MobileNetV2" in paper.find("table6").paper_note
    assert "the test set consists of 5,000 images" in text
    assert "50,000" in paper.find("table3").paper_note


def test_numbers_that_look_like_misprints() -> None:
    known = published.published("table2")
    (ofd,) = numbers("table2", "main", "ofd", [RESNET_32X4_SV2])
    assert float(ofd) < known["main", "student", "resnet32x4", "ShuffleV2"].value
    assert numbers("table2", "main", "takd", [VGG_13_MV2]) == numbers("table2", "main", "dml", [VGG_13_MV2])
    assert numbers("table1", "main", "pkt", [WRN_40_2_40_1]) == numbers("table1", "main", "kd", [WRN_40_2_40_1])
    for name, word in (("table2", "69.82"), ("table2", "65.63"), ("table2", "ResNet56"), ("table1", "73.54")):
        assert word in paper.find(name).paper_note


def test_the_same_run_has_the_same_number_in_every_table_of_the_papers_but_one() -> None:
    seen: dict[tuple[str, str, str], dict[str, str]] = {}
    for name in ("table1", "table2", "table4", "table5", "table13"):
        for number in published.published(name).values():
            seen.setdefault((number.row, number.teacher, number.student), {})[name] = number.text
    differ = {key: found for key, found in seen.items() if len(set(found.values())) > 1}
    assert list(differ) == [("kd", "wrn_40_2", "wrn_16_2")]


def copied(name: str) -> set[str]:
    """The rows of which some number is from earlier papers."""
    return {number.row for number in published.published(name).values() if number.copied}


def test_rows_copied_from_earlier_papers_say_so() -> None:
    alone = {"teacher", "student"}
    before = BENCHMARK | {"teacher", "ofd", "reviewkd", "dml", "takd", "dkd", "multi"}
    assert {name: copied(name) for name in TABLES} == {
        "table1": before,
        "table2": before,
        "table3": alone | {"at", "ofd", "crd", "reviewkd", "kd", "dkd"},
        "table4": {"kd"},
        "table5": alone | {"kd", "kd_cutmix", "dkd", "dkd_cutmix"},
        "table6": alone | {"kd", "kd_cutmix", "dkd_cutmix"},
        "table7": set(),
        "table8": set(),
        "table13": {"kd"},
    }


def test_a_number_that_one_table_copies_is_copied_wherever_it_stands_again() -> None:
    known = [n for name in TABLES if paper.find(name).dataset == "cifar100" for n in published.published(name).values()]
    from_earlier = {(n.row, n.teacher, n.student, n.text) for n in known if n.copied}
    for number in known:
        assert number.copied == ((number.row, number.teacher, number.student, number.text) in from_earlier), number
    own = [(n.row, n.student) for n in published.published("table4").values() if n.row == "kd" and not n.copied]
    assert own == [("kd", "wrn_16_2")], "75.06 there, 74.92 where it is copied"


def test_a_number_copied_as_in_another_table_is_the_one_that_stands_there() -> None:
    again = [
        (number, match[1])
        for name in TABLES
        for number in published.published(name).values()
        if (match := re.search(r"as in Table (\d+)\)", number.source))
    ]
    assert len(again) == 3 + 4 * 6 + 6
    for number, table in again:
        other = published.find(f"table{table}", "main", number.row, Pair(number.teacher, number.student))
        assert other == number.value


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
            *(f"{row.key} over {base}" for row in block.rows for base in table.kind.baselines),
        )
    }
    settings = Settings(dataset=table.dataset)
    pairs = {(pair.teacher, pair.student) for part in resolve(table, settings).parts for pair in part.pairs}
    for number in published.published(name).values():
        assert (number.part, number.row) in rows
        assert (number.teacher, number.student) in pairs | {("", "")}
        assert re.match(rf"Energy KD paper, Table {name.removeprefix('table')}\b", number.source)
        assert re.fullmatch(r"[+-]?\d+\.\d+", number.text)


@pytest.mark.parametrize("name", TABLES)
def test_no_number_is_there_twice(name: str) -> None:
    with open(published.FOLDER / f"{name}.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    kinds = [] if name == "table7" else ["epoch", "runs"]
    assert list(lines[0]) == ["part", "row", "teacher", "student", "value", *kinds, "source"]
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
