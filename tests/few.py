"""Cases that stand for all of their kind in the fast tests; the others run among the slow ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

METHODS = ("kd", "vid", "crd", "dml", "multi")
"""On logits; on features, with modules that are trained; with a memory; with a peer; on two views."""
NETWORKS = ("resnet8", "wrn_16_1", "vgg8", "MobileNetV2", "ShuffleV2")
"""Plain; normed before its convolutions; halved at large sides only; without a last ReLU; half of it passes by."""
TABLES = ("figure3", "table4", "table5", "table7")
"""Curves; of two parts; of one; of costs."""


def fast(cases: Iterable[Any], *chosen: Any, others: str = "slow") -> list[Any]:
    """All cases; those that were not chosen are marked as the others."""
    several = [case if isinstance(case, tuple) else (case,) for case in cases]
    wanted = [case if isinstance(case, tuple) else (case,) for case in chosen]
    return [pytest.param(*case, marks=() if case in wanted else getattr(pytest.mark, others)) for case in several]


def some_or_all(some: Iterable[str], every: Iterable[str]) -> list[Any]:
    """Two cases: the few, and, marked slow, all of them together."""
    return [pytest.param((*some,), id="some"), pytest.param((*every,), id="all", marks=pytest.mark.slow)]
