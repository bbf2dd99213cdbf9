"""Run ids, tables and trained weights are those of the stored hashes (see `same_numbers`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from same_numbers import STORED, different, drawn, ids, kind, trained


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STORED.read_text())
    return found


def test_run_ids(stored: dict[str, Any]) -> None:
    assert different(ids(), stored["ids"]) == []


@pytest.mark.slow
def test_tables(stored: dict[str, Any], tmp_path: Path) -> None:
    assert different(drawn(tmp_path), stored["tables"]) == []


@pytest.mark.slow
def test_trained_weights(stored: dict[str, Any], tmp_path: Path) -> None:
    if kind() not in stored["weights"]:
        pytest.skip(f"no weights are stored for {kind()}: python tests/same_numbers.py --write")
    assert different(trained(tmp_path), stored["weights"][kind()]) == []
