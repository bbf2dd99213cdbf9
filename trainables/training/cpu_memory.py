"""Keeps the processor's memory for tensors between steps.

glibc otherwise returns it to the system after a step and gets it back page by page in the next (docs/performance.md).
A thread, as a Ray trial is one, has its own memory, most of which glibc returns in any case.
"""

from __future__ import annotations

import ctypes
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
LARGEST = 32 * 2**20
"""The largest block that glibc keeps, in bytes: larger ones are mapped and unmapped one by one."""
ALL = -1
LITTLE = 2 * LARGEST
"""The most that glibc itself keeps at the end of its heap, in bytes, after it has freed a block of LARGEST."""


def keep_freed_memory(most: int = ALL) -> bool:
    """Keep freed memory for the next tensors: `most` bytes at the end of the heap. False where there is no glibc."""
    libc = _find_glibc()
    return bool(libc and libc.mallopt(M_MMAP_THRESHOLD, LARGEST) and libc.mallopt(M_TRIM_THRESHOLD, most))


def return_freed_memory() -> None:
    """Return free memory to the system now."""
    if libc := _find_glibc():
        libc.malloc_trim(0)


def _find_glibc() -> Any:
    """The C library of this process if it is glibc, else None."""
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
