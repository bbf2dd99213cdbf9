"""The report as LaTeX: whatever the names are it compiles, nothing runs over a margin, no page is empty."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import made_up
import pytest
import reports
from made_up import vanilla_runs
from reports import HOSTILE

from analysis.paper import find
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.report import main, make_report, write_report
from analysis.reporting.document import CODE, Column, Document, Heading, Listing, Picture, Styled, listing, paragraph
from analysis.reporting.latex_pdf import ACROSS, FIGURES, article, compile_pdf, pictures_of
from analysis.reporting.pictures import draw_picture
from analysis.reporting.snapshot import read_snapshot
from analysis.table.grid import make_grid
from analysis.table.layout import Table
from analysis.table.resolved import resolve
from analysis.table.sheet import make_sheet

needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
needs_pdftotext = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext (poppler) is not installed")
MOST_OVER = 1.0
"""Points by which a line may be wider than the page: less than anyone sees."""


def compiled(document: Document, folder: Path) -> str:
    """The log of two passes over a document."""
    (folder / FIGURES).mkdir(parents=True)
    for name, content in pictures_of(document).items():
        (folder / FIGURES / name).write_bytes(content)
    (folder / "report.tex").write_text(article(document))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    return (folder / "report.log").read_text(errors="replace")


def too_wide(log: str) -> list[str]:
    return [
        line
        for line in log.splitlines()
        if (match := re.match(r"Overfull \\[hv]box \(([\d.]+)pt", line)) and float(match[1]) > MOST_OVER
    ]


def pages(pdf: Path) -> list[str]:
    done = subprocess.run(["pdftotext", "-layout", str(pdf), "-"], capture_output=True, text=True, check=True)
    return done.stdout.split("\f")[:-1]


def squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report with hostile names, compiled."""
    place = tmp_path_factory.mktemp("print")
    long = "a" * 3000 + " " + "/x" * 900
    results = reports.write_ledger(place / "results", reason=f"{HOSTILE} {long}")
    document = make_report(read_snapshot(results), HOSTILE)
    (place / "log").write_text(compiled(document, place / "out"))
    return place / "out"


@pytest.mark.medium
@needs_latex
def test_nothing_runs_over_a_margin(folder: Path) -> None:
    assert too_wide((folder.parent / "log").read_text()) == []


@needs_latex
@needs_pdftotext
@pytest.mark.medium
def test_no_page_is_empty_and_what_must_be_said_is_printed(folder: Path) -> None:
    found = pages(folder / "report.pdf")
    assert len(found) >= 4
    assert min(len(squeezed(page)) for page in found) > 60
    text = squeezed("".join(found))
    for words in (
        "<script>alert(",
        "$\\input{/etc/passwd}$100%_a^b~#1{\\bf}é[U+202E]]]>--",
        "HE-DA on KD and DKD",
        "70.76±0.20",
        "within noise",
        "ekd run table5 table13 --data-dir 'my data' --teachers T --results",
        "2/3 seeds",
    ):
        assert squeezed(words) in text, words
    assert "root:" not in text


@pytest.mark.slow
@needs_latex
def test_wide_tables_and_many_pairs_fit_with_every_number(tmp_path: Path) -> None:
    table, settings = wide()
    sheet = make_sheet(make_grid(resolve(table, settings), {}))
    picture = draw_picture(make_grid(resolve(table, settings), {}), printed=True)
    assert [name for name, _, _ in picture.print] == [f"table13-{number}" + ".pdf" for number in range(1, 10)]
    document = Document("wide", "", (Heading("wide"), sheet, picture))
    assert article(document).count(r"\begin{tabular}") == -(-17 // ACROSS)
    log = compiled(document, tmp_path / "out")
    assert too_wide(log) == []


@pytest.mark.medium
@needs_latex
def test_runs_of_several_machines_and_commits_fit(tmp_path: Path) -> None:
    results = reports.write_ledger(tmp_path / "results")
    table = find("table5")
    with Ledger.open(results / "ledger.sqlite") as ledger:
        for number, spec in enumerate(dict.fromkeys(vanilla_runs(table, reports.SETTINGS)), 1):
            place = reports.PROVENANCE | {"device": f"NVIDIA H100 80GB HBM3 {number}", "commit": str(number) * 12}
            ledger.record(made_up.result(spec, 69.0, provenance=place))
    document = make_report(read_snapshot(results))
    heads = [[column.head for column in block.columns] for block in document.blocks if isinstance(block, Listing)]
    assert sum(head[-1] == "Source" for head in heads) == 1
    assert too_wide(compiled(document, tmp_path / "out")) == []


def wide() -> tuple[Table, Settings]:
    networks = ("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
    pairs = [f"{teacher}/{student}" for teacher in ("resnet32x4", "ResNet50", "wrn_40_2") for student in networks]
    return find("table13"), Settings(pairs=tuple(pairs[:17]), seeds=1)


@pytest.mark.medium
@needs_latex
def test_every_character_of_ascii_and_of_the_western_languages_can_be_printed(tmp_path: Path) -> None:
    letters = "".join(map(chr, range(0x20, 0x250))) + "\u2028\ud7ff\U0001f600\x00"
    lines = [[letters[start : start + 40], Styled(letters[start : start + 40], CODE)] for start in range(0, 560, 40)]
    blocks = (Heading(letters[:95]), paragraph(letters), listing([Column("", 0.4), Column("", 0.4)], lines))
    assert too_wide(compiled(Document(letters, letters, blocks), tmp_path / "out")) == []


def test_without_latex_the_source_is_written_and_what_to_install_is_said(
    empty: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(empty / "nothing"))
    assert main(["--results", str(empty), "--out", str(empty / "my out")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[0] == str(empty / "my out" / "report.html")
    assert out.splitlines()[1].startswith(f"{empty}/my out/report.tex: no PDF yet, pdflatex is not installed:")
    assert out.splitlines()[1].endswith(f"then cd '{empty}/my out' && pdflatex report.tex && pdflatex report.tex")
    assert len(out.splitlines()) == 2
    assert {path.name for path in (empty / "my out").iterdir()} == {"report.html", "report.tex"}


@needs_latex
def test_a_package_that_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write_report(Document("t", "", ()), tmp_path) == 0
    source = (tmp_path / "report.tex").read_text()
    (tmp_path / "report.tex").write_text(source.replace("{hyperref}", "{no-such-package}"))
    with pytest.raises(Exception, match=r"LaTeX lacks no-such-package\.sty"):
        compile_pdf(tmp_path)


@needs_latex
def test_where_latex_fails_the_page_stands_and_the_log_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Picture("figure9", "Figure 9", None, (("figure9.pdf", b"%PDF-1.4 of which nothing follows", 1.0),))
    assert write_report(Document("t", "", (broken,)), tmp_path) == 1
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'report.html'}\n"
    assert err.startswith("error: pdflatex failed: ")
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.tex", "report.log", FIGURES}


@pytest.mark.medium
@needs_latex
def test_the_same_ledger_gives_the_same_pdf(tmp_path: Path) -> None:
    document = Document("t", "s", (Heading("One"), paragraph("words")))
    for name in ("a", "b"):
        assert write_report(document, tmp_path / name) == 0
    assert (tmp_path / "a" / "report.pdf").read_bytes() == (tmp_path / "b" / "report.pdf").read_bytes()
    assert (tmp_path / "a" / "report.pdf").read_bytes().startswith(b"%PDF")


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """A results folder without sweeps."""
    from analysis.record.ledger import Ledger

    with Ledger.open(tmp_path / "ledger.sqlite"):
        return tmp_path
