"""One student as a function trainable for anybody's `ray.tune.Tuner`, with any scheduler and searcher.

    >>> from ray import tune
    >>> from trainables.tune_trainable import make_trainable
    >>> train = make_trainable(spec, Execution(Path("results"), teachers=((sha256, "resnet20.pth"),)))
    >>> space = {"lr": tune.loguniform(0.01, 0.1), "temperature.plus": tune.choice([1, 2, 4])}
    >>> tune.Tuner(train, param_space=space, tune_config=tune.TuneConfig(metric="top1", mode="max")).fit()

Sweeps do not use it: they train many students in one job, see `ray_trial`.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune

from trainables.errors import UserError
from trainables.job import run
from trainables.own_code import with_own_code
from trainables.spec import RunSpec, with_fields
from trainables.storage.checkpoints import checkpoint_path, load_checkpoint, save_checkpoint
from trainables.storage.job_file import Execution
from trainables.storage.runs import weights_path

STATE, WEIGHTS, RUN = "checkpoint.pt", "weights.pth", "run_id"
"""The files of a checkpoint: the state after an epoch; the weights, once the run has ended; the run that it is of."""


def make_trainable(spec: RunSpec, execution: Execution) -> Callable[[dict[str, Any]], None]:
    """Return a function that trains `spec` with the fields of Tune's config.

    Every epoch it reports `epoch`, `top1`, `top5`, `loss` (of the test images) and `train_loss`, with a checkpoint. A
    trial that is restored from a checkpoint, its own or that of another one (population-based training), goes on after
    the checkpoint's epoch by its own config.

    Args:
        spec: The run. A config sets its fields under their dotted names (`lr`, `temperature.plus`, `params.kd`); nested
            dicts will do too.
        execution: Where the images and the teacher's weights are, and on which device to train. The teacher must be a
            given file (`teacher_source` is `sha256:...`). Each trial has a results folder of its own.

    Raises:
        UserError: In the trial, for a config that is no run, or a run that diverges.
    """

    def train_student(config: dict[str, Any]) -> None:
        own = with_own_code(with_fields(spec, _flat(config)))
        with tempfile.TemporaryDirectory(prefix="ekd-trial-") as folder:
            results = Path(folder) / "results"
            _restore(own, results, Path(folder), execution.device)
            for report in run([own], replace(execution, results=results), settled=True):
                if own.run_id in report.failed:
                    raise UserError(report.failed[own.run_id])
                if own.run_id not in report.metrics:
                    continue
                numbers = report.metrics[own.run_id]
                shown = {"top1": numbers["top1"], "top5": numbers["top5"], "loss": numbers["test_loss"]}
                shown |= {"epoch": report.epoch, "train_loss": numbers["train_loss"]}
                files = _collect(own, results, Path(folder))
                tune.report(shown, checkpoint=tune.Checkpoint.from_directory(files))

    return train_student


def _flat(config: Mapping[str, Any], outer: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= _flat(value, f"{outer}{name}.") if isinstance(value, Mapping) else {f"{outer}{name}": value}
    return found


def _restore(spec: RunSpec, results: Path, folder: Path, device: str) -> None:
    """Put the state of the trial's checkpoint, if it has one, where the run and `_collect` look for it."""
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        return
    with checkpoint.as_directory() as place, tempfile.TemporaryDirectory() as other:
        before = (Path(place) / RUN).read_text(encoding="utf-8")
        target = checkpoint_path(Path(other), before)
        target.parent.mkdir(parents=True)
        shutil.copyfile(Path(place) / STATE, target)
        state, unusable = load_checkpoint(Path(other), before, device, repair=False)
    if state is None:
        raise UserError(f"the checkpoint of the trial cannot be used: {', '.join(unusable.values())}")
    checkpoint_path(results, spec.run_id).parent.mkdir(parents=True)
    save_checkpoint(results, spec.run_id, state)
    shutil.copyfile(checkpoint_path(results, spec.run_id), folder / STATE)


def _collect(spec: RunSpec, results: Path, folder: Path) -> Path:
    """A new folder with a checkpoint's files, which Tune may move; after the last epoch with the state before it."""
    kept, files = folder / STATE, Path(tempfile.mkdtemp(dir=folder))
    for path, place in ((checkpoint_path(results, spec.run_id), kept), (kept, files / STATE)):
        if path.exists():
            shutil.copyfile(path, place)
    if weights_path(results, spec.run_id).exists():
        shutil.copyfile(weights_path(results, spec.run_id), files / WEIGHTS)
    (files / RUN).write_text(spec.run_id, encoding="utf-8")
    return files
