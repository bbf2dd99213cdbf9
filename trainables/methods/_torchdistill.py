"""torchdistill's losses on pairs of values. They look values up by module path, as forward hooks would leave them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from torch import Tensor, nn


def summed(loss: str, pairs: Sequence[tuple[Any, Tensor]]) -> Tensor:
    """The mid-level loss of that name, summed over pairs of what it wants of the student and of the teacher."""
    student, teacher = ({str(i): {"output": pair[side]} for i, pair in enumerate(pairs)} for side in (0, 1))
    total: Tensor = _module(loss, len(pairs))(student, teacher)
    return total


@cache
def _module(loss: str, count: int) -> nn.Module:
    """Imported here, so that torchdistill is loaded by runs that use it alone."""
    places = {str(i): {"io": "output", "path": str(i)} for i in range(count)}
    pairs = {name: {"student": place, "teacher": place} for name, place in places.items()}
    module: nn.Module = getattr(importlib.import_module("torchdistill.losses.mid_level"), loss)(pairs)
    return module
