"""Titles and captions follow the data; a table of one's own says nothing of the paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import made_up
import pytest

from analysis import paper
from analysis.figure.charts import draw
from analysis.record.settings import Settings
from analysis.report import make_report
from analysis.reporting.html import page
from analysis.reporting.latex_pdf import article
from analysis.reporting.snapshot import read_snapshot
from analysis.table.grid import make_grid
from analysis.table.layout import Block, Part, Row, Table
from analysis.table.render import FORMATS, render
from analysis.table.resolved import resolve
from analysis.table.titles import title
from trainables.recipes import energy_kd, kd

pytestmark = pytest.mark.usefixtures("empty_pictures")
TABLE1 = paper.find("table1")
PHOTOS = Settings(dataset="imagefolder", data="0123456789abcdef", pairs=("resnet20/resnet8",), rows=("kd",), seeds=2)
MINE = Table(
    key="mine",
    title="My comparison",
    parts=(
        Part(
            "main",
            "",
            lambda recipe: recipe.pairs,
            (Block((Row("kd", "KD", lambda recipe, pair: kd(recipe)), Row("energy_kd", "Energy KD", energy_kd))),),
        ),
    ),
    caption="Top-1 accuracy (%) of my students.",
)


@pytest.mark.parametrize(
    ("table", "settings", "expected"),
    [
        ("table1", Settings(), "Table 1: methods on CIFAR-100, teacher and student of one kind"),
        (
            "table1",
            PHOTOS,
            "Methods on own images, teacher and student of one kind (after Table 1 of the Energy KD paper)",
        ),
        ("table5", PHOTOS, "HE-DA on KD and DKD, on own images (after Table 5 of the Energy KD paper)"),
        (
            "table3",
            Settings(dataset="imagenet", data="0123"),
            "Methods on own images in the form of ImageNet (after Table 3 of the Energy KD paper)",
        ),
        ("figure7", Settings(), "Figure 7: correlation of logits, student against teacher"),
        ("direction", Settings(), "The direction of the temperature"),
        ("direction", PHOTOS, "The direction of the temperature, on own images"),
    ],
)
def test_a_title_follows_the_data(table: str, settings: Settings, expected: str) -> None:
    assert title(paper.find(table), settings) == expected


def test_no_form_of_a_table_of_own_images_is_called_the_papers() -> None:
    grid = make_grid(resolve(TABLE1, PHOTOS), made_up.entries(TABLE1, PHOTOS))
    for form in FORMATS:
        text = " ".join(render(grid, form).split())
        assert "CIFAR-100" not in text, form
        if form != "csv":
            assert "Table 1: " not in text, form
            assert "(Table 1 of" not in text, form
    assert "Methods on own images" in draw(grid).get_suptitle().replace("\n", " ")


def test_an_own_table_says_nothing_of_the_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(table.of_paper for table in paper.tables().values())
    for settings in (replace(PHOTOS, rows=()), Settings(dataset="digits", pairs=PHOTOS.pairs, epochs=1, seeds=1)):
        grid = make_grid(resolve(MINE, settings), made_up.entries(MINE, settings))
        for form in FORMATS:
            words = render(grid, form)
            if form in ("csv", "json"):
                words = words.replace('"paper', "").replace("paper,paper_epoch,paper_runs", "")
            assert "paper" not in words.lower(), form
        assert "paper" not in draw(grid).get_suptitle()
    assert "Data: digits; 1 epoch instead of 12" in render(grid, "text")

    known = {**paper.tables(), "mine": MINE}
    monkeypatch.setattr(paper, "tables", lambda: known)
    made_up.write_ledger(tmp_path, [MINE], PHOTOS)
    report = make_report(read_snapshot(tmp_path, "best"), "Mine", printed=False)
    assert "Against the paper" not in page(report)


@pytest.mark.medium
def test_a_report_of_own_images_has_their_title(tmp_path: Path) -> None:
    made_up.write_ledger(tmp_path, [TABLE1], PHOTOS)
    snapshot = read_snapshot(tmp_path, "best")
    for text in (page(make_report(snapshot, "R")), article(make_report(snapshot, "R"))):
        assert "Methods on own images, teacher and student of one kind" in text
