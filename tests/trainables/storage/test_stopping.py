"""The marker files by which a run is stopped."""

from __future__ import annotations

from pathlib import Path

from trainables.storage.runs import run_dir
from trainables.storage.stopping import ask_to_stop, confirm_stop, forget_stop, is_asked_to_stop, is_stopped


def test_a_run_is_asked_to_stop_then_stopped_then_forgotten(tmp_path: Path) -> None:
    def state() -> tuple[bool, bool]:
        return is_asked_to_stop(tmp_path, "run"), is_stopped(tmp_path, "run")

    assert state() == (False, False)
    run_dir(tmp_path, "run").mkdir(parents=True)
    assert ask_to_stop(tmp_path, "run")
    assert not ask_to_stop(tmp_path, "run")
    assert state() == (True, False)
    confirm_stop(tmp_path, "run")
    assert state() == (False, True)
    for _ in range(2):
        forget_stop(tmp_path, "run")
        assert state() == (False, False)
