"""Locks between processes: who waits for whom, and that a killed holder holds nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from trainables.storage.locks import LockHeldError, hold_lock

HOLDER = """
import sys, time
from pathlib import Path
from trainables.storage.locks import hold_lock
with hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_shared_locks_go_together_and_an_exclusive_one_with_none(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold_lock(path, shared=True), hold_lock(path, shared=True, seconds=0):  # noqa: SIM117
        with pytest.raises(LockHeldError, match="still held by another process after 0 s"), hold_lock(path, seconds=0):
            pass
    with hold_lock(path), pytest.raises(LockHeldError), hold_lock(path, shared=True, seconds=0.1):
        pass
    with hold_lock(path, seconds=0):
        pass


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as holder:
        assert holder.stdout is not None
        with closing(holder.stdout):
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(LockHeldError), hold_lock(path, seconds=0):
                pass
            holder.send_signal(signal.SIGKILL)
            holder.wait(60)
    with hold_lock(path, seconds=10):
        pass
