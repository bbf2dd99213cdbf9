"""How large a network is: its parameters, and its multiply-adds for one image.

`costs.csv`, made by `python benchmarks/costs.py`, has those of this program's networks at the sizes of its data sets.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from trainables.models import build

FILE = Path(__file__).parent / "costs.csv"


class NetworkCost(NamedTuple):
    parameters: int
    multiply_adds: int
    """Of matrix products and convolutions."""


@cache
def _read_known() -> dict[tuple[str, int, int], NetworkCost]:
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        (row["network"], int(row["classes"]), int(row["side"])): NetworkCost(
            int(row["parameters"]), int(row["multiply_adds"])
        )
        for row in rows
    }


def cost_of(name: str, num_classes: int, side: int) -> NetworkCost:
    """Those of a network for one image of that side."""
    return _read_known().get((name, num_classes, side)) or count_cost(name, num_classes, side)


@cache
def count_cost(name: str, num_classes: int, side: int) -> NetworkCost:
    """The same, counted on tensors without content."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = build(name, num_classes, side).eval().to("meta")
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 3, side, side))
    return NetworkCost(sum(each.numel() for each in network.parameters()), counter.get_total_flops() // 2)


def in_words(number: int) -> str:
    """`0.08 M`, `11.2 M`, `4.09 G`"""
    unit, word = (1e9, "G") if number >= 1e9 else (1e6, "M")
    return f"{number / unit:.3g} {word}"
