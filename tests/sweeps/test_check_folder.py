"""Two sides that check a shared folder: here two threads or processes; and folders that do not hold."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps import check_folder
from sweeps.check_folder import CHECKS, NAME, check
from trainables.errors import UserError
from trainables.storage import runs

ROOT = Path(__file__).resolve().parents[2]


def both(folder: Path) -> list[tuple[bool, list[str]]]:
    """What each of two sides finds."""
    found: list[tuple[bool, list[str]]] = []

    def carry_out(host: str) -> None:
        lines: list[str] = []
        found.append((check(folder, host, 20, lines.append), lines))

    threads = [threading.Thread(target=carry_out, args=(f"node{number}",)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def failed(found: list[tuple[bool, list[str]]]) -> set[str]:
    return {line.partition("FAILED: ")[2] for _, lines in found for line in lines if "FAILED" in line}


def test_a_good_folder_holds_and_is_left_as_it_was(tmp_path: Path) -> None:
    found = both(tmp_path)
    assert [holds for holds, _ in found] == [True, True]
    assert all(sum("ok: " in line for line in lines) == len(CHECKS) for _, lines in found)
    assert any("this is node1, the other is node2" in lines for _, lines in found)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_locks_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def no_lock(*_: object, **__: object) -> Iterator[None]:
        yield

    monkeypatch.setattr(check_folder, "hold_lock", no_lock)
    found = both(tmp_path)
    assert [holds for holds, _ in found] == [False, False]
    assert len(failed(found)) == 1
    assert "both machines hold one lock at the same time" in failed(found).pop()


def test_files_that_are_seen_half_do_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(path: Path, content: bytes) -> None:
        if "renamed" not in path.name:
            runs.write_atomically(path, content)
            return
        with open(path, "wb", buffering=0) as file:
            file.write(content[: len(content) // 2])
            time.sleep(0.01)
            file.write(content[len(content) // 2 :])

    monkeypatch.setattr(check_folder, "write_atomically", write)
    found = both(tmp_path)
    assert [holds for holds, _ in found] == [False, False]
    assert all("were not whole" in line for line in failed(found))


def test_whoever_stays_alone_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no other machine is seen in .*: start the same command there at once"):
        check(tmp_path, "node1", 0.2, lambda line: None)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / NAME).mkdir()
    for name in ("first", "second"):
        (tmp_path / NAME / f"{name}-here").touch()
    with pytest.raises(UserError, match="is in use, or left behind by a check that was killed"):
        check(tmp_path, "node1", 0.2, lambda line: None)


def test_the_command_on_one_machine_says_that_it_says_nothing_about_two(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "sweeps" / "ekd.py"), "check-folder", str(tmp_path)]
    sides = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [side.communicate(timeout=120)[0] for side in sides]
    assert [side.returncode for side in sides] == [0, 0]
    assert all("the same machine: this says nothing about two" in out for out in outputs)
    assert all(f"{tmp_path} holds" in out for out in outputs)
