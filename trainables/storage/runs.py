"""The results folder of jobs: one folder a run, which is complete when `result.json` is there, written last."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from trainables.errors import UserError, reason_of
from trainables.spec import RunSpec

RESULT_SCHEMA = 1
STATUS_SCHEMA = 1


def run_dir(results: Path, run_id: str) -> Path:
    return results / "runs" / run_id


def weights_path(results: Path, run_id: str) -> Path:
    """The weights after the last epoch, as `{"model": state_dict}`."""
    return run_dir(results, run_id) / "weights.pt"


def status_path(results: Path) -> Path:
    """How far the sweep in the results folder is, or was."""
    return results / "status.json"


def drop_temporaries(folder: Path, name: str = "*") -> None:
    """Remove the temporary files of killed writers from a folder where nobody else writes files called `name` now."""
    for path in folder.glob(f".{name}.*"):
        if path.suffix[1:].isdecimal():
            path.unlink(missing_ok=True)


def check_regular(path: Path) -> None:
    """Refuse to read what is no file: a pipe that nobody writes to would be waited for without end."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device: name a file, or remove it", str(path))


def read_file(path: Path) -> bytes:
    """The content of a file (see `check_regular`)."""
    check_regular(path)
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The content of a file of text: UTF-8, or UTF-16 as Windows may write it."""
    content = read_file(path)
    try:
        return content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: a letter that is not UTF-8: save the file as UTF-8") from error


def write_atomically(path: Path, content: bytes, *, old: Path | None = None) -> None:
    """Write a file so that there is always a whole one: beside it, flushed to the disk, then renamed.

    old: where the file that was there before is kept.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if old is not None and path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def with_checksum(content: bytes) -> bytes:
    """`content` after its own SHA-256, for files that must not be used when they are damaged."""
    return hashlib.sha256(content).digest() + content


def verify_checksum(stored: bytes) -> bytes | None:
    """The content that `with_checksum` was given; None where the bytes are damaged."""
    digest, content = stored[:32], stored[32:]
    return content if hashlib.sha256(content).digest() == digest else None


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    check_regular(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_result(results: Path, result: dict[str, Any]) -> None:
    content = json.dumps(result, sort_keys=True, allow_nan=False).encode()
    write_atomically(run_dir(results, result["run_id"]) / "result.json", content)


def read_result(results: Path, run_id: str) -> dict[str, Any] | None:
    """Read the result of a run that is done or failed; None while there is none. Refuses a damaged one."""
    path = run_dir(results, run_id) / "result.json"
    why = "it is damaged"
    result = None
    try:
        result = json.loads(read_file(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        why = reason_of(error)
    except (ValueError, RecursionError):
        pass
    if isinstance(result, dict) and result.get("run_id") == run_id and result.get("status") in ("done", "failed"):
        return result
    raise UserError(f"cannot use {path} ({why}): delete {path.parent} to train that run again")


def has_weights(results: Path, run_id: str) -> bool:
    """True if a run's weights are there and are those that its result names."""
    path = weights_path(results, run_id)
    try:
        facts = path.stat()
        wanted = (read_result(results, run_id) or {}).get("weights_sha256")
        return wanted is None or _hash_once(path, facts.st_ino, facts.st_size, facts.st_mtime_ns) == wanted
    except OSError:
        return False


@functools.cache
def _hash_once(path: Path, *_: int) -> str:
    """The hash of a file, computed again when its inode, size or time has changed."""
    return hash_file(path)


def teacher_cache_bytes(spec: RunSpec, images: int, classes: int) -> int:
    """Size of the teacher cache of a run's teacher and seed: the logits of each image in each epoch."""
    return spec.epochs * images * classes * (2 if spec.precision == "bf16" else 4)


def stream_key(spec: RunSpec) -> tuple[object, ...]:
    """Runs with equal keys see the same batches and the same teacher: they can train in one job."""
    return (
        spec.dataset,
        spec.data,
        spec.train_fraction,
        spec.imbalance,
        spec.holdout,
        spec.augmentation,
        spec.normalisation,
        spec.batch_size,
        spec.seed,
        spec.precision,
        spec.teacher,
        spec.teacher_source,
        spec.timing,
    )
