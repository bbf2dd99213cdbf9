"""Reads the curves that TensorBoard shows."""

from __future__ import annotations

import struct
from pathlib import Path

from tensorboardX.proto import event_pb2


def scalars(path: Path, tag: str) -> list[tuple[int, float]]:
    """The curve in a file of TensorBoard's: records of length (8 bytes), checksum (4), event, checksum (4); the last
    may have been cut short."""
    content, found = path.read_bytes(), []
    while len(content) >= 16:
        (length,) = struct.unpack("<Q", content[:8])
        if len(content) < 16 + length:
            break
        event = event_pb2.Event.FromString(content[12 : 12 + length])
        found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == tag]
        content = content[16 + length :]
    return found


def epochs_of_runs(results: Path) -> dict[str, list[int]]:
    """By name, the epochs of each run in the order in which they were told, those that were trained again as well."""
    found: dict[str, list[int]] = {}
    for path in sorted(results.glob("tune/curves/*/events.out.tfevents.*")):
        found.setdefault(path.parent.name, []).extend(epoch for epoch, _ in scalars(path, "ray/tune/top1"))
    return found
