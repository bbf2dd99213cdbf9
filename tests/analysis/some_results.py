"""Results to record, and ledgers with them, for the tests of the ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from analysis.record.ledger import Ledger
from trainables.spec import RunSpec, params

EPOCHS = 4


def spec_of(seed: int = 1, **changes: Any) -> RunSpec:
    plain = RunSpec("digits", "resnet8", seed, EPOCHS, (3,), 0.05)
    taught = {"method": "kd", "teacher": "resnet20", "teacher_source": "run:0", "params": params(ce=0.1, kd=0.9)}
    return replace(plain, **(taught | changes))


def result_of(spec: RunSpec, **changes: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "schema": 1,
        "run_id": spec.run_id,
        "name": spec.name,
        "spec": spec.as_dict(),
        "status": "done",
        "reason": None,
        "best_top1": 75.06,
        "best_top5": 93.1,
        "best_epoch": 3,
        "last_top1": 74.92,
        "last_top5": 93,
        "last_loss": 0.1 + 0.2,
        "train_loss": 1.25,
        "epochs": spec.epochs,
        "seconds": 40.5,
        "epoch_seconds": [10.125] * spec.epochs,
        "parameters": 78_042,
        "weights_sha256": "a" * 64,
        "teacher_sha256": "b" * 64,
        "teacher_top1": 79.5,
        "teacher_top5": None,
        "curve": [[epoch, 1 / epoch, 70.0, 90, 2 / 3] for epoch in range(1, spec.epochs + 1)],
        "provenance": {"commit": None, "dirty": False, "device": "a “processor”", "pack": 9, "torch": "2.9"},
    }
    return usual | changes


def failed(spec: RunSpec, reason: str = "diverged: the training loss is nan in epoch 1", **changes: Any) -> dict:
    """The result of a run that came to no number."""
    nothing = dict.fromkeys(["best_top1", "best_top5", "best_epoch", "last_top1", "last_top5", "last_loss"])
    nothing |= {"train_loss": None, "weights_sha256": None, "curve": [], "epochs": 1, "epoch_seconds": [3.0]}
    return result_of(spec, status="failed", reason=reason, **(nothing | changes))


def write(path: Path, *results: dict[str, Any]) -> Path:
    with Ledger.open(path) as ledger:
        for result in results:
            assert ledger.record(result)
    return path


def query(path: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(sql, values).fetchall()
        connection.commit()
    return rows
