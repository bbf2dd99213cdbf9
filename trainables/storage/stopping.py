"""How a run is stopped before its last epoch: by two marker files in its folder.

    training  -- ask_to_stop --->  asked     `stop` is there
    asked     -- confirm_stop -->  stopped   the job has ended its epoch: `stopped` is there, `stop` is not
    asked, stopped  -- forget_stop -->  training

Whoever wants a run to stop asks; the job looks after each epoch, keeps the checkpoint and confirms. A job that is
restarted leaves stopped runs out. Whoever wants a run trained (again) forgets both.
"""

from __future__ import annotations

import os
from pathlib import Path

from trainables.storage.runs import run_dir

ASKED, STOPPED = "stop", "stopped"


def ask_to_stop(results: Path, run_id: str) -> bool:
    """Ask that a run stops after its present epoch. Returns False if that had been asked already."""
    try:
        (run_dir(results, run_id) / ASKED).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def is_asked_to_stop(results: Path, run_id: str) -> bool:
    return _is_there(results, run_id, ASKED)


def confirm_stop(results: Path, run_id: str) -> None:
    """Note that a run was stopped."""
    (run_dir(results, run_id) / STOPPED).touch()
    (run_dir(results, run_id) / ASKED).unlink(missing_ok=True)


def is_stopped(results: Path, run_id: str) -> bool:
    return _is_there(results, run_id, STOPPED)


def forget_stop(results: Path, run_id: str) -> None:
    """Remove the wish that a run stops, and the note that it did."""
    for name in (ASKED, STOPPED):
        (run_dir(results, run_id) / name).unlink(missing_ok=True)


def _is_there(results: Path, run_id: str, name: str) -> bool:
    """Look into the folder: of a file itself a network file system remembers for a while whether it was there."""
    try:
        return name in os.listdir(run_dir(results, run_id))
    except FileNotFoundError:
        return False
