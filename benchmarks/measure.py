"""Measuring: sides that take turns, ratios within a turn, and what the device can do at best."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainables.errors import UserError
from trainables.storage.provenance import surroundings

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


def in_turns(sides: Mapping[str, Callable[[], int]], turns: int, device: str = "cpu") -> dict[str, Numbers]:
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


def ratios(rates: Mapping[str, Numbers], to: str) -> dict[str, Numbers]:
    """Each side's rate over that of side `to` in the same turn."""
    base = rates[to].values
    return {
        name: Numbers(tuple(value / one for value, one in zip(numbers.values, base, strict=True)))
        for name, numbers in rates.items()
        if name != to
    }


def peaks(device: str, turns: int = 5) -> dict[str, float]:
    """What the device reaches here: FLOP/s of a large matrix product in each precision, bytes/s of a large copy (read
    and written)."""
    found = {}
    for name, dtype in DTYPES.items():
        size = MATRIX * (4 if device == "cuda" else 1)
        one, two = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        found[name] = max(in_turns({"": lambda a=one, b=two: _product(a, b)}, turns + 1, device)[""].values)
    source = torch.empty(COPIED * (16 if device == "cuda" else 1), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    found["copy"] = max(in_turns({"": lambda: _copied(source, target)}, turns + 1, device)[""].values)
    return found


def _product(one: torch.Tensor, two: torch.Tensor) -> int:
    torch.mm(one, two)
    return 2 * one.shape[0] ** 3


def _copied(source: torch.Tensor, target: torch.Tensor) -> int:
    target.copy_(source)
    return 2 * source.numel()


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of convolutions and matrix products, forwards and backwards."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def check_device(device: str, threads: int) -> None:
    """Refuse what is not there."""
    if threads < 0:
        raise UserError(f"--threads {threads} must not be negative: 0 is torch's own choice")
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device is visible to this process: use --device cpu")


def device_name(device: str) -> str:
    return str(surroundings(device)["device"])
