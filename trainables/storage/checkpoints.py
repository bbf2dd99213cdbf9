"""The checkpoints of a run: all that is needed to go on after its last finished epoch. Removed when it is complete.

runs/RUN_ID/checkpoint.pt           after the last finished epoch
runs/RUN_ID/checkpoint-before.pt    after the one before it: used where the last one cannot be
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

from trainables.errors import reason_of
from trainables.storage.runs import read_file, run_dir, verify_checksum, with_checksum, write_atomically

FORMAT = 1
"""To be raised when what a checkpoint holds, or what it means, is changed: those of other formats are not used."""


def checkpoint_path(results: Path, run_id: str) -> Path:
    return run_dir(results, run_id) / "checkpoint.pt"


def checkpoint_paths(results: Path, run_id: str) -> tuple[Path, Path]:
    """The last checkpoint and the one before it."""
    last = checkpoint_path(results, run_id)
    return last, last.with_name("checkpoint-before.pt")


def save_checkpoint(results: Path, run_id: str, state: dict[str, Any]) -> None:
    """Write the state of a run. Until it is whole on the disk the two earlier checkpoints stay as they are."""
    import torch

    last, before = checkpoint_paths(results, run_id)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(last, with_checksum(_header(run_id) + buffer.getvalue()), old=before)


def load_checkpoint(
    results: Path, run_id: str, device: str, *, repair: bool
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Read the newest state that can be used, and say by file name why others cannot.

    repair: delete a last checkpoint that cannot be used where the one before can, which it would replace at the next
    save.
    """
    import torch

    last, before = checkpoint_paths(results, run_id)
    header = _header(run_id)
    unusable: dict[str, str] = {}
    for path in (last, before):
        try:
            content = verify_checksum(read_file(path))
        except FileNotFoundError:
            continue
        except OSError as error:
            unusable[path.name] = f"cannot be read ({reason_of(error)})"
            continue
        if content is None:
            unusable[path.name] = "is damaged"
        elif not content.startswith(header):
            unusable[path.name] = "is of another run or version"
        else:
            if path == before and repair:
                with contextlib.suppress(OSError):
                    last.unlink(missing_ok=True)
            return torch.load(io.BytesIO(content.removeprefix(header)), device, weights_only=True), unusable
    return None, unusable


def drop_checkpoints(results: Path, run_id: str) -> None:
    for path in checkpoint_paths(results, run_id):
        path.unlink(missing_ok=True)


def _header(run_id: str) -> bytes:
    return f"format {FORMAT} of {run_id}\n".encode()
