"""The processor's memory for tensors. glibc else returns it to the system after every step, and gets it back page by
page in the next: 20,000 page faults a step of ResNet8x4 in fp32, which take a tenth to a twentieth of its time."""

from __future__ import annotations

import ctypes
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
LARGEST = 32 * 2**20
"""The largest block that glibc keeps, in bytes: larger ones are mapped and unmapped one by one."""
ALL = -1
AS_IT_COMES = 2 * LARGEST
"""What glibc keeps at most by itself at the end of its heap, in bytes, once large blocks have been freed."""


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
