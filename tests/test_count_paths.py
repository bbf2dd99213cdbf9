"""The paths of a training step and of a table cell do not grow longer: their functions and files are counted."""

from __future__ import annotations

from pathlib import Path

import torch
from count_paths import count, table_cell, training_step

from ekd_core import energy


def test_a_training_step(tmp_path: Path) -> None:
    counted = training_step(tmp_path)
    for name, (most, files) in {"first": (58, 19), "later": (40, 14)}.items():
        assert "ekd_core/losses.py" in counted[name]
        assert sum(map(len, counted[name].values())) <= most
        assert len(counted[name]) <= files


def test_a_table_cell() -> None:
    functions = table_cell()
    assert "analysis/table/latex.py" in functions
    assert sum(map(len, functions.values())) <= 107
    assert len(functions) <= 23


def test_only_what_runs_is_counted() -> None:
    assert count(lambda: energy(torch.zeros(2, 3))) == {"ekd_core/energy.py": ["energy"]}
