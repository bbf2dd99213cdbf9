"""Steps that are recorded once for each shape and then replayed on new tensors: CUDA graphs, where asked for.

A student's step on a small network is a few hundred kernels of a few microseconds, which Python cannot launch as fast
as a GPU ends them. Recorded, they are launched at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ekd_core.softening import Softening, Temperature, map_tensors
from trainables.methods import Batch
from trainables.models import Outputs
from trainables.training.steps import Steps

Tensors = Mapping[str, Tensor]
Work = Callable[[Tensors], Tensor | None]
Capture = Callable[[Callable[[], Tensor | None]], tuple[Callable[[], None], Tensor | None]]

WARM_UP = 8
"""Times that work of a kind is done as it is before it is recorded: its kernels are chosen and its state exists."""


class Replayed:
    """Does work as it is at first, then from a recording. Work of equal keys must differ in its tensors alone."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._done: Counter[Hashable] = Counter()
        self._kept: dict[Hashable, tuple[dict[str, Tensor], Callable[[], None], Tensor | None]] = {}

    def __call__(self, key: Hashable, tensors: Tensors, work: Work) -> Tensor | None:
        """What `work` gives for the tensors. (A recording's own result lies in memory that others use too.)"""
        if key not in self._kept:
            self._done[key] += 1
            if self._done[key] <= WARM_UP:
                return work(tensors)
            own = {name: tensor.clone() for name, tensor in tensors.items()}
            self._kept[key] = (own, *self._capture(lambda: work(own)))
        own, replay, result = self._kept[key]
        for name, tensor in tensors.items():
            own[name].copy_(tensor)
        replay()
        return None if result is None else result.clone()


class RecordedSteps(Steps):
    """Steps whose passes and updates are replayed in the epochs in which the method's loss allows it."""

    KEEPS_GRADIENTS = True

    def __init__(self, capture: Capture, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._replayed = Replayed(capture)
        self._epoch = 0

    @property
    def recorded(self) -> bool:
        return self.replays and self.fixed(self.spec.epochs)

    def begin_epoch(self, epoch: int) -> None:
        super().begin_epoch(epoch)
        self._epoch = epoch

    def learn(self, batch: Batch) -> Tensor:
        if not (self.replays and self.fixed(self._epoch)):
            return super().learn(batch)
        tensors = {"images": batch.images, "labels": batch.labels}
        if batch.teacher is not None:
            tensors["teacher"] = batch.teacher.logits
        softened = _tensors_of(batch.temperature)
        tensors |= softened
        if batch.others is not None:
            tensors["others"] = batch.others

        def work(given: Tensors) -> Tensor:
            changed: dict[str, Any] = {name: tensor for name, tensor in given.items() if name not in softened}
            if "teacher" in given:
                changed["teacher"] = Outputs.of_logits(given["teacher"])
            own = iter([given[name] for name in softened])
            changed["temperature"] = map_tensors(batch.temperature, lambda _: next(own))
            return super(RecordedSteps, self).learn(replace(batch, **changed))

        loss = self._replayed((batch.mixed, len(batch.labels)), tensors, work)
        assert loss is not None
        return loss

    def update(self) -> None:
        if self.replays and self.fixed(self._epoch):
            rates = tuple(group["lr"] for group in self.optimizer.param_groups)
            self._replayed(("update", rates), {}, lambda _: self.optimizer.step())
        else:
            super().update()


def _tensors_of(temperature: Temperature) -> dict[str, Tensor]:
    parts = temperature if isinstance(temperature, Softening) else (temperature,)
    return {f"temperature {number}": part for number, part in enumerate(parts) if isinstance(part, Tensor)}


def record_cuda_graphs() -> Capture:
    """Records the CUDA graphs of one student, which share their memory, for they are replayed one after the other. They
    are recorded on the stream on which they will run, if it has one of its own: workspaces belong to streams."""
    pool = torch.cuda.graph_pool_handle()
    own: list[torch.cuda.Stream] = []

    def capture(work: Callable[[], Tensor | None]) -> tuple[Callable[[], None], Tensor | None]:
        stream = torch.cuda.current_stream()
        if stream == torch.cuda.default_stream():
            own[:] = own or [torch.cuda.Stream()]
            stream = own[0]
        graph = torch.cuda.CUDAGraph()
        # `graph` waits for the device and empties the allocator's cache first. Other threads (of a loader that pins
        # memory) may go on meanwhile.
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            result = work()
        return graph.replay, result

    return capture
