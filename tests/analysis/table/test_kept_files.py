"""Files of another sweep are kept, and rows whose numbers were set say so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_up
import pytest

from analysis import paper
from analysis.figure.charts import draw
from analysis.record.settings import Settings
from analysis.reporting import pictures
from analysis.table.grid import Grid, make_grid
from analysis.table.kept_files import INDEX, keep_earlier
from analysis.table.resolved import ResolvedTable, resolve
from analysis.table.sheet import make_sheet
from analysis.tables import EXTENSIONS, write_all

USUAL = Settings(dataset="digits", pairs=("resnet20/resnet8",), rows=("kd_he_da_40",), seeds=1)
SET = replace(USUAL, overrides=(("mixing.rate", "0.6"),))
TABLE5 = paper.find("table5")


@pytest.fixture(autouse=True)
def empty_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are what counts here."""

    def write_figure(_: Grid, path: Path) -> Path:
        path.write_bytes(b"%PDF-" if path.suffix == ".pdf" else b"\x89PNG\r\n\x1a\n")
        return path

    monkeypatch.setattr("analysis.figure.charts.write_figure", write_figure)


def write(folder: Path, table: ResolvedTable) -> list[str]:
    grid = make_grid(table, {})
    said = keep_earlier(folder, table)
    write_all(grid, make_sheet(grid), folder)
    return said


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {INDEX}


def test_files_of_another_sweep_are_kept_under_another_name(tmp_path: Path) -> None:
    usual, other = resolve(TABLE5, USUAL), resolve(TABLE5, SET)
    assert write(tmp_path, usual) == []
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert write(tmp_path, usual) == [], "the same sweep again writes its files again"
    (said,) = write(tmp_path, other)
    assert "the files of an earlier sweep (--dataset digits --pairs resnet20/resnet8 --rows kd_he_da_40" in said
    (kept,) = {name.partition(".")[0] for name in names(tmp_path)} - {"table5"}
    assert f"{kept}*" in said
    assert len(names(tmp_path)) == 2 * (len(EXTENSIONS) + 2)
    for name, content in first.items():
        assert name == INDEX or (tmp_path / name.replace("table5", kept)).read_bytes() == content
    assert b"set mixing.rate = 0.6" in (tmp_path / "table5.md").read_bytes()
    assert [picture.name for picture in pictures.find_pictures(tmp_path, "table5", "")] == ["table5"]
    write(tmp_path, usual)
    assert len(names(tmp_path)) == 3 * (len(EXTENSIONS) + 2), "one name a sweep"


def test_files_of_which_nothing_is_known_are_kept_too(tmp_path: Path) -> None:
    pictures_of = ("figure6.png", "figure6-wrn_40_2-wrn_16_2.png", "figure61.png")
    for name in pictures_of:
        (tmp_path / name).touch()
    (tmp_path / INDEX).write_text("{damaged")
    keep_earlier(tmp_path, resolve(paper.find("figure6"), Settings()))
    assert names(tmp_path) == {
        "figure6-sweep-earlier.png",
        "figure6-sweep-earlier-wrn_40_2-wrn_16_2.png",
        "figure61.png",
    }


def test_what_no_sweep_writes_stays(tmp_path: Path) -> None:
    own = {"table5-notes.txt", "table5.xlsx", "table5-draft-2-of-mine.pdf", "table55.tex"}
    for name in own:
        (tmp_path / name).touch()
    assert keep_earlier(tmp_path, resolve(TABLE5, USUAL)) == []
    assert names(tmp_path) == own


def test_a_row_says_what_was_set_in_its_runs() -> None:
    both = replace(SET, rows=("kd", "kd_he_da_40"))
    labels = {row.key: row.label for row in resolve(TABLE5, both).rows}
    assert labels["kd"] == "KD*", "it has no rate"
    assert labels["kd_he_da_40"] == "w/ HE-DA (40%), set mixing.rate = 0.6"
    as_usual = replace(USUAL, overrides=(("mixing.rate", "0.4"),))
    assert [row.label for row in resolve(TABLE5, as_usual).rows] == ["w/ HE-DA (40%)"]


def test_a_curve_has_its_point_at_the_rate_of_its_runs() -> None:
    table = paper.find("figure3")
    settings = replace(SET, rows=("kd", "kd_he_da_40"))
    figure = draw(make_grid(resolve(table, settings), made_up.entries(table, settings)))
    places = [x for axes in figure.axes for line in axes.lines for x in line.get_xdata()]
    assert any(abs(x - 60) < 1 or abs(x - 0.6) < 0.01 for x in places)
    assert not any(abs(x - 40) < 0.1 or abs(x - 0.4) < 0.01 for x in places)
