"""The tables as data: found by looking into their folder, and what each row of them trains."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from few import fast
from made_up import cells

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.layout import Table
from trainables import datasets
from trainables.errors import UserError
from trainables.recipes import RESNET_32X4_8X4, RESNET_56_20, WRN_40_2_16_2
from trainables.spec import RunSpec

A_TABLE_OF_ONES_OWN = """
from analysis.table.layout import Block, Part, Row, Table
from trainables import datasets
from trainables.recipes import kd

TABLE = Table(
    key="table99",
    title="Table 99: my own",
    parts=(Part("main", "", lambda recipe: recipe.pairs[:1], (Block((Row("kd", "KD", lambda r, p: kd(r)),)),)),),
    caption="Mine.",
)
"""


def specs(table: Table, part: str, row: str, **settings: object) -> list[RunSpec]:
    asked = Settings(seeds=1, **settings)  # type: ignore[arg-type]
    return [cell.specs[0] for cell in cells(table, asked) if (cell.part, cell.row) == (part, row)]


def test_every_module_is_a_table_under_its_own_name() -> None:
    files = {path.stem for path in Path(paper.__file__).parent.glob("*.py")} - {"__init__", "claims"}
    assert set(paper.tables()) == files
    assert {name: table.key for name, table in paper.tables().items()} == {name: name for name in files}
    numbered = [name for name in paper.tables() if name.startswith("table")]
    assert numbered == sorted(numbered, key=lambda name: int(name.removeprefix("table")))


def test_adding_a_table_is_adding_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table99.py").write_text(A_TABLE_OF_ONES_OWN)
    monkeypatch.setattr(paper, "__path__", [*paper.__path__, str(tmp_path)])
    paper.tables.cache_clear()
    try:
        assert paper.find("table99").caption == "Mine."
        assert len(cells(paper.find("table99"), Settings(dataset="digits"))) == 1
    finally:
        paper.tables.cache_clear()


def test_an_unknown_table_names_the_closest_and_those_there_are() -> None:
    with pytest.raises(UserError, match=r"^unknown table 'tabel13' \(did you mean table13\?\): there is") as error:
        paper.find("tabel13")
    assert all(name in str(error.value) for name in paper.tables())
    assert paper.find("Table5") is paper.find("table5")


def test_table_4_gives_another_temperature_to_one_end_or_both() -> None:
    """Eq. 14 to 16: both {6, 4, 2}, low only {6, 4, 4}, high only {4, 4, 2}; on the longer schedule of Energy KD."""
    table = paper.find("table4")
    rules = {"low": "low", "high": "high", "energy_kd": "energy"}
    for row, rule in rules.items():
        for spec in specs(table, "left", row):
            temperature = spec.temperature
            assert (temperature.base, temperature.plus, temperature.minus) == (4, 2, -2)
            assert (temperature.rule, spec.epochs) == (rule, 360)
            assert temperature.rate == (0.3 if spec.student == "resnet8x4" else 0.2)
    for spec in specs(table, "right", "gradation"):
        values = spec.temperature.values
        assert (len(values), values[0], values[-1]) == (10, 6, pytest.approx(2))
        assert {round(a - b, 9) for a, b in itertools.pairwise(values)} == {round(4 / 9, 9)}
    assert {spec.epochs for spec in specs(table, "right", "kd")} == {240}


def test_table_13_is_table_5_with_mixup() -> None:
    mixed = specs(paper.find("table13"), "main", "kd_he_mixup_30")
    assert [(s.mixing.operation, s.mixing.selection, s.mixing.rate, s.mixing.alpha) for s in mixed if s.mixing] == [
        ("mixup", "high", 0.3, 0.2)
    ] * 6
    assert {s.mixing.selection for s in specs(paper.find("table13"), "main", "kd_mixup") if s.mixing} == {"all"}


def test_figure_3_shares_the_runs_that_table_5_has() -> None:
    pair = f"{WRN_40_2_16_2.teacher}/{WRN_40_2_16_2.student}"
    for row in ("kd", "kd_cutmix", *(f"kd_he_da_{rate}" for rate in (20, 30, 40, 50))):
        (figure,) = specs(paper.find("figure3"), "main", row)
        (table,) = specs(paper.find("table5"), "main", row, pairs=(pair,))
        assert figure.run_id == table.run_id
    selections = {row: specs(paper.find("figure3"), "main", row)[0].mixing for row in ("kd_le_da_10", "kd_half_da_10")}
    assert {m.selection: m.rate for m in selections.values() if m} == {"low": 0.1, "half": 0.1}


def test_the_kd_rows_of_tables_1_2_4_5_and_13_are_the_same_runs() -> None:
    one, two, right, five, thirteen = (
        {spec.student: spec.run_id for spec in specs(paper.find(name), part, "kd")}
        for name, part in (
            *(("table1", "main"), ("table2", "main"), ("table4", "right"), ("table5", "main"), ("table13", "main")),
        )
    )
    assert five == thirteen
    assert len(set(five.values()) & set(one.values())) == 4
    assert len(set(five.values()) & set(two.values())) == 2
    assert right == {student: five[student] for student in right}
    assert len(right) == 4


def test_table_7_times_short_runs_of_its_own() -> None:
    table = paper.find("table7")
    timed = [cell.specs[0] for cell in cells(table, Settings())]
    assert [spec.mixing.rate if spec.mixing else 0 for spec in timed] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 1.0]
    assert {(spec.timing, spec.epochs, spec.teacher, spec.student) for spec in timed} == {
        (True, 4, RESNET_32X4_8X4.teacher, RESNET_32X4_8X4.student)
    }
    assert {spec.epochs for cell in cells(table, Settings(epochs=9)) for spec in cell.specs} == {9}


def test_without_the_papers_data_the_columns_are_the_recipes() -> None:
    digits = Settings(dataset="digits", seeds=1)
    pairs = {name: list(dict.fromkeys(cell.pair for cell in cells(t, digits))) for name, t in paper.tables().items()}
    assert pairs["table4"] == pairs["table5"] == pairs["table13"] == list(digits.recipe.pairs)
    assert pairs["table7"] == pairs["figure3"] == list(digits.recipe.pairs[:1])
    own = Settings(dataset="imagefolder", data="0" * 64)
    assert {cell.pair for cell in cells(paper.find("table5"), own)} >= {RESNET_56_20, WRN_40_2_16_2}


def test_tables_1_and_2_compare_sixteen_methods_on_eleven_pairs() -> None:
    one, two = (cells(paper.find(name), Settings(seeds=1)) for name in ("table1", "table2"))
    assert [len({cell.pair for cell in table}) for table in (one, two)] == [6, 5]
    assert [cell.row for cell in one if cell.pair == one[0].pair] == [
        cell.row for cell in two if cell.pair == two[0].pair
    ]
    methods = {cell.row: cell.specs[0].method for cell in one}
    assert {row: method for row, method in methods.items() if row != method} == {
        "takd": "kd",
        "energy_kd": "kd",
        "energy_dkd": "dkd",
        "energy_multi": "multi",
    }
    assert len({spec.run_id for cell in (*one, *two) for spec in cell.specs}) == 16 * 11


def test_multi_level_kd_has_its_own_rate_and_length_in_its_runs() -> None:
    found = {
        (spec.teacher, spec.student): (spec.lr, spec.epochs, spec.milestones)
        for name in ("table1", "table2")
        for spec in specs(paper.find(name), "main", "energy_multi")
    }
    assert found["vgg13", "vgg8"] == (0.025, 240, (150, 180, 210))
    assert found["vgg13", "MobileNetV2"] == (0.01, 480, (150, 180, 210))
    assert found["resnet32x4", "ShuffleV1"] == (0.01, 960, (150, 180, 210))
    short = {spec.student: spec.milestones for spec in specs(paper.find("table1"), "main", "multi", epochs=24)}
    assert short["vgg8"] == (15, 18, 21)
    short = {spec.student: spec.milestones for spec in specs(paper.find("table2"), "main", "multi", epochs=96)}
    assert short == {"MobileNetV2": (30, 36, 42), "ShuffleV1": (15, 18, 21), "ShuffleV2": (15, 18, 21)}


def test_table_3_shows_two_numbers_of_the_same_runs() -> None:
    table = paper.find("table3")
    assert [(part.key, part.number) for part in table.parts] == [("top1", "top1"), ("top5", "top5")]
    runs = [
        [specs(table, part, row.key, dataset="imagenet") for row in table.parts[0].rows] for part in ("top1", "top5")
    ]
    assert runs[0] == runs[1]
    every = [spec for row in runs[0] for spec in row]
    assert {(s.epochs, s.milestones, s.lr, s.batch_size, s.weight_decay, s.augmentation) for s in every} == {
        (150, (30, 60, 90, 120), 0.1, 256, 1e-4, "random_resized_crop_flip")
    }
    assert {spec.temperature.base for spec in specs(table, "top1", "kd", dataset="imagenet")} == {1}
    (temperature,) = {spec.temperature for spec in specs(table, "top1", "energy_dkd", dataset="imagenet")}
    assert (temperature.base + temperature.plus, temperature.base, temperature.base + temperature.minus) == (3, 2, 1)


def test_table_6_is_table_5_on_another_data_set() -> None:
    five, six = paper.find("table5"), paper.find("table6")
    assert six.parts is five.parts
    there = [cell.specs[0] for cell in cells(six, Settings(dataset="tinyimagenet", seeds=1))]
    here = [cell.specs[0] for cell in cells(five, Settings(seeds=1))]
    assert [(s.student, s.params, s.mixing, s.epochs) for s in there] == [
        (s.student, s.params, s.mixing, s.epochs) for s in here
    ]
    assert {spec.dataset for spec in there} == {"tinyimagenet"}


def test_table_8_has_the_temperatures_of_table_11() -> None:
    found = {
        spec.student: (spec.temperature.plus, spec.temperature.minus, spec.temperature.rate)
        for spec in specs(paper.find("table8"), "main", "energy_kd", dataset="cifar100_lt")
    }
    assert found == {
        "resnet8x4": (2, -2, 0.2),
        "vgg8": (1, -1, 0.2),
        "MobileNetV2": (1, -1, 0.2),
        "ShuffleV2": (2, -2, 0.2),
    }


def test_the_direction_table_shares_its_runs_with_table_4_and_the_methods() -> None:
    table = paper.find("direction")
    assert [row.key for row in table.parts[0].rows] == [
        "kd",
        "energy_kd",
        "energy_kd_reversed",
        "low",
        "high",
        "gradation",
    ]
    for row, other, part in (
        *(("low", "table4", "left"), ("gradation", "table4", "right"), ("energy_kd_reversed", "methods", "main")),
    ):
        shared = {spec.run_id for spec in specs(paper.find(other), part, row)}
        assert shared <= {spec.run_id for spec in specs(table, "main", row)}
    rules = {row.key: specs(table, "main", row.key)[0].temperature.rule for row in table.parts[0].rows}
    assert list(rules.values()) == ["plain", "energy", "reversed", "low", "high", "gradation"]


@pytest.mark.parametrize("dataset", fast(datasets.names(), "digits", "imagenet", others="medium"))
def test_every_table_can_be_asked_of_every_data_set(dataset: str) -> None:
    """But for assistants between the networks of ImageNet, of which one pair has none."""
    for table in paper.tables().values():
        rows = {row.key for part in table.parts for row in part.rows} - {"takd"}
        assert cells(table, Settings(dataset=dataset, rows=tuple(rows))) or not rows
