"""A Ray of our own in odd surroundings: other code where the command is started, full disks, few processes."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.running import surroundings
from sweeps.running.cluster import make_temporary_folder
from sweeps.running.surroundings import check_surroundings
from trainables.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
FOREIGN = ("trainables", "ekd_core", "profile", "numpy", "torch", "ray")
IMPORTED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import ray
from sweeps.planning.resources import Resources
from sweeps.running.cluster import start_ray

def places():
    import importlib, os
    names = ("trainables", "ekd_core", "profile", "numpy", "torch", "ray")
    return os.getcwd(), [importlib.import_module(name).__file__ for name in names]

with start_ray(Resources(gpus=0), debug=False):
    print(json.dumps(ray.get(ray.remote(places).remote())))
"""


@pytest.mark.slow
def test_workers_import_nothing_from_where_the_command_is_started(tmp_path: Path) -> None:
    script = tmp_path / "scripts" / "start.py"
    script.parent.mkdir()
    script.write_text(IMPORTED, encoding="utf-8")
    work = tmp_path / "work"
    for name in FOREIGN:
        (work / name).mkdir(parents=True)
        (work / name / "__init__.py").write_text("raise ImportError('not ours')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), str(ROOT)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, files = json.loads(done.stdout)
    assert where == str(work)
    assert files[:2] == [str(ROOT / name / "__init__.py") for name in FOREIGN[:2]]
    assert not any(Path(file).is_relative_to(tmp_path) for file in files)


def test_a_full_temporary_folder_is_told_before_ray_starts(tmp_path: Path) -> None:
    """On a small disk, where one can be mounted."""
    mount = "mount -t tmpfs -o size=64k tmpfs . && cd . && "
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from sweeps.running.surroundings import check_surroundings; check_surroundings(Path(sys.argv[2]))"
    )
    line = f'cd {tmp_path} && {mount} exec "$0" -c "$1" "$2" {tmp_path}'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", line, sys.executable, code, str(ROOT)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert f"the temporary folder {tmp_path} has 0 MB free, and Ray needs 20: make room" in done.stderr


def test_too_few_processes_are_told_before_ray_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (40, 40))
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() or 4_000_000_000)
    with pytest.raises(UserError, match=r"may start \d+ more processes and threads, and Ray needs about 300: raise"):
        check_surroundings(tmp_path)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    check_surroundings(tmp_path)


def test_a_name_that_ray_does_not_take_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--results", "r\udcff"])
    with pytest.raises(UserError, match=r"r.udcff is not UTF-8, and Ray takes no such name"):
        check_surroundings(tmp_path)


def test_a_temporary_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings.shutil, "disk_usage", lambda place: 1 / 0)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/dev/null")
    with (
        pytest.raises(UserError, match=r"cannot make a temporary folder for Ray \(/dev/null/ekd-.*TMPDIR"),
        make_temporary_folder(keep=False),
    ):
        pass


def test_a_long_temporary_folder_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The paths of sockets have at most 107 letters."""
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / ("t" * 120)))
    with make_temporary_folder(keep=False) as folder:
        assert len(folder) <= 40


@pytest.mark.slow
def test_ray_starts_in_a_small_container(tmp_path: Path) -> None:
    """64 MB of shared memory, a root that cannot be written, no home."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], check=False).returncode:
        pytest.skip("no disk can be mounted here")
    script = tmp_path / "start.py"
    script.write_text(IMPORTED, encoding="utf-8")
    mounts = "mount -t tmpfs -o size=64m tmpfs /dev/shm && mount -t tmpfs tmpfs /run && mount -o remount,ro,bind /"
    line = f'{mounts} && cd / && ! touch /x 2>/dev/null && TMPDIR=/run exec "$0" -B {script} {ROOT}'
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "PYTHONPATH")}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", line, sys.executable],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if "mount" in done.stderr:
        pytest.skip(f"no such container can be made here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == "/"
