"""Freed memory is kept while a job trains and returned when asked, as the system counts pages."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.cluster import LOCAL
from trainables import memory

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = """
import ctypes, resource, sys, threading
from trainables.memory import give_back, keep_freed
if sys.argv[1] == "kept":
    assert keep_freed()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // 2**20
def work():
    blocks = [libc.malloc(16 * 2**20) for _ in range(12)]
    for block in blocks:
        ctypes.memset(block, 1, 16 * 2**20)
    most = resident()
    for block in blocks:
        libc.free(block)
    freed = resident()
    give_back()
    print(most - freed, most - resident())
thread = threading.Thread(target=work)
thread.start() if sys.argv[2] == "thread" else work()
"""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or memory._libc() is None, reason="the memory of a process is glibc's on Linux alone"
)


def returned(how: str, where: str) -> tuple[int, int]:
    """Megabytes of 192 that the system has again after they were freed, and after all was given back."""
    command = [sys.executable, "-c", BLOCKS, how, where]
    settings = {"MALLOC_ARENA_MAX": LOCAL["MALLOC_ARENA_MAX"]}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | settings, capture_output=True, text=True, check=True)
    at_once, at_the_end = map(int, done.stdout.split())
    return at_once, at_the_end


@pytest.mark.parametrize("where", ["main", "thread"])
def test_freed_memory_is_kept_until_it_is_given_back(where: str) -> None:
    """In a thread with the settings of a sweep's workers."""
    at_once, at_the_end = returned("kept", where)
    assert at_once < 5
    assert at_the_end > 180
    at_once, _ = returned("as it comes", where)
    assert at_once > 180


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_libc", lambda: None)
    assert not memory.keep_freed()
    memory.give_back()
