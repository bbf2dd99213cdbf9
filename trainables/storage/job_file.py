"""Where and how a job is trained, and a job as a file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trainables.errors import UserError, reason_of
from trainables.own_code import with_own_code
from trainables.spec import RunSpec, from_dict
from trainables.storage.runs import read_file
from trainables.used_files import use_shared

DEVICES = ("cpu", "cuda")
MOST_THREADS = 1024
"""More than any processor runs at once; a process that starts 100,000 dies."""


@dataclass(frozen=True)
class Execution:
    """Where and how a job is trained. Only the device and its threads may change a run's numbers.

    results: the results folder.
    data_dir: the folder with the user's images, None for the project's own.
    teachers: (sha256, path) of the weights files that were given.
    device: "cpu" or "cuda".
    threads: CPU threads of torch; 0 leaves the choice to torch.
    command: the command line that asked for the job, for the record.
    teacher_cache_gb: gigabytes that all teacher caches together may take; 0 for no cache.
    cuda_graphs: record steps as CUDA graphs and replay those of several students on CUDA streams, where that is faster.
    used: the folder with the files of a user's own, see `used_files.share`; empty for none.
    """

    results: Path
    data_dir: Path | None = None
    teachers: tuple[tuple[str, str], ...] = ()
    device: str = "cpu"
    threads: int = 0
    command: str = ""
    teacher_cache_gb: float = 0.0
    cuda_graphs: bool = False
    used: str = ""


def read_job(path: Path) -> tuple[list[RunSpec], Execution]:
    """Read the runs of a JOB.json, and where and how to train them."""
    try:
        job = json.loads(read_file(path))
        execution = dict(job["execution"])
        known = Execution.__dataclass_fields__.keys()
        if unknown := [*(job.keys() - {"runs", "execution"}), *(execution.keys() - known)]:
            raise ValueError(f"a job has nothing called {min(unknown)}")
        kinds = {
            "results": str,
            "device": str,
            "command": str,
            "threads": int,
            "teacher_cache_gb": float,
            "cuda_graphs": bool,
            "used": str,
        }
        if type(execution.get("teacher_cache_gb")) is int:
            execution["teacher_cache_gb"] = float(execution["teacher_cache_gb"])
        wrong = [name for name, kind in kinds.items() if name in execution and type(execution[name]) is not kind]
        if wrong:
            raise TypeError(f"its {wrong[0]} is {execution[wrong[0]]!r}")
        if execution.get("device", "cpu") not in DEVICES:
            raise ValueError(f"its device is {execution['device']!r}, neither {' nor '.join(DEVICES)}")
        if not 0 <= execution.get("threads", 0) <= MOST_THREADS:
            raise ValueError(f"its threads are {execution['threads']}, not 0 to {MOST_THREADS}")
        execution["results"] = _path(execution["results"])
        execution["data_dir"] = _path(execution["data_dir"]) if execution.get("data_dir") else None
        execution["teachers"] = tuple((str(digest), str(file)) for digest, file in execution.get("teachers", ()))
        use_shared(execution.get("used", ""))
        return [_read_run(fields) for fields in job["runs"]], Execution(**execution)
    except OSError as error:
        raise UserError(f"cannot read {path}: {reason_of(error)}") from error
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is no job: {why}; it needs `runs` and an `execution` with `results`") from error


def _path(text: str) -> Path:
    """A path that the file system can take."""
    if not text or b"\0" in os.fsencode(text):
        raise ValueError(f"{text!r} is no path")
    return Path(text)


def _read_run(fields: dict[str, Any]) -> RunSpec:
    """The run of its fields; one that was written by hand is trained by the code of this moment."""
    spec = from_dict(fields)
    return spec if spec.code else with_own_code(spec)


def job_json(specs: Sequence[RunSpec], execution: Execution) -> str:
    """The text that `read_job` reads."""
    fields = asdict(execution) | {
        "results": str(execution.results),
        "data_dir": execution.data_dir and str(execution.data_dir),
    }
    return json.dumps({"runs": [spec.as_dict() for spec in specs], "execution": fields}, indent=1)
