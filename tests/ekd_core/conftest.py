"""The released implementations' values, in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="session")
def golden(ekd_data: Path) -> dict[str, Any]:
    """`inputs`: tensors in float64 (labels in int64); `expected`: numbers, and tensors where there are many."""
    stored = json.loads((ekd_data / "reference" / "losses.json").read_text())

    def tensor(name: str, value: Any) -> Any:
        if name.startswith(("feats", "fused")) or not isinstance(value, list):
            return value
        return torch.tensor(value, dtype=torch.int64 if name == "labels" else torch.float64)

    return {part: {name: tensor(name, value) for name, value in stored[part].items()} for part in stored}
