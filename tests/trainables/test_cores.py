"""The cores of a process: its affinity, and the quotas of its control groups of both versions."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables.cores import cores_here

ROOT = Path(__file__).resolve().parents[2]
BOUND = 64


@pytest.fixture(autouse=True)
def many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(BOUND)), raising=False)


def made(folder: Path, groups: str, mounts: str, files: dict[str, str]) -> int:
    """The cores of a process with these groups and mounts, whose files lie below `folder`."""
    (folder / "cgroup").write_text(groups, encoding="utf-8")
    (folder / "mountinfo").write_text(mounts.replace("AT", str(folder)), encoding="utf-8")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return cores_here(folder)


TWO = "30 23 0:26 / AT/v2 rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
ONE = "33 23 0:29 /docker/abc AT/v1 rw - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "cores"),
    [
        ("0::/\n", TWO, {"v2/cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", TWO, {"v2/cpu.max": "max 100000\n"}, BOUND),
        ("0::/\n", TWO, {"v2/cpu.max": "50000 100000\n"}, 1),
        ("0::/a/b\n", TWO, {"v2/a/b/cpu.max": "max 100000\n", "v2/a/cpu.max": "250000 100000\n"}, 2),
        ("4:cpu,cpuacct:/docker/abc\n", ONE, {"v1/cpu.cfs_quota_us": "300000", "v1/cpu.cfs_period_us": "100000"}, 3),
        ("4:cpu,cpuacct:/docker/abc\n", ONE, {"v1/cpu.cfs_quota_us": "-1", "v1/cpu.cfs_period_us": "100000"}, BOUND),
        ("4:memory:/docker/abc\n", ONE, {"v1/cpu.cfs_quota_us": "300000", "v1/cpu.cfs_period_us": "100000"}, BOUND),
        ("", "", {}, BOUND),
    ],
)
def test_a_quota_counts(tmp_path: Path, groups: str, mounts: str, files: dict[str, str], cores: int) -> None:
    assert made(tmp_path, groups, mounts, files) == cores


@contextlib.contextmanager
def group_of_one_core() -> Iterator[Path]:
    """A control group of the system itself whose quota is one core."""
    name = f"ekd-test-{os.getpid()}"
    one, two = Path("/sys/fs/cgroup/cpu", name), Path("/sys/fs/cgroup", name)
    group = one if one.parent.is_dir() else two
    try:
        group.mkdir()
        if group == one:
            (group / "cpu.cfs_period_us").write_text("100000", encoding="utf-8")
            (group / "cpu.cfs_quota_us").write_text("100000", encoding="utf-8")
        else:
            (group / "cpu.max").write_text("100000 100000", encoding="utf-8")
        yield group
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def test_a_real_quota_counts() -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process has one core as it is")
    code = (
        "import sys; open(sys.argv[1], 'w').write('0'); sys.path.insert(0, sys.argv[2])\n"
        "from trainables.cores import cores_here; print(cores_here())"
    )
    with group_of_one_core() as group:
        line = [sys.executable, "-c", code, str(group / "cgroup.procs"), str(ROOT)]
        done = subprocess.run(line, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "1\n"
