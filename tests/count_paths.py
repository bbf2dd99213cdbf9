"""How much of the project runs between two points: its functions, by file.

    python tests/count_paths.py

Counts a training step: Energy KD on small images with an empty teacher cache, on one device, from the beginning of a
job's epoch to the first `optimizer.step()`.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = tuple(str(ROOT / name) for name in ("ekd_core", "trainables", "analysis", "sweeps"))

Functions = dict[str, list[str]]

if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "trainables")]


def count(work: Callable[[], Any], begin: CodeType | None = None) -> Functions:
    """The project's functions that run during `work`, by file.

    begin: count only after this function has been entered.
    """
    found: dict[str, dict[str, None]] = {}
    begun = begin is None

    def note(frame: FrameType, event: str, _: Any) -> None:
        nonlocal begun
        code = frame.f_code
        begun = begun or code is begin
        if event == "call" and begun and code.co_filename.startswith(PACKAGES) and "<" not in code.co_name:
            file = str(Path(code.co_filename).relative_to(ROOT))
            found.setdefault(file, {})[code.co_qualname] = None

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {file: list(functions) for file, functions in found.items()}


def show(title: str, functions: Functions) -> str:
    """The count in words, then each file with its functions."""
    total = sum(map(len, functions.values()))
    lines = [f"{title}: {total} functions in {len(functions)} files"]
    lines += [f"  {file}: {', '.join(names)}" for file, names in functions.items()]
    return "\n".join(lines)


class _SteppedError(Exception):
    """The first optimizer step has been reached."""


def training_step(results: Path) -> Functions:
    """From the beginning of an epoch to its first `optimizer.step()`."""
    import small_jobs
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from trainables import job
    from trainables.models.checkpoint import save_weights
    from trainables.spec import Temperature

    def stop(*_: Any) -> None:
        sys.setprofile(None)
        raise _SteppedError

    path = results / "resnet8.pth"
    digest = save_weights(small_jobs.seasoned("resnet8"), path)
    teacher = small_jobs.GivenTeacher(path, digest)
    spec = teacher.spec(temperature=Temperature(4, "energy", 2, -2, 0.2))
    hook = register_optimizer_step_pre_hook(stop)

    def work() -> None:
        with contextlib.suppress(_SteppedError):
            small_jobs.train([spec], teacher.execution(results, teacher_cache_gb=1.0))

    try:
        return count(work, begin=job.train_epoch.__code__)
    finally:
        hook.remove()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(show("a training step", training_step(Path(folder))))
