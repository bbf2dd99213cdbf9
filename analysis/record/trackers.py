"""Runs in MLflow and in Weights & Biases: one of the tracker's runs for each run, in which a later sweep goes on.

A run of the tracker has the run's fields as parameters, its numbers of each epoch, each once, and those of its end.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.record.entry import CURVE_FIELDS, NUMBERS, Entry
from trainables.errors import UserError
from trainables.run_names import name_of
from trainables.spec import RunSpec, flatten

PROJECT = "energy-kd"
"""MLflow's experiment, the project of Weights & Biases; MLFLOW_EXPERIMENT_NAME and WANDB_PROJECT name others."""
RUN_TAG, ENDED = "run_id", "ended"
USUAL = {
    "HTTP_REQUEST_MAX_RETRIES": "1",
    "HTTP_REQUEST_TIMEOUT": "20",
    "DISABLE_TELEMETRY": "true",
    "LOGGING_LEVEL": "ERROR",
    "SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""MLflow's settings, unless the user has others: a server that does not answer is given up soon."""
MOST_METRICS = 1000
"""That MLflow takes at once."""
Tags = Callable[[RunSpec], Mapping[str, str]]


def check_tracker(name: str, asked: str) -> None:
    """Refuse a tracker whose package is not installed."""
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:  # A folder of that name is no package.
        raise UserError(f"{asked}: the package {name} is missing: pip install {name}")


def tags_of(spec: RunSpec, tags: Tags) -> dict[str, str]:
    pair = f"{spec.teacher}/{spec.student}" if spec.teacher else spec.student
    return {RUN_TAG: spec.run_id, "pair": pair, "seed": str(spec.seed), **tags(spec)}


def fields_of(spec: RunSpec) -> dict[str, str | int | float]:
    return {name: value for name, value in flatten(spec).items() if isinstance(value, str | int | float)}


class Tracker(ABC):
    """tags: what is known of a run besides its fields: its sweep, table, row."""

    def __init__(self, tags: Tags) -> None:
        self._tags = tags
        self._epochs: dict[str, set[int]] = {}

    def log(self, spec: RunSpec, epoch: int, numbers: Mapping[str, float | None]) -> None:
        """The numbers of an epoch, unless the tracker has them."""
        self._log(spec, [(epoch, numbers)])

    def end(self, entry: Entry) -> None:
        """The run has ended: epochs that the tracker lacks, and the numbers of the end."""
        rows = [dict(zip(CURVE_FIELDS, row, strict=True)) for row in entry.curve]
        self._log(entry.spec, [(int(row.pop("epoch") or 0), row) for row in rows])
        self._close(
            entry.spec, "FINISHED" if entry.done else "FAILED", {name: getattr(entry, name) for name in NUMBERS}
        )

    def stop(self, spec: RunSpec) -> None:
        """The run was given up."""
        self._close(spec, "KILLED", {})

    def _log(self, spec: RunSpec, epochs: Iterable[tuple[int, Mapping[str, float | None]]]) -> None:
        known = self._begin(spec)
        new = {epoch: {"epoch": epoch, **_finite(numbers)} for epoch, numbers in epochs if epoch not in known}
        if new:
            self._write(spec, new)
            known.update(new)

    def _begin(self, spec: RunSpec) -> set[int]:
        """The epochs that the tracker has of a run, which is begun there if it is not yet."""
        if spec.run_id not in self._epochs:
            self._epochs[spec.run_id] = self._open(spec)
        return self._epochs[spec.run_id]

    def _close(self, spec: RunSpec, status: str, numbers: Mapping[str, float | None]) -> None:
        self._begin(spec)
        self._finish(spec, status, _finite(numbers))
        del self._epochs[spec.run_id]

    @abstractmethod
    def unfinished(self) -> list[str]:
        """The ids of runs that the tracker has begun and does not know to have ended."""

    @abstractmethod
    def _open(self, spec: RunSpec) -> set[int]: ...

    @abstractmethod
    def _write(self, spec: RunSpec, epochs: Mapping[int, Mapping[str, float]]) -> None: ...

    @abstractmethod
    def _finish(self, spec: RunSpec, status: str, numbers: Mapping[str, float]) -> None: ...


class MLflow(Tracker):
    """Runs are found by their tag, so that a sweep on another machine goes on in them."""

    def __init__(self, uri: str, tags: Tags) -> None:
        super().__init__(tags)
        for name, value in USUAL.items():
            os.environ.setdefault(f"MLFLOW_{name}", value)
        logging.getLogger("alembic").setLevel(logging.ERROR)
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._metric, self._param = Metric, Param
        self._client = MlflowClient(uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        self._experiment = found.experiment_id if found else self._client.create_experiment(name)
        self._ids: dict[str, str] = {}

    def unfinished(self) -> list[str]:
        return [
            run.data.tags[RUN_TAG] for run in self._search("attributes.status = 'RUNNING'") if RUN_TAG in run.data.tags
        ]

    def _search(self, words: str) -> list[Any]:
        return list(self._client.search_runs([self._experiment], words))

    def _open(self, spec: RunSpec) -> set[int]:
        for run in self._search(f"tags.{RUN_TAG} = '{spec.run_id}'")[:1]:
            self._ids[spec.run_id] = run.info.run_id
            self._client.update_run(run.info.run_id, status="RUNNING")
            return {each.step for each in self._client.get_metric_history(run.info.run_id, "epoch")}
        made = self._client.create_run(self._experiment, tags=tags_of(spec, self._tags), run_name=name_of(spec))
        self._ids[spec.run_id] = made.info.run_id
        params = [self._param(name, str(value)) for name, value in fields_of(spec).items()]
        self._client.log_batch(made.info.run_id, params=params)
        return set()

    def _write(self, spec: RunSpec, epochs: Mapping[int, Mapping[str, float]]) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._metric(name, value, now, epoch) for epoch, each in epochs.items() for name, value in each.items()
        ]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._ids[spec.run_id], metrics=metrics[first : first + MOST_METRICS])

    def _finish(self, spec: RunSpec, status: str, numbers: Mapping[str, float]) -> None:
        run_id = self._ids.pop(spec.run_id)
        known, now = self._client.get_run(run_id).data.metrics, int(time.time() * 1000)
        new = [self._metric(f"final_{name}", value, now, 0) for name, value in numbers.items()]
        self._client.log_batch(run_id, metrics=[one for one in new if known.get(one.key) != one.value])
        self._client.set_terminated(run_id, status)


