"""Where the ledger's runs were trained, and by which code."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from analysis.record.entry import Entry

UNKNOWN = "unknown"
ORIGIN = ["device", "commit", "torch"]


def origins(entries: Iterable[Entry]) -> pd.DataFrame:
    """A line for each run.

    device, commit, torch: where its number comes from; of the commit the first digits, with a word where the code had
    been changed. source: the number of these three, from 1, in the order of first appearance. done: whether it is.
    seconds: of training. started, ended: as they were recorded, empty where they were not.
    """
    rows = []
    for entry in entries:
        found = entry.provenance
        device, commit, torch = (str(found.get(name) or UNKNOWN) for name in ORIGIN)
        commit = commit[:12] + (" + local changes" if found.get("dirty") else "")
        times = (str(found.get(name) or "") for name in ("started", "ended"))
        rows.append((entry.run_id, device, commit, torch, entry.done, entry.seconds or 0.0, *times))
    columns = ["run_id", *ORIGIN, "done", "seconds", "started", "ended"]
    runs = pd.DataFrame(rows, columns=columns).set_index("run_id")
    runs["source"] = runs.groupby(ORIGIN, sort=False).ngroup() + 1
    return runs


def sum_up(runs: pd.DataFrame, by: str | list[str]) -> pd.DataFrame:
    """Runs, those that are done, seconds and the last end, of each device or commit ..., in order of appearance."""
    groups = runs.groupby(by, sort=False)
    return groups.agg(
        runs=("done", "size"), done=("done", "sum"), seconds=("seconds", "sum"), ended=("ended", "max")
    ).reset_index()


def minute(time: str) -> str:
    """`2026-11-23 08:02` of an ISO time."""
    return time[:16].replace("T", " ")


def hours(seconds: float) -> str:
    """Device-hours with as many digits as matter."""
    number = seconds / 3600
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"
