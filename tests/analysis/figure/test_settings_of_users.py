"""Pictures are the same whatever the user has set for matplotlib."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import two_runs

COMMAND = [sys.executable, str(Path(__file__).parents[3] / "analysis" / "figures.py"), "table5", "--results", "results"]
INLINE = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
DARK = """\
text.usetex: True
axes.facecolor: black
savefig.facecolor: black
savefig.bbox: tight
text.color: white
xtick.labelsize: 20
font.family: No Such Font
backend: none
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "results"
    folder.mkdir()
    return two_runs(folder)


def drawn(results: Path, form: str = "png", **environment: str) -> bytes:
    file = results.with_name(f"figure.{form}")
    done = subprocess.run(
        [*COMMAND, "--out", file.name],
        cwd=results.parent,
        env=os.environ | environment,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return file.read_bytes()


@pytest.mark.medium
def test_no_setting_of_a_user_changes_a_picture(results: Path) -> None:
    """A backend that this environment lacks, another style and TeX, fonts that are not there, a damaged file."""
    usual = drawn(results)
    for settings, environment in ((DARK.encode(), INLINE), (b"\xff\xfe: 1\n", {})):
        (results.parent / "matplotlibrc").write_bytes(settings)
        assert drawn(results, **environment) == usual


@pytest.mark.medium
def test_a_date_of_builds_that_is_none_changes_no_picture(results: Path) -> None:
    assert drawn(results, "pdf", SOURCE_DATE_EPOCH="today") == drawn(results, "pdf", SOURCE_DATE_EPOCH="0")
