"""What all commands have in common, and the one name for them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.ekd import main
from trainables.commands import COMMANDS, command_name, count, did_you_mean


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_name_and_refuses_in_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--no-such-option"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_an_unknown_command_names_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tabels"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown command 'tabels' (did you mean tables?): use one of run,")


def test_a_table_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["table5", "--plan"]) == 2
    assert "(ekd run table5 trains it, ekd tables table5 shows it)" in capsys.readouterr().err


def test_a_mode_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 2
    assert "unknown command 'list' (ekd run TABLE --list): use one of" in capsys.readouterr().err


@pytest.mark.parametrize("dashes", ["\N{EM DASH}", "\N{EN DASH}-"])
def test_a_long_dash_is_named(dashes: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As text programs make of two short ones."""
    assert main(["run", "table5", f"{dashes}plan"]) == 2
    assert "plan begins with a long dash: write --plan, with two short ones" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"ekd \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_help_names_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_the_file_of_the_one_name_is_a_script() -> None:
    file = Path(__file__).resolve().parents[1] / "sweeps" / "ekd.py"
    done = subprocess.run([sys.executable, str(file), "tabels"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr[:14]) == (2, "error: unknown")


@pytest.mark.parametrize(
    ("called", "command"),
    [
        ("/opt/env/bin/ekd", "ekd tables"),
        ("/elsewhere/sweeps/run.py", "ekd tables"),
        ("sweeps/run.py", "python analysis/tables.py"),
        ("sweeps/ekd.py", "python analysis/tables.py"),
        ("docs/../sweeps/run.py", "python analysis/tables.py"),
    ],
)
def test_hints_name_commands_as_this_one_was_called(
    called: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(__file__).parents[1])
    monkeypatch.setattr(sys, "argv", [called])
    assert command_name("tables") == command
    assert main(["run", "table5", "--json"]) == 2
    assert f"{command} TABLE --format json gives" in capsys.readouterr().err
    assert main(["tables", "--nonsense"]) == 2
    assert f"(see {command} --help)" in capsys.readouterr().err


def test_a_folder_that_is_gone_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["run", "table5"]) == 2
    assert "the folder in which this was started is gone: start it in another" in capsys.readouterr().err


def test_words() -> None:
    assert (count(0, "run"), count(1, "run"), count(2, "run")) == ("0 runs", "1 run", "2 runs")
    assert did_you_mean("RESNET2", ("resnet20", "vgg8")) == "did you mean resnet20?"
    assert did_you_mean("zzz", ("resnet20",)) == ""
    assert did_you_mean("--lr", ("--help",)) == ""
    assert did_you_mean("--force", ("--price",)) == ""
    assert did_you_mean("--batch_size", ("--batch-size",)) == "did you mean --batch-size?"