class WeightsAndBiases(Tracker):
    """What is told of each run is also noted in a file, a line an epoch: wandb cannot be asked while it is offline, and
    what a killed process told it may be lost."""

    def __init__(self, folder: Path, tags: Tags) -> None:
        super().__init__(tags)
        import wandb

        self._wandb, self._folder = wandb, folder
        self._runs: dict[str, Any] = {}
        (folder / "noted").mkdir(parents=True, exist_ok=True)

    def _note(self, run_id: str) -> Path:
        return self._folder / "noted" / run_id

    def _read_notes(self, run_id: str) -> list[dict[str, Any]]:
        """The last line may have been cut off."""
        path, found = self._note(run_id), []
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def _add_note(self, run_id: str, note: Mapping[str, Any]) -> None:
        with self._note(run_id).open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(note)}\n")

    def _has_ended(self, run_id: str) -> bool:
        notes = self._read_notes(run_id)
        return bool(notes) and ENDED in notes[-1]

    def unfinished(self) -> list[str]:
        return [path.name for path in (self._folder / "noted").iterdir() if not self._has_ended(path.name)]

    def end(self, entry: Entry) -> None:
        if not self._has_ended(entry.run_id):
            super().end(entry)

    def _open(self, spec: RunSpec) -> set[int]:
        self._forget_killed(spec.run_id)
        tags = tags_of(spec, self._tags)
        run = self._runs[spec.run_id] = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            dir=str(self._folder.parent),
            id=spec.run_id,
            name=name_of(spec),
            group=tags.get("table"),
            resume="allow",
            reinit="create_new",
            config={**fields_of(spec), "tags": tags},
            tags=[f"{name}:{value}"[:64] for name, value in tags.items()],
            settings=self._wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        if not run.offline and run.resumed:
            return {int(row["epoch"]) for row in self._wandb.Api().run(run.path).scan_history(keys=["epoch"])}
        noted = {int(note["epoch"]): note for note in self._read_notes(spec.run_id) if "epoch" in note}
        for _, numbers in sorted(noted.items()):
            run.log(numbers)
        return {*noted}

    def _forget_killed(self, run_id: str) -> None:
        """Remove what an earlier process wrote offline, which may have been cut off anywhere: it is told again."""
        for folder in self._folder.glob(f"offline-run-*-{run_id}"):
            if not list(folder.glob("*.synced")):
                shutil.rmtree(folder)

    def _write(self, spec: RunSpec, epochs: Mapping[int, Mapping[str, float]]) -> None:
        for _, numbers in sorted(epochs.items()):
            self._runs[spec.run_id].log(dict(numbers))
            self._add_note(spec.run_id, numbers)

    def _finish(self, spec: RunSpec, status: str, numbers: Mapping[str, float]) -> None:
        run = self._runs.pop(spec.run_id)
        run.summary.update({**{f"final_{name}": value for name, value in numbers.items()}, "status": status})
        run.finish(exit_code=0 if status == "FINISHED" else 1)
        self._add_note(spec.run_id, {ENDED: status})


def _finite(numbers: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if value is not None and math.isfinite(value)}
