"""Weights for files."""

from __future__ import annotations

import pytest
import torch
from weight_files import CLASSES, State

from trainables.models import build


@pytest.fixture(scope="module")
def state() -> State:
    """Weights that no fresh network has, statistics included."""
    torch.manual_seed(5)
    network = build("resnet8", CLASSES)
    return {key: torch.rand_like(value) if value.ndim else value + 7 for key, value in network.state_dict().items()}
