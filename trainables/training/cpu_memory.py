"""The processor's memory for tensors. glibc else returns it to the system after a step, and gets it back page by page
in the next (docs/performance.md).

A thread, as a trial of Ray is one, has memory apart, of which glibc returns most in any case.
"""

from __future__ import annotations

import ctypes
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 32 * 2**20
"""The largest block that glibc keeps, in bytes: larger ones are mapped and unmapped one by one."""
ALL = -1
LITTLE = 2 * LARGEST
"""The most that glibc keeps at the end of its heap by itself, in bytes, after it has freed a block of LARGEST."""


def keep_freed(most: int = ALL) -> bool:
    """Keep freed memory for the next tensors, `most` bytes at the end of the heap. False where there is no glibc."""
    libc = _libc()
    if libc is None:
        return False
    return bool(libc.mallopt(M_MMAP_THRESHOLD, LARGEST) and libc.mallopt(M_TRIM_THRESHOLD, most))


def give_back() -> None:
    """Return what is free to the system now."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def _libc() -> Any:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
