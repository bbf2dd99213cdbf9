"""Tables as LaTeX: each style is what it says, and every full table compiles and fits a page."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import made_up
import pytest
from shown import ONE, grid_of, nasty_sheet, with_holes

from analysis import paper
from analysis.record.settings import Settings
from analysis.table.costs import with_costs
from analysis.table.grid import make_grid
from analysis.table.latex import CAPTIONS, SPREADS, LatexStyle, escape, latex, tabular
from analysis.table.render import render
from analysis.table.resolved import resolve
from analysis.table.sheet import Line, Panel, Shown, make_sheet
from analysis.table.varied import parse_varied

LONG = LatexStyle(caption="long")
PACKAGES = ("booktabs", "graphicx", "siunitx")


def lacking() -> str:
    """What of LaTeX is not installed."""
    finder = shutil.which("kpsewhich")
    if shutil.which("pdflatex") is None or finder is None:
        return "pdflatex"
    found = subprocess.run([finder, *(f"{name}.sty" for name in PACKAGES)], capture_output=True, text=True, check=False)
    return ", ".join(name for name in PACKAGES if f"{name}.sty" not in found.stdout)


needs_latex = pytest.mark.skipif(bool(lacking()), reason=f"not installed: {lacking()}")

MARKED = Panel(
    "",
    (("Teacher", "A", "A"), ("Student", "B", "C")),
    (
        (Line("Teacher Acc.", (Shown("80.00"),) * 2), Line("Student Acc.", (Shown("70.00", "0.50"),) * 2)),
        (
            Line("KD", (Shown("75.45", "0.12", best=True), Shown("74.00", "0.30", second=True))),
            Line("Mine", (Shown("75.40", "0.20", second=True, near_best=True), Shown("—", note="0/3"))),
        ),
        (Line("*", (Shown("+1.03", "0.10§", "+0.94‡"), Shown("-0.50", "0.20"))),),
    ),
)


def test_latex_escapes_all_that_it_takes_for_its_own() -> None:
    assert escape("a_b & 100% #1 {x} $y$") == r"a\_b \& 100\% \#1 \{x\} \$y\$"
    assert escape("\\~^<>") == r"\textbackslash{}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    assert escape("± — *[]") == r"$\pm$ \textemdash{} {*}{[}{]}"
    assert escape("--a ---b c-d") == "-{}-a -{}-{}-b c-d"
    assert escape("T- = -2") == "T- = $-$2"
    assert escape("中") == "{[}U+4E2D{]}"


def test_pairs_are_headed_as_in_the_paper() -> None:
    rows = tabular(MARKED).splitlines()
    assert rows[:7] == [
        r"\begin{tabular}{@{}lcc@{}}",
        r"\toprule",
        r"Teacher & A & A \\",
        r"Acc. & 80.00 & 80.00 \\",
        r"Student & B & C \\",
        r"Acc. & 70.00 {\scriptsize $\pm$ 0.50} & 70.00 {\scriptsize $\pm$ 0.50} \\",
        r"\midrule",
    ]
    assert rows.count(r"\midrule") == 2


@pytest.mark.parametrize(
    ("style", "rows"),
    [
        (
            LatexStyle(),
            [
                r"KD & \textbf{75.45} {\scriptsize $\pm$ 0.12} & 74.00 {\scriptsize $\pm$ 0.30} \\",
                r"Mine & \textit{75.40} {\scriptsize $\pm$ 0.20} & \textemdash{} \\",
                r"{*} & $+1.03$ {\scriptsize $\pm$ 0.10\S{}} & $-0.50$ {\scriptsize $\pm$ 0.20} \\",
            ],
        ),
        (
            LatexStyle(spread="subscript", second=True),
            [
                r"KD & \textbf{75.45}$_{0.12}$ & \underline{74.00}$_{0.30}$ \\",
                r"Mine & \underline{\textit{75.40}}$_{0.20}$ & \textemdash{} \\",
                r"{*} & $+1.03_{0.10\S{}}$ & $-0.50_{0.20}$ \\",
            ],
        ),
        (
            LatexStyle(spread="off", siunitx=True),
            [
                r"KD & \bfseries 75.45 & 74.00 \\",
                r"Mine & \itshape 75.40 & {\textemdash{}} \\",
                r"{*} & +1.03 {\S{}} & -0.50 \\",
            ],
        ),
        (
            LatexStyle(second=True, siunitx=True),
            [
                r"KD & \bfseries 75.45 {\normalfont{} {\scriptsize $\pm$ 0.12}} & "
                r"74.00 {\llap{\underline{\phantom{74.00}}} {\scriptsize $\pm$ 0.30}} \\",
            ],
        ),
    ],
    ids=("plain", "subscript", "siunitx", "siunitx-second"),
)
def test_marks_and_standard_deviations(style: LatexStyle, rows: list[str]) -> None:
    body = tabular(MARKED, style).splitlines()
    assert [row for row in body if row in rows] == rows
    assert body[0].count("S[table-format=+2.2") == style.siunitx


def test_a_caption_of_two_sentences_and_the_rest_as_comments() -> None:
    grid = grid_of("table5", Settings(dataset="digits", pairs=("resnet20/resnet8",), epochs=3))
    sources = {style.caption: render(grid, "latex", style=style) for style in (LatexStyle(), LONG)}
    said = (
        "HE-DA on KD and DKD, on digits. Top-1 accuracy (\\%), best of 3 epochs, mean $\\pm$ standard deviation "
        "over 3 seeds."
    )
    assert f"\\caption{{{said}}}\n" in sources["short"]
    assert "mean over 3 seeds." in render(grid, "latex", style=LatexStyle(spread="off"))
    notes = ("Not the paper's data and schedule", "the rate is lost in the paper's text", "(after Table 5 of")
    for form, source in sources.items():
        lines = source.splitlines()
        comments = " ".join(line[2:] for line in lines if line.startswith("% "))
        assert [words in comments for words in notes] == [form == "short"] * 3
        assert all(words in source.replace("\n% ", " ") for words in notes)
        assert r"\resizebox" not in source


def test_an_own_caption_stands_first() -> None:
    own = '{"caption":"Which temperatures?","key":"mine","rows":["kd","energy_kd"],"title":"T"}'
    asked = Settings("digits", pairs=("resnet20/resnet8",), seeds=1, epochs=2, own_table=own)
    table = paper.find("mine", asked)
    source = render(make_grid(resolve(table, asked), made_up.entries(table, asked)), "latex")
    said = r"\caption{Which temperatures? Top-1 accuracy (\%) on digits, best of 2 epochs, one seed.}"
    assert said in source.splitlines()


def test_a_list_of_tables_names_each_with_its_number_in_the_paper_if_it_has_one() -> None:
    for name, table in paper.tables().items():
        grid = make_grid(resolve(table, replace(ONE, dataset=table.dataset)), {})
        (short,) = re.findall(r"^\\caption\[\{(.*?)\}\]", render(grid, "latex", style=LONG), re.M)
        number, _, words = table.title.partition(": ")
        if re.match(r"(table|figure)\d", name):
            assert short == escape(f"{words[0].upper()}{words[1:]} ({number} of the Energy KD paper)")
            assert number.lower().replace(" ", "") == name
        else:
            assert short == table.title


def test_latex_needs_what_it_says() -> None:
    sheet = make_sheet(grid_of("table5", ONE))
    assert latex(sheet).splitlines()[0] == r"% table5: needs \usepackage{booktabs}"
    assert latex(sheet, LatexStyle(siunitx=True)).splitlines()[0] == r"% table5: needs \usepackage{booktabs,siunitx}"


def compile_latex(folder: Path, sources: list[str]) -> tuple[str, str]:
    """The log and the text of a document with these tables, in the class and on the paper that LaTeX takes."""
    pages = "\n\\clearpage\n".join(sources)
    packages = f"\\usepackage{{{','.join(PACKAGES)}}}"
    head = f"\\documentclass{{article}}\n{packages}\n\\begin{{document}}\n\\listoftables\n"
    (folder / "page.tex").write_text(f"{head}{pages}\n\\end{{document}}\n")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    for _ in range(2):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
    words = ""
    if shutil.which("pdftotext"):
        words = subprocess.run(
            ["pdftotext", "-layout", "page.pdf", "-"], cwd=folder, capture_output=True, text=True
        ).stdout
    return (folder / "page.log").read_text(errors="replace"), words


def check_fits(log: str) -> None:
    for trouble in ("Overfull", "Float too large", "undefined", "multiply defined"):
        assert trouble not in log, trouble


@pytest.mark.medium
@needs_latex
@pytest.mark.parametrize("style", [LatexStyle(), LONG], ids=CAPTIONS)
def test_every_full_table_fits_a_page_of_a_plain_article(style: LatexStyle, tmp_path: Path) -> None:
    short = Settings(epochs=2, train_fraction=0.1, overrides=(("lr", "0.01"),), teachers=(("wrn_40_2", "a" * 64),))
    grids = [grid_of(name, Settings()) for name in paper.tables()]
    log, _ = compile_latex(tmp_path, [render(grid, "latex", style=style) for grid in grids])
    check_fits(log)
    odd = [with_holes(Settings()), grid_of("table4", short), grid_of("table5", Settings(dataset="digits"))]
    log, words = compile_latex(tmp_path, [render(grid, "latex", style=style) for grid in odd])
    assert "Overfull" not in log
    assert "Float too large" not in log
    if words:
        assert style != LONG or "as in the released configurations" in " ".join(words.split())
        assert "w/ CutMix** (100%)" in words
        assert re.search(r"^ *\*\* +[+−-]", words, re.M), "a star that begins a row must not be taken for that of \\\\*"


@pytest.mark.medium
@needs_latex
def test_every_style_compiles_and_fits(tmp_path: Path) -> None:
    """In turn of a full table with holes, of one with the costs of networks, and of a matrix of two fields."""
    styles = [LatexStyle(*each) for each in itertools.product(CAPTIONS, SPREADS, (False, True), (False, True))]
    assert len(set(styles)) == 24
    table = paper.ablation()
    vary = tuple(map(parse_varied, ("T+=1,2,3,4,5,6", "T-=-1,-2,-3")))
    asked = Settings("digits", pairs=("resnet20/resnet8",), rows=("energy_kd",), vary=vary)
    small = grid_of("table4", Settings())
    sheets = [
        make_sheet(with_holes(Settings())),
        with_costs(make_sheet(small), small, ("parameters", "flops")),
        make_sheet(make_grid(resolve(table, asked), made_up.entries(table, asked), alike=True)),
    ]
    numbered = [
        latex(replace(sheet, key=f"{sheet.key}-{number}"), style)
        for number, (style, sheet) in enumerate(zip(styles, itertools.cycle(sheets), strict=False))
    ]
    log, _ = compile_latex(tmp_path, numbered)
    check_fits(log)
    assert "siunitx Warning" not in log


@needs_latex
def test_latex_of_any_text_compiles(tmp_path: Path) -> None:
    _, words = compile_latex(tmp_path, [latex(nasty_sheet(), style) for style in (LatexStyle(), LONG)])
    assert not words or "[U+4E2D]" in words.replace("\n", "")
