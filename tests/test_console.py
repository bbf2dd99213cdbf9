"""Standard output that takes nothing or not every letter, and the file that has a copy; files are UTF-8."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from few import fast
from fuzzing import two_runs
from test_layering import ALL, relative

from trainables.commands import run_command
from trainables.console import keep_log

ROOT = Path(__file__).parents[1]
RUN, TABLES = str(ROOT / "sweeps" / "run.py"), str(ROOT / "analysis" / "tables.py")
FEW_LETTERS = [
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "ascii:strict"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command line of a shell, in which $PYTHON, $RUN and $TABLES are what they say."""
    names = {"PYTHON": sys.executable, "RUN": RUN, "TABLES": TABLES}
    return subprocess.run(
        ["bash", "-c", line], cwd=cwd, env=os.environ | names | environment, capture_output=True, check=False
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", ["$TABLES --list", "$RUN --help"])
def test_a_full_disk_behind_standard_output_is_one_line(tmp_path: Path, command: str) -> None:
    done = shell(f"$PYTHON {command} > /dev/full", tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"error: cannot write to standard output: no space left on device\n"


def test_closed_streams_take_nothing_and_no_place(tmp_path: Path) -> None:
    done = shell("$PYTHON $TABLES --list >&-", tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    done = shell("$PYTHON $RUN --help >&- 2>&- <&-", tmp_path)
    assert done.returncode == 0
    code = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from trainables.commands import run_command
def main(arguments):
    with open("file", "w", encoding="utf-8") as file:
        print("printed", flush=True)
        os.write(1, b"written")
        return file.fileno()
sys.exit(run_command(main))
"""
    (tmp_path / "command.py").write_text(code, encoding="utf-8")
    assert shell("$PYTHON command.py >&-", tmp_path).returncode > 2
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize("letters", fast(FEW_LETTERS, FEW_LETTERS[2], others="medium"), ids=["latin-1", "ascii", "C"])
def test_a_terminal_of_few_letters_gets_plain_ones(tmp_path: Path, letters: dict[str, str]) -> None:
    results = tmp_path / "é — results"
    results.mkdir()
    two_runs(results)
    done = shell("$PYTHON $TABLES table5 --results *results", tmp_path, **letters)
    assert done.returncode == 0, done.stderr
    shown = done.stdout.decode("latin-1")
    assert "-----" in shown
    assert "KD*" in shown
    done = shell("$PYTHON $TABLES table5 --results *results --out table5.md", tmp_path, **letters)
    assert done.returncode == 0, done.stderr
    assert "KD*" in (tmp_path / "table5.md").read_text(encoding="utf-8")


def test_letters_of_no_encoding_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """The name of a file that is not UTF-8."""

    def main(arguments: object) -> int:
        print("\udcff.png, ± 0.3 — †")
        return 0

    assert run_command(main, []) == 0
    assert capsys.readouterr().out == "?.png, ± 0.3 — †\n"


def test_a_log_has_what_is_printed_and_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def main(arguments: object) -> int:
        print("before")
        keep_log(tmp_path / "log", "a command")
        print("all — done")
        raise FileNotFoundError(2, "No such file or directory", "there")

    assert run_command(main, []) == 2
    complaint = "error: cannot use there: no such file or directory\n"
    assert capsys.readouterr() == ("before\nall — done\n", complaint)
    assert (tmp_path / "log").read_text(encoding="utf-8") == f"a command\nall — done\n{complaint}"


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def main(arguments: object) -> int:
        keep_log(tmp_path, "a folder")
        keep_log(Path("/dev/full"), "a full disk")
        print("done")
        return 0

    assert run_command(main, []) == 0
    assert capsys.readouterr().out == "done\n"


def test_text_files_name_their_encoding() -> None:
    """Else they are those of the user's locale."""
    wrong = [f"{relative(source)}:{line}" for source in ALL for line in without_encoding(source)]
    assert not wrong


def without_encoding(source: Path) -> Iterator[int]:
    """The lines that read or write text without naming its encoding."""
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        on_path = isinstance(node.func, ast.Attribute) and name in ("read_text", "write_text")
        opens = isinstance(node.func, ast.Name) and name == "open"
        mode = next((each.value for each in node.args[1:2] if isinstance(each, ast.Constant)), "r") if opens else ""
        given = {keyword.arg for keyword in node.keywords}
        writes = on_path or (opens and "b" not in str(mode)) or ("text" in given and name == "run")
        if writes and "encoding" not in given:
            yield node.lineno
