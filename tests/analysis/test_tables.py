"""The command that draws tables from the ledger alone, and what a sweep writes at its end."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import made_up
import pytest

from analysis import paper
from analysis.record.ledger import Ledger
from analysis.record.settings import Settings
from analysis.table.command_line import write
from analysis.table.grid import make_grid
from analysis.table.latex import LatexStyle
from analysis.table.render import FORMATS, render
from analysis.table.resolved import resolve
from analysis.table.sheet import make_sheet
from analysis.tables import _list, load_grid, main, write_all
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = Settings(pairs=("resnet56/resnet20",), seeds=2)
TABLE5 = paper.find("table5")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_up.write_ledger(tmp_path_factory.mktemp("made") / "results", [TABLE5], SETTINGS)


def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "analysis" / "tables.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_answers_from_anywhere_as_the_functions_do(results: Path, tmp_path: Path) -> None:
    grid = make_grid(resolve(TABLE5, SETTINGS), made_up.entries(TABLE5, SETTINGS))
    for form in ("text", "json"):
        done = run("table5", "--format", form, "--results", results, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == render(grid, form)
    assert list(tmp_path.iterdir()) == []


def test_it_loads_nothing_that_is_slow(results: Path, tmp_path: Path) -> None:
    """Not torch, Ray, pandas or matplotlib for any format."""
    forms = [form for form in FORMATS if form != "latex"]
    code = f"""
import sys
from analysis.tables import main
def slow(): return sorted({{'torch', 'torchvision', 'ray', 'matplotlib', 'pandas', 'sklearn'}} & set(sys.modules))
def write(form): return main(['table5', '--format', form, '--results', {str(results)!r}, '--out', form])
print(*[write(form) for form in {forms}], slow(), write('latex'), slow())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "0 0 0 0 0 [] 0 []\n", done.stderr


def test_out_writes_a_file_and_prints_nothing(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "t.tex"
    assert main(["table5", "--format", "latex", "--results", str(results), "--out", str(path)]) == 0
    assert path.read_text() == render(load_grid("table5", results), "latex")
    style = ["--caption", "long", "--spread", "subscript", "--second", "--siunitx"]
    assert main(["table5", "--format", "latex", *style, "--results", str(results), "--out", str(path)]) == 0
    chosen = LatexStyle("long", "subscript", second=True, siunitx=True)
    assert path.read_text() == render(load_grid("table5", results), "latex", style=chosen)
    assert capsys.readouterr().out == ""


def test_the_last_epoch_on_request(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    means = []
    for metric in ("best", "last"):
        assert main(["table5", "--format", "json", "--metric", metric, "--results", str(results)]) == 0
        entries = json.loads(capsys.readouterr().out)["entries"]
        means.append(next(entry["mean"] for entry in entries if entry["row"] == "kd"))
    assert means[1] == pytest.approx(means[0] - 1)


def test_settings_are_those_of_the_latest_sweep_or_of_the_one_asked_for(tmp_path: Path) -> None:
    first = made_up.write_ledger(tmp_path / "results", [TABLE5], SETTINGS)
    second = Settings(pairs=SETTINGS.pairs, seeds=1)
    with Ledger.open(first / "ledger.sqlite") as ledger:
        ledger.remember(["table5"], second, "again")
        ledger.remember(["table5"], second, "again")
    lines = _list(first).splitlines()
    assert [line.split()[:2] for line in lines if "sweep" in line.split()[:1]] == [["sweep", "1"], ["sweep", "3"]]
    assert load_grid("table5", first).settings == second
    assert load_grid("table5", first, sweep=1).settings == SETTINGS
    with pytest.raises(UserError, match="there is no sweep 4: the ledger has 1 to 3"):
        load_grid("table5", first, sweep=4)


def test_a_list_of_tables_and_sweeps(results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--results", str(results)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(paper.tables())
    assert lines[-1].startswith("sweep 1  ")
    assert "table5" in lines[-1]
    assert main(["--list", "--results", str(tmp_path / "none")]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name a table"),
        (["table14"], "unknown table 'table14'"),
        (["table5", "--format", "pdf"], "argument --format: invalid choice: 'pdf' (choose from"),
        (["table5", "--metric", "worst"], "argument --metric: invalid choice: 'worst' (choose from"),
        (["table5", "--sweep", "0"], "there is no sweep 0"),
        (["table5", "--sweep", "x"], "invalid int value"),
        (["table5", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["table5", "--results", "/no/such/folder"], "/no/such/folder"),
        (["table5", "--spread", "off"], "--spread is of LaTeX: add --format latex"),
        (["table5", "--alike", "--format", "csv"], "--alike: csv has a line for each number; use another --format"),
        (["table5", "--out", "t5.png"], "argument --out: t5.png will be text, and .png says otherwise"),
        (["table5", "--out", "/proc/nowhere/t.tex"], "cannot write /proc/nowhere/t.tex"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], words: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--results" in arguments else [*arguments, "--results", str(results)]
    assert main(given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert words in err
    assert err.count("\n") == 1


def test_a_ledger_of_which_nothing_was_asked_or_no_row_of_the_table(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite"):
        pass
    with pytest.raises(UserError, match="run ekd run table5 first"):
        load_grid("table5", tmp_path)
    made_up.write_ledger(tmp_path, [TABLE5], Settings(rows=("dkd",), pairs=SETTINGS.pairs, seeds=1))
    assert main(["table13", "--results", str(tmp_path)]) == 2


@pytest.mark.medium
def test_write_all(tmp_path: Path) -> None:
    grid = make_grid(resolve(TABLE5, SETTINGS), made_up.entries(TABLE5, SETTINGS))
    paths = write_all(grid, make_sheet(grid), tmp_path / "tables")
    assert [path.name for path in paths] == [f"table5.{end}" for end in ("tex", "md", "csv", "html", "png", "pdf")]
    assert sorted((tmp_path / "tables").iterdir()) == sorted(paths)
    contents = {path: path.read_bytes() for path in paths}
    assert contents[paths[4]].startswith(b"\x89PNG")
    assert contents[paths[5]].startswith(b"%PDF")
    write_all(grid, make_sheet(grid), tmp_path / "tables")
    assert {path: path.read_bytes() for path in paths} == contents, "the same numbers must give the same files"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("a file in the way")
    grid = make_grid(resolve(TABLE5, SETTINGS), {})
    with pytest.raises(UserError, match="cannot write"):
        write_all(grid, make_sheet(grid), tmp_path / "tables")


def test_a_database_is_never_written_over(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.sqlite") as ledger:
        ledger.execute("CREATE TABLE runs (run_id)")
    ledger.close()
    before = (tmp_path / "ledger.sqlite").read_bytes()
    with pytest.raises(UserError, match=r"ledger\.sqlite is a database, and stays as it is: name another file"):
        write(tmp_path / "ledger.sqlite", b"")
    assert (tmp_path / "ledger.sqlite").read_bytes() == before


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write .*x\.tex: .*file is no folder"):
        write(tmp_path / "file" / "x.tex", b"")
