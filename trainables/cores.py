"""How many processor cores this process may use: those it is bound to, or fewer where its container has a quota."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

OWN = Path("/proc/self")


def cores_here(process: Path = OWN) -> int:
    """Whole cores, at least one. process: its folder in /proc."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([bound, *_quotas(process)])))


def _quotas(process: Path) -> Iterator[float]:
    """The cores that each control group of a process grants, its own and those above it, by versions 1 and 2."""
    mounts = [line.split(" - ") for line in _lines(process / "mountinfo")]
    for line in _lines(process / "cgroup"):
        _, controllers, path = line.split(":", 2)
        for place, system in mounts:
            kind, _, options = system.split(" ", 2)
            root, mounted = place.split(" ")[3:5]
            if kind == "cgroup2" and not controllers:
                read = _quota_of_2
            elif kind == "cgroup" and "cpu" in controllers.split(",") and "cpu" in options.split(","):
                read = _quota_of_1
            else:
                continue
            # In a container without a namespace of groups, the mounted root is the container's own group.
            inner = path.removeprefix(root) if root != "/" else path
            group = Path(mounted, inner.strip("/")) if ".." not in inner else Path(mounted)
            for folder in (group, *group.parents):
                if folder.is_relative_to(mounted):
                    yield from read(folder)


def _quota_of_1(folder: Path) -> Iterator[float]:
    quota, period = _numbers(folder / "cpu.cfs_quota_us"), _numbers(folder / "cpu.cfs_period_us")
    if quota and period and quota[0] > 0 and period[0] > 0:
        yield quota[0] / period[0]


def _quota_of_2(folder: Path) -> Iterator[float]:
    numbers = _numbers(folder / "cpu.max")
    if len(numbers) == 2 and numbers[1] > 0:
        yield numbers[0] / numbers[1]


def _numbers(file: Path) -> list[int]:
    """The whole numbers in a file; of `max 100000`, which is no quota, one."""
    return [int(word) for line in _lines(file) for word in line.split() if word.lstrip("-").isdecimal()]


def _lines(file: Path) -> list[str]:
    """None where the system has no such file."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
