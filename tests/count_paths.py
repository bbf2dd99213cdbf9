"""How much of the project runs between two points: its functions, by file.

    python tests/count_paths.py

Counts a training step: Energy KD on small images with a teacher cache, on one device. `first` is from the beginning of
a job's first epoch, where the cache is filled, to the first `optimizer.step()`; `later` from the last step of the first
chunk to the first step of the next one, which is what an epoch repeats.

Counts a table cell too: `table_cell`.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
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
        function = code.co_flags & inspect.CO_OPTIMIZED and "<" not in code.co_name  # not the body of a class
        if event == "call" and begun and code.co_filename.startswith(PACKAGES) and function:
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


def training_step(results: Path) -> dict[str, Functions]:
    """The functions of a job's first step, with all that an epoch begins with, and those of a later one."""
    import small_jobs
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    from trainables import job
    from trainables.data.stream import STEPS_PER_CHUNK
    from trainables.models.checkpoint import save_weights
    from trainables.spec import Temperature

    path = results / "resnet8.pth"
    digest = save_weights(small_jobs.seasoned("resnet8"), path)
    teacher = small_jobs.GivenTeacher(path, digest)
    spec = teacher.spec(temperature=Temperature(4, "energy", 2, -2, 0.2))

    def count_until(last: int, begin: CodeType) -> Functions:
        steps = 0

        def stop(*_: Any) -> None:
            nonlocal steps
            steps += 1
            if steps == STEPS_PER_CHUNK:
                _end_chunk()
            if steps == last:
                sys.setprofile(None)
                raise _SteppedError

        def work() -> None:
            with contextlib.suppress(_SteppedError):
                small_jobs.train([spec], teacher.execution(results / str(last), teacher_cache_gb=1.0))

        hook = register_optimizer_step_pre_hook(stop)
        try:
            return count(work, begin=begin)
        finally:
            hook.remove()

    epoch = job.train_epoch.__code__
    later = count_until(STEPS_PER_CHUNK + 1, _end_chunk.__code__)
    return {"first": count_until(1, epoch), "later": {"trainables/job.py": [epoch.co_qualname]} | later}


def table_cell() -> Functions:
    """From a table and settings to the LaTeX of one row of one pair, without its caption, by the ledger of a sweep of
    real images."""
    from analysis import paper
    from analysis.record.ledger import Ledger
    from analysis.table.command_line import ledger_path, settings_of_sweep
    from analysis.table.grid import make_grid
    from analysis.table.latex import latex
    from analysis.table.resolved import resolve
    from analysis.table.sheet import Sheet, make_panels

    table, results = paper.find("table5"), ROOT / "docs" / "results" / "cifar100-wrn_16_2-resnet8"
    with Ledger.open(ledger_path(results), readonly=True) as ledger:
        settings = replace(settings_of_sweep(ledger, table, None, results), rows=("kd",), pairs=("wrn_16_2/resnet8",))

        def work() -> None:
            resolved = resolve(table, settings)
            panels = make_panels(make_grid(resolved, ledger.entries(resolved.run_ids)))
            latex(Sheet(table.key, table.title, panels, "", (), ""))

        return count(work)


def _end_chunk() -> None:
    """Marks the last step of a chunk."""


if __name__ == "__main__":
    print(show("a table cell", table_cell()))
    with tempfile.TemporaryDirectory() as folder:
        for name, functions in training_step(Path(folder)).items():
            print(show(f"a training step, {name}", functions))
