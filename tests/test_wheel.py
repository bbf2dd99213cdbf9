"""The program as a wheel: installed without the checkout, started from another folder, it makes a table."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SMALL = (
    *("--dataset", "digits", "--gpus", "0", "--epochs", "1", "--seeds", "1", "--train-fraction", "0.2"),
    *("--rows", "kd", "--pairs", "resnet20/resnet8"),
)


def call(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def ekd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in an environment with the wheel and with the dependencies of this one, but without its checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    for name in call("git", "ls-files", "-z", cwd=ROOT).split("\0"):
        if (ROOT / name).is_file():
            (sources / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, sources / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    call(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, sources, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    call(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
    python = folder / "env" / "bin" / "python"
    call(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    own = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip()
    # The .pth files of a folder that is added so are not read: the checkout stays out.
    (Path(own) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    shutil.rmtree(sources)
    return folder / "env" / "bin" / "ekd"


@pytest.mark.slow
def test_the_wheel_makes_a_table(ekd: Path, tmp_path: Path) -> None:
    where = call(ekd.with_name("python"), "-c", "import sweeps; print(sweeps.__file__)", cwd=tmp_path)
    assert where.startswith(str(ekd.parents[1]))
    shown = call(ekd, "run", "table5", *SMALL, cwd=tmp_path)
    assert shown.endswith("3 runs done, 0 failed, 0 not run\n")
    assert "KD*" in shown
    tabular = call(ekd, "tables", "table5", "--format", "latex", cwd=tmp_path)
    assert (tmp_path / "results" / "tables" / "table5.tex").read_text() == tabular


@pytest.mark.slow
def test_the_wheel_draws_the_report(ekd: Path, tmp_path: Path) -> None:
    results = shutil.copytree(ROOT / "docs" / "results" / "digits", tmp_path / "results")
    call(ekd, "report", "--results", results, "--out", tmp_path / "report", cwd=tmp_path)
    assert "Table 5" in (tmp_path / "report" / "report.html").read_text()
