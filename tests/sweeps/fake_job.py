"""A job that trains nothing: epochs that last as long as they are told, checkpoints, results. Obeys its networks.

`raises` fails in its 2nd epoch, `diverges` likewise but alone; `dies` kills its process in its 2nd epoch, once;
`mortal` every time, `weary` in each epoch, once; `starves` finds a GPU's memory full, once,
`hungry` every time; `garbles` writes a result
that nobody can read. Any other name trains well. Every epoch and every result is a line of `results/log`.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch

from trainables.data import loader
from trainables.job import EpochReport, Execution
from trainables.spec import RunSpec
from trainables.storage.checkpoints import checkpoint_path
from trainables.storage.locks import hold_lock
from trainables.storage.runs import read_result, run_dir, write_atomically, write_result
from trainables.storage.stopping import forget_stop, is_asked_to_stop

EPOCH_SECONDS = float(os.environ.get("FAKE_EPOCH_SECONDS", "0"))
TOGETHER = int(os.environ.get("FAKE_TOGETHER", "0"))
"""How many runs must have begun before any goes on; waited for at most PATIENCE seconds."""
PATIENCE = 300


def spec(student: str = "net", seed: int = 1, *, epochs: int = 3, teacher: RunSpec | None = None) -> RunSpec:
    taught = {"method": "kd", "teacher": teacher.student, "teacher_source": f"run:{teacher.run_id}"} if teacher else {}
    return RunSpec(dataset="digits", student=student, seed=seed, epochs=epochs, milestones=(), lr=0.05, **taught)


def top1(epoch: int) -> float:
    return 100 - 50 / epoch


def log_lines(results: Path, what: str) -> list[str]:
    """The logged run ids (`result`) or `id epoch` (`epoch`)."""
    path = results / "log"
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.removeprefix(f"{what} ") for line in lines if line.startswith(f"{what} ")]


def train(specs: Sequence[RunSpec], execution: Execution) -> Iterator[EpochReport]:
    epochs = max(spec.epochs for spec in specs)
    with ExitStack() as locks:
        for one in specs:
            run_dir(execution.results, one.run_id).mkdir(parents=True, exist_ok=True)
            locks.enter_context(hold_lock(run_dir(execution.results, one.run_id) / "lock", seconds=60))
        deadline = time.monotonic() + PATIENCE
        while len(list((execution.results / "runs").iterdir())) < TOGETHER and time.monotonic() < deadline:
            time.sleep(0.05)
        done = tuple(s.run_id for s in specs if read_result(execution.results, s.run_id) is not None)
        if done:
            yield EpochReport(0, epochs, finished=done)
        left = [one for one in specs if one.run_id not in done]
        for epoch in range(1 + min((_epoch(one, execution) for one in left), default=0), epochs + 1):
            active = [one for one in left if _epoch(one, execution) == epoch - 1 and epoch <= one.epochs]
            if not left:
                break
            time.sleep(EPOCH_SECONDS)
            finished, failed = [], {}
            for one in active:
                reason = _train_epoch(one, epoch, execution)
                if reason:
                    failed[one.run_id] = reason
                    left.remove(one)
                elif epoch == one.epochs:
                    finished.append(one.run_id)
            numbers = {one.run_id: {"top1": top1(epoch), "train_loss": 1 / epoch} for one in active}
            stopped = [one for one in left if one.run_id not in finished and _told_to_stop(one, execution)]
            left = [one for one in left if one not in stopped]
            ends = tuple(one.run_id for one in stopped)
            yield EpochReport(
                epoch=epoch, epochs=epochs, metrics=numbers, finished=tuple(finished), failed=failed, stopped=ends
            )


def _told_to_stop(one: RunSpec, execution: Execution) -> bool:
    told = is_asked_to_stop(execution.results, one.run_id)
    forget_stop(execution.results, one.run_id)
    return told


def _epoch(one: RunSpec, execution: Execution) -> int:
    path = checkpoint_path(execution.results, one.run_id)
    return int(path.read_text()) if path.exists() else 0


def _train_epoch(one: RunSpec, epoch: int, execution: Execution) -> str | None:
    folder = run_dir(execution.results, one.run_id)
    if epoch == 2 and one.student == "raises":
        raise OSError(28, "No space left on device", str(folder))
    died = folder / f"died-{epoch}"
    if (one.student == "weary" or (epoch == 2 and one.student in ("dies", "mortal"))) and not died.exists():
        if one.student != "mortal":
            died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if one.student == "hungry" or (one.student == "starves" and not died.exists()):
        died.touch()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    diverged = epoch == 2 and one.student == "diverges"
    _log(execution, f"epoch {one.run_id} {epoch}")
    write_atomically(checkpoint_path(execution.results, one.run_id), str(epoch).encode())
    if diverged or epoch == one.epochs:
        write_result(execution.results, result(one, "diverged: nan" if diverged else None, execution))
        if one.student == "garbles":
            (folder / "result.json").write_text('{"half')
        _log(execution, f"result {one.run_id}")
    return "diverged: nan" if diverged else None


def _log(execution: Execution, line: str) -> None:
    with open(execution.results / "log", "a") as file:
        file.write(line + "\n")


def result(one: RunSpec, reason: str | None = None, execution: Execution | None = None) -> dict[str, object]:
    epochs = 1 if reason else one.epochs
    return {
        "schema": 1,
        "run_id": one.run_id,
        "name": one.name,
        "spec": one.as_dict(),
        "status": "failed" if reason else "done",
        "reason": reason,
        "best_top1": top1(epochs),
        "best_top5": 90.0,
        "best_epoch": epochs,
        "last_top1": top1(epochs),
        "last_top5": 90.0,
        "last_loss": 1.0,
        "train_loss": 1.0,
        "epochs": epochs,
        "seconds": 1.0,
        "epoch_seconds": [1.0] * epochs,
        "parameters": 10,
        "weights_sha256": None if reason else "0" * 64,
        "teacher_sha256": "1" * 64 if one.teacher else None,
        "teacher_top1": 60.0 if one.teacher else None,
        "teacher_top5": 95.0 if one.teacher else None,
        "curve": [[epoch, 1.0, top1(epoch), 90.0, 1.0] for epoch in range(1, epochs + 1)],
        "provenance": {
            "device": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "threads": execution.threads if execution else 0,
            "beside": loader.devices_here,
            "command": json.dumps(os.getcwd()),
        },
    }
