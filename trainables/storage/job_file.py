"""Where and how a job is trained, and a job as a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainables.errors import UserError
from trainables.spec import RunSpec, from_dict


@dataclass(frozen=True)
class Place:
    """Where and how a job is trained. Nothing of it may change a run's numbers, except the device and its threads.

    teachers: (sha256, path) of weights files that were given. threads: of the processor, 0 for torch's own choice.
    bank_gb: what all teacher banks together may take on the disk, 0 for none. beside: devices of this machine that
    train at the same time; they share its cores to decode images. graphs: steps are recorded as CUDA graphs, those
    of several students replayed beside each other.
    """

    results: Path
    data_dir: Path | None = None
    teachers: tuple[tuple[str, str], ...] = ()
    device: str = "cpu"
    threads: int = 0
    command: str = ""
    bank_gb: float = 0.0
    beside: int = 1
    graphs: bool = False


def read_job(path: Path) -> tuple[list[RunSpec], Place]:
    """The runs and the place that a JOB.json describes."""
    try:
        job = json.loads(path.read_text())
        place = dict(job["place"])
        kinds = {
            "results": str,
            "device": str,
            "command": str,
            "threads": int,
            "bank_gb": float,
            "beside": int,
            "graphs": bool,
        }
        if type(place.get("bank_gb")) is int:
            place["bank_gb"] = float(place["bank_gb"])
        wrong = [name for name, kind in kinds.items() if name in place and type(place[name]) is not kind]
        if wrong:
            raise TypeError(f"its {wrong[0]} is {place[wrong[0]]!r}")
        place["results"] = Path(place["results"])
        place["data_dir"] = Path(place["data_dir"]) if place.get("data_dir") else None
        place["teachers"] = tuple((str(digest), str(file)) for digest, file in place.get("teachers", ()))
        return [from_dict(fields) for fields in job["runs"]], Place(**place)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is no job: {error!r}; it needs `runs` and a `place` with `results`") from error


def job_json(specs: Sequence[RunSpec], place: Place) -> str:
    """The text that `read_job` reads."""
    fields = asdict(place) | {"results": str(place.results), "data_dir": place.data_dir and str(place.data_dir)}
    return json.dumps({"runs": [spec.as_dict() for spec in specs], "place": fields}, indent=1)
