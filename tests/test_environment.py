"""A script that is started outside its environment says so in one line, and how to enter it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trainables.environment import LEAST, NEEDED

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(
    path.relative_to(ROOT)
    for folder in ("sweeps", "analysis", "trainables")
    for path in (ROOT / folder).glob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)


def test_every_command_is_among_the_scripts() -> None:
    assert len(SCRIPTS) >= 9


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_outside_the_environment_a_script_says_how_to_enter_it(script: Path, tmp_path: Path) -> None:
    """By a Python without its site-packages, from another folder."""
    command = [sys.executable, "-S", str(ROOT / script), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert re.match(
        r"error: this Python \(.+\) has no torch, .*ray.*: enter the program's environment \(`.+\), then", line
    )


def test_what_is_needed_is_what_is_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[\[<>=~! ]", each)[0] for each in project["dependencies"]}
    imported = {
        {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}.get(name, name) for name in NEEDED.split()
    }
    assert imported == names
    assert project["requires-python"] == ">={}.{}".format(*LEAST)


@pytest.mark.parametrize("path", [Path("trainables/environment.py"), *SCRIPTS], ids=str)
def test_an_older_python_gets_as_far_as_the_complaint(path: Path) -> None:
    ast.parse((ROOT / path).read_text(), feature_version=(3, 10))
