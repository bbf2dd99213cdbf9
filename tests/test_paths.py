"""Whatever is named on a command line and cannot be used: one line, status 2, in every command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from few import fast
from fuzzing import two_runs

from sweeps.ekd import main
from trainables.commands import parse_path

ROOT = Path(__file__).parents[1]
SMALL = ("run", "table5", "--dataset", "digits", "--gpus", "0", "--rows", "kd", "--pairs", "resnet8/resnet8")
OWN = ("run", "table5", "--dataset", "imagefolder", "--gpus", "0", "--plan", "--data-dir")
COMMANDS = [
    (*SMALL, "--results"),
    (*SMALL, "--plan", "--results"),
    (*SMALL, "--teachers"),
    OWN,
    ("run", "table6", "--gpus", "0", "--data-dir"),
    ("run", "table3", "--gpus", "0", "--data-dir"),
    ("run", "table5", "--gpus", "0", "--list", "--results"),
    ("search", "--pair", "resnet8/resnet8", "--dataset", "digits", "--gpus", "0", "--results"),
    ("tables", "table5", "--results"),
    ("tables", "table5", "--results", "good", "--out"),
    ("figures", "table5", "--results"),
    ("figures", "figure5", "--network", "resnet8", "--dataset", "digits", "--out", "f.pdf", "--weights"),
    ("report", "--results"),
    ("claims", "--results"),
    ("export", "--csv", "runs.csv", "--results"),
    ("export", "--results", "good", "--csv"),
    ("export", "--results", "good", "--merge"),
    ("evaluate", "resnet8", "--dataset", "digits"),
    ("job",),
]
RUN_ALL = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from sweeps.ekd import main
ends = []
for command in json.loads(sys.argv[2]):
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        ends.append([main(command), err.getvalue()])
print(json.dumps(ends))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with the results folder `good`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").mkdir()
    two_runs(tmp_path / "good")
    return tmp_path


def assert_refused(status: int, err: str) -> None:
    assert status == 2, err
    assert err.startswith("error: "), err
    assert err.count("\n") == 1, err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["x" * 300, "~nosuch-user/x"], ids=["long", "no home"])
def test_a_name_that_cannot_be(
    work: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], name: str
) -> None:
    status = main([*command, name])
    assert_refused(status, capsys.readouterr().err)


def assert_all_refused(work: Path, commands: list[list[str]]) -> None:
    """By a process that no folder is open to: root without its rights to others' files, or nobody in particular."""
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    before = without if os.getuid() == 0 else ()
    if before and (shutil.which("setpriv") is None or subprocess.run([*before, "true"], check=False).returncode):
        pytest.skip("setpriv cannot take rights from root here")
    done = subprocess.run(
        [*before, sys.executable, "-c", RUN_ALL, str(ROOT), json.dumps(commands)],
        cwd=work,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for (status, err), command in zip(json.loads(done.stdout), commands, strict=True):
        assert status == 2, (command, err)
        assert_refused(status, err)


@pytest.mark.medium
@pytest.mark.parametrize("inside", fast([".", "deep/x"], "deep/x"))
def test_folders_of_another_user(work: Path, inside: str) -> None:
    closed = work / "closed"
    closed.mkdir()
    closed.chmod(0)
    try:
        assert_all_refused(work, [[*command, str(closed / inside)] for command in COMMANDS])
    finally:
        closed.chmod(0o700)


@pytest.mark.medium
def test_a_results_folder_of_two_users(work: Path) -> None:
    """Both may write the folder, and what the other wrote in it can only be read."""
    (shared := work / "shared").mkdir()
    two_runs(shared)
    (shared / "lock").touch()
    for path in shared.iterdir():
        path.chmod(0o444)
    search = ("search", "--pair", "resnet8/resnet8", "--dataset", "digits", "--gpus", "0")
    merge = ("export", "--merge", "good/ledger.sqlite")
    assert_all_refused(work, [[*command, "--results", str(shared)] for command in (SMALL, search, merge)])


def test_home_is_resolved_alike(
    monkeypatch: pytest.MonkeyPatch, work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--results=~/r`, which a shell leaves as it is."""
    monkeypatch.setenv("HOME", str(work))
    assert parse_path("~/good") == work / "good"
    for command in (("tables", "table5"), ("claims",), ("run", "table5", "--gpus", "0", "--list")):
        assert main([*command, "--results=~/good"]) == 0, capsys.readouterr().err


def test_a_link_to_nothing_is_called_so(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (work / "link").symlink_to(work / "gone")
    assert main([*SMALL, "--results", "link"]) == 2
    assert f"{work}/link: it is a link to {work}/gone, which is not there" in capsys.readouterr().err
