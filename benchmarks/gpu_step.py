"""A step of gpu_check.py: what it is, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """name: of its section. about: what its rows say. seconds: of ten minutes. function: MODULE:NAME of a generator of
    rows, which is given a Setting. columns: of its table, those that only a GPU fills included."""

    name: str
    about: str
    seconds: float
    function: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """What a step is given. seconds: until it is ended. data_dir: with CIFAR-100; None: the images are random."""

    device: str
    seconds: float
    data_dir: Path | None = None

    @property
    def small(self) -> bool:
        return self.device == "cpu"

    @property
    def batch(self) -> int:
        return 50 if self.small else 64

    @property
    def precisions(self) -> tuple[str, ...]:
        return ("fp32",) if self.small else ("fp32", "bf16")
