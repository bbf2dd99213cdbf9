"""Work on tensors that is recorded once for each shape and then replayed on new ones: CUDA graphs, where asked for.

A student's step on a small network is a few hundred kernels of a few microseconds, which Python cannot launch as fast
as a GPU ends them. Recorded, they are launched at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping

import torch
from torch import Tensor

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


def cuda_graphs() -> Capture:
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
        # While it records, the allocator cannot return what it keeps for later.
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            # Other threads (of a loader that pins memory) may go on meanwhile.
            graph.capture_begin(pool=pool, capture_error_mode="thread_local")
            try:
                result = work()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)
        return graph.replay, result

    return capture
