"""Lanes of a pack: what is launched in different ones may run on the device at the same time.

A step of a small network does not fill a GPU. Recorded steps are launched faster than they end, so those of several
students can overlap, each on a CUDA stream of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch

MOST = 16
"""Streams of a pack. torch has 32 and gives them out in turns; work on streams that coincide would share workspaces."""


class Lanes:
    """All of them the one that everything runs in: one student after the other."""

    def beside(self) -> AbstractContextManager[None]:
        """Inside, lanes run beside each other, after all that was launched before and before all that comes after."""
        return contextlib.nullcontext()

    def lane(self, name: str) -> AbstractContextManager[object]:
        """What is launched inside runs in this lane. It must not make what another lane reads."""
        return contextlib.nullcontext()


class CudaLanes(Lanes):
    """A stream each; shared by some where there are more than MOST."""

    def __init__(self) -> None:
        self._streams: dict[str, torch.cuda.Stream] = {}

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        main = torch.cuda.current_stream()
        for stream in self._streams.values():
            stream.wait_stream(main)
        try:
            yield
        finally:
            for stream in self._streams.values():
                main.wait_stream(stream)

    def lane(self, name: str) -> AbstractContextManager[object]:
        if name not in self._streams:
            streams = list(self._streams.values())
            new = torch.cuda.Stream() if len(streams) < MOST else streams[len(streams) % MOST]
            new.wait_stream(torch.cuda.current_stream())
            self._streams[name] = new
        return torch.cuda.stream(self._streams[name])
