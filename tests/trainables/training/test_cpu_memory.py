"""Freed memory is kept while a job trains and returned when asked, as the system counts pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_jobs import VANILLA, stop_after, train

from trainables import job
from trainables.storage.job_file import Execution
from trainables.training import cpu_memory

ROOT = Path(__file__).resolve().parents[3]
STEPS = """
import ctypes, resource, sys, threading
PR_SET_THP_DISABLE = 41
from trainables.training.cpu_memory import return_freed_memory, keep_freed_memory
if sys.argv[1] == "kept":
    assert keep_freed_memory()
libc = ctypes.CDLL(None)
assert libc.prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
size = 24 * 2**20
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20
def step():
    blocks = [libc.malloc(size) for _ in range(6)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in reversed(blocks):
        libc.free(block)
def work():
    for _ in range(3):
        step()
    before = faults()
    for _ in range(4):
        step()
    print((faults() - before) // 4)
    before = resident()
    return_freed_memory()
    print(before - resident())
thread = threading.Thread(target=work)
thread.start() if sys.argv[2] == "thread" else work()
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or cpu_memory._find_glibc() is None,
    reason="the memory of a process is glibc's on Linux alone",
)


def counted(how: str, where: str, arenas: str) -> tuple[int, int]:
    """Page faults of a step that takes 144 MB and frees them, and the megabytes that are given back in the end."""
    environment = os.environ | {"MALLOC_ARENA_MAX": arenas}
    done = subprocess.run(
        [sys.executable, "-c", STEPS, how, where], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    faults, returned = map(int, done.stdout.split())
    return faults, returned


def test_kept_memory_has_no_page_faults_and_is_given_back() -> None:
    faults, returned = counted("kept", "main", "8")
    assert faults < 500
    assert returned > 130


def test_a_thread_has_its_memory_returned_unless_it_shares_the_first_arena() -> None:
    assert counted("kept", "thread", "8")[0] > 5000
    assert counted("kept", "thread", "1")[0] < 500


def test_else_every_step_gets_its_pages_anew() -> None:
    assert counted("as it comes", "main", "8")[0] > 5000


@pytest.mark.medium
def test_a_job_gives_its_memory_back_however_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr(job, "return_freed_memory", lambda: given.append("back"))
    train([VANILLA], Execution(tmp_path / "done", threads=1))
    assert given == ["back"]
    stop_after([VANILLA], Execution(tmp_path / "stopped", threads=1), 1)
    assert given == ["back"] * 2

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(job, "train_epoch", broken)
    with pytest.raises(RuntimeError, match="broken"):
        train([VANILLA], Execution(tmp_path / "broken", threads=1))
    assert given == ["back"] * 3


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_memory, "_find_glibc", lambda: None)
    assert not cpu_memory.keep_freed_memory()
    cpu_memory.return_freed_memory()
