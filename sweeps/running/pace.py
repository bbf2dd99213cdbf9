"""How often something that takes time is worked out again. Free of Ray and torch."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

SHARE = 0.02
"""The most of all time that each thing may take."""


class Pace:
    """For what is due again after `least` seconds, later where it takes long."""

    def __init__(self, least: float, clock: Callable[[], float]) -> None:
        self._least, self._clock = least, clock
        self._next = -math.inf

    @property
    def due(self) -> bool:
        return self._clock() >= self._next

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While it is worked out."""
        began = self._clock()
        yield
        now = self._clock()
        self._next = max(began + self._least, now + (now - began) / SHARE)
