"""Measured costs of networks, kept for this machine so that the next plan need not measure them again; and what a sweep
takes beside its training.

    ~/.cache/energy-kd/step-costs-KEY.json     ($XDG_CACHE_HOME instead of ~/.cache where that is set)
                       sweep-start-KEY.json

KEY is a hash of what the numbers depend on: of costs machine, device, threads, torch, the program's sources; of the
start the machine. The files may be removed at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

from sweeps.planning.durations import START_SECONDS, Cost
from trainables.own_code import hash_program
from trainables.storage.runs import read_file, write_atomically


def costs_file(device: str, threads: int) -> Path:
    """The file of a device, by its name, and a number of threads."""
    return _file("step-costs", device, threads, version("torch"), hash_program())


def _file(name: str, *about: object) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256(json.dumps([platform.node(), *about]).encode()).hexdigest()[:16]
    return cache / "energy-kd" / f"{name}-{key}.json"


def read_costs(path: Path) -> dict[str, Cost]:
    """The costs of a file; none where there is no file, or no usable one: they are measured again then."""
    try:
        return {key: Cost(**fields) for key, fields in json.loads(read_file(path)).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def keep_costs(path: Path, new: Mapping[str, Cost]) -> None:
    """Add costs, of today, to a file. Where it cannot be written, the next plan measures again."""
    today = date.today().isoformat()
    costs = read_costs(path) | {key: replace(cost, day=today) for key, cost in new.items()}
    _write(path, {key: asdict(cost) for key, cost in costs.items()})


def read_start() -> float:
    """Seconds that a sweep takes beside its training: those of the last one on this machine."""
    try:
        return float(json.loads(read_file(_file("sweep-start"))))
    except (OSError, ValueError, TypeError):
        return START_SECONDS


def keep_start(seconds: float) -> None:
    _write(_file("sweep-start"), round(seconds, 2))


def _write(path: Path, content: object) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content).encode())
    except OSError:
        return
