"""What benchmarks share: options and output, sides that take turns, ratios within a turn, the device's peaks."""

from __future__ import annotations

import json
import statistics
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from sweeps.request.arguments import whole
from trainables.commands import Parser
from trainables.errors import UserError
from trainables.job import Execution, prepare_torch
from trainables.spec import RunSpec
from trainables.storage.provenance import surroundings
from trainables.storage.runs import RESULT_SCHEMA

MATRIX, COPIED = 2048, 2**26
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Numbers:
    """Repeated measurements of one thing."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def std(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    def __format__(self, spec: str) -> str:
        low, high = min(self.values), max(self.values)
        return f"{self.median:{spec}} ({low:{spec}} to {high:{spec}}, std {self.std:{spec}}, n = {len(self.values)})"

    def as_json(self) -> dict[str, float]:
        low, high = min(self.values), max(self.values)
        return {"median": self.median, "min": low, "max": high, "std": self.std, "n": len(self.values)}


def synchronize(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def take_turns(sides: Mapping[str, Callable[[], int]], turns: int, device: str = "cpu") -> dict[str, Numbers]:
    """Each side once a turn: what it did a second (a side returns how much it did)."""
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, side in sides.items():
            synchronize(device)
            began = time.perf_counter()
            done = side()
            synchronize(device)
            rates[name].append(done / (time.perf_counter() - began))
    return {name: Numbers(tuple(values)) for name, values in rates.items()}


def compare(rates: Mapping[str, Numbers], to: str) -> dict[str, Numbers]:
    """Each side's rate over that of side `to` in the same turn."""
    base = rates[to].values
    return {
        name: Numbers(tuple(value / one for value, one in zip(numbers.values, base, strict=True)))
        for name, numbers in rates.items()
        if name != to
    }


def measure_peaks(device: str, turns: int = 5) -> dict[str, float]:
    """What the device reaches here: FLOP/s of a large matrix product in each precision, bytes/s of a large copy (read
    and written)."""
    found = {}
    for name, dtype in DTYPES.items():
        size = MATRIX * (4 if device == "cuda" else 1)
        one, two = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        found[name] = max(take_turns({"": lambda a=one, b=two: _multiply(a, b)}, turns + 1, device)[""].values)
    source = torch.empty(COPIED * (16 if device == "cuda" else 1), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["copy"] = max(take_turns({"": lambda: _copy(source, target)}, turns + 1, device)[""].values)
    return found


def _multiply(one: torch.Tensor, two: torch.Tensor) -> int:
    torch.mm(one, two)
    return 2 * one.shape[0] ** 3


def _copy(source: torch.Tensor, target: torch.Tensor) -> int:
    target.copy_(source)
    return 2 * source.numel()


def count_flops(work: Callable[[], object]) -> int:
    """Floating-point operations of convolutions and matrix products, forwards and backwards."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def make_parser(description: str, *, turns: int, on_device: bool = False) -> Parser:
    """A parser with the options that benchmarks share."""
    parser = Parser(description=description)
    parser.add_argument("--turns", type=whole(1), default=turns, help=f"timed turns of each side (default {turns})")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    if on_device:
        parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
        parser.add_argument("--threads", type=whole(0), default=0, help="0: torch's own choice")
    return parser


def prepare_device(options: Namespace) -> dict[str, Any]:
    """Set torch up as a job does. Returns the device, the threads and the version of torch."""
    if options.device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is visible to this process: use --device cpu")
    prepare_torch(Execution(Path(), device=options.device, threads=options.threads))
    about = {"device": device_name(options.device), "threads": torch.get_num_threads()}
    return about | {"torch": torch.__version__}


def show(options: Namespace, found: Mapping[str, Any], lines: Iterable[str]) -> int:
    """Print what was found as JSON, or in lines of text."""
    print(*([json.dumps(found, default=Numbers.as_json)] if options.json else lines), sep="\n")
    return 0


def device_name(device: str) -> str:
    return str(surroundings(device)["device"])


def make_result(spec: RunSpec) -> dict[str, Any]:
    """A made-up result of a run, with a curve of full length."""
    top1 = 40 + int(spec.run_id[:8], 16) / 2**30
    epochs = range(1, spec.epochs + 1)
    scores = {"best_top1": top1, "best_top5": 95.0, "best_epoch": spec.epochs, "train_loss": 1.0}
    scores |= {"last_top1": top1, "last_top5": 95.0, "last_loss": 1.0}
    teacher = dict.fromkeys(("teacher_sha256", "teacher_top1", "teacher_top5"))
    return {
        "schema": RESULT_SCHEMA,
        "run_id": spec.run_id,
        "name": spec.name,
        "spec": spec.as_dict(),
        "status": "done",
        "reason": None,
        "epochs": spec.epochs,
        "seconds": 1.5 * spec.epochs,
        "epoch_seconds": [1.5 + 0.01 / epoch for epoch in epochs],
        "parameters": 10**6,
        "weights_sha256": "0" * 64,
        "curve": [[epoch, 1 + 1 / (epoch + 0.123456789), top1 - 1 / epoch, 95.123, 1.23456789] for epoch in epochs],
        "provenance": {"device": "made up"},
        **scores,
        **teacher,
    }
