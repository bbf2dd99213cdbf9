"""Runs that ended while no driver was alive: their results lie in the results folder, and belong into the ledger."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from analysis.record.entry import Entry, entry_of
from analysis.record.ledger import Ledger
from trainables import time_limits
from trainables.errors import UserError
from trainables.storage.checkpoints import drop_checkpoints
from trainables.storage.runs import drop_temporaries, read_result, run_dir, weights_path
from trainables.storage.stopping import forget_stop


def ingest(results: Path, ledger: Ledger, run_ids: Iterable[str]) -> int:
    """Record the results of runs that ended while no driver was alive, and remove what killed processes left behind.

    Returns how many were recorded. For the holder of the driver's lock.
    """
    wanted = list(run_ids)
    found = _find_unrecorded(results, ledger.entries(wanted), wanted)
    for result in found:
        check_result(results, result)
    recorded = sum(map(ledger.record, found))
    for run_id, entry in ledger.entries(wanted).items():
        if entry.done and weights_path(results, run_id).exists():
            drop_checkpoints(results, run_id)
    for folder in (results, results / "jobs", results / "tables"):
        drop_temporaries(folder)
    return recorded


def forget_end(results: Path, run_id: str) -> None:
    """A run is to be trained (again): what is left of a failure or of a wish to stop it must not end it."""
    forget_stop(results, run_id)
    result = read_result(results, run_id)
    if result is not None and result["status"] == "failed":
        (run_dir(results, run_id) / "result.json").unlink()


def load_entries(results: Path, run_ids: Iterable[str]) -> dict[str, Entry]:
    """What is known of the runs, from the ledger and from results that are not in it yet; nothing is written."""
    wanted = list(run_ids)
    entries: dict[str, Entry] = {}
    if (results / "ledger.sqlite").exists():
        with Ledger.open(results / "ledger.sqlite", readonly=True) as ledger:
            entries = ledger.entries(wanted)
    return entries | {
        entry.run_id: entry
        for entry in (check_result(results, one) for one in _find_unrecorded(results, entries, wanted))
    }


def wait_for_result(results: Path, run_id: str, seconds: float, check: Callable[[], None]) -> dict[str, Any]:
    """The result of a run that has ended: another machine may have written it, so that this one sees it a while later.

    check: called between two looks; raises to end the sweep.
    """
    deadline = time.monotonic() + seconds
    while (result := read_result(results, run_id)) is None:
        if time.monotonic() >= deadline:
            raise UserError(f"its result is not in {results}: --results must be shared by all machines")
        check()
        time.sleep(time_limits.RESULT_LOOK)
        # A network file system looks at the server again when a folder is listed.
        for folder in (results / "runs", run_dir(results, run_id)):
            with contextlib.suppress(OSError):
                os.listdir(folder)
    check_result(results, result)
    return result


def check_result(results: Path, result: dict[str, Any]) -> Entry:
    """The entry that a result makes; refused where it is not one."""
    try:
        return entry_of(result)
    except UserError as error:
        folder = run_dir(results, result["run_id"])
        raise UserError(
            f"cannot use {folder / 'result.json'} ({error}): delete {folder} to train that run again"
        ) from error


def _find_unrecorded(results: Path, entries: dict[str, Entry], run_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Results that the ledger lacks, or knows only as an earlier failure."""
    if not (results / "runs").is_dir():
        return []
    open_runs = [run_id for run_id in run_ids if run_id not in entries or not entries[run_id].done]
    found = [result for run_id in open_runs if (result := read_result(results, run_id)) is not None]
    return [result for result in found if result["run_id"] not in entries or result["status"] == "done"]
