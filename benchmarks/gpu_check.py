"""What a GPU shows of this program, in a given time, the most important first.

    python benchmarks/gpu_check.py [--minutes 10] [--out gpu-check] [--device cuda] [--data-dir DIR] [--only STEP ...]

Needs torch, torchvision and this checkout; no Ray and no data set: the images are random, or those of CIFAR-100 where
DIR has it. The steps of `gpu_steps.STEPS` run one after another, each for a time of its own, in another process: one
that fails, hangs or takes that process down is recorded, and the next goes on. OUT/gpu.json and OUT/gpu.md are written
after every step. On a processor everything is small, and what only a GPU can tell stays an empty column.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.gpu_step import Row, Setting, Step
from sweeps.request.arguments import number
from trainables.commands import Parser, parse_path, run_command
from trainables.errors import UserError
from trainables.storage.runs import write_atomically

START_SECONDS = 180.0
LEAST_SECONDS = 5.0
"""Given to no step: what is left then is for writing."""


@dataclass
class Outcome:
    """Of a step. status: done, failed, out of time, not begun."""

    step: Step
    status: str = "not begun"
    reason: str = ""
    seconds: float = 0.0
    rows: list[Row] = field(default_factory=list)


class Worker:
    """A process that carries out steps; another one after a step that failed or took too long."""

    def __init__(self, warm: str) -> None:
        self._warm = warm
        self._process: multiprocessing.process.BaseProcess | None = None

    def run(self, step: Step, setting: Setting) -> Iterator[Row]:
        """Its rows as they come; raises TimeoutError, or RuntimeError with what went wrong. The start of the process is
        no part of its time."""
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, other = context.Pipe()
            self._process = context.Process(target=serve, args=(other, self._warm), daemon=True)
            self._process.start()
            other.close()
            if not self._pipe.poll(START_SECONDS):
                self.close()
                raise RuntimeError(f"its process did not start within {START_SECONDS:.0f} s")
            self._pipe.recv()
        deadline = time.monotonic() + setting.seconds
        self._pipe.send((step.function, setting))
        try:
            while self._pipe.poll(max(0.0, deadline - time.monotonic())):
                kind, what = self._pipe.recv()
                if kind == "ended":
                    return
                if kind == "failed":
                    raise RuntimeError(what)
                yield what
            raise TimeoutError(f"ended after {setting.seconds:.0f} s")
        except EOFError:
            self._process.join(LEAST_SECONDS)
            raise RuntimeError(f"its process ended with status {self._process.exitcode}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def serve(pipe: Connection, warm: str) -> None:
    """In the worker: steps, until nobody asks for more. It says when it has imported what they need."""
    importlib.import_module(warm)
    pipe.send("ready")
    while True:
        try:
            path, setting = pipe.recv()
        except EOFError:
            return
        module, _, name = path.partition(":")
        try:
            for row in getattr(importlib.import_module(module), name)(setting):
                pipe.send(("row", row))
            pipe.send(("ended", None))
        except Exception as error:  # noqa: BLE001
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(last.filename).name}:{last.lineno}"
            pipe.send(("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:500]} ({place})"))


def check(
    steps: Sequence[Step],
    device: str,
    minutes: float,
    out: Path,
    *,
    data_dir: Path | None = None,
    warm: str = "benchmarks.gpu_speed",
) -> list[Outcome]:
    """Carry out the steps within so many minutes, and write what is known after each. warm: a module that is imported
    before the first."""
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    outcomes, worker = [Outcome(step) for step in steps], Worker(warm)
    images = "CIFAR-100" if data_dir else "random images"
    about: Row = {"minutes": minutes, "device": device, "images": images}
    for outcome in outcomes:
        left = 60 * minutes - (time.monotonic() - began) - LEAST_SECONDS
        if left <= 0:
            outcome.reason = "no time was left"
            continue
        seconds, start = min(left, outcome.step.seconds * minutes / 10), time.monotonic()
        try:
            for row in worker.run(outcome.step, Setting(device, seconds, data_dir)):
                outcome.rows.append(row)
            outcome.status = "done"
        except (TimeoutError, RuntimeError) as error:
            worker.close()
            outcome.status = "out of time" if isinstance(error, TimeoutError) else "failed"
            outcome.reason = str(error)
        outcome.seconds = time.monotonic() - start
        print(f"{outcome.step.name}: {outcome.status}, {outcome.seconds:.0f} s {outcome.reason}", flush=True)
        write(out, about | {"seconds": time.monotonic() - began}, outcomes)
    worker.close()
    write(out, about | {"seconds": time.monotonic() - began}, outcomes)
    return outcomes


def write(out: Path, about: Row, outcomes: Sequence[Outcome]) -> None:
    steps = [
        {"name": o.step.name, "status": o.status, "reason": o.reason, "seconds": round(o.seconds, 1), "rows": o.rows}
        for o in outcomes
    ]
    write_atomically(out / "gpu.json", json.dumps({"about": about, "steps": steps}, indent=1).encode())
    write_atomically(out / "gpu.md", page(about, outcomes).encode())


def page(about: Row, outcomes: Sequence[Outcome]) -> str:
    """Markdown: a section a step."""
    lines = [
        "# What a GPU shows",
        "",
        f"`benchmarks/gpu_check.py --minutes {about['minutes']:g} --device {about['device']}`, "
        f"{about['images']}, {about['seconds']:.0f} s so far. An empty cell: only a GPU can tell.",
    ]
    for outcome in outcomes:
        reason = f": {outcome.reason}" if outcome.reason else ""
        lines += ["", f"## {outcome.step.name}", "", outcome.step.about, ""]
        lines += [f"**{outcome.status}**{reason} ({outcome.seconds:.0f} s)", ""]
        lines += [
            "| " + " | ".join(outcome.step.columns) + " |",
            "| " + " | ".join("---" for _ in outcome.step.columns) + " |",
        ]
        for row in outcome.rows:
            lines.append("| " + " | ".join(_shown(row.get(column)) for column in outcome.step.columns) + " |")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("|", "/")


def main(argv: Sequence[str]) -> int:
    from benchmarks.gpu_steps import STEPS, cifar100

    parser = Parser(description="What a GPU shows of this program, in a given time.")
    minutes = number(float, lambda value: value > 0, "a number of minutes above 0")
    parser.add_argument("--minutes", type=minutes, default=10.0, help="in all (default 10)")
    parser.add_argument("--out", type=parse_path, default=Path("gpu-check"), metavar="DIR", help="default: gpu-check")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    parser.add_argument("--data-dir", type=parse_path, metavar="DIR", help="of CIFAR-100 (default: random images)")
    parser.add_argument("--only", nargs="+", metavar="STEP", help=", ".join(step.name for step in STEPS))
    options = parser.parse_args(argv)
    if unknown := {*(options.only or ())} - {step.name for step in STEPS}:
        raise UserError(f"unknown step {min(unknown)!r}: {', '.join(step.name for step in STEPS)}")
    steps = [step for step in STEPS if options.only is None or step.name in options.only]
    if options.data_dir is not None:
        cifar100(options.data_dir)
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    outcomes = check(steps, device, options.minutes, options.out, data_dir=options.data_dir)
    print(f"written: {options.out / 'gpu.md'}, {options.out / 'gpu.json'}")
    return int(any(outcome.status != "done" for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(run_command(main))
