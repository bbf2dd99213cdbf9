"""The resolved protocol: every number of every run must be found in it, and in the right row."""

from __future__ import annotations

import pytest
from made_up import cells

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.protocol import protocol
from analysis.table.resolved import resolve


def row(table: str, key: str, settings: Settings) -> dict[str, str]:
    found = protocol(resolve(paper.find(table), settings))
    (line,) = [line for line in found.rows if line[0] == key]
    return dict(zip(found.heads, line, strict=True))


def test_table5_says_the_papers_numbers_once() -> None:
    found = protocol(resolve(paper.find("table5"), Settings()))
    assert found.heads == ["row", "method", "T", "mixing"]
    assert found.common == (
        "epochs 240, lr 0.05 [1], x 0.1, after 150 180 210, batch 64, momentum 0.9, weight decay 0.0005, "
        "augmentation crop_flip, precision fp32, low and high energy by view, train fraction 1"
    )
    assert found.notes[0] == "[1] 0.01 for MobileNetV2, ShuffleV2"
    assert [line[0] for line in found.rows][-1] == "(no teacher)"


def test_what_differs_between_pairs_is_noted() -> None:
    found = protocol(resolve(paper.find("table5"), Settings()))
    line = row("table5", "dkd_he_da", Settings())
    assert line["method"].startswith("dkd, alpha 1, beta 6 [2]")
    assert line["mixing"] == "cutmix high 50 % [3], alpha 1"
    assert found.notes[1:] == ["[2] 2 for resnet20; 8 for ShuffleV2, resnet8x4", "[3] high 40 % for resnet20"]


@pytest.mark.parametrize(
    ("key", "temperature"),
    [
        ("kd", "4"),
        ("energy_kd", "low energy 6, other 4, high 2, r 0.2"),
        ("low", "low energy 6, other 4, high 4, r 0.2"),
        ("high", "low energy 4, other 4, high 2, r 0.2"),
        ("gradation", "from low to high energy 6 5.56 5.11 4.67 4.22 3.78 3.33 2.89 2.44 2"),
    ],
)
def test_temperatures_by_energy(key: str, temperature: str) -> None:
    assert row("table4", key, Settings(dataset="digits"))["T"] == temperature


def test_the_reversed_direction_is_said() -> None:
    settings = Settings(dataset="digits", rows=("energy_kd",), overrides=(("temperature.rule", '"reversed"'),))
    found = protocol(resolve(paper.find("table4"), settings))
    assert "T low energy 2, other 4, high 6, r 0.2" in found.common


def test_long_and_short_schedules_stand_in_their_rows() -> None:
    assert row("table4", "energy_kd", Settings())["epochs"] == "360"
    assert row("table4", "kd", Settings())["after"] == "150 180 210"


def test_overrides_and_shortening_are_resolved() -> None:
    settings = Settings(epochs=24, batch_size=128, overrides=(("lr", "0.1"),))
    common = protocol(resolve(paper.find("table13"), settings)).common
    assert "epochs 24, lr 0.1, x 0.1, after 15 18 21, batch 128" in common


def test_a_cost_table_says_its_few_epochs() -> None:
    assert "epochs 4" in protocol(resolve(paper.find("table7"), Settings())).common


@pytest.mark.parametrize(
    ("table", "key", "temperature"),
    [
        ("table1", "fitnet", "-"),
        ("table1", "dml", "-"),
        ("table1", "multi", "2 3 4 5 6"),
        (
            "table1",
            "energy_multi",
            "low energy 3 4.5 6 7.5 9, other 2 3 4 5 6, high 1 1.5 2 2.5 3, r 0.2",
        ),
        ("table3", "at", "-"),
        ("table3", "kd", "1"),
    ],
)
def test_only_methods_with_a_temperature_have_one(table: str, key: str, temperature: str) -> None:
    assert row(table, key, Settings(dataset=""))["T"].split(" [")[0] == temperature


def test_who_teaches_is_said_where_it_is_not_the_pairs_teacher() -> None:
    pair = Settings(pairs=("resnet110/resnet32",))
    assert row("table1", "kd", pair)["taught by"] == "-"
    assert row("table1", "takd", pair)["taught by"] == "resnet56, taught by the teacher"
    assert row("table1", "dml", pair)["taught by"] == "resnet110, a peer"


def test_a_peers_learning_rate_is_said() -> None:
    pair = Settings(pairs=("wrn_40_2/ShuffleV1",))
    assert row("table2", "dml", pair)["lr"] == "0.01, of the peer 0.05"
    assert row("table2", "kd", pair)["lr"] == "0.01"


def test_images_and_their_labels_are_described_where_they_are_not_the_usual() -> None:
    both = Settings(overrides=(("mixing.target", "both"),))
    assert row("table5", "dkd_cutmix", both)["mixing"] == "cutmix all, alpha 1, target both"
    assert row("table5", "kd_cutmix", both)["mixing"] == "cutmix all, alpha 1"
    common = protocol(resolve(paper.find("table6"), Settings(dataset=""))).common
    assert "augmentation crop8_flip, normalisation imagenet," in common
    assert "normalisation" not in protocol(resolve(paper.find("table5"), Settings())).common


def test_a_long_tail_is_said() -> None:
    assert "long tail 0.5," in protocol(resolve(paper.find("table8"), Settings(dataset=""))).common
    assert "long tail" not in protocol(resolve(paper.find("table1"), Settings())).common


@pytest.mark.parametrize("key", [key for key, table in paper.tables().items() if table.kind.trains])
def test_runs_that_differ_have_lines_that_differ(key: str) -> None:
    """Pair by pair, so that no note hides anything. Runs for their timing say so in the caption."""
    table = paper.find(key)
    for pair in {cell.pair.key for cell in cells(table, Settings(dataset=""))}:
        settings = Settings(dataset="", pairs=(pair,), seeds=1)
        ids = {cell.row: cell.specs[0].run_id for cell in cells(table, settings)}
        lines = {label: tuple(words) for label, *words in protocol(resolve(table, settings)).rows if label in ids}
        assert len(set(lines.values())) == len(set(ids.values())), pair


def test_rows_that_were_not_asked_for_are_left_out() -> None:
    assert [line[0] for line in protocol(resolve(paper.find("table5"), Settings(rows=("kd",)))).rows] == [
        "kd",
        "(no teacher)",
    ]
