"""CUDA streams for the students of a pack, so that their steps may overlap on the device.

A step of a small network does not fill a GPU. Recorded steps are launched faster than they end, so those of several
students can overlap, each on a CUDA stream of its own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from statistics import median
from typing import Any

import torch

from trainables.training.student import Student
from trainables.training.views import Views

MOST = 16
"""Streams of a pack. torch has 32 and gives them out in turns; work on streams that coincide would share workspaces."""


TURNS = 10
"""Chunks that are timed in each way before one is chosen: of 8 steps each, some seconds in all."""


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


class FasterWay:
    """Trains the chunks of a job from recordings or with plain kernels, which gives the same bits: in the way that is
    faster here. From its second epoch on, when most shapes have been recorded, chunks are timed in both ways in turn.

    recorded: whether chunks are trained from recordings, from then on.
    seconds: that the timed chunks took, by whether they were recorded.
    """

    def __init__(self, streams: CudaStreams) -> None:
        self.recorded = True
        self.seconds: dict[bool, list[float]] = {True: [], False: []}
        self._streams = streams
        self._first = 0

    def record(self) -> dict[str, Any]:
        """For a result: seconds of a chunk in both ways, where they were timed, and which way was chosen."""
        found: dict[str, Any] = {"recorded_steps": self.recorded}
        if self.seconds[False]:
            found |= {"recorded_seconds": median(self.seconds[True]), "plain_seconds": median(self.seconds[False])}
        return found

    def train(self, students: Sequence[Student], views: Views) -> None:
        """The steps of a chunk. A job that measures times by itself keeps to one way."""
        self._first = self._first or views.chunk.epoch
        chosen = len(self.seconds[False]) == TURNS or views.chunk.epoch == self._first or students[0].spec.timing
        recorded = self.recorded if chosen else len(self.seconds[True]) == len(self.seconds[False])
        for student in students:
            student.steps.replays = recorded
        if chosen:
            self._streams.train(students, views)
            return
        torch.cuda.synchronize()
        began = time.perf_counter()
        self._streams.train(students, views)
        torch.cuda.synchronize()
        self.seconds[recorded].append(time.perf_counter() - began)
        if len(self.seconds[False]) == TURNS:
            self.recorded = median(self.seconds[True]) <= median(self.seconds[False])
