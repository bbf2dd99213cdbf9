"""The tables as data: found by looking into their folder, and what each row of them trains."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from analysis import paper
from analysis.layout import Table, cells
from analysis.settings import Settings
from trainables.errors import UserError
from trainables.recipes import RESNET_32X4_8X4, RESNET_56_20, WRN_40_2_16_2
from trainables.spec import RunSpec

A_TABLE_OF_ONES_OWN = """
from analysis.layout import Block, Part, Row, Table
from trainables.recipes import kd

TABLE = Table(
    key="table99",
    title="Table 99: my own",
    parts=(Part("main", "", lambda recipe: recipe.pairs[:1], (Block((Row("kd", "KD", lambda r, p: kd()),)),)),),
    caption="Mine.",
)
"""


def specs(table: Table, part: str, row: str, **settings: object) -> list[RunSpec]:
    asked = Settings(seeds=1, **settings)  # type: ignore[arg-type]
    return [cell.specs[0] for cell in cells(table, asked) if (cell.part, cell.row) == (part, row)]


def test_every_module_is_a_table_under_its_own_name() -> None:
    files = {path.stem for path in Path(paper.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(paper.tables()) == files
    assert {name: table.key for name, table in paper.tables().items()} == {name: name for name in files}
    assert list(paper.tables()) == ["figure3", "methods", "table4", "table5", "table7", "table13"]


def test_adding_a_table_is_adding_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table99.py").write_text(A_TABLE_OF_ONES_OWN)
    monkeypatch.setattr(paper, "__path__", [*paper.__path__, str(tmp_path)])
    paper.tables.cache_clear()
    try:
        assert paper.find("table99").caption == "Mine."
        assert len(cells(paper.find("table99"), Settings(dataset="digits"))) == 1
    finally:
        paper.tables.cache_clear()


def test_an_unknown_table_names_those_there_are_closest_first() -> None:
    with pytest.raises(UserError, match=r"^unknown table 'tabel13': there is table13, .*figure3") as error:
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


def test_the_kd_rows_of_tables_4_5_and_13_are_the_same_runs() -> None:
    right, five, thirteen = (
        {spec.student: spec.run_id for spec in specs(paper.find(name), part, "kd")}
        for name, part in (("table4", "right"), ("table5", "main"), ("table13", "main"))
    )
    assert five == thirteen
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
