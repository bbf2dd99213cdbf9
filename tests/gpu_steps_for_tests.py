"""Steps for tests of gpu_check.py."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks.gpu_step import Row, Setting


def well(setting: Setting) -> Iterator[Row]:
    yield {"one": 1.0, "device": setting.device}
    yield {"one": 2.0}


def broken(setting: Setting) -> Iterator[Row]:
    yield {"one": 3.0}
    raise ValueError("on purpose\nhere")


def endless(setting: Setting) -> Iterator[Row]:
    yield {"one": 4.0}
    time.sleep(600)


def dying(setting: Setting) -> Iterator[Row]:
    yield {"one": 5.0}
    os._exit(7)
