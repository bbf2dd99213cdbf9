"""A training step does not grow longer: its functions and files are counted."""

from __future__ import annotations

from pathlib import Path

import torch
from count_paths import count, training_step

from ekd_core import energy


def test_a_training_step(tmp_path: Path) -> None:
    functions = training_step(tmp_path)
    assert "ekd_core/losses.py" in functions
    assert sum(map(len, functions.values())) <= 53
    assert len(functions) <= 19


def test_only_what_runs_is_counted() -> None:
    assert count(lambda: energy(torch.zeros(2, 3))) == {"ekd_core/energy.py": ["energy"]}
