"""CUDA streams for the students of a pack, so that their steps may overlap on the device.

A step of a small network does not fill a GPU. Recorded steps are launched faster than they end, so those of several
students can overlap, each on a CUDA stream of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

import torch

from trainables.training.student import Student
from trainables.training.views import Views

MOST = 16
"""Streams of a pack. torch has 32 and gives them out in turns; work on streams that coincide would share workspaces."""


class CudaStreams:
    """One CUDA stream for each name; names share streams where there are more than MOST."""

    def __init__(self) -> None:
        self._streams: dict[str, torch.cuda.Stream] = {}

    def train(self, students: Sequence[Student], views: Views) -> None:
        """The steps of a chunk; those of students whose steps are recorded run beside each other."""
        with self.overlap():
            for student in students:
                with self.use(student.spec.run_id) if student.steps.recorded else contextlib.nullcontext():
                    student.steps.train(views)

    @contextlib.contextmanager
    def overlap(self) -> Iterator[None]:
        """Inside, streams run beside each other, after all that was launched before and before all that comes after."""
        main = torch.cuda.current_stream()
        for stream in self._streams.values():
            stream.wait_stream(main)
        try:
            yield
        finally:
            for stream in self._streams.values():
                main.wait_stream(stream)

    def use(self, name: str) -> AbstractContextManager[object]:
        """Launch what is inside on the stream of this name. It must not make what another stream reads."""
        if name not in self._streams:
            streams = list(self._streams.values())
            new = torch.cuda.Stream() if len(streams) < MOST else streams[len(streams) % MOST]
            new.wait_stream(torch.cuda.current_stream())
            self._streams[name] = new
        return torch.cuda.stream(self._streams[name])
