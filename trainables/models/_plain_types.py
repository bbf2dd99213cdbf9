"""Types that checkpoints hold beside their weights and that only store values: none runs code of the file."""

from __future__ import annotations

import argparse
import pathlib
from functools import cache
from typing import Any

import numpy as np

_MULTIARRAY = ("numpy.core.multiarray", "numpy._core.multiarray")
"""Its names before and since NumPy 2."""


@cache
def plain_types() -> list[Any]:
    """For torch's `safe_globals`: numbers and arrays of NumPy, paths, dictionaries with a default, options."""
    kinds = {type(np.dtype(code)) for code in np.typecodes["All"]}
    paths: dict[str, type] = {"PosixPath": pathlib.PurePosixPath, "PurePosixPath": pathlib.PurePosixPath}
    paths |= {"WindowsPath": pathlib.PureWindowsPath, "PureWindowsPath": pathlib.PureWindowsPath}
    named = [
        *((np.float64(0).__reduce__()[0], f"{place}.scalar") for place in _MULTIARRAY),
        *((np.zeros(0).__reduce__()[0], f"{place}._reconstruct") for place in _MULTIARRAY),
        *((kind, f"{place}.{name}") for place in ("pathlib", "pathlib._local") for name, kind in paths.items()),
        (_encode, "_codecs.encode"),
        (_make_dict, "collections.defaultdict"),
    ]
    factories = [int, float, str, bool, list, dict, tuple]
    return [argparse.Namespace, np.ndarray, np.dtype, *kinds, *factories, *named]


def _make_dict(*_: object) -> dict[Any, Any]:
    """A dictionary without its default, for torch fills only those."""
    return {}


def _encode(text: str, encoding: str) -> bytes:
    """As pickles of protocol 2 write bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes as {encoding}")
    return text.encode(encoding)
